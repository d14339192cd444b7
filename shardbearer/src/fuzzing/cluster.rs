//! What makes a cluster: the log of the control order, and founding.

use bytes::Bytes;
use shardbearer_core::bootstrap::{Founder, Founding};
use shardbearer_core::control::{Anew, Change, ControlCommand};
use shardbearer_core::ids::{ClusterId, Epoch, Incarnation, OrderId, RadiantId, ShardId, TableId};
use shardbearer_core::membership::{MemberChange, Roster, Standing};
use shardbearer_core::migration::{MigrationChange, Report};
use shardbearer_core::rebalancing::{Mode, Reason, RebalanceChange};
use shardbearer_core::topology::{Doors, Order, Radiant, Shard, Table, Topology};
use shardbearer_proto::convert;
use shardbearer_state::bootstrap::{Effect, Event, Machine, Settings};
use shardbearer_state::controller::{self, ControlMachine};

use super::Source;
use super::machines::{STEPS_MAX, replicas};

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
    let change = match source.below(8) {
        0 => Change::Found(topology(source)),
        3 => Change::Anew(Box::new(Anew {
            known: topology(source),
            migration: None,
            generation: Epoch(source.number()),
            survivor: RadiantId(source.number()),
        })),
        5 => Change::Rebalance(rebalance(source)),
        6 | 7 => Change::Migration(migration(source)),
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

fn migration(source: &mut Source<'_>) -> MigrationChange {
    let id = Epoch(source.below(8).into());
    match source.below(11) {
        0 | 1 => MigrationChange::Plan { shard: ShardId(source.number()), to: OrderId(source.number()) },
        2 => MigrationChange::Undo { id },
        3 => MigrationChange::Pause { id, paused: source.flag() },
        4 => MigrationChange::Cancel { id },
        5 => MigrationChange::Copy { id },
        6 => MigrationChange::Freeze { id },
        7 => MigrationChange::Commit { id },
        8 => MigrationChange::Collected { id },
        9 => MigrationChange::Returned { id, released: source.flag(), discarded: source.flag() },
        _ => MigrationChange::Report {
            id,
            report: Report {
                rows: source.number(),
                bytes: source.number(),
                bytes_total: source.number(),
                rate: source.number(),
                rounds: source.number(),
                cursor: source.bytes().to_vec(),
                blocker: source.text(),
            },
        },
    }
}

fn member_change(source: &mut Source<'_>) -> MemberChange {
    let order = OrderId(source.number());
    match source.below(6) {
        0 => {
            MemberChange::Begin { order, add: RadiantId(source.number()), remove: RadiantId(source.number()) }
        }
        1 => MemberChange::Finish { order },
        2 => MemberChange::Abandon { order },
        3 => MemberChange::List { order, members: radiants(source), learners: radiants(source) },
        4 => MemberChange::Reset { order, survivor: RadiantId(source.number()) },
        _ => MemberChange::Stand { radiant: RadiantId(source.number()), standing: standing(source) },
    }
}

fn rebalance(source: &mut Source<'_>) -> RebalanceChange {
    let order = OrderId(source.number());
    let shard = ShardId(source.number());
    let mode = [Mode::Off, Mode::Manual, Mode::Count, Mode::Load][usize::from(source.below(4))];
    match source.below(10) {
        0 => RebalanceChange::Mode(mode),
        1 => RebalanceChange::Run(Some(mode).filter(|_| source.flag())),
        2 => RebalanceChange::Pause(source.flag()),
        3 => RebalanceChange::Pin { shard, to: order },
        4 => RebalanceChange::Weight { order, weight: source.number() as u32 },
        5 => RebalanceChange::Create { engine: source.text(), members: radiants(source) },
        6 => RebalanceChange::Remove { order, remove: source.flag() },
        7 => RebalanceChange::Removed { order },
        8 => {
            let reason = Reason { predicted: source.text(), alternatives: vec![source.text()] };
            RebalanceChange::Move { on: Epoch(source.below(8).into()), shard, to: order, reason }
        }
        _ => RebalanceChange::Measured { id: Epoch(source.below(8).into()), effect: source.text() },
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
        ..Topology::default()
    }
}

/// The founding machine, asked and answered by radiants that may say anything that can be decoded.
pub fn bootstrap(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let me = Founder {
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
    let found = |_: ClusterId, _: &[Founder]| Bytes::from_static(b"topology");
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
        Effect::Moved { address, .. } => assert!(!address.is_empty()),
        Effect::GiveUp(why) | Effect::Problem(why) | Effect::Notice(why) => assert!(!why.is_empty()),
    }
}
