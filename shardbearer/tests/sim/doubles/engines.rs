//! Engines with a defect, around real ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer_core::engine::{
    Applied, Applier, Capabilities, Committed, ConsensusEngine, EngineContext, EngineError, EngineFactory,
    EngineStatus, InstallError, ReceivedSnapshot, SnapshotReader, SnapshotWriter,
};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::Configuration;
use shardbearer_core::storage::StorageError;
use shardbearer_core::world::World;
use shardbearer_proto::convert;
use shardbearer_sim::disk::{Disk, Lie};

use super::decisions::{Left, Whim, take_up};
use super::entries::without_ids;

/// What is wrong with an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Its herald believes in itself, and answers reads at once.
    Hasty,
    /// A lease that goes on while the machine pauses.
    LongLease,
    /// It proposes without the ids of requests.
    Forgetful,
    /// It gives each entry to the data twice, the second time without the ids of requests.
    AppliesTwice,
    /// What its images leave out.
    Images(Lie),
    /// Its herald takes a shard that belongs to the next order.
    Greedy,
    /// Where it should freeze a shard it drops it too.
    DropsEarly,
    /// Where it has the last rows of a shard it serves it at once.
    ServesEarly,
    /// Where it should drop its copy of a shard it serves it again.
    ServesOn,
    /// What comes to it of a shard that is split it serves as if it were all of that.
    TakesAnything,
    /// It says that its data are durable, and they are not.
    PersistsNothing,
    /// Where it has a member of the control order beside it, it serves only while that knows of a herald, or is one.
    AsksTheScherald,
    /// Its proposals take as long as something says that no run begins anew.
    DrawsFromElsewhere,
    /// What the control order makes of commands.
    Decides(Whim),
}

/// An engine like `inner`, with a defect.
pub fn defective(
    defect: Defect,
    inner: Arc<dyn EngineFactory>,
    disk: &Arc<Disk>,
    left: &Arc<Left>,
) -> Arc<dyn EngineFactory> {
    Arc::new(Factory { defect, inner, disk: disk.clone(), left: left.clone(), control: Arc::default() })
}

struct Factory {
    defect: Defect,
    inner: Arc<dyn EngineFactory>,
    disk: Arc<Disk>,
    left: Arc<Left>,
    control: Arc<Beside>,
}

/// The member of the control order on the same machine, if there is one.
type Beside = Mutex<Option<Weak<dyn ConsensusEngine>>>;

#[async_trait]
impl EngineFactory for Factory {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn refuses(&self, members: usize) -> Option<String> {
        self.inner.refuses(members)
    }

    async fn open(&self, mut context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        let (defect, me, order, world) = (self.defect, context.me, context.order, context.world.clone());
        let disk = self.disk.clone();
        context.applier = Arc::new(DefectiveApplier { defect, order, inner: context.applier, disk });
        let inner = self.inner.open(context).await?;
        if order.is_control() {
            *self.control.lock() = Some(Arc::downgrade(&inner));
        }
        let (left, control) = (self.left.clone(), self.control.clone());
        Ok(Arc::new(Defective { defect, me, order, world, inner, left, control, barrier_ns: 0.into() }))
    }
}

struct Defective {
    defect: Defect,
    me: RadiantId,
    order: OrderId,
    world: World,
    inner: Arc<dyn ConsensusEngine>,
    left: Arc<Left>,
    control: Arc<Beside>,
    /// When a barrier was last true.
    barrier_ns: AtomicU64,
}

/// Ten times the election timeout.
const LONG: Duration = Duration::from_secs(5);

impl Defective {
    fn may_serve(&self) -> Result<(), RequestError> {
        let control = self.control.lock().as_ref().and_then(Weak::upgrade);
        let headless = control.map(|control| control.status()).is_some_and(|status| match status.herald {
            Some(herald) => herald == self.me && !status.leading,
            None => true,
        });
        match self.defect == Defect::AsksTheScherald && !self.order.is_control() && headless {
            true => Err(Refused::Unavailable("there is no scherald".into()).into()),
            false => Ok(()),
        }
    }

