//! Replicated machines: whatever stands in a log, applying it does not fail, and replicas agree to the byte, also with one
//! that reads each entry from its bytes, restarts from its rows, or begins from an image.

use std::fmt::Debug;

use bytes::Bytes;
use shardbearer_core::bootstrap::Founding;
use shardbearer_core::control::{Change, ControlCommand};
use shardbearer_core::ids::{ClusterId, Epoch, Incarnation, OrderId, RadiantId, SessionId, ShardId, TableId};
use shardbearer_core::kv::{Command, Condition, Entry, ExpireWhen, Expiry, Item, RequestId, Scan};
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::membership::{MemberChange, Roster, Standing};
use shardbearer_core::topology::{Doors, Order, Radiant, Shard, Table, Topology};
use shardbearer_proto::convert;
use shardbearer_state::bootstrap::{Effect, Event, Machine, Settings};
use shardbearer_state::controller::{self, ControlMachine};
use shardbearer_state::shard::{ShardMachine, query};

use super::Source;
use super::rows::Stored;

const ORDER: OrderId = OrderId(2);

/// Entries or events of one run: enough for any scenario, and runs stay short.
const STEPS_MAX: usize = 300;

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
        let rows = self.stored.0.iter().filter(|(space, rows)| spaces.contains(space) && !rows.is_empty());
        Stored(rows.map(|(space, rows)| (*space, rows.clone())).collect())
    }
}

/// Applies what the source says to two replicas that must stay the same.
fn replicas<M: StateMachine>(
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
                // As texts, for not every number equals itself.
                assert_eq!(format!("{here:?}"), format!("{there:?}"), "replicas answer differently");
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
            query(stored, ORDER, shard, &question, now).expect("its own rows are readable");
        },
    );
}

fn entry(source: &mut Source<'_>) -> Entry {
    let time_ms = source.number();
    let items = (0..=source.below(4)).map(|_| Item {
        shard: ShardId(source.below(3).into()),
        id: source.flag().then(|| request_id(source)),
        command: command(source, true),
    });
    Entry { time_ms, items: items.collect() }
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
    let kind = source.below(if outer { 18 } else { 14 });
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
        _ => {
            let all_or_nothing = source.flag();
            let commands = (0..source.below(6)).map(|_| command(source, false)).collect();
            Command::Batch { commands, all_or_nothing }
        }
    }
}

/// Entries of the control order's log.
pub fn control(bytes: &[u8]) {
    let read = |bytes| convert::control_command_from_bytes(bytes).expect("it was just written");
    replicas(
        &mut Source::new(bytes),
        || ControlMachine,
        change,
        convert::control_command_to_bytes,
        read,
        |source, stored| {
            let epochs = controller::epochs(stored).expect("readable");
            let last = epochs.last().map(|record| record.epoch);
            let present = controller::topology(stored).expect("readable").map(|topology| topology.epoch);
            assert_eq!(last, present, "the last epoch is the one in force");
            controller::topology_at(stored, Epoch(source.number())).expect("readable");
        },
    );
}

fn change(source: &mut Source<'_>) -> ControlCommand {
    let change = match source.below(6) {
        0 => Change::Found(topology(source)),
        1 | 2 => {
            let on = Epoch(source.below(8).into());
            Change::Members { on, change: member_change(source) }
        }
        _ => Change::Welcome {
            name: name(source),
            incarnation: Incarnation(source.below(4).into()),
            doors: doors(source),
        },
    };
    ControlCommand { who: source.text(), why: source.text(), at_ms: source.number(), change }
}

fn member_change(source: &mut Source<'_>) -> MemberChange {
    let order = OrderId(source.number());
    match source.below(5) {
        0 => {
            MemberChange::Begin { order, add: RadiantId(source.number()), remove: RadiantId(source.number()) }
        }
        1 => MemberChange::Finish { order },
        2 => MemberChange::Abandon { order },
        3 => MemberChange::List { order, members: radiants(source), learners: radiants(source) },
        _ => MemberChange::Stand { radiant: RadiantId(source.number()), standing: standing(source) },
    }
}

fn radiants(source: &mut Source<'_>) -> Vec<RadiantId> {
    (0..source.below(4)).map(|_| RadiantId(source.number())).collect()
}

fn standing(source: &mut Source<'_>) -> Standing {
    match source.below(5) {
        0 => Standing::Active,
        1 => Standing::Spare,
        2 => Standing::Draining { to: RadiantId(source.number()) },
        3 => Standing::Leaving { to: RadiantId(source.number()) },
        _ => Standing::Gone,
    }
}

