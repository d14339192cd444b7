//! Replicated machines: whatever stands in a log, applying it does not fail, and replicas agree to the byte, also with one
//! that reads each entry from its bytes, restarts from its rows, or begins from an image.

use std::fmt::Debug;

use bytes::Bytes;
use shardbearer_core::ids::{Epoch, OrderId, SessionId, ShardId};
use shardbearer_core::kv::{Command, Condition, Entry, ExpireWhen, Expiry, Item, RequestId, Scan};
use shardbearer_core::kv::{Import, Migrate, MovedRow, Progress, Seal, Step};
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::Stored;
use shardbearer_proto::convert;
use shardbearer_state::keys;
use shardbearer_state::shard::{ShardMachine, query};

use super::Source;

const ORDER: OrderId = OrderId(2);

/// Entries or events of one run: enough for any scenario, and runs stay short.
pub(super) const STEPS_MAX: usize = 300;

/// One replica, committing after each entry as the applier does.
struct Replica<M> {
    machine: M,
    stored: Stored,
    index: u64,
}

impl<M: StateMachine> Replica<M> {
    fn new(machine: M) -> Replica<M> {
        Replica { machine, stored: Stored::default(), index: 0 }
    }

    fn apply(&mut self, command: M::Command) -> M::Reply {
        self.index += 1;
        let mut work = Workspace::new(&self.stored);
        let reply = self.machine.apply(LogPos { term: 1, index: self.index }, command, &mut work);
        self.stored.commit(work.finish().expect("memory does not fail"));
        for space in self.machine.take_dropped() {
            self.stored.0.remove(&space);
        }
        reply
    }

    /// As after a restart, or after an image with these rows.
    fn begin(&mut self, machine: M) {
        self.machine = machine;
        self.machine.load(&self.stored).expect("its own rows are readable");
    }

    /// The rows as an image holds them.
    fn image(&self) -> Stored {
        let spaces = self.machine.spaces();
        let rows = self.stored.0.iter().filter(|(space, _)| spaces.contains(space));
        Stored(rows.map(|(space, rows)| (*space, rows.clone())).collect())
    }
}

