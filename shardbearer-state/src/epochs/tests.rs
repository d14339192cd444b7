//! What differs, and what goes back.

use shardbearer_core::control::EpochRecord;
use shardbearer_core::ids::{Epoch, OrderId, RadiantId, ShardId, TableId};
use shardbearer_core::membership::{Roster, Standing};
use shardbearer_core::rebalancing::{Mode, RebalanceChange};
use shardbearer_core::topology::{Order, Radiant, Shard, Table, Topology};

use super::*;
use crate::controller::policy;
use crate::membership::ask::Action;

fn topology(owners: &[u64]) -> Topology {
    let radiant = |id: u64| Radiant { id: id.into(), name: format!("r{id}"), ..Radiant::default() };
    let order = |id: u64| Order {
        id: id.into(),
        members: vec![1.into(), 2.into(), 3.into()],
        roster: Roster { size: 3, ..Roster::default() },
        ..Order::default()
    };
    let shard =
        |(index, order): (usize, &u64)| Shard { id: (index as u64 + 1).into(), order: (*order).into() };
    let shards = owners.iter().enumerate().map(shard).collect();
    Topology {
        radiants: (1..=3).map(radiant).collect(),
        orders: (1..=3).map(order).collect(),
        tables: vec![Table { id: TableId(1), name: "default".into(), scheme: "slots".into(), shards }],
        ..Topology::default()
    }
}

fn record(epoch: u64) -> EpochRecord {
    let text = || "something".to_owned();
    EpochRecord { epoch: Epoch(epoch), at_ms: 0, who: text(), why: text(), what: text() }
}

fn refusal(record: &EpochRecord, before: &Topology, after: &Topology, present: &Topology) -> String {
    revert(record, before, after, present).expect_err("it cannot be")
}

fn standing(of: &Topology, standing: Standing) -> Topology {
    let mut next = of.clone();
    next.radiants[1].standing = standing;
    next
}

#[test]
fn differences_are_told_one_by_one() {
    let before = topology(&[2, 2]);
    let mut after = topology(&[2, 3]);
    after.orders[1].members = vec![1.into(), 3.into()];
    after.radiants[1].standing = Standing::Leaving { to: 3.into() };
    after.radiants.push(Radiant { id: 4.into(), name: "r4".into(), ..Radiant::default() });
    let told: Vec<String> = differences(&before, &after).iter().map(Difference::to_string).collect();
    assert_eq!(
        told,
        [
            "radiant 2, standing: active -> leaving (to radiant 3)",
            "radiant 4 is new: name r4, standing active",
            "order 2, members: r1 r2 r3 -> r1 r3",
            "shard 2, order: 2 -> 3",
        ]
    );
    assert_eq!(differences(&after, &before).len(), 4, "the way back is as long");
    assert_eq!(differences(&before, &before), []);
}

#[test]
fn a_move_goes_back_unless_others_followed() {
    let (before, after) = (topology(&[2, 2]), topology(&[2, 3]));
    let back = Undo::Move { shard: ShardId(2), to: OrderId(2) };
    assert_eq!(revert(&record(5), &before, &after, &after), Ok(back.clone()));
    assert_eq!(
        revert(&record(5), &before, &after, &topology(&[3, 3])),
        Ok(back),
        "another shard is another matter"
    );
    let refused = |present: &Topology| refusal(&record(5), &before, &after, present);
    assert!(refused(&before).contains("already"));
    assert!(refused(&topology(&[2, 1])).contains("went on from order 3 to order 1"));
    let mut without = after.clone();
    without.orders.remove(1);
    assert!(refused(&without).contains("no order 2 any more"));
}

#[test]
fn a_standing_goes_back_where_there_is_a_way() {
    let active = topology(&[2]);
    let draining = standing(&active, Standing::Draining { to: RadiantId::NONE });
    let gone = standing(&active, Standing::Gone);
    let stand = |action| Ok(Undo::Stand { radiant: RadiantId(2), action });
    assert_eq!(revert(&record(5), &active, &draining, &draining), stand(Action::Undrain));
    assert_eq!(revert(&record(6), &draining, &active, &active), stand(Action::Drain));
    assert_eq!(refusal(&record(5), &active, &draining, &active), "radiant r2 is active already");
    let mut named = active.clone();
    named.radiants[1].name = "radiant-2".into();
    assert_eq!(refusal(&record(5), &active, &draining, &named), "radiant-2 is active already", "not twice");
    assert!(refusal(&record(5), &active, &draining, &gone).contains("has left"));
    let spare = standing(&active, Standing::Spare);
    assert!(refusal(&record(5), &spare, &active, &active).contains("`radiant drain`"));
}

