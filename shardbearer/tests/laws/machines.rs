//! The kit for machines, and commands of every kind for the two there are.

mod migrating;
mod reach;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::control::{Change, ControlCommand};
use shardbearer_core::ids::{ClusterId, Epoch, Incarnation, OrderId, RadiantId, SessionId, ShardId, TableId};
use shardbearer_core::kv::{Command, Condition, Entry, ExpireWhen, Expiry, Item, RequestId, Scan};
use shardbearer_core::membership::{MemberChange, Standing};
use shardbearer_core::rebalancing::{Mode, Reason, RebalanceChange};
use shardbearer_core::topology::{Doors, Order, Radiant, Shard, Table, Topology};
use shardbearer_sim::conformance::machine::{Subject, check};
use shardbearer_state::controller::ControlMachine;
use shardbearer_state::shard::ShardMachine;

const DATA: OrderId = OrderId(2);

#[test]
fn the_shard_machine_keeps_the_laws_of_machines() {
    check(&Subject { new: &|| ShardMachine::new(DATA), order: DATA, command: &entry });
}

#[test]
fn the_control_machine_keeps_the_laws_of_machines() {
    check(&Subject { new: &|| ControlMachine, order: OrderId::CONTROL, command: &control });
}

/// Few keys and values, so that commands meet.
fn key(rng: &mut StdRng) -> Bytes {
    Bytes::from(vec![b"abc\xff"[rng.random_range(0..4)]; rng.random_range(0..3)])
}

fn value(rng: &mut StdRng) -> Bytes {
    let values: [&[u8]; 6] = [b"", b"1", b"9223372036854775807", b"-3.5", b"text", b"\0\xff"];
    Bytes::from_static(values[rng.random_range(0..values.len())])
}

fn condition(rng: &mut StdRng) -> Condition {
    match rng.random_range(0..9) {
        0 => Condition::Absent,
        1 => Condition::Present,
        2 => Condition::Revision(rng.random_range(0..9)),
        3 => Condition::Value(value(rng)),
        4 => Condition::NotValue(value(rng)),
        _ => Condition::Always,
    }
}

fn time(rng: &mut StdRng) -> u64 {
    if rng.random_ratio(1, 9) { rng.random() } else { rng.random_range(0..300) }
}

fn command(rng: &mut StdRng) -> Command {
    let (key, value) = (key(rng), value(rng));
    let number = if rng.random_ratio(1, 5) { rng.random() } else { rng.random_range(-2..5) };
    match rng.random_range(0..22) {
        0..6 => Command::Put {
            key,
            value,
            condition: condition(rng),
            expiry: match rng.random_range(0..3) {
                0 => Expiry::Never,
                1 => Expiry::Keep,
                _ => Expiry::At(time(rng)),
            },
            previous: rng.random(),
        },
        6..8 => Command::Delete { key, condition: condition(rng), previous: rng.random() },
        8 => Command::Increment { key, by: number },
        9 => Command::IncrementFloat { key, by: f64::from_bits(rng.random()) },
        10 => Command::Append { key, value },
        11 => Command::SetRange { key, offset: time(rng), value },
        12 => {
            let when = [ExpireWhen::Always, ExpireWhen::HasNone, ExpireWhen::HasOne, ExpireWhen::Later];
            let at_ms = rng.random::<bool>().then(|| time(rng));
            Command::Expire { key, at_ms, when: when[rng.random_range(0..when.len())] }
        }
        13 => Command::Check { key, condition: condition(rng) },
        14..17 => {
            let commands = (0..rng.random_range(0..4)).map(|_| command(rng)).collect();
            Command::Batch { commands, all_or_nothing: rng.random() }
        }
        17 => Command::Clear,
        18 => Command::Adopt { epoch: rng.random_range(0..4) },
        19 => Command::Sweep { limit: rng.random_range(0..4) },
        // No writes; they have no business in a log and must do no harm there.
        20 => Command::Get { key },
        _ => Command::Scan(Scan { start: key, ..Scan::default() }),
    }
}

/// An entry of a data order: some sessions, some shards, one of which is nobody's.
fn entry(rng: &mut StdRng, step: u64) -> Entry {
    let adopt = |shard| Item::of(ShardId(shard), Command::Adopt { epoch: 1 });
    if step == 0 {
        return Entry { time_ms: 1, items: vec![adopt(1), adopt(2)] };
    }
    let items = (0..rng.random_range(0..5)).map(|_| {
        let id = rng.random::<bool>().then(|| {
            let number = rng.random_range(0..=step);
            RequestId {
                session: SessionId(rng.random_range(0..4)),
                number,
                unanswered_from: number.saturating_sub(rng.random_range(0..3)),
                retry: rng.random(),
            }
        });
        let command = match rng.random_ratio(1, 3) {
            true => Command::Migrate(migrating::step(rng, step)),
            false => command(rng),
        };
        let until = if rng.random() { 0 } else { rng.random_range(0..=16_384) };
        Item { shard: ShardId(rng.random_range(1..=3)), id, until, command }
    });
    Entry { items: items.collect(), time_ms: if rng.random_ratio(1, 20) { time(rng) } else { step } }
}

