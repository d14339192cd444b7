//! A door without a cluster behind it: the real shard machine of every order, applied on the spot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{ClusterId, Epoch, OrderId, RadiantId, ShardId, TableId};
use shardbearer_core::kv::{Command, Entry, Item, Reply};
use shardbearer_core::limits;
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::placement::ShardingScheme;
use shardbearer_core::storage::{Durability, StorageEngine};
use shardbearer_core::topology::{Doors, Order, Radiant, Shard, Table, Topology};
use shardbearer_core::world::World;
use shardbearer_proto::convert::client_may_send;
use shardbearer_proto::pb;
use shardbearer_state::placement::Slots;
use shardbearer_state::shard::{QueryOutcome, ShardMachine, query};

use crate::gateway::Overview;
use crate::kv::{CallResult, Door, Request, Target};
use crate::storage::memory::Memory;

const SHARDS: usize = 4;
const FIRST: OrderId = OrderId(2);
const SECOND: OrderId = OrderId(3);

/// Three radiants, two orders with two shards each. This radiant is the first and leads both orders.
pub struct TestDoor {
    world: World,
    topology: Mutex<Arc<Topology>>,
    engine: Memory,
    /// Of the engine; nothing is synced into it here.
    _folder: tempfile::TempDir,
    machines: Mutex<BTreeMap<OrderId, (ShardMachine, u64)>>,
    heralds: Mutex<BTreeMap<OrderId, RadiantId>>,
    failure: Mutex<Option<RequestError>>,
    requests: Mutex<Vec<usize>>,
    answer_bytes_max: AtomicUsize,
}

impl TestDoor {
    pub fn new(world: World) -> TestDoor {
        let orders = [FIRST, SECOND];
        let machines = orders.map(|order| (order, (ShardMachine::new(order), 0)));
        let folder = tempfile::tempdir().expect("a folder");
        let door = TestDoor {
            world,
            topology: Mutex::new(Arc::new(topology())),
            engine: Memory::open(folder.path()).expect("an empty folder"),
            _folder: folder,
            machines: Mutex::new(machines.into()),
            heralds: Mutex::new(orders.map(|order| (order, RadiantId(1))).into()),
            failure: Mutex::new(None),
            requests: Mutex::default(),
            answer_bytes_max: AtomicUsize::new(usize::MAX),
        };
        for table in &topology().tables {
            for shard in &table.shards {
                door.apply(shard.order, Item::of(shard.id, Command::Adopt { epoch: 1 }));
            }
        }
        door
    }

    /// From now on this radiant leads the order; it still answers for every key.
    pub fn lead(&self, order: OrderId, herald: RadiantId) {
        self.heralds.lock().insert(order, herald);
    }

    /// From now on nobody is known to lead the order.
    pub fn lose(&self, order: OrderId) {
        self.heralds.lock().remove(&order);
    }

    /// From now on all orders should be led by this radiant.
    pub fn prefer(&self, herald: RadiantId) {
        let mut topology = topology();
        topology.orders.iter_mut().for_each(|order| order.preferred_herald = herald);
        *self.topology.lock() = Arc::new(topology);
    }

    /// From now on every call fails like this.
    pub fn fail(&self, failure: Option<RequestError>) {
        *self.failure.lock() = failure;
    }

