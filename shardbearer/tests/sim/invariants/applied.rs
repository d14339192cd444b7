//! What is applied anywhere, as the invariants see it that judge an entry by what came of it.

use parking_lot::Mutex;
use shardbearer_core::control::{ControlCommand, ControlReply};
use shardbearer_core::engine::Committed;
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::kv::{Command, Entry, Migrate, Migrated, Reply};
use shardbearer_core::log::LogPos;
use shardbearer_proto::convert;

use super::activated::Activated;
use super::dropped::Dropped;
use super::stale::Stale;

/// An entry that one replica has applied, with what came of it. Others show it again.
pub enum Seen {
    /// What the control order made of a command.
    Decision { position: LogPos, command: ControlCommand, reply: ControlReply },
    /// What an order of data made of a step of a migration.
    Step { order: OrderId, shard: ShardId, migrate: Migrate, reply: Migrated },
}

/// Something that must hold of what is applied, with a memory of everything before.
pub trait Judge: Send {
    /// Judges an entry; an error says what is broken.
    fn judge(&mut self, seen: &Seen) -> Result<(), String>;
}

/// All that is applied in a cluster goes by here.
pub struct Ledger(Mutex<Vec<Box<dyn Judge>>>);

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger(Mutex::new(vec![
            Box::new(Stale::default()),
            Box::new(Activated::default()),
            Box::new(Dropped::default()),
        ]))
    }
}

/// An entry of which the reply will be looked at.
pub struct Page {
    at: usize,
    position: LogPos,
    /// Whether anybody waits for the reply besides.
    wanted: bool,
    what: What,
}

enum What {
    Command(Box<ControlCommand>),
    Steps(Vec<Option<(ShardId, Migrate)>>),
}

impl Page {
    /// Of the control order.
    pub fn of_control(at: usize, committed: &mut Committed) -> Option<Page> {
        let command = convert::control_command_from_bytes(committed.proposal.clone()?).ok()?;
        Some(Page::new(at, committed, What::Command(Box::new(command))))
    }

    /// Of an order of data; only migrations are looked at.
    pub fn of_data(at: usize, committed: &mut Committed, entry: &Entry) -> Option<Page> {
        let steps = entry.items.iter().map(|item| match &item.command {
            Command::Migrate(migrate) => Some((item.shard, migrate.clone())),
            _ => None,
        });
        let steps: Vec<_> = steps.collect();
        steps.iter().any(Option::is_some).then(|| Page::new(at, committed, What::Steps(steps)))
    }

    fn new(at: usize, committed: &mut Committed, what: What) -> Page {
        let wanted = std::mem::replace(&mut committed.wanted, true);
        Page { at, position: committed.position, wanted, what }
    }
}

impl Ledger {
    /// Judges what came of entries, and takes the replies away that nobody else waits for.
    pub fn judge(
        &self,
        order: OrderId,
        pages: Vec<Page>,
        replies: &mut [bytes::Bytes],
    ) -> Result<(), String> {
        for Page { at, position, wanted, what } in pages {
            let reply = if wanted { replies[at].clone() } else { std::mem::take(&mut replies[at]) };
            let seen = match what {
                What::Command(command) => {
                    let reply = convert::control_reply_from_bytes(reply).expect("the machine's own");
                    vec![Seen::Decision { position, command: *command, reply }]
                }
                What::Steps(steps) => {
                    let replies = convert::replies_from_bytes(reply).expect("the machine's own");
                    let answered =
                        steps.into_iter().zip(replies).filter_map(|(step, reply)| match (step, reply) {
                            (Some((shard, migrate)), Reply::Migrated(reply)) => {
                                Some(Seen::Step { order, shard, migrate, reply })
                            }
                            _ => None,
                        });
                    answered.collect()
                }
            };
            let mut judges = self.0.lock();
            for seen in &seen {
                judges.iter_mut().try_for_each(|judge| judge.judge(seen))?;
            }
        }
        Ok(())
    }
}
