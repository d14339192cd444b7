//! Tests of the migration machines: every interleaving within bounds (`explore`, of what `model` describes), single
//! scenarios, and a driver on the clock (`timed`, `paced`). All drive the real machines of two orders and of the control order, over rows in memory.

mod bounds;
mod divided;
mod doubles;
mod explore;
mod model;
mod paced;
mod scenarios;
mod splits;
mod timed;

use std::hash::{Hash, Hasher};

use bytes::Bytes;
use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::ids::{ClusterId, Epoch, OrderId, SessionId, ShardId, TableId};
use shardbearer_core::kv::{Command, Entry, Item, Migrate, Migrated, Reply, RequestId, Step};
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::migration::{Migration, MigrationChange, Split};
use shardbearer_core::slots::{Slots, slot_of};
use shardbearer_core::storage::Stored;
use shardbearer_core::topology::{Order, Shard, Table, Topology};

use crate::controller::{self, ControlMachine};
use crate::shard::{QueryOutcome, ShardMachine, query};

const SHARD: ShardId = ShardId(1);
/// The source and the destination of the first migration.
const ORDERS: [OrderId; 2] = [OrderId(2), OrderId(3)];

/// What is split off.
const NEW: ShardId = ShardId(2);
/// "k" crosses, and so does the other: they have one slot. The first in the order of keys stays.
const STAYS: &str = "hello";
const CROSSES_TOO: &str = "{k}2";

fn split() -> Split {
    Split { parent: SHARD, at: slot_of(b"k") }
}

/// Two data orders and the control order: what their logs have made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct World {
    control: Stored,
    orders: [Stored; 2],
    /// The shard that each order has: of a split they are two.
    shards: [ShardId; 2],
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for stored in [&self.control, &self.orders[0], &self.orders[1]] {
            stored.0.hash(state);
        }
    }
}

impl World {
    /// The first order serves the shard, nothing moves.
    fn new() -> World {
        let order = |id: OrderId| Order { id, engine: "e".into(), ..Order::default() };
        let shards = vec![Shard { id: SHARD, order: ORDERS[0] }];
        let (name, scheme) = ("default".into(), "slots:16384/1".into());
        let topology = Topology {
            cluster: ClusterId(1),
            epoch: Epoch(1),
            radiants: vec![],
            orders: [OrderId::CONTROL, ORDERS[0], ORDERS[1]].map(order).into(),
            tables: vec![Table { id: TableId::DEFAULT, name, scheme, shards }],
            ..Topology::default()
        };
        let mut world = World {
            control: Stored::default(),
            orders: [Stored::default(), Stored::default()],
            shards: [SHARD; 2],
        };
        world.control(Change::Found(topology), "to see");
        world.apply(0, vec![Item::of(SHARD, Command::Adopt { epoch: 1 })]);
        world
    }