    fn believe(&self, status: EngineStatus) -> EngineStatus {
        match self.defect {
            Defect::Hasty | Defect::LongLease if !self.order.is_control() => {
                EngineStatus { leading: status.herald == Some(self.me) && !status.closed, ..status }
            }
            _ => status,
        }
    }
}

#[async_trait]
impl ConsensusEngine for Defective {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        self.may_serve()?;
        if self.defect == Defect::Decides(Whim::OfTheDeposed) && self.order.is_control() {
            return take_up(&self.left, self.me, self.inner.as_ref(), entry).await;
        }
        if self.defect == Defect::DrawsFromElsewhere {
            static PROPOSALS: AtomicU64 = AtomicU64::new(0);
            let long = PROPOSALS.fetch_add(1, Ordering::Relaxed) % 7;
            tokio::time::sleep(Duration::from_millis(long)).await;
        }
        if !self.defect.spoils() || self.order.is_control() {
            return self.inner.propose(entry).await;
        }
        let entry = self.defect.spoilt(convert::entry_from_bytes(entry).expect("the order's own"));
        self.inner.propose(convert::entry_to_bytes(&entry)).await
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        match self.defect {
            Defect::Hasty => Ok(LogPos::default()),
            Defect::LongLease => {
                let now_ns = self.world.monotonic_ns();
                let last_ns = self.barrier_ns.load(Ordering::Relaxed);
                if last_ns > 0 && now_ns < last_ns + LONG.as_nanos() as u64 && self.status().leading {
                    return Ok(LogPos::default());
                }
                let barrier = self.inner.read_barrier().await?;
                self.barrier_ns.store(now_ns, Ordering::Relaxed);
                Ok(barrier)
            }
            _ => self.inner.read_barrier().await,
        }
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        self.inner.receive(from, frame).await
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        self.inner.reconfigure(members).await
    }

    async fn configure(&self, configuration: Configuration) -> Result<(), RequestError> {
        self.inner.configure(configuration).await
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

struct DefectiveApplier {
    defect: Defect,
    order: OrderId,
    inner: Arc<dyn Applier>,
    disk: Arc<Disk>,
}

impl DefectiveApplier {
    /// One by one, since each is decided on what came of those before.
    async fn decide(&self, whim: Whim, entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        let mut replies = Vec::new();
        for mut entry in entries {
            if let Some(proposal) = &mut entry.proposal {
                let own = convert::control_command_from_bytes(proposal.clone());
                let mut command = own.expect("the order's own");
                whim.spoil(&self.disk, &mut command);
                *proposal = convert::control_command_to_bytes(&command);
            }
            replies.extend(self.inner.apply(vec![entry]).await?);
        }
        Ok(replies)
    }
}

#[async_trait]
impl Applier for DefectiveApplier {
    fn applied(&self) -> Applied {
        self.inner.applied()
    }

    async fn apply(&self, entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        if let (Defect::Decides(whim), true) = (self.defect, self.order.is_control()) {
            return self.decide(whim, entries).await;
        }
        if self.defect != Defect::AppliesTwice || self.order.is_control() {
            return self.inner.apply(entries).await;
        }
        let again = entries.iter().cloned().map(|entry| {
            let proposal = entry.proposal.map(|proposal| {
                let mut entry = convert::entry_from_bytes(proposal).expect("the order's own");
                without_ids(&mut entry);
                convert::entry_to_bytes(&entry)
            });
            Committed { proposal, ..entry }
        });
        let again = again.collect();
        let replies = self.inner.apply(entries).await?;
        self.inner.apply(again).await?;
        Ok(replies)
    }

    async fn persist(&self) -> Result<Applied, StorageError> {
        match self.defect {
            Defect::PersistsNothing => Ok(self.inner.applied()),
            _ => self.inner.persist().await,
        }
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        let Defect::Images(lie) = self.defect else { return self.inner.snapshot().await };
        // The image is a view that is taken at once; nobody else takes one meanwhile.
        self.disk.lie(Some(lie));
        let image = self.inner.snapshot().await;
        self.disk.lie(None);
        image
    }

    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.inner.receive_snapshot().await
    }

    async fn install(&self, received: ReceivedSnapshot) -> Result<(), InstallError> {
        self.inner.install(received).await
    }
}
