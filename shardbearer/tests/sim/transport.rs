//! The virtual network keeps the laws of transports: otherwise what breaks on it proves nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer::config::Config;
use shardbearer::node::environment::Environment;
use shardbearer::transport::{Links, Membership, Stranger};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{ClusterId, OrderId, RadiantId};
use shardbearer_core::transport::{Channel, Transport};
use shardbearer_proto::pb;
use shardbearer_sim::conformance::transport::{Inbounds, Soon, Subject, Wires, check};
use shardbearer_sim::disk::Disk;
use shardbearer_sim::net::{Net, Weather};
use shardbearer_sim::world::{Clock, Life, Universe};

use super::environment::{Radiant, Virtual};

const CLUSTER: ClusterId = ClusterId(7);
const CHANNELS: &[Channel] =
    &[Channel::Engine(OrderId(1)), Channel::Forward, Channel::Pulse, Channel::Control];

/// Nobody here has questions before it belongs to a cluster.
struct Nobody;

#[async_trait]
impl Stranger for Nobody {
    async fn beacon(&self, _: Bytes) -> Result<Bytes, RequestError> {
        Err(Refused::Closed.into())
    }

    async fn control(&self, _: pb::ControlRequest) -> pb::ControlResponse {
        pb::ControlResponse::default()
    }
}

fn address(id: RadiantId) -> String {
    format!("radiant-{id}")
}

async fn connect(inbounds: Inbounds) -> Wires {
    let universe = Universe::new(1);
    let net = Net::new(&universe, Weather::FAIR);
    let peers: BTreeMap<RadiantId, String> = inbounds.iter().map(|(id, _)| (*id, address(*id))).collect();
    let mut links: BTreeMap<RadiantId, (Arc<dyn Links>, Arc<Life>)> = BTreeMap::new();
    for (me, inbound) in inbounds {
        let life = Life::begin(&universe, &address(me), &Arc::new(Clock::default()));
        let environment = Virtual {
            net: net.clone(),
            disk: Disk::new(&universe, &address(me), None),
            life: life.clone(),
            address: address(me),
            beacons: None,
            links: Arc::default(),
        };
        let link = environment.transport(&Config::default(), CLUSTER, me, inbound.clone());
        link.set_peers(&peers);
        let membership = Arc::new(OnceLock::new());
        assert!(membership.set(Membership { cluster: CLUSTER, me, election_ms: 1_000, inbound }).is_ok());
        net.attach(&address(me), &life, Arc::new(Radiant { membership, stranger: Arc::new(Nobody) }));
        links.insert(me, (link, life));
    }
    let transports = links.iter().map(|(id, (link, _))| (*id, link.clone() as Arc<dyn Transport>)).collect();
    let stop = move |id: RadiantId| -> Soon<'static, ()> {
        let (link, life) = &links[&id];
        net.detach(&address(id));
        link.close();
        life.kill();
        Box::pin(async {})
    };
    Wires { transports, stop: Box::new(stop) }
}

#[test]
fn the_virtual_network_keeps_the_laws_of_transports() {
    let connect = |inbounds| -> Soon<'static, Wires> { Box::pin(connect(inbounds)) };
    check(&Subject { connect: &connect, channels: CHANNELS, virtual_time: true });
}