/// Applies what the source says to two replicas that must stay the same.
pub(super) fn replicas<M: StateMachine>(
    source: &mut Source<'_>,
    new: fn() -> M,
    next: fn(&mut Source<'_>) -> M::Command,
    write: fn(&M::Command) -> Bytes,
    read: impl Fn(Bytes) -> M::Command,
    mut look: impl FnMut(&mut Source<'_>, &Stored),
) where
    M::Reply: PartialEq + Debug,
{
    let (mut one, mut other) = (Replica::new(new()), Replica::new(new()));
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        match source.below(16) {
            0 => other.begin(new()),
            1 => {
                other.stored = one.image();
                other.begin(new());
            }
            2 | 3 => look(source, &one.stored),
            _ => {
                let command = next(source);
                let bytes = write(&command);
                let (here, there) = (one.apply(command), other.apply(read(bytes)));
                assert_eq!(here, there, "replicas answer differently");
            }
        }
    }
    assert_eq!(one.image(), other.image(), "replicas differ");
    one.begin(new());
}

/// Entries of a data order's log.
pub fn data(bytes: &[u8]) {
    let read = |bytes| convert::entry_from_bytes(bytes).expect("it was just written");
    replicas(
        &mut Source::new(bytes),
        || ShardMachine::new(ORDER),
        entry,
        convert::entry_to_bytes,
        read,
        |source, stored| {
            let shard = ShardId(source.below(3).into());
            let (question, now) = (command(source, true), source.number());
            query(stored, ORDER, &Item::of(shard, question), now).expect("its own rows are readable");
        },
    );
}

fn entry(source: &mut Source<'_>) -> Entry {
    let time_ms = source.number();
    let items = (0..=source.below(4)).map(|_| Item {
        shard: ShardId(source.below(3).into()),
        id: source.flag().then(|| request_id(source)),
        until: slot(source),
        command: command(source, true),
    });
    Entry { time_ms, items: items.collect() }
}

/// A slot, how many there are, or 0: none.
fn slot(source: &mut Source<'_>) -> u16 {
    if source.flag() { (source.number() % 16_385) as u16 } else { 0 }
}

fn request_id(source: &mut Source<'_>) -> RequestId {
    let number = source.number().max(1);
    RequestId {
        session: SessionId(u128::from(source.below(3)) + 1),
        number,
        unanswered_from: source.number().min(number),
        retry: source.flag(),
    }
}

/// A key of a few, so that commands meet.
fn key(source: &mut Source<'_>) -> Bytes {
    match source.below(8) {
        few @ 0..=5 => Bytes::copy_from_slice(&[b'a' + few]),
        6 => Bytes::new(),
        _ => source.bytes(),
    }
}

/// A value, often a number.
fn value(source: &mut Source<'_>) -> Bytes {
    match source.below(4) {
        0 => (source.number() as i64).to_string().into(),
        1 => f64::from_bits(source.number()).to_string().into(),
        _ => source.bytes(),
    }
}

fn condition(source: &mut Source<'_>) -> Condition {
    match source.below(8) {
        0 => Condition::Absent,
        1 => Condition::Present,
        2 => Condition::Revision(source.number()),
        3 => Condition::Value(value(source)),
        4 => Condition::NotValue(value(source)),
        _ => Condition::Always,
    }
}

fn command(source: &mut Source<'_>, outer: bool) -> Command {
    let kind = source.below(if outer { 21 } else { 14 });
    match kind {
        0 => Command::Get { key: key(source) },
        1 => Command::Inspect { key: key(source) },
        2 | 3 => Command::Put {
            key: key(source),
            value: value(source),
            condition: condition(source),
            expiry: match source.below(4) {
                0 => Expiry::Keep,
                1 => Expiry::At(source.number()),
                _ => Expiry::Never,
            },
            previous: source.flag(),
        },
        4 => Command::Delete { key: key(source), condition: condition(source), previous: source.flag() },
        5 => Command::Increment { key: key(source), by: source.number() as i64 },
        6 => Command::IncrementFloat { key: key(source), by: f64::from_bits(source.number()) },
        7 => Command::Append { key: key(source), value: value(source) },
        8 => {
            // Not much beyond small offsets, or most of the time would go into filling memory.
            let offset = if source.byte() < 250 { source.byte().into() } else { source.number() };
            let offset = if offset < 1 << 16 { offset } else { offset.max(1 << 40) };
            Command::SetRange { key: key(source), offset, value: value(source) }
        }
        9 => Command::Expire {
            key: key(source),
            at_ms: source.flag().then(|| source.number()),
            when: [
                ExpireWhen::Always,
                ExpireWhen::HasNone,
                ExpireWhen::HasOne,
                ExpireWhen::Later,
                ExpireWhen::Earlier,
                ExpireWhen::HasOneAndEarlier,
            ][usize::from(source.below(6))],
        },
        10 => Command::Check { key: key(source), condition: condition(source) },
        11 => Command::Scan(Scan {
            start: key(source),
            end: key(source),
            limit: source.number() as u32,
            bytes: source.number(),
            keys_only: source.flag(),
        }),
        12 => Command::Count,
        13 => Command::Sweep { limit: source.number() as u32 },
        14 => Command::Clear,
        15 | 16 => Command::Adopt { epoch: source.number() },
        17..=19 => {
            let migration = Epoch(source.below(4).into());
            Command::Migrate(Migrate { migration, step: step(source) })
        }
        _ => {
            let all_or_nothing = source.flag();
            let commands = (0..source.below(6)).map(|_| command(source, false)).collect();
            Command::Batch { commands, all_or_nothing }
        }
    }
}

/// A step of a migration; imports that fit on nothing too.
fn step(source: &mut Source<'_>) -> Step {
    match source.below(13) {
        0 => Step::Watch { at: slot(source) },
        1 => Step::Image { after: stored_key(source), bytes: source.number() },
        2 => Step::Changes { after: source.number(), bytes: source.number() },
        3 => Step::Forget { through: source.number() },
        4 => Step::Freeze,
        5 => Step::Release,
        6 => Step::Collect { epoch: Epoch(source.number()), until: slot(source) },
        7 => Step::Begin,
        8 => Step::Activate { epoch: Epoch(source.number()) },
        9 => Step::Discard,
        _ => Step::Import(Box::new(Import {
            from: progress(source),
            to: progress(source),
            seen: source.number(),
            rows: (0..source.below(4))
                .map(|_| MovedRow { key: stored_key(source), value: source.flag().then(|| source.bytes()) })
                .collect(),
            seal: source.flag().then(|| Seal {
                until: slot(source),
                revision: source.number(),
                time_ms: source.number(),
                forgot: source.flag(),
                rows: source.number(),
                bytes: source.number(),
                digest: source.number(),
                sessions: source.number(),
                from: slot(source),
            }),
        })),
    }
}

/// The key of a row as it is stored: of a record, of what a session remembers, or of nothing.
fn stored_key(source: &mut Source<'_>) -> Bytes {
    match source.below(4) {
        0 => Bytes::new(),
        1 => keys::session(SessionId(u128::from(source.below(3)) + 1)),
        2 => source.bytes(),
        _ => keys::data(&key(source)),
    }
}

fn progress(source: &mut Source<'_>) -> Progress {
    match source.below(3) {
        0 => Progress { image: stored_key(source), complete: source.flag(), through: source.number() },
        _ => Progress::default(),
    }
}