fn name(source: &mut Source<'_>) -> String {
    match source.below(6) {
        5 => source.text(),
        few => format!("n{few}"),
    }
}

fn doors(source: &mut Source<'_>) -> Doors {
    Doors { grpc: name(source), resp: name(source), http: name(source) }
}

fn topology(source: &mut Source<'_>) -> Topology {
    let (count, orders, shards) = (source.below(5), source.below(4), source.below(8));
    Topology {
        cluster: ClusterId(source.number().into()),
        epoch: Epoch(source.number()),
        radiants: (0..count)
            .map(|_| Radiant {
                id: RadiantId(source.number()),
                name: name(source),
                incarnation: Incarnation(source.below(4).into()),
                doors: doors(source),
                standing: standing(source),
            })
            .collect(),
        orders: (0..orders)
            .map(|_| Order {
                id: OrderId(source.number()),
                engine: name(source),
                members: radiants(source),
                preferred_herald: RadiantId(source.number()),
                roster: Roster::default(),
            })
            .collect(),
        tables: vec![Table {
            id: TableId::DEFAULT,
            name: name(source),
            scheme: source.text(),
            shards: (0..shards)
                .map(|_| Shard { id: ShardId(source.number()), order: OrderId(source.number()) })
                .collect(),
        }],
    }
}

/// The founding machine, asked and answered by radiants that may say anything that can be decoded.
pub fn bootstrap(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let me = shardbearer_core::bootstrap::Founder {
        name: "n1".into(),
        incarnation: Incarnation(1),
        doors: Doors { grpc: "n1:1".into(), ..Doors::default() },
    };
    let settings = Settings {
        me,
        neighbors: vec!["n2:1".into(), "n3:1".into()],
        expect: source.below(4).into(),
        window_ms: source.number(),
        seed: source.number(),
    };
    let mut machine = Machine::new(settings, Default::default(), None);
    let found = |_: ClusterId, _: &[shardbearer_core::bootstrap::Founder]| Bytes::from_static(b"topology");
    let mut now_ms = 0;
    let mut cluster: Option<ClusterId> = None;
    machine.step(now_ms, Event::Start, &found);
    for step in 0..STEPS_MAX as u64 {
        if source.is_empty() {
            break;
        }
        let asked = |request| Event::Asked { ticket: step, request };
        let event = match source.below(8) {
            0 | 1 => Some(Event::Tick),
            2..=4 => convert::bootstrap::request_from_bytes(message(&mut source)).ok().map(asked),
            5 | 6 => convert::bootstrap::response_from_bytes(message(&mut source))
                .ok()
                .map(|response| Event::Answered { address: "n2:1".into(), response }),
            _ => Some(Event::Failed { address: name(&mut source), why: String::new() }),
        };
        let Some(event) = event else { continue };
        let question = matches!(event, Event::Asked { .. });
        now_ms += u64::from(source.byte());
        let effects = machine.step(now_ms, event, &found);
        let answers = effects.iter().filter(|effect| matches!(effect, Effect::Answer { .. })).count();
        assert_eq!(answers, usize::from(question), "one answer to each question");
        for effect in effects {
            said(effect, &mut cluster);
        }
    }
}

/// A message of up to 64 KiB, its length in front.
fn message(source: &mut Source<'_>) -> Bytes {
    let length = usize::from(source.byte()) << 8 | usize::from(source.byte());
    Bytes::copy_from_slice(source.take(length))
}

/// What the machine says can be sent and understood, what it stores can be read, and it belongs to one cluster only.
fn said(effect: Effect, cluster: &mut Option<ClusterId>) {
    use convert::bootstrap as wire;
    match effect {
        Effect::Persist(vote) => {
            assert_eq!(wire::vote_from_bytes(wire::vote_to_bytes(&vote)).as_ref(), Ok(&vote));
        }
        Effect::Send { request, .. } => {
            let back = wire::request_from_bytes(wire::request_to_bytes(&request));
            assert!(back.is_ok(), "{request:?}: {back:?}");
        }
        Effect::Answer { response, .. } => {
            let back = wire::response_from_bytes(wire::response_to_bytes(&response));
            assert!(back.is_ok(), "{response:?}: {back:?}");
        }
        Effect::Founded(Founding { cluster: founded, .. }) => {
            assert_eq!(*cluster.get_or_insert(founded), founded, "a second cluster");
        }
        Effect::Join { .. } => {}
        Effect::GiveUp(why) | Effect::Problem(why) | Effect::Notice(why) => assert!(!why.is_empty()),
    }
}
