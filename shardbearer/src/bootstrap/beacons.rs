//! The way to radiants of which nothing but an address is known. Members of a cluster speak through the
//! transport instead.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer_core::limits::{BOOTSTRAP_PEERS_MAX, MESSAGE_BYTES_MAX};
use shardbearer_proto::pb;
use shardbearer_proto::pb::peer_client::PeerClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// Calls by address.
#[async_trait]
pub trait Beacons: Send + Sync {
    /// Sends the body and returns the answer within the deadline, or says why there is none. The
    /// body may have arrived all the same.
    async fn call(&self, address: &str, body: Bytes, deadline: Duration) -> Result<Bytes, String>;

    /// Asks a member of a cluster something that concerns the control order, by one who is no member yet.
    async fn control(
        &self,
        address: &str,
        request: pb::ControlRequest,
        deadline: Duration,
    ) -> Result<pb::ControlResponse, String>;
}

/// [`Beacons`] over `Peer.Beacon` and `Peer.Control`. Connects when needed and keeps one channel an address.
#[derive(Default)]
pub struct GrpcBeacons {
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl GrpcBeacons {
    fn channel(&self, address: &str, deadline: Duration) -> Result<Channel, String> {
        if let Some(channel) = self.channels.lock().get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| format!("\"{address}\" is no host:port: {error}"))?;
        let channel = endpoint.connect_timeout(deadline).connect_lazy();
        let mut channels = self.channels.lock();
        if channels.len() >= BOOTSTRAP_PEERS_MAX {
            channels.clear();
        }
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    async fn answer<T>(
        &self,
        address: &str,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, String> {
        let answer = match tokio::time::timeout(deadline, call).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => root(&status),
            Err(_) => format!("no answer within {} ms", deadline.as_millis()),
        };
        // The next call connects anew, and asks the name service anew.
        self.channels.lock().remove(address);
        Err(answer)
    }
}

#[async_trait]
impl Beacons for GrpcBeacons {
    async fn call(&self, address: &str, body: Bytes, deadline: Duration) -> Result<Bytes, String> {
        let channel = self.channel(address, deadline)?;
        let mut client = PeerClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let call = client.beacon(pb::BeaconRequest { body });
        self.answer(address, deadline, call).await.map(|answer| answer.body)
    }

    async fn control(
        &self,
        address: &str,
        request: pb::ControlRequest,
        deadline: Duration,
    ) -> Result<pb::ControlResponse, String> {
        let channel = self.channel(address, deadline)?;
        let mut client = PeerClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        self.answer(address, deadline, client.control(request)).await
    }
}

/// The innermost reason: "connection refused" rather than "transport error".
fn root(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => innermost.to_string(),
    }
}