    /// The same; rows on both sides of a slot, from which on the shard is to be split.
    fn to_be_split() -> World {
        let mut world = World::new();
        let put = |key: &'static str| {
            let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"1"));
            let (condition, expiry) = Default::default();
            Item::of(SHARD, Command::Put { key, value, condition, expiry, previous: false })
        };
        world.apply(0, vec![put(STAYS), put(CROSSES_TOO)]);
        world.shards = [SHARD, NEW];
        world.change(MigrationChange::Split { split: split(), to: ORDERS[1] }).expect("nothing moves");
        world
    }

    fn control(&mut self, change: Change, why: &str) -> ControlReply {
        let command = ControlCommand { who: "test".into(), why: why.into(), at_ms: 1, change };
        let mut work = Workspace::new(&self.control);
        let reply = ControlMachine.apply(LogPos { term: 1, index: 1 }, command, &mut work);
        self.control.commit(work.finish().expect("memory does not fail"));
        reply
    }

    fn change(&mut self, change: MigrationChange) -> Result<Epoch, String> {
        self.change_because(change, "to see")
    }

    fn change_because(&mut self, change: MigrationChange, why: &str) -> Result<Epoch, String> {
        match self.control(Change::Migration(change), why) {
            ControlReply::Changed { epoch, .. } => Ok(epoch),
            ControlReply::Refused(why) => Err(why),
        }
    }

    fn record(&self) -> Option<Migration> {
        controller::migration(&self.control).expect("readable")
    }

    fn topology(&self) -> Topology {
        controller::topology(&self.control).expect("readable").expect("founded")
    }

    /// An entry of an order's log, applied by a machine that was just restarted: so nothing that it remembers
    /// beside its rows can matter.
    fn apply(&mut self, order: usize, items: Vec<Item>) -> Vec<Reply> {
        self.apply_at(order, 1, items)
    }

    fn apply_at(&mut self, order: usize, time_ms: u64, items: Vec<Item>) -> Vec<Reply> {
        let stored = &mut self.orders[order];
        let mut machine = ShardMachine::new(ORDERS[order]);
        machine.load(stored).expect("its own rows are readable");
        let mut work = Workspace::new(stored);
        let replies = machine.apply(LogPos { term: 1, index: 1 }, Entry { time_ms, items }, &mut work);
        let batch = work.finish().expect("memory does not fail");
        stored.commit(batch);
        for space in machine.take_dropped() {
            stored.0.remove(&space);
        }
        replies
    }

    /// A step or a question of a migration.
    fn step(&mut self, order: usize, migrate: Migrate) -> Migrated {
        let write = migrate.step.is_write();
        let shard = self.shards[order];
        let command = Command::Migrate(migrate);
        let reply = match write {
            true => self.apply(order, vec![Item::of(shard, command)]).pop(),
            false => match query(&self.orders[order], ORDERS[order], &Item::of(shard, command), 1) {
                Ok(QueryOutcome::Reply(reply)) => Some(reply),
                other => panic!("{other:?}"),
            },
        };
        match reply {
            Some(Reply::Migrated(migrated)) => migrated,
            other => panic!("{other:?}"),
        }
    }

    fn part(&self, order: usize) -> shardbearer_core::kv::Part {
        crate::shard::part(&self.orders[order], ORDERS[order], self.shards[order]).expect("readable")
    }

    /// An order is again as it was in another world.
    fn restore(&mut self, order: usize, before: &World) {
        self.orders[order] = before.orders[order].clone();
    }

    /// Adds 1 under a request number.
    fn increment(&mut self, order: usize, key: &'static str, number: u64) -> Reply {
        let id = RequestId { session: SessionId(7), number, unanswered_from: number, retry: number > 0 };
        let command = Command::Increment { key: Bytes::from_static(key.as_bytes()), by: 1 };
        self.apply(order, vec![Item { shard: self.shards[order], id: Some(id), until: 0, command }]).remove(0)
    }

    fn get(&self, order: usize, key: &'static str) -> Option<Bytes> {
        match self.ask(order, 0, Command::Get { key: Bytes::from_static(key.as_bytes()) }) {
            Reply::Record(record) => record.map(|record| record.value),
            _ => None,
        }
    }

    /// What an order answers about its shard, by one who knows it to end before a slot.
    fn ask(&self, order: usize, until: u16, command: Command) -> Reply {
        let item = Item { shard: self.shards[order], id: None, until, command };
        match query(&self.orders[order], ORDERS[order], &item, 1).expect("readable") {
            QueryOutcome::Reply(reply) => reply,
            QueryOutcome::NeedsSweep => panic!("nothing expires"),
        }
    }

    /// Whether an order answers a key.
    fn serves(&self, order: usize, key: &'static str) -> bool {
        let reply = self.ask(order, 0, Command::Get { key: Bytes::from_static(key.as_bytes()) });
        !matches!(reply, Reply::Refused(_))
    }

    /// The slot before which an order's shard ends by the configuration, 0: it is none; and whether it was split there.
    fn until(&self, order: usize) -> (u16, bool) {
        let table = self.topology().tables.remove(0);
        let slots = Slots::parse(&table.scheme).expect("slots");
        let position = table.shards.iter().position(|shard| shard.id == self.shards[order]);
        let until = position.map_or(0, |position| slots.end_of(position));
        (until, slots.is_cut(until))
    }

    /// Whether an order holds anything of a record, served or not.
    fn holds(&self, order: usize, key: &str) -> bool {
        let row = crate::keys::data(key.as_bytes());
        self.orders[order].0.values().any(|rows| rows.contains_key(&row))
    }
}

fn migrate(migration: Epoch, step: Step) -> Migrate {
    Migrate { migration, step }
}
