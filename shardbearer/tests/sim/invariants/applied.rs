//! What is applied anywhere, as the invariants see it that judge an entry by what came of it.

use parking_lot::Mutex;
use shardbearer_core::control::{ControlCommand, ControlReply};
use shardbearer_core::engine::Committed;
use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::kv::{Command, Entry, Migrate, Migrated, Reply};
use shardbearer_core::log::LogPos;
use shardbearer_proto::convert;

use super::activated::Activated;
use super::dropped::Dropped;
use super::one_owner::OneOwner;
use super::stale::Stale;

/// An entry that one replica has applied, with what came of it. Others show it again.
pub enum Seen {
    /// What the control order made of a command.
    Decision { position: LogPos, command: ControlCommand, reply: ControlReply },
    /// What an order of data made of a step of a migration.
    Step { at: Place, shard: ShardId, migrate: Migrate, reply: Migrated },
    /// An order of data took a shard that it was founded with, or that nobody has.
    Adopted { at: Place, shard: ShardId, epoch: Epoch },
}

/// Where something stands: the order whose log it is, the entry, and which one of the entry's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub order: OrderId,
    pub position: LogPos,
    pub item: usize,
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
            Box::new(OneOwner::default()),
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
    Items(Vec<Option<(ShardId, Moves)>>),
}

/// A command that may change who serves a shard.
enum Moves {
    Step(Migrate),
    Adopt(Epoch),
}

impl Page {
    /// Of the control order.
    pub fn of_control(at: usize, committed: &mut Committed) -> Option<Page> {
        let command = convert::control_command_from_bytes(committed.proposal.clone()?).ok()?;
        Some(Page::new(at, committed, What::Command(Box::new(command))))
    }

    /// Of an order of data; only who has which shard is looked at.
    pub fn of_data(at: usize, committed: &mut Committed, entry: &Entry) -> Option<Page> {
        let items = entry.items.iter().map(|item| match &item.command {
            Command::Migrate(migrate) => Some((item.shard, Moves::Step(migrate.clone()))),
            Command::Adopt { epoch } => Some((item.shard, Moves::Adopt(Epoch(*epoch)))),
            _ => None,
        });
        let items: Vec<_> = items.collect();
        items.iter().any(Option::is_some).then(|| Page::new(at, committed, What::Items(items)))
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
                What::Items(items) => {
                    let replies = convert::replies_from_bytes(reply).expect("the machine's own");
                    let answered = items.into_iter().zip(replies).enumerate();
                    let seen = answered.filter_map(|(item, (moves, reply))| {
                        let ((shard, moves), at) = (moves?, Place { order, position, item });
                        match (moves, reply) {
                            (Moves::Step(migrate), Reply::Migrated(reply)) => {
                                Some(Seen::Step { at, shard, migrate, reply })
                            }
                            (Moves::Adopt(epoch), Reply::Touched { changed: true }) => {
                                Some(Seen::Adopted { at, shard, epoch })
                            }
                            _ => None,
                        }
                    });
                    seen.collect()
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
