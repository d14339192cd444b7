//! Stands between a radiant and its engines, and between engines and the data: counts the rare things, and asks at each
//! acknowledgement whether it is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer::engine::Engines;
use shardbearer_core::engine::{
    Applied, Applier, Capabilities, Committed, ConsensusEngine, EngineContext, EngineError, EngineFactory,
    EngineStatus, InstallError, ReceivedSnapshot, SnapshotReader, SnapshotWriter,
};
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{OrderId, RadiantId, SessionId};
use shardbearer_core::kv::Entry;
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::Configuration;
use shardbearer_core::storage::StorageError;
use shardbearer_proto::convert;
use shardbearer_sim::disk::Disk;
use shardbearer_sim::world::Universe;

use super::doubles::{self, Defects, Left};
use super::invariants::applied::{Ledger, Page};
use super::invariants::durable;
use super::mixes::ENGINES;

/// The engines of one machine, observed, with what is wrong with them.
pub fn engines(
    universe: &Arc<Universe>,
    disks: &Arc<[Arc<Disk>]>,
    disk: &Arc<Disk>,
    shared: &Arc<Shared>,
    defects: &Defects,
) -> Engines {
    let mut engines = Engines::default();
    for name in ENGINES {
        let factory = engines.find(name).expect("it is built in");
        let (universe, disks) = (universe.clone(), disks.clone());
        let (shared, left) = (shared.clone(), &shared.left);
        let (asked, unasked) = (Arc::default(), defects.unasked);
        let observed = ObservedFactory { factory, universe, disks, shared, asked, unasked };
        let observed = Arc::new(observed);
        engines.register(match defects.engine {
            // Outside, since it may change what is proposed.
            Some(defect) => doubles::defective(defect, observed, disk, left),
            None => observed,
        });
    }
    engines
}

/// What all machines of a cluster have one of.
#[derive(Default)]
pub struct Shared {
    wished: Wished,
    ledger: Ledger,
    left: Arc<Left>,
}

/// The members that an order was last asked to have, on any machine. Until it has them its members are being changed.
type Wished = Mutex<BTreeMap<OrderId, BTreeSet<RadiantId>>>;

/// Requests by session and number: how often proposed here, and where first applied here.
type Asked = Mutex<BTreeMap<(OrderId, SessionId, u64), (u32, Option<LogPos>)>>;

struct ObservedFactory {
    factory: Arc<dyn EngineFactory>,
    universe: Arc<Universe>,
    disks: Arc<[Arc<Disk>]>,
    shared: Arc<Shared>,
    asked: Arc<Asked>,
    unasked: bool,
}

#[async_trait]
impl EngineFactory for ObservedFactory {
    fn name(&self) -> &'static str {
        self.factory.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.factory.capabilities()
    }

    fn refuses(&self, members: usize) -> Option<String> {
        self.factory.refuses(members)
    }

    async fn open(&self, mut context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        let (universe, order, asked) = (self.universe.clone(), context.order, self.asked.clone());
        let shared = self.shared.clone();
        context.applier =
            Arc::new(ObservedApplier { inner: context.applier, universe, order, shared, asked });
        let inner = self.factory.open(context).await?;
        let (universe, disks, asked) = (self.universe.clone(), self.disks.clone(), self.asked.clone());
        let (shared, unasked) = (self.shared.clone(), self.unasked);
        let last = Mutex::default();
        Ok(Arc::new(Observed { inner, universe, disks, order, shared, asked, unasked, last }))
    }
}

/// An entry of a data order.
fn understood(entry: &Bytes) -> Entry {
    convert::entry_from_bytes(entry.clone()).expect("the order's own")
}

/// The requests of an entry of a data order.
fn requests(order: OrderId, entry: &Entry) -> impl Iterator<Item = (OrderId, SessionId, u64)> {
    let ids = entry.items.iter().filter_map(|item| item.id);
    ids.map(move |id| (order, id.session, id.number))
}

struct Observed {
    inner: Arc<dyn ConsensusEngine>,
    universe: Arc<Universe>,
    disks: Arc<[Arc<Disk>]>,
    order: OrderId,
    shared: Arc<Shared>,
    asked: Arc<Asked>,
    unasked: bool,
    /// The members that were decided elsewhere.
    last: Mutex<Option<Configuration>>,
}

impl Observed {
    fn members(&self) -> BTreeSet<RadiantId> {
        self.inner.status().members.into_iter().collect()
    }

