//! One data order on one radiant: what stands between the router and the engine.
//!
//! ```text
//!   router ──items──▶ Order ──writes──▶ queue ──one proposal──▶ ConsensusEngine ──▶ applier
//!                       └────reads───▶ read barrier, then the applied state
//! ```
//!
//! Requests that wait at the same time share one proposal ([`queue`]). A request that only reads
//! never touches the log: it takes a barrier and is answered from a consistent view ([`reads`]).
//! A request that mixes reads and writes goes through the log as a whole, so that each of its
//! commands sees those before it.
//!
//! This is no place for routing or retries: an order that is led elsewhere says so and is done.

pub mod applier;
mod audit;
pub mod checks;
pub mod codec;
pub(crate) mod fuzz;
pub mod generation;
mod install;
mod load;
pub mod queue;
pub mod reads;
mod received;
pub mod registry;
pub mod snapshot;
mod spool;
#[cfg(test)]
mod tests;
pub mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shardbearer_core::engine::{ConsensusEngine, not_herald};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId, ShardId};
use shardbearer_core::kv::{Command, Item, Step};
use shardbearer_core::storage::{Space, StorageError, View};
use shardbearer_core::world::World;
use shardbearer_state::shard::{ShardMachine, shard_meta};
use tokio::time::Instant;

use self::applier::MachineApplier;
use self::checks::Check;
use self::load::Meter;
pub use self::load::{Rates, Took};
use self::queue::Queue;
use self::verify::Digest;
use crate::kv::CallResult;

/// Expired rows that one command removes: applied in well under a millisecond, so nobody waits for it.
const ROWS_PER_SWEEP: u32 = 512;

/// How long a member that is not the herald may take to know what holds, at most a third of the time there is.
const HERE_DEADLINE: Duration = Duration::from_millis(500);

/// For how long a member that took longer leaves reads to the herald.
const SILENCE: Duration = Duration::from_secs(2);

/// Whoever was given less time than this and did not answer has shown nothing.
pub(crate) const FAIR: Duration = Duration::from_millis(50);

/// A data order as this radiant takes part in it.
pub struct Order {
    id: OrderId,
    me: RadiantId,
    engine: Arc<dyn ConsensusEngine>,
    reads_at_every_member: bool,
    applier: Arc<MachineApplier<ShardMachine>>,
    queue: Arc<Queue>,
    world: World,
    disk_full: Arc<AtomicBool>,
    meter: Meter,
    /// Until when this member is not asked for reads that the herald can answer, on the world's clock.
    silent_until_ns: AtomicU64,
}

impl Order {
    /// Starts serving an order whose engine is open, and whether every member of it may answer reads.
    pub fn new(
        id: OrderId,
        me: RadiantId,
        engine: Arc<dyn ConsensusEngine>,
        reads_at_every_member: bool,
        applier: Arc<MachineApplier<ShardMachine>>,
        world: World,
        disk_full: Arc<AtomicBool>,
    ) -> Arc<Order> {
        let queue = Queue::start(id, engine.clone(), world.clone());
        let meter = Meter::default();
        let silent_until_ns = AtomicU64::new(0);
        Arc::new(Order {
            id,
            me,
            engine,
            reads_at_every_member,
            applier,
            queue,
            world,
            disk_full,
            meter,
            silent_until_ns,
        })
    }

    /// Carries the items out in their order; a result each. Writes of one call share one log entry, so
    /// that they take effect together or not at all. Returns within the deadline.
    pub async fn execute(&self, items: Vec<Item>, deadline: Duration) -> Vec<CallResult> {
        let (herald, leading) = self.engine.lead();
        if !leading && !self.reads_here(&items) {
            // A herald cut off from its majority may still take itself for one: nobody is to wait for it.
            let hint = herald.filter(|herald| *herald != self.me);
            return all(items.len(), not_herald(self.id, hint));
        }
        self.meter.count(&items);
        let count = items.len();
        let result = if items.iter().any(|item| item.command.is_write()) {
            let (clients, since) = (items.iter().all(is_clients), self.world.monotonic_ns());
            let result = self.write(items, deadline).await;
            if clients && result.is_ok() {
                self.meter.wrote(self.world.monotonic_ns().saturating_sub(since) / 1_000);
            }
            result
        } else {
            self.read(items, deadline).await
        };
        result.unwrap_or_else(|error| all(count, error))
    }

