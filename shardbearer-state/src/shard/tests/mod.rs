//! Tests of the shard machine: golden traces of scenarios (`script`), random commands against a plain map (`model`),
//! and requests that arrive doubled and out of order (`once`). All of them drive a [`Replica`], which commits after each entry as
//! the applier does and can be restarted from its rows at any time.

mod audit;
mod length;
mod model;
mod once;
mod script;
mod words;

use std::collections::BTreeMap;

use bytes::Bytes;
use shardbearer_core::kv::RequestId;
use shardbearer_core::storage::Stored;

use super::*;

const ORDER: OrderId = OrderId(2);
const SHARD: ShardId = ShardId(1);

/// One replica of an order: its machine and what it committed.
struct Replica {
    machine: ShardMachine,
    stored: Stored,
    index: u64,
}

impl Replica {
    fn new() -> Replica {
        Replica { machine: ShardMachine::new(ORDER), stored: Stored::default(), index: 0 }
    }

    /// A replica that has [`SHARD`].
    fn with_shard() -> Replica {
        let mut replica = Replica::new();
        replica.one(0, None, Command::Adopt { epoch: 1 });
        replica
    }

    /// Applies an entry and commits it.
    fn apply(&mut self, entry: Entry) -> Vec<Reply> {
        self.index += 1;
        let mut work = Workspace::new(&self.stored);
        let replies = self.machine.apply(LogPos { term: 1, index: self.index }, entry, &mut work);
        self.stored.commit(work.finish().expect("memory does not fail"));
        for space in self.machine.take_dropped() {
            self.stored.0.remove(&space);
        }
        replies
    }

    /// Applies an entry of one item of [`SHARD`].
    fn one(&mut self, time_ms: u64, id: Option<RequestId>, command: Command) -> Reply {
        let items = vec![Item { shard: SHARD, id, until: 0, command }];
        self.apply(Entry { time_ms, items }).pop().expect("a reply per item")
    }

    /// Reads outside the log.
    fn query(&self, shard: ShardId, command: &Command, wall_ms: u64) -> QueryOutcome {
        query(&self.stored, ORDER, &Item::of(shard, command.clone()), wall_ms).expect("memory does not fail")
    }

    /// Loses everything but what was committed.
    fn restart(&mut self) {
        self.machine = ShardMachine::new(ORDER);
        self.machine.load(&self.stored).expect("its own rows are readable");
    }

    fn meta(&self, shard: ShardId) -> Option<ShardMeta> {
        shard_meta(&self.stored, ORDER, shard).expect("readable")
    }
}
