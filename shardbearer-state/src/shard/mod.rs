//! What a data order replicates: the rows of the shards it owns.
//!
//! A command passes three gates, in this order: does the order **own** the shard at this log
//! position; has the **session** sent it before; and what does the **operation** do ([`apply`]).
//! Between the last two, of a shard that was split: does it still hold the key.
//! Everything the gates need is in rows; the fields here are copies of rows that every entry
//! touches, kept because reading them anew would cost more than the operation.
//!
//! Not here: reads outside the log ([`query()`]), who should own what (`placement`), moving a shard.

mod apply;
mod audit;
mod batch;
mod digest;
mod migrate;
mod notes;
mod number;
mod query;
mod reply;
mod session;
mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::kv::{Command, Condition, Entry, Item, Refusal, Reply, Standing};
use shardbearer_core::limits;
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::{Space, StorageError, View};

pub use self::audit::{Audited, Sums, audit};
pub use self::migrate::{moving_shards, part};
pub use self::query::{QueryOutcome, earliest_expiry, owned_shards, query, shard_meta};
pub use self::session::FORGET_AFTER_MS;
use self::session::{Sessions, Verdict};
use crate::keys::{self, ShardMeta};

/// The machine of one data order.
pub struct ShardMachine {
    order: OrderId,
    shards: BTreeMap<ShardId, Owned>,
    dropped: Vec<Space>,
}

/// A shard that the order has a record of.
struct Owned {
    meta: ShardMeta,
    sessions: Sessions,
}

impl ShardMachine {
    /// An order without shards; [`StateMachine::load`] brings what is stored.
    pub fn new(order: OrderId) -> Self {
        ShardMachine { order, shards: BTreeMap::new(), dropped: Vec::new() }
    }

    fn adopt(&mut self, shard: ShardId, epoch: u64, time_ms: u64) -> Reply {
        let changed = !self.shards.contains_key(&shard);
        self.shards.entry(shard).or_insert_with(|| Owned {
            meta: ShardMeta { epoch: Epoch(epoch), time_ms, ..ShardMeta::empty(Standing::Serving, 1) },
            sessions: Sessions::default(),
        });
        Reply::Touched { changed }
    }

    /// `full`: the answers of the entry are as long as they may be.
    fn item(&mut self, time_ms: u64, item: Item, full: bool, work: &mut Workspace<'_>) -> Reply {
        if let Command::Adopt { epoch } = item.command {
            return self.adopt(item.shard, epoch, time_ms);
        }
        if let Command::Migrate(step) = item.command {
            return Reply::Migrated(self.migrate(item.shard, step, work));
        }
        let serves = |owned: &&mut Owned| owned.meta.standing.serves();
        let Some(owned) = self.shards.get_mut(&item.shard).filter(serves) else {
            return Reply::Refused(Refusal::WrongOrder);
        };
        owned.meta.time_ms = owned.meta.time_ms.max(time_ms);
        let fits = owned.meta.cut.fits_item(&item);
        if let Some(id) = item.id {
            match owned.sessions.admit(&id, &owned.meta) {
                Verdict::New => {}
                // It was applied, so it cannot be refused; only its answer is not given.
                Verdict::Repeated(_) if full => return Reply::Refused(Refusal::SessionExpired),
                Verdict::Repeated(reply) => return reply,
                Verdict::Expired => return Reply::Refused(Refusal::SessionExpired),
                // Whoever has to ask elsewhere need not wait for room here.
                Verdict::Full if fits => return Reply::Refused(Refusal::SessionsFull),
                Verdict::Full => {}
            }
        }
        // Only now: what was applied before the shard was split is answered as it was then.
        if !fits {
            return Reply::Refused(Refusal::WrongOrder);
        }
        let old = space(self.order, item.shard, &owned.meta);
        let mut scope = apply::Scope { space: old, meta: &mut owned.meta, work };
        let reply = match full && answered_at_length(&item.command) {
            true => apply::too_large(limits::ANSWERS_BYTES_MAX),
            false => scope.command(item.command),
        };
        if owned.meta.generation != generation(old) {
            // The shard was cleared: its sessions move to the new space, the old one goes.
            work.forget_space(old);
            self.dropped.push(old);
            owned.sessions.touch_all();
        }
        if let Some(id) = item.id {
            owned.sessions.remember(&id, &reply, &owned.meta);
        }
        reply
    }
}