    /// Whether the items are reads of clients, and any member of the order may answer those.
    pub fn reads_here(&self, items: &[Item]) -> bool {
        self.reads_at_every_member && items.iter().all(|item| is_clients(item) && !item.command.is_write())
    }

    /// Answers reads of clients as a member that is not the herald, if this one can say what holds, and soon: whoever could not
    /// a moment ago is not asked again, so that nobody waits for it each time. Leaves the herald a quarter of the time.
    pub async fn read_here(&self, items: &[Item], left: Duration) -> Option<Vec<CallResult>> {
        if self.world.monotonic_ns() < self.silent_until_ns.load(Ordering::Relaxed) {
            return None;
        }
        let end = Instant::now() + left;
        let soon = (left / 3).min(HERE_DEADLINE);
        match tokio::time::timeout(soon, self.engine.read_barrier()).await {
            Ok(barrier) => barrier.ok()?,
            Err(_) => {
                if soon >= FAIR {
                    let until_ns = self.world.monotonic_ns() + SILENCE.as_nanos() as u64;
                    self.silent_until_ns.fetch_max(until_ns, Ordering::Relaxed);
                }
                return None;
            }
        };
        // Many rows may take long here and not there. That one read does says nothing of others.
        let heralds = (left / 4).max(FAIR);
        let rest = end.saturating_duration_since(Instant::now()).saturating_sub(heralds);
        let answers = tokio::time::timeout(rest, reads::once(self, items)).await.ok()??;
        self.meter.count(items);
        Some(answers)
    }

    async fn write(&self, items: Vec<Item>, deadline: Duration) -> Result<Vec<CallResult>, RequestError> {
        if self.disk_full.load(Ordering::Relaxed) && items.iter().any(|item| grows(&item.command)) {
            let why = format!(
                "a member of order {} has less space than its [storage] reserve_mib keeps free (`status` names it); \
                 deletes and reads go on",
                self.id
            );
            return Err(Refused::DiskFull(why).into());
        }
        self.queue.submit(items, deadline).await
    }

    async fn read(&self, items: Vec<Item>, deadline: Duration) -> Result<Vec<CallResult>, RequestError> {
        let late =
            |_| RequestError::Refused(Refused::Unavailable("no read barrier within the deadline".into()));
        tokio::time::timeout(deadline, reads::read(self, items)).await.map_err(late)?
    }

    /// The order.
    pub fn id(&self) -> OrderId {
        self.id
    }

    /// Its engine.
    pub fn engine(&self) -> &Arc<dyn ConsensusEngine> {
        &self.engine
    }

    /// Lets the storage prepare for the first rows of shards. `false` if one of them is not served here yet, as
    /// far as this replica knows.
    pub fn prepare(&self, shards: &[ShardId]) -> Result<bool, StorageError> {
        let view = self.view();
        let mut spaces = Vec::with_capacity(shards.len());
        for shard in shards {
            let meta = shard_meta(view.as_ref(), self.id, *shard)?;
            let served = meta.filter(|meta| meta.standing.serves());
            spaces.extend(served.map(|meta| Space::Shard {
                order: self.id,
                shard: *shard,
                generation: meta.generation,
            }));
        }
        self.applier.storage().prepare(&spaces);
        Ok(spaces.len() == shards.len())
    }

    /// A view of what is applied here, see [`MachineApplier::view`].
    pub fn view(&self) -> Box<dyn View> {
        self.applier.view()
    }

