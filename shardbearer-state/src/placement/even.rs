//! Even placement with the fewest moves: every order gets its share by weight within one shard, and a
//! shard moves only if it must.

use std::collections::BTreeMap;

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::placement::{OrderView, Placement};

/// Even within one shard per weight; ties are broken by id.
pub struct Even;

impl Placement for Even {
    fn assign(&self, shards: &[ShardId], orders: &[OrderView], current: &[OrderId]) -> Vec<OrderId> {
        let quotas = quotas(shards.len(), orders, current);
        let mut room = quotas;
        let mut owners = vec![OrderId::NONE; shards.len()];
        // What may stay, stays: up to the quota, in the order of the shards.
        for (owner, present) in owners.iter_mut().zip(current) {
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
}

/// How many shards each order gets. The remainder goes to the largest fractions; among equals to those that have one
/// more already, because that saves moves, then to the lowest ids.
fn quotas(shards: usize, orders: &[OrderView], current: &[OrderId]) -> BTreeMap<OrderId, usize> {
    let total: u64 = orders.iter().map(|order| u64::from(order.weight)).sum();
    let mut quotas = BTreeMap::new();
    if total == 0 {
        return quotas;
    }
    let mut rest = shards;
    let mut by_fraction = Vec::new();
    for order in orders.iter().filter(|order| order.weight > 0) {
        let share = shards as u64 * u64::from(order.weight);
        let whole = (share / total) as usize; // at most `shards`
        let held = current.iter().filter(|owner| **owner == order.id).count();
        quotas.insert(order.id, whole);
        rest -= whole;
        by_fraction.push((std::cmp::Reverse(share % total), std::cmp::Reverse(held > whole), order.id));
    }
    by_fraction.sort_unstable();
    for (_, _, id) in by_fraction.into_iter().take(rest) {
        quotas.entry(id).and_modify(|quota| *quota += 1);
    }
    quotas
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
