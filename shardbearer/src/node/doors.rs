//! The doors of a radiant: bound before anything else, served until told to stop.

use std::net::TcpListener;

use shardbearer_core::topology::Doors;
use shardbearer_core::world::World;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, OFF};
use crate::gateway::{Entrance, grpc, http, resp};
use crate::transport::PeerService;

/// Bound sockets; those of doors that are off are absent.
pub struct Listeners {
    grpc: TcpListener,
    resp: Option<TcpListener>,
    http: Option<TcpListener>,
    advertised: Doors,
}

/// The doors being served; by default none.
#[derive(Default)]
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
        let radiant = config.radiant.name.clone();
        let settings = grpc::Settings { radiant: radiant.clone(), ..grpc::Settings::default() };
        let door = grpc::serve(
            tokio_listener(self.grpc),
            entrance.clone(),
            Some(peers),
            settings,
            world.clone(),
            stop.clone(),
        );
        tasks.spawn(async move {
            if let Err(error) = door.await {
                tracing::error!("the gRPC door failed: {error}");
            }
        });
        if let Some(listener) = self.resp {
            let options = resp::Options {
                connections_max: config.limits.resp_connections_max,
                value_bytes_max: config.limits.value_bytes_max,
                ..resp::Options::default()
            };
            let (entrance, world, stop) = (entrance.clone(), world.clone(), stop.clone());
            tasks.spawn(resp::serve(tokio_listener(listener), entrance, world, options, stop));
        }
        if let Some(listener) = self.http {
            let value_bytes_max = config.limits.value_bytes_max;
            let settings = http::Settings { radiant, value_bytes_max, ..http::Settings::default() };
            tasks.spawn(http::serve(tokio_listener(listener), entrance, settings, world.clone(), stop));
        }
        Served(tasks)
    }
}

fn tokio_listener(listener: TcpListener) -> tokio::net::TcpListener {
    tokio::net::TcpListener::from_std(listener).expect("bound, not blocking, and inside the runtime")
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
