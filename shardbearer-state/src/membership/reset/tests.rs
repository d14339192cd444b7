//! Whom an order goes on from, what the account says of what may be lost, and when there is nothing to reset.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shardbearer_core::ids::{ClusterId, ShardId};
use shardbearer_core::membership::MemberChange;
use shardbearer_core::topology::Radiant;

use super::super::carry_out;
use super::*;
use crate::placement::{Founding, Slots, found};

const ORDER: OrderId = OrderId(2);

/// A cluster with one data order on all of its radiants.
fn cluster(members: usize) -> Topology {
    let named = |i: usize| Radiant { name: format!("r{}", i + 1), ..Radiant::default() };
    found(Founding {
        cluster: ClusterId(7),
        founders: (0..members).map(named).collect(),
        orders: 1,
        replication: members,
        engine: "raft".into(),
        engines: Vec::new(),
        control_engine: "raft".into(),
        scheme: Slots::new(4).expect("within bounds"),
        draw: 0,
    })
}

fn end(term: u64, index: u64) -> Known {
    let last = LogPos { term, index };
    Known {
        end: Some(LogEnd { last, applied: index.saturating_sub(1), ..LogEnd::default() }),
        ..Known::default()
    }
}

fn heard(applied: u64) -> Known {
    Known { heard: Some(applied), silent_ms: 3_000, ..Known::default() }
}

/// Judged with what is known of members 1, 2, ...
fn judged(topology: &Topology, known: &[Known]) -> Judgement {
    let known: BTreeMap<RadiantId, Known> =
        known.iter().zip(1..).map(|(known, id)| (RadiantId(id), *known)).collect();
    judge(topology, ORDER, true, None, |id| known.get(&id).copied().unwrap_or_default())
}

fn says(sentences: &[String], expected: &str) -> bool {
    sentences.iter().any(|sentence| sentence.contains(expected))
}

#[test]
fn the_furthest_log_is_chosen_by_term_and_then_by_length() {
    let topology = cluster(5);
    for (ends, survivor) in [
        ([end(3, 10), end(4, 8)], 2),
        ([end(4, 8), end(3, 10)], 1),
        ([end(4, 8), end(4, 9)], 2),
        ([end(4, 9), end(4, 9)], 1),
    ] {
        let judgement = judged(&topology, &ends);
        assert_eq!(judgement.survivor, Some(RadiantId(survivor)), "{ends:?}");
        assert!(judgement.blockers.is_empty(), "{judgement:?}");
    }
}

#[test]
fn what_may_be_lost_is_said() {
    let three = cluster(3);
    let judgement = judged(&three, &[end(4, 10), heard(9), heard(13)]);
    assert!(says(&judgement.dangers, "r2, r3 are a majority of 3"), "{judgement:?}");
    assert!(
        says(&judgement.dangers, "at least 3 acknowledged entries are lost: radiant r3"),
        "{judgement:?}"
    );
    assert!(says(&judgement.dangers, "must be off"), "{judgement:?}");
    assert!(says(&judgement.account, "radiant r2 had applied entry 9"), "{judgement:?}");
    assert!(says(&judgement.account, "entry 10 of term 4, 9 of them applied"), "{judgement:?}");
    let unheard = judged(&three, &[end(4, 10), Known::default(), heard(9)]);
    assert!(says(&unheard.account, "nothing was heard from radiant r2"), "{unheard:?}");

    // Two of four are no majority, and nor are the two others: nothing was acknowledged without one of these.
    let four = judged(&cluster(4), &[end(4, 10), end(4, 11), heard(9), heard(9)]);
    assert!(says(&four.account, "radiant r2 has all that was acknowledged"), "{four:?}");
    assert!(!says(&four.dangers, "may be lost"), "{four:?}");

    // Unless who counts was about to change.
    let mut topology = cluster(4);
    topology.radiants.push(Radiant { id: RadiantId(5), name: "r5".into(), ..Radiant::default() });
    let begin = MemberChange::Begin { order: ORDER, add: RadiantId(5), remove: RadiantId(1) };
    let (changing, _) = carry_out(&topology, &begin).expect("a newcomer");
    let unsure = judged(&changing, &[end(4, 10), end(4, 11), heard(9), heard(9)]);
    assert!(says(&unsure.dangers, "were changing"), "{unsure:?}");

    let moving = Migration { shard: ShardId(3), from: OrderId(3), to: ORDER, ..Migration::default() };
    let known = |id: RadiantId| if id == RadiantId(1) { end(4, 10) } else { heard(9) };
    let judgement = judge(&three, ORDER, true, Some(&moving), known);
    assert!(says(&judgement.dangers, "shard 3 is on its way"), "{judgement:?}");
}

