//! Frames of peers to whom they concern, and the two questions that strangers may ask.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::engine::ConsensusEngine;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::transport::{Channel, Frame, Inbound};
use shardbearer_proto::pb;

use crate::bootstrap::Bootstrap;
use crate::cluster::{Cluster, control, pulse};
use crate::router::Router;
use crate::transport::Stranger;

/// An open engine, and of which generation of the order.
type Open = (Epoch, Arc<dyn ConsensusEngine>);

/// Hands frames on. What has no addressee yet is declined, so that the sender knows at once.
#[derive(Default)]
pub(super) struct Dispatch {
    engines: ArcSwap<BTreeMap<OrderId, Open>>,
    inside: ArcSwapOption<(Arc<Cluster>, Arc<Router>)>,
}

impl Dispatch {
    /// From now on the order gets its frames: those of its generation, which is when it began anew.
    pub(super) fn register(&self, order: OrderId, generation: Epoch, engine: Arc<dyn ConsensusEngine>) {
        self.engines.rcu(|engines| {
            let mut engines = BTreeMap::clone(engines);
            engines.insert(order, (generation, engine.clone()));
            engines
        });
    }

    /// The generation of an order that gets its frames.
    pub(super) fn generation(&self, order: OrderId) -> Option<Epoch> {
        self.engines.load().get(&order).map(|(generation, _)| *generation)
    }

    /// The engine that a frame of an order is for. None of another generation: its members were others, and their promises
    /// are not those of the members now.
    fn engine(&self, order: OrderId, generation: Epoch) -> Option<Arc<dyn ConsensusEngine>> {
        let engines = self.engines.load();
        let (_, engine) = engines.get(&order).filter(|(present, _)| *present == generation)?;
        Some(engine.clone())
    }

    /// From now on the order's frames are declined.
    pub(super) fn remove(&self, order: OrderId) {
        self.engines.rcu(|engines| {
            let mut engines = BTreeMap::clone(engines);
            engines.remove(&order);
            engines
        });
    }

    /// From now on everything else is answered, too.
    pub(super) fn connect(&self, cluster: Arc<Cluster>, router: Arc<Router>) {
        self.inside.store(Some(Arc::new((cluster, router))));
    }

    /// Declines everything from now on. Lets go of the cluster and the engines, which hold the transport, which holds this.
    pub(super) fn close(&self) {
        self.inside.store(None);
        self.engines.store(Arc::default());
    }
}

#[async_trait]
impl Inbound for Dispatch {
    async fn receive(&self, from: RadiantId, frame: Frame) -> Option<Bytes> {
        let engine = match frame.channel {
            Channel::Engine(order) => Some(self.engine(order, Epoch(0))?),
            Channel::Anew(order, generation) => Some(self.engine(order, generation)?),
            Channel::Forward | Channel::Pulse | Channel::Control => None,
        };
        if let Some(engine) = engine {
            return engine.receive(from, frame.body).await;
        }
        let inside = self.inside.load_full()?;
        let (cluster, router) = inside.as_ref();
        match frame.channel {
            Channel::Engine(_) | Channel::Anew(..) => None, // above
            Channel::Forward => router.receive_forward(frame.body).await,
            Channel::Control => control::receive(cluster, frame.body).await,
            Channel::Pulse => {
                pulse::receive(cluster, from, frame.body);
                None
            }
        }
    }
}

/// Answers radiants that are in no cluster, or in none that this one knows.
pub(super) struct Strangers {
    bootstrap: Bootstrap,
    cluster: OnceLock<Arc<Cluster>>,
}

impl Strangers {
    pub(super) fn new(bootstrap: Bootstrap) -> Strangers {
        Strangers { bootstrap, cluster: OnceLock::new() }
    }

    pub(super) fn connect(&self, cluster: Arc<Cluster>) {
        // Called once, by the assembly.
        let _ = self.cluster.set(cluster);
    }
}

#[async_trait]
impl Stranger for Strangers {
    async fn beacon(&self, body: Bytes) -> Result<Bytes, RequestError> {
        self.bootstrap.receive(body).await
    }

    async fn control(&self, request: pb::ControlRequest) -> pb::ControlResponse {
        const DEADLINE: Duration = Duration::from_secs(5);
        match self.cluster.get() {
            Some(cluster) => control::request(cluster, request, DEADLINE).await,
            None => {
                let why = "this radiant is still looking for its cluster".to_owned();
                let error = RequestError::Refused(Refused::Unavailable(why));
                pb::ControlResponse { kind: Some(pb::control_response::Kind::Error((&error).into())) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stub::{Manner, Stub};

    /// Answers every frame.
    struct Ear;

    #[async_trait]
    impl Manner for Ear {
        async fn receive(&self, frame: Bytes) -> Option<Bytes> {
            Some(frame)
        }
    }

    #[tokio::test]
    async fn an_engine_hears_only_those_of_its_own_generation() {
        let (order, body) = (OrderId(2), Bytes::from_static(b"vote"));
        let channels = [
            Channel::Engine(order),
            Channel::Anew(order, Epoch(7)),
            Channel::Anew(order, Epoch(9)),
            Channel::Engine(OrderId(3)),
        ];
        for (generation, heard) in [(0, [true, false, false, false]), (7, [false, true, false, false])] {
            let dispatch = Dispatch::default();
            dispatch.register(order, Epoch(generation), Arc::new(Stub(Ear)));
            for (channel, heard) in channels.into_iter().zip(heard) {
                let frame = Frame { channel, body: body.clone() };
                let answer = dispatch.receive(RadiantId(1), frame).await;
                assert_eq!(answer.is_some(), heard, "generation {generation}, {channel:?}");
            }
        }
    }
}
