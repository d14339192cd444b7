//! Frames between radiants over gRPC: one long-lived stream per direction and pair, for all orders.
//!
//! - [`link`]: the sending side of one peer
//! - [`service`]: the receiving side of all peers, and the beacons of those who have no cluster yet
//!
//! Whatever waits when a stream is ready to send goes out as one message: that is what makes a frame cheap.

mod link;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use shardbearer_core::ids::{ClusterId, OrderId, RadiantId};
use shardbearer_core::transport::{CallError, Channel, Frame, Inbound, Transport};
use shardbearer_core::world::World;
use shardbearer_proto::pb;

use self::link::Link;
pub use self::service::{Membership, PeerService, Stranger};

/// Version of the protocol between radiants.
pub const VERSION: u32 = 1;

/// A transport that is told who there is.
pub trait Links: Transport {
    /// Takes over who there is and where. Links to those who stay are kept, unless their address changed.
    fn set_peers(&self, peers: &BTreeMap<RadiantId, String>);

    /// Closes all links. Pending calls end with `Unknown`.
    fn close(&self);
}

/// The transport of one radiant.
pub struct GrpcTransport {
    cluster: ClusterId,
    me: RadiantId,
    election_ms: u64,
    world: World,
    links: RwLock<BTreeMap<RadiantId, Arc<Link>>>,
    inbound: Arc<dyn Inbound>,
}

impl GrpcTransport {
    /// A transport that knows no peers yet. Frames to `me` go to `inbound` directly. Peers with another election
    /// timeout than `election_ms` (milliseconds) refuse each other.
    pub fn new(
        cluster: ClusterId,
        me: RadiantId,
        election_ms: u64,
        inbound: Arc<dyn Inbound>,
        world: World,
    ) -> Arc<Self> {
        Arc::new(GrpcTransport { cluster, me, election_ms, world, links: RwLock::default(), inbound })
    }

    fn link(&self, to: RadiantId) -> Option<Arc<Link>> {
        self.links.read().get(&to).cloned()
    }
}

impl Links for GrpcTransport {
    fn set_peers(&self, peers: &BTreeMap<RadiantId, String>) {
        let mut links = self.links.write();
        links.retain(|id, link| {
            let stays = peers.get(id).is_some_and(|address| *address == link.address());
            if !stays {
                link.close();
            }
            stays
        });
        for (id, address) in peers {
            if *id != self.me && !address.is_empty() && !links.contains_key(id) {
                let hello = pb::PeerHello {
                    cluster: Bytes::copy_from_slice(&self.cluster.to_bytes()),
                    from: self.me.0,
                    to: id.0,
                    version: VERSION,
                    election_ms: self.election_ms,
                };
                links.insert(*id, Link::start(*id, address.clone(), hello, &self.world));
            }
        }
    }

    fn close(&self) {
        for link in std::mem::take(&mut *self.links.write()).into_values() {
            link.close();
        }
    }
}

#[async_trait]
impl Transport for GrpcTransport {
    fn send(&self, to: RadiantId, frame: Frame) {
        if to == self.me {
            let (inbound, me) = (self.inbound.clone(), self.me);
            self.world.spawn("frame-to-self", async move {
                let _ = inbound.receive(me, frame).await;
            });
        } else if let Some(link) = self.link(to) {
            link.send(frame);
        }
    }

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        if to == self.me {
            let answer = tokio::time::timeout(deadline, self.inbound.receive(self.me, frame)).await;
            return match answer {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(CallError::Unreachable { to, why: "not for this radiant".into() }),
                Err(_) => Err(CallError::Unknown { to, why: "no answer in time".into() }),
            };
        }
        match self.link(to) {
            Some(link) => link.call(frame, deadline).await,
            None => Err(CallError::Unreachable { to, why: "its address is not known".into() }),
        }
    }

    fn has_just_lost(&self, to: RadiantId) -> bool {
        self.link(to).is_some_and(|link| link.has_just_broken())
    }
}

/// A channel as its two numbers on the wire.
fn channel_to_wire(channel: Channel) -> (u32, u64) {
    match channel {
        Channel::Engine(order) => (1, order.0),
        Channel::Forward => (2, 0),
        Channel::Pulse => (3, 0),
        Channel::Control => (4, 0),
    }
}

fn channel_from_wire(channel: u32, order: u64) -> Option<Channel> {
    Some(match channel {
        1 => Channel::Engine(OrderId(order)),
        2 => Channel::Forward,
        3 => Channel::Pulse,
        4 => Channel::Control,
        _ => return None,
    })
}
