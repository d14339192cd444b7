//! Engines with a defect, around the real one.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer::engine::Engines;
use shardbearer::engine::openraft::OpenraftFactory;
use shardbearer_core::engine::{
    Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory, EngineStatus,
};
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_proto::convert;

/// What is wrong with an engine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Its herald believes in itself, and answers reads at once.
    Hasty,
    /// It proposes without the ids of requests.
    Forgetful,
}

pub fn with(defect: Defect) -> Engines {
    let mut engines = Engines::default();
    engines.register(Arc::new(Factory(defect)));
    engines
}

/// Makes engines with a defect.
struct Factory(Defect);

#[async_trait]
impl EngineFactory for Factory {
    fn name(&self) -> &'static str {
        OpenraftFactory.name()
    }

    fn capabilities(&self) -> Capabilities {
        OpenraftFactory.capabilities()
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        let (me, order) = (context.me, context.order);
        Ok(Arc::new(Defective { defect: self.0, me, order, inner: OpenraftFactory.open(context).await? }))
    }
}

struct Defective {
    defect: Defect,
    me: RadiantId,
    order: OrderId,
    inner: Arc<dyn ConsensusEngine>,
}

impl Defective {
    fn believe(&self, status: EngineStatus) -> EngineStatus {
        match self.defect {
            Defect::Hasty => {
                EngineStatus { leading: status.herald == Some(self.me) && !status.closed, ..status }
            }
            Defect::Forgetful => status,
        }
    }
}

#[async_trait]
impl ConsensusEngine for Defective {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        if self.defect != Defect::Forgetful || self.order.is_control() {
            return self.inner.propose(entry).await;
        }
        let mut entry = convert::entry_from_bytes(entry).expect("the order's own");
        entry.items.iter_mut().for_each(|item| item.id = None);
        self.inner.propose(convert::entry_to_bytes(&entry)).await
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        match self.defect {
            Defect::Hasty => Ok(LogPos::default()),
            Defect::Forgetful => self.inner.read_barrier().await,
        }
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        self.inner.receive(from, frame).await
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        self.inner.reconfigure(members).await
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        self.inner.hand_over(to).await
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.inner.campaign().await
    }

    fn status(&self) -> EngineStatus {
        self.believe(self.inner.status())
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        self.believe(self.inner.changed(since).await)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