fn members(rng: &mut StdRng) -> MemberChange {
    let radiant = |rng: &mut StdRng| RadiantId(rng.random_range(0..5));
    let some = |rng: &mut StdRng| (0..rng.random_range(0..4)).map(|_| radiant(rng)).collect();
    let order = OrderId(rng.random_range(0..4));
    match rng.random_range(0..6) {
        0 => MemberChange::Begin { order, add: radiant(rng), remove: radiant(rng) },
        1 => MemberChange::Finish { order },
        2 => MemberChange::Abandon { order },
        3 => MemberChange::List { order, members: some(rng), learners: some(rng) },
        4 => MemberChange::Reset { order, survivor: radiant(rng) },
        _ => {
            let to = radiant(rng);
            let standings =
                [Standing::Active, Standing::Spare, Standing::Draining { to }, Standing::Leaving { to }];
            MemberChange::Stand { radiant: radiant(rng), standing: standings[rng.random_range(0..4)] }
        }
    }
}

fn rebalance(rng: &mut StdRng) -> RebalanceChange {
    let order = OrderId(rng.random_range(0..5));
    let shard = ShardId(rng.random_range(0..6));
    let modes = [Mode::Off, Mode::Manual, Mode::Count, Mode::Load];
    let mode = modes[rng.random_range(0..4)];
    match rng.random_range(0..10) {
        0 => RebalanceChange::Mode(mode),
        1 => RebalanceChange::Run(Some(mode).filter(|_| rng.random())),
        2 => RebalanceChange::Pause(rng.random()),
        3 => RebalanceChange::Pin { shard, to: order },
        4 => RebalanceChange::Weight { order, weight: rng.random_range(0..4) },
        5 => {
            let members = (0..rng.random_range(0..3)).map(|_| RadiantId(rng.random_range(0..5))).collect();
            RebalanceChange::Create { engine: "openraft".into(), members }
        }
        6 => RebalanceChange::Remove { order, remove: rng.random() },
        7 => RebalanceChange::Removed { order },
        8 => {
            let reason = Reason { predicted: "better".into(), alternatives: vec!["to wait".into()] };
            RebalanceChange::Move { on: Epoch(rng.random_range(0..12)), shard, to: order, reason }
        }
        _ => RebalanceChange::Measured { id: Epoch(rng.random_range(0..12)), effect: "good".into() },
    }
}

/// A cluster of two with two orders of data; mostly the same one.
fn founded(rng: &mut StdRng) -> Topology {
    let radiant = |id| Radiant {
        id: RadiantId(id),
        name: format!("r{id}"),
        incarnation: Incarnation(u128::from(id)),
        ..Radiant::default()
    };
    let order = |id| Order {
        id: OrderId(id),
        engine: "openraft".into(),
        members: vec![RadiantId(1), RadiantId(2)],
        preferred_herald: RadiantId(1),
        ..Order::default()
    };
    let shards = (1..=rng.random_range(1..5)).map(|id| Shard { id: ShardId(id), order: OrderId(2) });
    Topology {
        cluster: ClusterId(if rng.random_ratio(1, 5) { rng.random() } else { 7 }),
        radiants: vec![radiant(1), radiant(2)],
        orders: vec![order(1), order(2), order(3)],
        tables: vec![Table {
            id: TableId::DEFAULT,
            name: "default".into(),
            scheme: "slots:16384/4".into(),
            shards: shards.collect(),
        }],
        ..Topology::default()
    }
}

/// A change of the configuration, some before the founding and some after.
fn control(rng: &mut StdRng, step: u64) -> ControlCommand {
    let name = |rng: &mut StdRng| format!("r{}", rng.random_range(0..4));
    let doors =
        |rng: &mut StdRng| Doors { grpc: format!("h:{}", rng.random_range(0..3)), ..Doors::default() };
    let change = if rng.random_ratio(if step == 0 { 9 } else { 1 }, 10) {
        Change::Found(founded(rng))
    } else if step == 1 || rng.random_ratio(1, 3) {
        Change::Migration(migrating::decision(rng, step))
    } else if rng.random_ratio(1, 20) {
        let known = founded(rng);
        Change::Anew(Box::new(migrating::anew(rng, step, known)))
    } else if rng.random() {
        // Sometimes on the configuration in force, mostly on one that is over or not there yet.
        Change::Members { on: Epoch(rng.random_range(0..12)), change: members(rng) }
    } else if rng.random() {
        Change::Rebalance(rebalance(rng))
    } else {
        Change::Welcome {
            name: name(rng),
            incarnation: Incarnation(rng.random_range(0..4)),
            doors: doors(rng),
        }
    };
    ControlCommand { who: "tests".into(), why: "to see".into(), at_ms: step, change }
}