    /// What is held here, see [`MachineApplier::digest`].
    pub async fn digest(&self, at: u64) -> Result<Digest, RequestError> {
        self.applier.digest(at).await
    }

    /// The last numbers for what is held here, see [`checks`].
    pub fn checks(&self) -> Vec<Check> {
        self.applier.checks.all()
    }

    /// Whether the order serves the shard as far as is applied here. What is not may be so a moment later.
    pub fn serves(&self, shard: ShardId) -> bool {
        let found = shardbearer_state::shard::shard_meta(self.view().as_ref(), self.id, shard);
        found.ok().flatten().is_some_and(|meta| meta.standing.serves())
    }

    /// How much a shard is read and written here; `None` as long as that cannot be told.
    pub fn rates(&self, shard: ShardId) -> Option<Rates> {
        self.meter.rates(shard, self.world.monotonic_ns())
    }

    /// How long clients' writes took here since this was asked last, by those that were answered.
    pub fn take_writes(&self) -> Took {
        self.meter.take_writes()
    }

    /// Removes what has expired, for each of the shards where something has. Returns whether anything was due.
    pub async fn sweep(&self, shards: &[ShardId], deadline: Duration) -> Result<bool, StorageError> {
        let now = self.world.wall_ms();
        let mut items = Vec::new();
        {
            let view = self.view();
            for shard in shards.iter().copied() {
                let earliest = shardbearer_state::shard::earliest_expiry(view.as_ref(), self.id, shard)?;
                if earliest.is_some_and(|at| at <= now) {
                    items.push(item(shard, Command::Sweep { limit: ROWS_PER_SWEEP }));
                }
            }
        }
        let due = !items.is_empty();
        if due {
            // Failure is no news here: the next round finds the same rows again.
            let _ = self.queue.submit(items, deadline).await;
        }
        Ok(due)
    }

    /// Takes the shards as the order's own, at its founding. Harmless to repeat.
    pub async fn adopt(
        &self,
        shards: &[ShardId],
        epoch: u64,
        deadline: Duration,
    ) -> Result<(), RequestError> {
        let items = shards.iter().map(|shard| item(*shard, Command::Adopt { epoch })).collect();
        self.queue.submit(items, deadline).await.map(drop)
    }

    /// Refuses what comes, ends what waits, closes the engine.
    pub async fn close(&self) {
        self.queue.close();
        self.engine.close().await;
        self.applier.close().await;
    }

    /// [`Order::close`]; and the data are left alone from now on, see [`MachineApplier::retire`].
    pub async fn give_up(&self) {
        self.close().await;
        let applier = self.applier.clone();
        // Nothing there can panic.
        let _ = self.world.block(move || applier.retire()).await;
    }
}

/// Whether a command may make the data larger. What frees space is let through on a full disk.
fn grows(command: &Command) -> bool {
    match command {
        Command::Put { .. }
        | Command::Increment { .. }
        | Command::IncrementFloat { .. }
        | Command::Append { .. }
        | Command::SetRange { .. } => true,
        Command::Batch { commands, .. } => commands.iter().any(grows),
        Command::Migrate(migrate) => matches!(migrate.step, Step::Import(_)),
        Command::Get { .. }
        | Command::Inspect { .. }
        | Command::Delete { .. }
        | Command::Expire { .. }
        | Command::Check { .. }
        | Command::Scan(_)
        | Command::Count
        | Command::Clear
        | Command::Adopt { .. }
        | Command::Sweep { .. } => false,
    }
}

/// Whether a client waits for it, and not a migration.
fn is_clients(item: &Item) -> bool {
    !matches!(item.command, Command::Migrate(_))
}

fn item(shard: ShardId, command: Command) -> Item {
    Item::of(shard, command)
}

/// The same error for each of `count` items.
pub fn all(count: usize, error: RequestError) -> Vec<CallResult> {
    vec![Err(error); count]
}
