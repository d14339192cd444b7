//! Placements with one flaw each: even, but for one thing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::placement::{OrderView, Placement};
use shardbearer_sim::conformance::placement::laws;
use shardbearer_sim::conformance::suite::caught;
use shardbearer_state::placement::Even;

use super::assert_documented;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    ForgetsAShard,
    IgnoresWeights,
    DealsAnew,
    GivesTheRestToTheFirst,
    NeverRests,
    ChangesItsMind,
    GoesByTheListing,
    TrustsTheQuestion,
}

/// Each with the law that is meant to find it.
const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::ForgetsAShard, "every_shard_has_an_owner_that_takes_shards"),
    (Flaw::IgnoresWeights, "shares_follow_the_weights"),
    (Flaw::DealsAnew, "nothing_moves_that_need_not"),
    (Flaw::GivesTheRestToTheFirst, "equal_orders_keep_as_much_as_they_can"),
    (Flaw::NeverRests, "what_is_settled_stays"),
    (Flaw::ChangesItsMind, "the_same_question_has_the_same_answer"),
    (Flaw::GoesByTheListing, "the_listing_of_the_orders_decides_nothing"),
    (Flaw::TrustsTheQuestion, "odd_questions_are_answered_too"),
];

struct Flawed(Flaw, AtomicUsize);

impl Placement for Flawed {
    fn assign(&self, shards: &[ShardId], orders: &[OrderView], current: &[OrderId]) -> Vec<OrderId> {
        let nobody = vec![OrderId::NONE; shards.len()];
        let mut even = Even.assign(shards, orders, current);
        match self.0 {
            Flaw::ForgetsAShard => {
                even.pop();
                even.resize(shards.len(), OrderId::NONE);
                even
            }
            Flaw::IgnoresWeights => {
                let equal: Vec<OrderView> =
                    orders.iter().map(|order| OrderView { weight: order.weight.min(1), ..*order }).collect();
                Even.assign(shards, &equal, current)
            }
            Flaw::DealsAnew => Even.assign(shards, orders, &nobody),
            Flaw::GivesTheRestToTheFirst => keep_within(&Even.assign(shards, orders, &nobody), current),
            Flaw::NeverRests => {
                if even == current {
                    even.reverse();
                }
                even
            }
            Flaw::ChangesItsMind => {
                if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(7) {
                    even.reverse();
                }
                even
            }
            Flaw::GoesByTheListing => by_position(shards, orders, current),
            Flaw::TrustsTheQuestion => {
                let kept = |at: usize| if even[at] == current[at] { current[at] } else { even[at] };
                (0..shards.len()).map(kept).collect()
            }
        }
    }
}

/// Keeps what may stay of `current`, so that each order ends with as many as it has in `wanted`.
fn keep_within(wanted: &[OrderId], current: &[OrderId]) -> Vec<OrderId> {
    let mut room: BTreeMap<OrderId, usize> = BTreeMap::new();
    wanted.iter().for_each(|owner| *room.entry(*owner).or_default() += 1);
    let mut take = |owner: &OrderId| {
        let left = room.get_mut(owner).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    };
    let mut owners: Vec<OrderId> =
        current.iter().map(|owner| if take(owner) { *owner } else { OrderId::NONE }).collect();
    let mut free = room.into_iter().flat_map(|(owner, left)| std::iter::repeat_n(owner, left));
    for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
        *owner = free.next().unwrap_or_default();
    }
    owners
}

/// Takes the place in the listing for the id.
fn by_position(shards: &[ShardId], orders: &[OrderView], current: &[OrderId]) -> Vec<OrderId> {
    let place = |id: &OrderId| orders.iter().position(|order| order.id == *id);
    let numbered: Vec<OrderView> =
        (1..).zip(orders).map(|(number, order)| OrderView { id: OrderId(number), ..*order }).collect();
    let current: Vec<OrderId> =
        current.iter().map(|id| place(id).map_or(OrderId(u64::MAX), |at| OrderId(at as u64 + 1))).collect();
    let owners = Even.assign(shards, &numbered, &current);
    let name = |owner: OrderId| match owner.0.checked_sub(1) {
        Some(at) => orders[at as usize].id,
        None => OrderId::NONE,
    };
    owners.into_iter().map(name).collect()
}

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    for (flaw, law) in FLAWS {
        caught(&laws(), law, &Flawed(*flaw, AtomicUsize::new(0)));
    }
    assert_documented(FLAWS);
}
