//! What is below a flawed engine: its log, its data and its way to others.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::engine::{
    Applied, Applier, Committed, InstallError, ReceivedSnapshot, SnapshotReader, SnapshotWriter, Timing,
};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::{Bounds, LogDone, LogError, LogRecord, LogStore, LogWrite};
use shardbearer_core::storage::StorageError;
use shardbearer_core::transport::{CallError, Frame, Transport};

use super::Flaw;

pub struct FlawedLog {
    pub log: Arc<dyn LogStore>,
    pub flaw: Flaw,
    /// Whether there is nothing (more) to forget: a vote was written in this life, or it is the first.
    pub forgot: AtomicBool,
}

impl LogStore for FlawedLog {
    fn write(&self, order: OrderId, mut writes: Vec<LogWrite>, done: LogDone) -> Result<(), LogError> {
        if writes.iter().any(|write| matches!(write, LogWrite::Hard(_))) {
            self.forgot.store(true, Ordering::Release);
        }
        if self.flaw == Flaw::LosesEntriesAfterTruncating {
            for write in &mut writes {
                if let LogWrite::Truncate { from } = write {
                    *from = from.saturating_sub(1).max(1);
                }
            }
        }
        if self.flaw == Flaw::KeepsItsLog {
            writes.retain(|write| !matches!(write, LogWrite::Purge { .. }));
        }
        if self.flaw == Flaw::CutsOneEntryAHeartbeat {
            let last = self.log.bounds(order).last.index;
            let cut = writes.iter().find_map(|write| match write {
                LogWrite::Truncate { from } => Some((last + 1).saturating_sub(*from)),
                _ => None,
            });
            if let Some(cut) = cut.and_then(|cut| u32::try_from(cut).ok()) {
                let late = move |outcome| {
                    tokio::spawn(async move {
                        tokio::time::sleep(Timing::default().heartbeat * cut).await;
                        done(outcome);
                    });
                };
                return self.log.write(order, writes, Box::new(late));
            }
        }
        if self.flaw != Flaw::AcknowledgesBeforeDurable {
            return self.log.write(order, writes, done);
        }
        self.log.write(order, writes, Box::new(drop))?;
        done(Ok(()));
        Ok(())
    }

    fn entries(&self, order: OrderId, range: Range<u64>, max: usize) -> Result<Vec<LogRecord>, LogError> {
        self.log.entries(order, range, max)
    }

    fn bounds(&self, order: OrderId) -> Bounds {
        let bounds = self.log.bounds(order);
        match self.flaw {
            Flaw::ForgetsItsVote if !self.forgot.load(Ordering::Acquire) => Bounds { hard: None, ..bounds },
            _ => bounds,
        }
    }

    fn orders(&self) -> Vec<OrderId> {
        self.log.orders()
    }

    fn remove(&self, order: OrderId) -> Result<(), LogError> {
        self.log.remove(order)
    }

    fn disk_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }

    fn held_bytes(&self, order: OrderId) -> u64 {
        self.log.held_bytes(order)
    }
}

pub struct FlawedData {
    pub data: Arc<dyn Applier>,
    pub flaw: Flaw,
    /// Whether a damaged image came.
    pub gave_up: Arc<AtomicBool>,
}

/// Remembers whether an image was damaged.
struct Watched {
    writer: Box<dyn SnapshotWriter>,
    damaged: Arc<AtomicBool>,
}

impl SnapshotWriter for Watched {
    fn write(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        self.writer.write(chunk)
    }

    fn finish(self: Box<Self>) -> Result<ReceivedSnapshot, StorageError> {
        self.writer.finish().inspect_err(|_| self.damaged.store(true, Ordering::Release))
    }
}

#[async_trait]
impl Applier for FlawedData {
    fn applied(&self) -> Applied {
        self.data.applied()
    }

    async fn apply(&self, entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        match self.flaw {
            Flaw::AppliesTwice => {
                self.data.apply(entries.clone()).await?;
                self.data.apply(entries).await
            }
            Flaw::SkipsAnEntry => {
                let kept: Vec<_> =
                    entries.iter().filter(|entry| entry.position.index != 5).cloned().collect();
                let mut replies = self.data.apply(kept).await?;
                replies.resize(entries.len(), Bytes::new());
                Ok(replies)
            }
            _ => self.data.apply(entries).await,
        }
    }

    async fn persist(&self) -> Result<Applied, StorageError> {
        self.data.persist().await
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        self.data.snapshot().await
    }

    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        if self.flaw != Flaw::GivesUpOnDamage {
            return self.data.receive_snapshot().await;
        }
        if self.gave_up.load(Ordering::Acquire) {
            return Err(StorageError::Corrupt("an image was damaged before".into()));
        }
        let writer = self.data.receive_snapshot().await?;
        Ok(Box::new(Watched { writer, damaged: self.gave_up.clone() }))
    }

    async fn install(&self, snapshot: ReceivedSnapshot) -> Result<(), InstallError> {
        match self.flaw {
            Flaw::InstallsNothing => Ok(()),
            _ => self.data.install(snapshot).await,
        }
    }
}

pub struct FlawedTransport {
    pub transport: Arc<dyn Transport>,
    pub flaw: Flaw,
}

impl FlawedTransport {
    /// How often everything is said.
    fn times(&self) -> usize {
        if self.flaw == Flaw::SaysEverythingFiveTimes { 5 } else { 1 }
    }

    fn drops(&self, frame: &Frame) -> bool {
        self.flaw == Flaw::DropsLongFrames && frame.body.len() > 50 << 10
    }
}

#[async_trait]
impl Transport for FlawedTransport {
    fn send(&self, to: RadiantId, frame: Frame) {
        if self.drops(&frame) {
            return;
        }
        for _ in 0..self.times() {
            self.transport.send(to, frame.clone());
        }
    }

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        if self.drops(&frame) {
            return Err(CallError::Unknown { to, why: "no answer in time".into() });
        }
        for _ in 1..self.times() {
            let _ = self.transport.call(to, frame.clone(), deadline).await;
        }
        self.transport.call(to, frame, deadline).await
    }
}
