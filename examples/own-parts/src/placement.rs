//! Who owns which shard: everybody a share by weight, and nothing moves that need not.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::placement::{OrderView, Placement};

/// Gives each order its share, rounded: up for those with the largest remainders, among equals for those that have more already.
pub struct Fair;

impl Placement for Fair {
    fn assign(&self, shards: &[ShardId], orders: &[OrderView], current: &[OrderId]) -> Vec<OrderId> {
        let mut room = rooms(shards.len(), orders, current);
        let mut owners = vec![OrderId::NONE; shards.len()];
        // Who has a shard keeps it while there is room.
        for (owner, now) in owners.iter_mut().zip(current) {
            if let Some(left) = room.get_mut(now).filter(|left| **left > 0) {
                *left -= 1;
                *owner = *now;
            }
        }
        let mut free = room.into_iter().flat_map(|(order, left)| std::iter::repeat_n(order, left));
        owners.iter_mut().filter(|owner| owner.is_none()).for_each(|owner| {
            *owner = free.next().unwrap_or(OrderId::NONE);
        });
        owners
    }
}

/// How many shards each order gets.
fn rooms(shards: usize, orders: &[OrderView], current: &[OrderId]) -> BTreeMap<OrderId, usize> {
    let total: u128 = orders.iter().map(|order| u128::from(order.weight)).sum();
    if total == 0 {
        return BTreeMap::new();
    }
    let share = |order: &OrderView| shards as u128 * u128::from(order.weight);
    let whole = |order: &OrderView| usize::try_from(share(order) / total).expect("no more than there are");
    let mut rooms: BTreeMap<OrderId, usize> = orders.iter().map(|order| (order.id, whole(order))).collect();
    let rest = shards - rooms.values().sum::<usize>();
    let mut next: Vec<&OrderView> = orders.iter().collect();
    next.sort_by_key(|order| {
        let has = current.iter().filter(|owner| **owner == order.id).count();
        (Reverse(share(order) % total), Reverse(has > whole(order)), order.id)
    });
    next.into_iter().take(rest).for_each(|order| *rooms.entry(order.id).or_default() += 1);
    rooms
}
