//! The laws of [`Placement`]: total, even by weight, and with as few moves as can be.
//!
//! ```text
//! conformance::placement::check(&Mine);
//! ```

use std::collections::BTreeMap;
use std::fmt;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::placement::{OrderView, Placement};

use super::suite::{self, Law, suite};
use super::{Broken, ensure, ensure_eq};

/// All laws.
pub fn laws<'a>() -> Vec<Law<dyn Placement + 'a>> {
    suite! {
        |_| None =>
            every_shard_has_an_owner_that_takes_shards
            shares_follow_the_weights
            nothing_moves_that_need_not
            equal_orders_keep_as_much_as_they_can
            what_is_settled_stays
            the_same_question_has_the_same_answer
            the_listing_of_the_orders_decides_nothing
            odd_questions_are_answered_too;
    }
}

/// Runs all laws; panics with what is broken.
///
/// # Panics
/// With everything that is broken, if anything is.
pub fn check(placement: &dyn Placement) {
    suite::check(&laws(), placement);
}

/// A question.
#[derive(Clone)]
struct Case {
    shards: Vec<ShardId>,
    orders: Vec<OrderView>,
    current: Vec<OrderId>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let orders = self.orders.iter().map(|order| format!("{}*{}", order.id, order.weight));
        let owners: Vec<u64> = self.current.iter().map(|owner| owner.0).collect();
        let orders: Vec<String> = orders.collect();
        write!(f, "{} shards, orders*weights {}, owners {owners:?}", self.shards.len(), orders.join(" "))
    }
}

impl Case {
    fn answer(&self, placement: &dyn Placement) -> Vec<OrderId> {
        placement.assign(&self.shards, &self.orders, &self.current)
    }

    fn weight(&self) -> u64 {
        self.orders.iter().map(|order| u64::from(order.weight)).sum()
    }
}

fn count(owners: &[OrderId]) -> BTreeMap<OrderId, usize> {
    let mut counts = BTreeMap::new();
    owners.iter().for_each(|owner| *counts.entry(*owner).or_default() += 1);
    counts
}

/// Questions as they come up: orders that come, go, and change their weight, shards that nobody had. `weights` is the
/// highest weight; with 1 all orders are equal, and 0 takes none.
fn cases(weights: u32) -> Vec<Case> {
    let mut rng = StdRng::seed_from_u64(u64::from(weights));
    let mut cases = Vec::new();
    for _ in 0..400 {
        let shards: Vec<ShardId> = (1..=rng.random_range(0..70)).map(ShardId).collect();
        let least = u32::from(weights == 1);
        let mut orders: Vec<OrderView> = (2..2 + rng.random_range(0..9))
            .map(|id| OrderView { id: OrderId(id), weight: rng.random_range(least..=weights) })
            .collect();
        orders.retain(|_| rng.random_ratio(9, 10));
        // Up to three that are gone by now, and nobody.
        let owners = rng.random_range(1..=13);
        let owner = |_| match rng.random_range(0..=owners) {
            0 => OrderId::NONE,
            id => OrderId(id + 1),
        };
        let current = shards.iter().map(owner).collect();
        cases.push(Case { shards, orders, current });
    }
    cases
}

fn all_cases() -> impl Iterator<Item = Case> {
    [1, 2, 7].into_iter().flat_map(cases)
}

fn every_shard_has_an_owner_that_takes_shards(placement: &dyn Placement) -> Result<(), Broken> {
    for case in all_cases() {
        let owners = case.answer(placement);
        ensure_eq!(owners.len(), case.shards.len(), "owners for {case:?}");
        let takes = |id: &OrderId| case.orders.iter().any(|order| order.id == *id && order.weight > 0);
        let wrong = match case.weight() {
            0 => owners.iter().find(|owner| !owner.is_none()),
            _ => owners.iter().find(|owner| !takes(owner)),
        };
        ensure_eq!(wrong, None, "an owner that takes no shards, for {case:?}");
    }
    Ok(())
}

