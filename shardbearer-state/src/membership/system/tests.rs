//! When the control order may begin anew, what is said of it, and that no two generations are one.

use proptest::prelude::*;
use shardbearer_core::ids::{ClusterId, ShardId};
use shardbearer_core::log::LogPos;
use shardbearer_core::migration::Phase;
use shardbearer_core::topology::Radiant;

use super::super::reset::LogEnd;
use super::*;
use crate::placement::{Founding, Slots, found};

/// A cluster of five with three control seats.
fn told() -> Told {
    let named = |i: usize| Radiant { name: format!("r{}", i + 1), ..Radiant::default() };
    let topology = found(Founding {
        cluster: ClusterId(7),
        founders: (0..5).map(named).collect(),
        orders: 1,
        replication: 3,
        engine: "openraft".into(),
        engines: Vec::new(),
        control_engine: "openraft".into(),
        scheme: Slots::new(4).expect("within bounds"),
        draw: 0,
    });
    Told { topology, ..Told::default() }
}

fn seats(told: &Told) -> Vec<RadiantId> {
    told.topology.order(OrderId::CONTROL).expect("it is there").members.clone()
}

/// Of those who answer; all have the same log.
fn answering(answering: &[RadiantId]) -> impl Fn(RadiantId) -> Known {
    let last = LogPos { term: 4, index: 12 };
    let end = LogEnd { last, applied: 10, ..LogEnd::default() };
    move |member| match answering.contains(&member) {
        true => Known { end: Some(end), ..Known::default() },
        false => Known::default(),
    }
}

fn says(sentences: &[String], expected: &str) -> bool {
    sentences.iter().any(|sentence| sentence.contains(expected))
}

#[test]
fn the_account_says_what_goes_on_and_what_may_be_lost() {
    let mut told = told();
    let seats = seats(&told);
    assert_eq!(seats.len(), 3, "{told:?}");
    told.silent = seats[1..].to_vec();
    told.topology.epoch = Epoch(41);
    let judgement = judge_system(&told, true, answering(&seats[..1]));
    assert_eq!((judgement.survivor, judgement.blockers.len()), (Some(seats[0]), 0), "{judgement:?}");
    let generation = generation(Epoch(41), 2, seats[0]);
    let expected =
        format!("goes on from epoch 41, the newest that anybody who answers knows, as epoch {generation}");
    assert!(says(&judgement.account, &expected), "{judgement:?}");
    assert!(says(&judgement.account, "do not answer: what was decided"), "{judgement:?}");
    assert!(says(&judgement.dangers, "decisions may be lost that were acknowledged"), "{judgement:?}");
    assert!(says(&judgement.dangers, "they go on deciding for whoever reaches them"), "{judgement:?}");

    let (phase, shard) = (Phase::Copying, ShardId(3));
    told.migration = Some(Migration { phase, shard, ..Migration::default() });
    let moving = judge_system(&told, true, answering(&seats[..1]));
    assert!(says(&moving.dangers, "copying as far as anybody knows"), "{moving:?}");
}

#[test]
fn a_control_order_that_can_decide_is_not_reset() {
    let mut told = told();
    let seats = seats(&told);
    let refused = |judgement: Judgement, expected: &str| {
        assert!(says(&judgement.blockers, expected), "{expected}: {judgement:?}");
        assert_eq!(judgement.survivor, None, "{expected}");
    };
    refused(judge_system(&told, true, answering(&seats[1..])), "2 of 3 members of order 1 answer");
    refused(judge_system(&told, true, answering(&[])), "no member of order 1 answers");
    refused(judge_system(&told, false, answering(&seats[..1])), "cannot begin anew from one member");
    told.serves = true;
    refused(judge_system(&told, true, answering(&seats[..1])), "it has just answered a read");
}

proptest! {
    /// A generation is higher than all that is known, by far, and is nobody else's.
    #[test]
    fn no_two_survivors_begin_the_same_generation(
        epochs in (0..1_000_000_u64, 0..1_000_000_u64),
        survivors in (1..GAP, 1..GAP),
        unapplied in 0..5_000_u64,
    ) {
        let first = generation(Epoch(epochs.0), unapplied, RadiantId(survivors.0));
        let second = generation(Epoch(epochs.1), 0, RadiantId(survivors.1));
        prop_assert!(first.0 >= epochs.0 + unapplied + GAP);
        prop_assert!(survivors.0 == survivors.1 || first != second);
    }
}
