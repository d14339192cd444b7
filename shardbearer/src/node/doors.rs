//! The doors of a radiant: bound before anything else, served until told to stop.

use std::net::TcpListener;

use shardbearer_core::topology::Doors;
use shardbearer_core::world::World;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, OFF};
use crate::gateway::Entrance;
use crate::transport::PeerService;

/// Bound sockets; those of doors that are off are absent.
pub struct Listeners {
    grpc: TcpListener,
    resp: Option<TcpListener>,
    http: Option<TcpListener>,
    advertised: Doors,
}

/// The doors being served.
pub struct Served(TaskTracker);

impl Served {
    /// Waits until all doors are closed; ask for it with the token first.
    pub async fn wait(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

impl Listeners {
    /// Binds all doors, or says which one cannot be and why.
    pub fn bind(config: &Config) -> Result<Listeners, String> {
        let listen = &config.listen;
        let grpc = bind("grpc", &listen.grpc)?;
        let resp = optional("resp", &listen.resp)?;
        let http = optional("http", &listen.http)?;
        let advertise = &config.advertise;
        let advertised = Doors {
            grpc: advertised(&advertise.grpc, Some(&grpc))?,
            resp: advertised(&advertise.resp, resp.as_ref())?,
            http: advertised(&advertise.http, http.as_ref())?,
        };
        Ok(Listeners { grpc, resp, http, advertised })
    }

    /// What others are told.
    pub fn advertised(&self) -> &Doors {
        &self.advertised
    }

    /// Serves all doors until `stop`.
    pub fn serve(
        self,
        config: &Config,
        entrance: Entrance,
        peers: PeerService,
        world: &World,
        stop: CancellationToken,
    ) -> Served {
        let tasks = TaskTracker::new();
        let _ = (config, entrance, world, &self.resp, &self.http);
        let listener = tokio::net::TcpListener::from_std(self.grpc).expect("bound");
        tasks.spawn(async move {
            let service = shardbearer_proto::pb::peer_server::PeerServer::new(peers)
                .max_decoding_message_size(16 << 20)
                .max_encoding_message_size(16 << 20);
            let _ = tonic::transport::Server::builder()
                .tcp_nodelay(true)
                .add_service(service)
                .serve_with_incoming_shutdown(
                    tokio_stream::wrappers::TcpListenerStream::new(listener),
                    stop.cancelled_owned(),
                )
                .await;
        });
        Served(tasks)
    }
}

fn optional(door: &str, address: &str) -> Result<Option<TcpListener>, String> {
    if address == OFF { Ok(None) } else { bind(door, address).map(Some) }
}

fn bind(door: &str, address: &str) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "the {door} door cannot listen on {address}: another process does already; stop it, or set another [listen] {door}"
        ),
        std::io::ErrorKind::PermissionDenied => format!(
            "the {door} door may not listen on {address}: ports below 1024 need privileges; set another [listen] {door}"
        ),
        _ => format!("the {door} door cannot listen on {address}: {error}; set another [listen] {door}"),
    })
}

/// The address to tell others: as configured, otherwise where the door listens (whose port may have been 0).
fn advertised(configured: &str, listener: Option<&TcpListener>) -> Result<String, String> {
    match listener {
        None => Ok(String::new()),
        Some(_) if !configured.is_empty() => Ok(configured.to_owned()),
        Some(listener) => {
            listener.local_addr().map(|address| address.to_string()).map_err(|error| error.to_string())
        }
    }
}