#[test]
fn what_cannot_be_reverted_is_refused_with_what_can() {
    let one = topology(&[2]);
    assert!(refusal(&record(1), &one, &one, &one).contains("founded"));
    assert!(refusal(&record(4), &one, &one, &one).contains("`shard cancel`"));
    let mut more = one.clone();
    more.radiants.push(Radiant { id: 4.into(), name: "r4".into(), ..Radiant::default() });
    assert!(refusal(&record(4), &one, &more, &more).contains("`radiant leave`"));
    let mut divided = topology(&[2, 3]);
    divided.tables[0].scheme = "slots, cut".into();
    assert!(refusal(&record(4), &one, &divided, &divided).contains("shards are not merged"));
    let mut seats = one.clone();
    seats.orders[1].members = vec![1.into()];
    assert!(refusal(&record(4), &one, &seats, &seats).contains("scherald"));
    seats.orders[1].preferred_herald = 2.into();
    assert!(refusal(&record(4), &one, &seats, &seats).contains("scherald"));
    let mut elsewhere = one.clone();
    elsewhere.radiants[0].doors.grpc = "b:1".into();
    assert!(refusal(&record(4), &one, &elsewhere, &elsewhere).contains("where a radiant is"));
}

/// The configuration after this change of how shards are spread.
fn spread(of: &Topology, change: RebalanceChange) -> Topology {
    policy::carry_out(of, &change).expect("it is allowed").0
}

const WEIGHT: RebalanceChange = RebalanceChange::Weight { order: OrderId(3), weight: 5 };
const PIN: RebalanceChange = RebalanceChange::Pin { shard: ShardId(2), to: OrderId(3) };

#[test]
fn differences_of_the_policy_are_told() {
    let before = topology(&[2, 2]);
    let mut after = before.clone();
    for change in [
        WEIGHT,
        PIN,
        RebalanceChange::Run(Some(Mode::Count)),
        RebalanceChange::Mode(Mode::Load),
        RebalanceChange::Pause(true),
        RebalanceChange::Remove { order: OrderId(2), remove: true },
    ] {
        after = spread(&after, change);
    }
    let told: Vec<String> = differences(&before, &after).iter().map(Difference::to_string).collect();
    assert_eq!(
        told,
        [
            "order 2, removal: none -> decided",
            "order 3, weight: 1 -> 5",
            "shard 2, pin: none -> 3",
            "rebalancing, mode: manual -> load",
            "rebalancing, running: none -> count",
            "rebalancing, paused: no -> yes",
        ]
    );
}

#[test]
fn the_policy_goes_back_unless_others_followed() {
    let calm = topology(&[2, 2]);
    let weighted = spread(&calm, WEIGHT);
    let running = spread(&calm, RebalanceChange::Run(Some(Mode::Load)));
    let off = RebalanceChange::Mode(Mode::Off);
    let (pause, run) = (RebalanceChange::Pause, RebalanceChange::Run);
    let remove = |remove| RebalanceChange::Remove { order: OrderId(2), remove };
    for (before, change, back) in [
        (&calm, WEIGHT, RebalanceChange::Weight { order: OrderId(3), weight: 1 }),
        (&weighted, RebalanceChange::Weight { order: OrderId(3), weight: 0 }, WEIGHT),
        (&calm, PIN, RebalanceChange::Pin { shard: ShardId(2), to: OrderId::NONE }),
        (&spread(&calm, PIN), RebalanceChange::Pin { shard: ShardId(2), to: OrderId::NONE }, PIN),
        (&calm, off.clone(), RebalanceChange::Mode(Mode::Manual)),
        (&running, off, RebalanceChange::Mode(Mode::Manual)),
        (&calm, pause(true), pause(false)),
        (&calm, run(Some(Mode::Count)), run(None)),
        (&calm, remove(true), remove(false)),
    ] {
        let after = spread(before, change.clone());
        assert_eq!(revert(&record(5), before, &after, &after), Ok(Undo::Spread(back.clone())), "{change:?}");
        let other = spread(&after, RebalanceChange::Pin { shard: ShardId(1), to: OrderId(3) });
        assert_eq!(revert(&record(5), before, &after, &other), Ok(Undo::Spread(back.clone())));
        let reverted = spread(&after, back);
        assert!(refusal(&record(5), before, &after, &reverted).contains("already"), "{change:?}");
    }
    let further = spread(&weighted, RebalanceChange::Weight { order: OrderId(3), weight: 7 });
    let refused = refusal(&record(5), &calm, &weighted, &further);
    assert!(refused.contains("the weight of order 3 is 7 by now"), "{refused}");
    let mut without = weighted.clone();
    without.orders.retain(|order| order.id != OrderId(3));
    assert!(refusal(&record(5), &calm, &weighted, &without).contains("no order 3 any more"));
    let ended = refusal(&record(5), &running, &calm, &calm);
    assert!(ended.contains("begun again by `rebalance`"), "{ended}");
}

#[test]
fn an_order_is_neither_made_nor_removed_by_going_back() {
    let three = topology(&[2]);
    let mut two = three.clone();
    two.orders.pop();
    let made = refusal(&record(4), &two, &three, &three);
    assert!(made.contains("`order remove 3`"), "{made}");
    let removed = refusal(&record(4), &three, &two, &two);
    assert!(removed.contains("`order create`"), "{removed}");
}