impl StateMachine for ShardMachine {
    type Command = Entry;
    type Reply = Vec<Reply>;

    fn apply(&mut self, _: LogPos, entry: Entry, work: &mut Workspace<'_>) -> Vec<Reply> {
        let mut touched = Vec::new();
        let (mut replies, mut bytes) = (Vec::with_capacity(entry.items.len()), 0);
        for item in entry.items {
            if touched.last() != Some(&item.shard) {
                touched.push(item.shard);
            }
            let reply = self.item(entry.time_ms, item, bytes > limits::ANSWERS_BYTES_MAX, work);
            bytes += reply.weight();
            replies.push(reply);
        }
        // Once per entry and shard, however many items there were.
        touched.sort_unstable();
        touched.dedup();
        for shard in touched {
            let Some(owned) = self.shards.get_mut(&shard) else { continue };
            let space = space(self.order, shard, &owned.meta);
            owned.sessions.write(space, &mut owned.meta, work);
            work.put(Space::Order(self.order), keys::shard_meta(shard), keys::encode_meta(&owned.meta));
        }
        replies
    }

    fn load(&mut self, view: &dyn View) -> Result<(), StorageError> {
        self.shards.clear();
        self.dropped.clear();
        for row in view.scan(Space::Order(self.order), &keys::shard_metas()) {
            let (key, value) = row?;
            let (Some(shard), Some(meta)) = (keys::shard_of_meta(&key), keys::decode_meta(&value)) else {
                return Err(StorageError::Corrupt(format!(
                    "order {}: a shard's record is unreadable",
                    self.order
                )));
            };
            let sessions = match meta.standing {
                Standing::Serving | Standing::Leaving | Standing::Frozen => {
                    Sessions::load(view, space(self.order, shard, &meta))?
                }
                // Loaded when the shard is activated.
                Standing::Arriving | Standing::Verified | Standing::Gone | Standing::Absent => {
                    Sessions::default()
                }
            };
            self.shards.insert(shard, Owned { meta, sessions });
        }
        Ok(())
    }

    fn spaces(&self) -> Vec<Space> {
        let there = self.shards.iter().filter(|(_, owned)| owned.meta.standing != Standing::Gone);
        let shards = there.map(|(shard, owned)| space(self.order, *shard, &owned.meta));
        std::iter::once(Space::Order(self.order)).chain(shards).collect()
    }

    fn take_dropped(&mut self) -> Vec<Space> {
        std::mem::take(&mut self.dropped)
    }

    /// Over the records of all shards, each of which has the digest of the shard's rows.
    fn digest(&self) -> Option<u64> {
        let shards = self.shards.iter();
        let records = shards
            .map(|(shard, owned)| digest::of_row(&keys::shard_meta(*shard), &keys::encode_meta(&owned.meta)));
        Some(records.fold(0, u64::wrapping_add))
    }
}

/// Whether a command's answer may hold values.
fn answered_at_length(command: &Command) -> bool {
    match command {
        Command::Get { .. } | Command::Check { .. } | Command::Batch { .. } | Command::Scan(_) => true,
        Command::Put { condition, previous, .. } | Command::Delete { condition, previous, .. } => {
            *previous || *condition != Condition::Always
        }
        Command::Inspect { .. }
        | Command::Increment { .. }
        | Command::IncrementFloat { .. }
        | Command::Append { .. }
        | Command::SetRange { .. }
        | Command::Expire { .. }
        | Command::Count
        | Command::Clear
        | Command::Adopt { .. }
        | Command::Migrate(_)
        | Command::Sweep { .. } => false,
    }
}

/// The space in which a shard's rows are now.
fn space(order: OrderId, shard: ShardId, meta: &ShardMeta) -> Space {
    Space::Shard { order, shard, generation: meta.generation }
}

fn generation(space: Space) -> u64 {
    match space {
        Space::Order(_) => 0,
        Space::Shard { generation, .. } => generation,
    }
}