    /// Of a proposal during which the members were these at first.
    fn members_since(&self, then: &BTreeSet<RadiantId>) -> durable::Members {
        let now = self.members();
        let wished = self.shared.wished.lock().get(&self.order).cloned();
        let settled = |members| wished.as_ref().is_none_or(|wished| wished == members);
        durable::Members { count: then.len().min(now.len()), changing: !(settled(then) && settled(&now)) }
    }
}

#[async_trait]
impl ConsensusEngine for Observed {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        let trace = &self.universe.trace;
        let of_data = (!self.order.is_control()).then(|| understood(&entry));
        for request in of_data.iter().flat_map(|entry| requests(self.order, entry)) {
            let mut asked = self.asked.lock();
            let (times, _) = asked.entry(request).or_default();
            *times += 1;
            if *times > 1 {
                trace.cover("proposal sent again");
            }
        }
        let before = durable::purged(&self.disks, self.order);
        let members = self.members();
        let outcome = self.inner.propose(entry.clone()).await;
        match &outcome {
            Ok(_) if self.unasked => {}
            Ok(_) => {
                let members = self.members_since(&members);
                let judged = durable::check(&self.disks, self.order, &members, &entry, &before);
                judged.unwrap_or_else(|why| trace.broken(why));
            }
            Err(RequestError::Unknown(_)) => trace.cover("proposal of unknown outcome"),
            Err(RequestError::Refused(_)) => trace.cover("proposal refused"),
        }
        outcome
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        let (led, began) = (self.inner.status().leading, self.universe.now_ns());
        let outcome = self.inner.read_barrier().await;
        let trace = &self.universe.trace;
        match &outcome {
            Ok(_) if !led => trace.cover("read answered by another than the herald"),
            Ok(_) if self.universe.now_ns() > began => trace.cover("read that had to ask"),
            Ok(_) => trace.cover("read under a lease"),
            Err(_) if led => trace.cover("step-down with pending reads"),
            Err(_) => {}
        }
        outcome
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        self.inner.receive(from, frame).await
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        self.shared.wished.lock().insert(self.order, members.iter().copied().collect());
        self.inner.reconfigure(members).await
    }

    async fn configure(&self, configuration: Configuration) -> Result<(), RequestError> {
        if let Some(last) = self.last.lock().replace(configuration.clone())
            && last.epoch < configuration.epoch
        {
            self.universe.trace.cover("chain formed anew");
            if last.learners.iter().any(|learner| configuration.members.contains(learner)) {
                self.universe.trace.cover("learner taken into its chain");
            }
        }
        self.inner.configure(configuration).await
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        self.universe.trace.cover("lead handed over");
        self.inner.hand_over(to).await
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.inner.campaign().await
    }

    fn status(&self) -> EngineStatus {
        self.inner.status()
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        self.inner.changed(since).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct ObservedApplier {
    inner: Arc<dyn Applier>,
    universe: Arc<Universe>,
    order: OrderId,
    shared: Arc<Shared>,
    asked: Arc<Asked>,
}

impl ObservedApplier {
    fn count(&self, position: LogPos, entry: &Entry) {
        for request in requests(self.order, entry) {
            let mut asked = self.asked.lock();
            let (_, place) = asked.entry(request).or_default();
            // After a restart entries are applied again where they stand.
            if place.get_or_insert(position).index != position.index {
                self.universe.trace.cover("retry answered from the table");
            }
        }
    }
}

#[async_trait]
impl Applier for ObservedApplier {
    fn applied(&self) -> Applied {
        self.inner.applied()
    }

    async fn apply(&self, mut entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        let mut pages = Vec::new();
        for (at, committed) in entries.iter_mut().enumerate() {
            let Some(proposal) = &committed.proposal else { continue };
            if self.order.is_control() {
                pages.extend(Page::of_control(at, committed));
            } else {
                let entry = understood(proposal);
                self.count(committed.position, &entry);
                pages.extend(Page::of_data(at, committed, &entry));
            }
        }
        let mut replies = self.inner.apply(entries).await?;
        let judged = self.shared.ledger.judge(self.order, pages, &mut replies);
        judged.unwrap_or_else(|why| self.universe.trace.broken(why));
        Ok(replies)
    }

    async fn persist(&self) -> Result<Applied, StorageError> {
        self.inner.persist().await
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        self.universe.trace.cover("image taken");
        self.inner.snapshot().await
    }

    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.inner.receive_snapshot().await
    }

    async fn install(&self, received: ReceivedSnapshot) -> Result<(), InstallError> {
        let before = self.inner.applied().position;
        let installed = self.inner.install(received).await;
        if installed.is_ok() && self.inner.applied().position > before {
            self.universe.trace.cover("image installed");
        }
        installed
    }
}