#[test]
fn what_is_no_reset_is_refused() {
    let topology = cluster(3);
    let refused = |judgement: Judgement, expected: &str| {
        assert!(says(&judgement.blockers, expected), "{expected}: {judgement:?}");
        assert_eq!(judgement.survivor, None, "{expected}");
    };
    let nobody = |_| Known::default();
    refused(judge(&topology, OrderId(9), true, None, nobody), "there is no order 9; there are 1, 2");
    refused(judge(&topology, ORDER, false, None, nobody), "cannot begin anew");
    refused(judged(&topology, &[]), "no member of order 2 answers");
    refused(judged(&topology, &[end(1, 1), end(1, 1)]), "2 of 3 members of order 2 answer");
    let mut leading = end(1, 1);
    leading.end = leading.end.map(|end| LogEnd { leading: true, ..end });
    refused(judged(&topology, &[leading]), "radiant r1 leads it");

    // Whoever has not heard of the last reset has nothing to say about what came after.
    let reset = MemberChange::Reset { order: ORDER, survivor: RadiantId(1) };
    let (again, _) = carry_out(&topology, &reset).expect("lawful");
    refused(judged(&again, &[end(9, 99)]), "no member of order 2 answers");
}

#[test]
fn the_order_goes_on_with_the_survivor_alone_and_is_filled_up() {
    let topology = cluster(3);
    let reset = |order, survivor| MemberChange::Reset { order, survivor: RadiantId(survivor) };
    let (next, what) = carry_out(&topology, &reset(ORDER, 3)).expect("lawful");
    assert_eq!(what, "order 2 begins anew from what radiant r3 has of it");
    let order = next.order(ORDER).expect("known");
    assert_eq!((order.members.as_slice(), order.preferred_herald), ([RadiantId(3)].as_slice(), RadiantId(3)));
    assert_eq!((order.generation(), order.roster.size), (next.epoch, 3));
    assert!(!order.is_as_founded() && !order.is_changing());
    for (change, expected) in [
        (reset(OrderId(9), 1), "there is no order 9"),
        (reset(OrderId::CONTROL, 1), "control order"),
        (reset(ORDER, 9), "no member of order 2"),
    ] {
        let why = carry_out(&topology, &change).expect_err(expected);
        assert!(why.contains(expected), "{why}");
    }
    // On the way back to three members it stays the same generation.
    let begin = MemberChange::Begin { order: ORDER, add: RadiantId(1), remove: RadiantId::NONE };
    let (joined, _) = carry_out(&next, &begin).expect("lawful");
    let (joined, _) = carry_out(&joined, &MemberChange::Finish { order: ORDER }).expect("begun");
    assert_eq!(joined.order(ORDER).map(Order::generation), Some(next.epoch));
}

proptest! {
    /// Whatever a majority has in its logs, the survivor of those who answer has as well, unless it is said that it may be lost.
    #[test]
    fn nothing_acknowledged_is_lost_in_silence(
        size in 1..6_usize,
        lengths in proptest::collection::vec(0..6_u64, 6),
        answering in proptest::collection::vec(any::<bool>(), 6),
    ) {
        let topology = cluster(size);
        let known: Vec<Known> = lengths.iter().zip(&answering).take(size).map(|(length, answers)| {
            // One leader's log: its term, and as much of it as arrived.
            if *answers { end(1, *length) } else { Known::default() }
        }).collect();
        let judgement = judged(&topology, &known);
        let Some(survivor) = judgement.survivor else { return Ok(()) };
        let mut lengths: Vec<u64> = lengths.iter().copied().take(size).collect();
        let has = lengths[survivor.0 as usize - 1];
        lengths.sort_unstable();
        let acknowledged = lengths[(size - 1) / 2];
        prop_assert!(has >= acknowledged || says(&judgement.dangers, "writes may be lost"), "{judgement:?}");
    }
}