fn shares_follow_the_weights(placement: &dyn Placement) -> Result<(), Broken> {
    for case in all_cases().filter(|case| case.weight() > 0) {
        let owned = count(&case.answer(placement));
        for order in &case.orders {
            let (share, total) = (case.shards.len() as u64 * u64::from(order.weight), case.weight());
            let has = owned.get(&order.id).copied().unwrap_or(0) as u64;
            ensure!(
                has == share / total || has == share.div_ceil(total),
                "order {} has {has} shards, its share is {share}/{total}, for {case:?}",
                order.id
            );
        }
    }
    Ok(())
}

/// Given how many each order ends with, a shard moves only from who has too many, or from nobody.
fn nothing_moves_that_need_not(placement: &dyn Placement) -> Result<(), Broken> {
    for case in all_cases().filter(|case| case.weight() > 0) {
        let owners = case.answer(placement);
        let (before, after) = (count(&case.current), count(&owners));
        let must: usize = before
            .iter()
            .map(|(order, had)| had.saturating_sub(after.get(order).copied().unwrap_or(0)))
            .sum();
        let moved = case.current.iter().zip(&owners).filter(|(old, new)| old != new).count();
        ensure_eq!(moved, must, "moves for {case:?}, answered {owners:?}");
    }
    Ok(())
}

/// Where all weigh the same, who may have one more than others is a choice: those who have it keep it.
fn equal_orders_keep_as_much_as_they_can(placement: &dyn Placement) -> Result<(), Broken> {
    for case in cases(1).into_iter().filter(|case| !case.orders.is_empty()) {
        let owners = case.answer(placement);
        let kept = case.current.iter().zip(&owners).filter(|(old, new)| old == new).count();
        let (each, more) = (case.shards.len() / case.orders.len(), case.shards.len() % case.orders.len());
        let held = count(&case.current);
        let held = case.orders.iter().map(|order| held.get(&order.id).copied().unwrap_or(0));
        let (small, large): (usize, usize) = held
            .fold((0, 0), |(small, large), held| (small + held.min(each), large + usize::from(held > each)));
        ensure_eq!(kept, small + large.min(more), "shards that stay, for {case:?}");
    }
    Ok(())
}

fn what_is_settled_stays(placement: &dyn Placement) -> Result<(), Broken> {
    for case in all_cases() {
        let settled = case.answer(placement);
        let again = Case { current: settled.clone(), ..case };
        ensure_eq!(again.answer(placement), settled, "the answer to its own answer, of {again:?}");
    }
    Ok(())
}

fn the_same_question_has_the_same_answer(placement: &dyn Placement) -> Result<(), Broken> {
    let answers: Vec<_> = all_cases().map(|case| case.answer(placement)).collect();
    for (case, answer) in all_cases().zip(answers) {
        ensure_eq!(case.answer(placement), answer, "the answer to {case:?}, asked again");
    }
    Ok(())
}

fn the_listing_of_the_orders_decides_nothing(placement: &dyn Placement) -> Result<(), Broken> {
    let mut rng = StdRng::seed_from_u64(3);
    for case in all_cases() {
        let mut other = case.clone();
        other.orders.shuffle(&mut rng);
        ensure_eq!(other.answer(placement), case.answer(placement), "the answer to {other:?}");
    }
    Ok(())
}

fn odd_questions_are_answered_too(placement: &dyn Placement) -> Result<(), Broken> {
    let shards: Vec<ShardId> = (1..=20).map(ShardId).collect();
    let heavy = |id| OrderView { id: OrderId(id), weight: u32::MAX };
    let orders: Vec<OrderView> = (2..40).map(heavy).collect();
    let two = orders.iter().copied().take(2).collect::<Vec<_>>();
    for (orders, current) in [
        (orders.clone(), vec![OrderId::NONE; 20]),
        (orders, vec![OrderId(2); 20]),
        (two.clone(), vec![]),
        (two.clone(), vec![OrderId(3); 7]),
        (two.clone(), vec![OrderId(3); 90]),
        (two, vec![OrderId(u64::MAX); 20]),
        (vec![heavy(u64::MAX)], vec![OrderId::CONTROL; 20]),
    ] {
        let case = Case { shards: shards.clone(), orders, current };
        let owners = case.answer(placement);
        ensure_eq!(owners.len(), shards.len(), "owners for {case:?}");
        let known = |owner: &OrderId| case.orders.iter().any(|order| order.id == *owner);
        ensure!(owners.iter().all(known), "an owner nobody named, for {case:?}: {owners:?}");
    }
    Ok(())
}
