//! Even placement with the fewest moves: every order gets its share by weight within one shard, and a
//! shard moves only if it must.

use std::collections::{BTreeMap, BTreeSet};

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::placement::{OrderView, Placement};

/// Even within one shard per weight; ties are broken by id. See [`assign`].
pub struct Even;

impl Placement for Even {
    fn assign(&self, shards: &[ShardId], orders: &[OrderView], current: &[OrderId]) -> Vec<OrderId> {
        assign(shards, orders, &BTreeMap::new(), current)
    }
}

/// The same with shards that belong to a certain order, whatever its share is. A pin to an order that is not there
/// counts for nothing.
pub fn assign(
    shards: &[ShardId],
    orders: &[OrderView],
    pins: &BTreeMap<ShardId, OrderId>,
    current: &[OrderId],
) -> Vec<OrderId> {
    let ids: BTreeSet<OrderId> = orders.iter().map(|order| order.id).collect();
    let known = |order: &OrderId| ids.contains(order);
    let pinned: Vec<Option<OrderId>> =
        shards.iter().map(|shard| pins.get(shard).copied().filter(known)).collect();
    let mut owners: Vec<OrderId> = pinned.iter().map(|pin| pin.unwrap_or(OrderId::NONE)).collect();
    let present: Vec<OrderId> =
        pinned.iter().zip(current).map(|(pin, present)| pin.unwrap_or(*present)).collect();
    let mut room = quotas(orders, &owners, &present);
    // What may stay, stays: up to the quota, in the order of the shards.
    for (owner, present) in owners.iter_mut().zip(&present).filter(|(owner, _)| owner.is_none()) {
        if let Some(left) = room.get_mut(present)
            && *left > 0
        {
            *left -= 1;
            *owner = *present;
        }
    }
    let mut free = room.into_iter().flat_map(|(order, left)| std::iter::repeat_n(order, left));
    for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
        *owner = free.next().unwrap_or(OrderId::NONE);
    }
    owners
}

/// How many of the shards that are not pinned each order gets. An order whose pins alone are its share or more gets
/// none, and the others share what is left.
fn quotas(orders: &[OrderView], pinned: &[OrderId], present: &[OrderId]) -> BTreeMap<OrderId, usize> {
    let (pins, held) = (tally(pinned), tally(present));
    let count = |owners: &BTreeMap<OrderId, usize>, order: OrderId| owners.get(&order).copied().unwrap_or(0);
    let mut sharing: Vec<OrderView> = orders.iter().copied().filter(|order| order.weight > 0).collect();
    loop {
        let ids: BTreeSet<OrderId> = sharing.iter().map(|order| order.id).collect();
        let elsewhere: usize = pins
            .iter()
            .filter(|(owner, _)| !owner.is_none() && !ids.contains(owner))
            .map(|(_, shards)| shards)
            .sum();
        let shares = shares(pinned.len() - elsewhere, &sharing, |order| count(&held, order));
        let before = sharing.len();
        let full = |order: &OrderView| count(&pins, order.id) > shares.get(&order.id).copied().unwrap_or(0);
        sharing.retain(|order| !full(order));
        if sharing.len() == before {
            return shares.into_iter().map(|(id, share)| (id, share - count(&pins, id))).collect();
        }
    }
}

/// How many shards each order has.
fn tally(owners: &[OrderId]) -> BTreeMap<OrderId, usize> {
    let mut shards = BTreeMap::new();
    owners.iter().for_each(|owner| *shards.entry(*owner).or_default() += 1);
    shards
}

/// How many shards each order gets. The remainder goes to the largest fractions; among equals to those that have one
/// more already, because that saves moves, then to the lowest ids.
fn shares(shards: usize, orders: &[OrderView], held: impl Fn(OrderId) -> usize) -> BTreeMap<OrderId, usize> {
    let total: u64 = orders.iter().map(|order| u64::from(order.weight)).sum();
    let mut shares = BTreeMap::new();
    if total == 0 {
        return shares;
    }
    let mut rest = shards;
    let mut by_fraction = Vec::new();
    for order in orders {
        let share = shards as u64 * u64::from(order.weight);
        let whole = (share / total) as usize; // at most `shards`
        shares.insert(order.id, whole);
        rest -= whole;
        by_fraction.push((
            std::cmp::Reverse(share % total),
            std::cmp::Reverse(held(order.id) > whole),
            order.id,
        ));
    }
    by_fraction.sort_unstable();
    for (_, _, id) in by_fraction.into_iter().take(rest) {
        shares.entry(id).and_modify(|share| *share += 1);
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn views(weights: &[u32]) -> Vec<OrderView> {
        weights
            .iter()
            .enumerate()
            .map(|(i, weight)| OrderView { id: OrderId(i as u64 + 2), weight: *weight })
            .collect()
    }

    fn shards(count: usize) -> Vec<ShardId> {
        (1..=count as u64).map(ShardId).collect()
    }

    fn count(owners: &[OrderId], order: OrderId) -> usize {
        owners.iter().filter(|owner| **owner == order).count()
    }

    #[test]
    fn no_orders_leave_everything_unassigned() {
        assert_eq!(Even.assign(&shards(3), &[], &[OrderId(2); 3]), vec![OrderId::NONE; 3]);
    }

    proptest! {
        #[test]
        fn even_total_and_no_needless_move(
            count_shards in 0usize..80,
            before in 1usize..9,
            after in 1usize..9,
        ) {
            let shards = shards(count_shards);
            let first = Even.assign(&shards, &views(&vec![1; before]), &vec![OrderId::NONE; count_shards]);
            let orders = views(&vec![1; after]);
            let second = Even.assign(&shards, &orders, &first);
            let counts: Vec<usize> = orders.iter().map(|order| count(&second, order.id)).collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), count_shards, "every shard has a living owner");
            let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
            prop_assert!(most - least <= 1, "{counts:?}");
            // The fewest moves that reach these counts: what each order holds beyond them must go, and no more.
            let must: usize = (2..2 + before as u64)
                .map(|id| count(&first, OrderId(id)).saturating_sub(count(&second, OrderId(id))))
                .sum();
            let moved = first.iter().zip(&second).filter(|(a, b)| a != b).count();
            prop_assert_eq!(moved, must);
            prop_assert_eq!(Even.assign(&shards, &orders, &second), second, "settled means settled");
        }
    }
}