    /// From now on values of more bytes than this do not fit one answer, as between radiants.
    pub fn limit_answers(&self, bytes: usize) {
        self.answer_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// How many calls each request so far had; forgets them.
    pub fn take_requests(&self) -> Vec<usize> {
        std::mem::take(&mut *self.requests.lock())
    }

    fn apply(&self, order: OrderId, item: Item) -> Reply {
        let mut machines = self.machines.lock();
        let (machine, index) = machines.get_mut(&order).expect("an order of the topology");
        *index += 1;
        let view = self.engine.view();
        let mut work = Workspace::new(view.as_ref());
        let entry = Entry { time_ms: self.world.wall_ms(), items: vec![item] };
        let mut replies = machine.apply(LogPos { term: 1, index: *index }, entry, &mut work);
        self.engine.commit(work.finish().expect("memory"), Durability::Buffered).expect("memory");
        for space in machine.take_dropped() {
            self.engine.drop_space(space).expect("memory");
        }
        replies.remove(0)
    }

    fn call(&self, item: Item, order: OrderId) -> Reply {
        if item.command.is_write() {
            return self.apply(order, item);
        }
        loop {
            let (view, wall_ms) = (self.engine.view(), self.world.wall_ms());
            match query(view.as_ref(), order, &item, wall_ms).expect("memory") {
                QueryOutcome::Reply(reply) => return reply,
                QueryOutcome::NeedsSweep => {
                    let sweep = Command::Sweep { limit: 1_000 };
                    self.apply(order, Item::of(item.shard, sweep));
                }
            }
        }
    }
}

#[async_trait]
impl Door for TestDoor {
    async fn execute(&self, request: Request) -> Vec<CallResult> {
        self.requests.lock().push(request.calls.len());
        let failure = self.failure.lock().clone();
        let answer = |call: crate::kv::Call| {
            if let Some(failure) = &failure {
                return Err(failure.clone());
            }
            client_may_send(&call.command, limits::VALUE_BYTES_MAX).map_err(Refused::Invalid)?;
            let no_key = || Refused::Invalid("no key".into());
            let shard = match call.target {
                Target::Shard(extent) => extent.shard,
                Target::Key | Target::Table => {
                    let key = call.command.key().ok_or_else(no_key)?;
                    self.locate(&request.table, key).ok_or_else(no_key)?.0
                }
            };
            let order = self.topology().tables[0].shards[shard.0 as usize - 1].order;
            Ok(self.call(Item::of(shard, call.command), order))
        };
        let results: Vec<CallResult> = request.calls.into_iter().map(answer).collect();
        let bytes: usize = results.iter().map(bytes).sum();
        if bytes <= self.answer_bytes_max.load(Ordering::Relaxed) {
            return results;
        }
        let why = Refused::Invalid("the answer is too large; ask for fewer keys at once".into());
        results.into_iter().map(|_| Err(why.clone().into())).collect()
    }

    fn topology(&self) -> Arc<Topology> {
        self.topology.lock().clone()
    }

    fn me(&self) -> RadiantId {
        RadiantId(1)
    }

    fn herald(&self, order: OrderId) -> Option<RadiantId> {
        self.heralds.lock().get(&order).copied()
    }

    fn locate(&self, table: &str, key: &[u8]) -> Option<(ShardId, OrderId)> {
        let topology = self.topology();
        let table = topology.table(table)?;
        let shard = table.shards.get(Slots::parse(&table.scheme)?.shard_of(key))?;
        Some((shard.id, shard.order))
    }
}

fn bytes(result: &CallResult) -> usize {
    match result {
        Ok(Reply::Record(Some(record))) => record.value.len(),
        Ok(_) | Err(_) => 0,
    }
}

fn topology() -> Topology {
    let radiant = |id: u64| Radiant {
        id: RadiantId(id),
        name: format!("r{id}"),
        doors: Doors { resp: format!("10.0.0.{id}:6400"), ..Doors::default() },
        ..Radiant::default()
    };
    let order = |id| Order {
        id,
        engine: "none".into(),
        members: (1..=3).map(RadiantId).collect(),
        preferred_herald: RadiantId(1),
        ..Order::default()
    };
    let shard = |index: usize| Shard {
        id: ShardId(index as u64 + 1),
        order: if index < SHARDS / 2 { FIRST } else { SECOND },
    };
    let table = Table {
        id: TableId::DEFAULT,
        name: "default".into(),
        scheme: Slots::new(SHARDS).expect("a few").describe(),
        shards: (0..SHARDS).map(shard).collect(),
    };
    Topology {
        cluster: ClusterId(7 << 32),
        epoch: Epoch(1),
        radiants: (1..=3).map(radiant).collect(),
        orders: vec![order(FIRST), order(SECOND)],
        tables: vec![table],
        ..Topology::default()
    }
}

/// What the gateway never asks for.
pub struct Nothing;

#[async_trait]
impl Overview for Nothing {
    fn map(&self) -> pb::MapResponse {
        pb::MapResponse::default()
    }

    fn status(&self) -> pb::StatusResponse {
        pb::StatusResponse::default()
    }

    async fn migrate(&self, _: pb::MoveRequest) -> Result<pb::MoveResponse, RequestError> {
        Ok(pb::MoveResponse::default())
    }

    async fn epochs(&self) -> Result<Vec<pb::EpochRecord>, RequestError> {
        Ok(Vec::new())
    }
}
