//! An engine for tests of what is around engines: closed in every respect that a test does not care about.

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::engine::{ConsensusEngine, EngineStatus};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;

/// In what a test's engine differs from a closed one.
#[async_trait]
pub trait Manner: Send + Sync + 'static {
    async fn propose(&self, _: Bytes) -> Result<Bytes, RequestError> {
        Err(Refused::Closed.into())
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        Err(Refused::Closed.into())
    }

    async fn receive(&self, _: Bytes) -> Option<Bytes> {
        None
    }
}

/// The engine with that manner.
pub struct Stub<M>(pub M);

#[async_trait]
impl<M: Manner> ConsensusEngine for Stub<M> {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        self.0.propose(entry).await
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        self.0.read_barrier().await
    }

    async fn receive(&self, _: RadiantId, frame: Bytes) -> Option<Bytes> {
        self.0.receive(frame).await
    }

    async fn reconfigure(&self, _: Vec<RadiantId>) -> Result<(), RequestError> {
        Err(Refused::Closed.into())
    }

    async fn hand_over(&self, _: RadiantId) -> Result<(), RequestError> {
        Err(Refused::Closed.into())
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        Err(Refused::Closed.into())
    }

    fn status(&self) -> EngineStatus {
        EngineStatus::default()
    }

    async fn changed(&self, _: u64) -> EngineStatus {
        std::future::pending().await
    }

    async fn close(&self) {}
}
