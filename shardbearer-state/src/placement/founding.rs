//! The first configuration of a cluster: who sits in which order, who leads, who owns what.

use shardbearer_core::ids::{ClusterId, Epoch, OrderId, RadiantId, ShardId, TableId};
use shardbearer_core::placement::{OrderView, Placement, ShardingScheme};
use shardbearer_core::topology::{Order, Radiant, Shard, Table, Topology};

use super::{Even, Slots};

/// What a founder has to say about the cluster to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Drawn at random.
    pub cluster: ClusterId,
    /// The founders; their ids are given here, by name.
    pub founders: Vec<Radiant>,
    /// Data orders; 0 means one per founder.
    pub orders: usize,
    /// Members of each, at most the number of founders.
    pub replication: usize,
    /// Engine of all orders.
    pub engine: String,
    /// How keys of the default table map to shards.
    pub scheme: Slots,
    /// Decides which members lead at first; any number.
    pub draw: u64,
}

/// Builds the first configuration, epoch 1. Members and heralds are spread evenly over the founders;
/// which of the even spreads it is depends on the draw.
pub fn found(founding: Founding) -> Topology {
    let mut radiants = founding.founders;
    radiants.sort_by(|a, b| a.name.cmp(&b.name));
    for (id, radiant) in (1..).zip(&mut radiants) {
        radiant.id = RadiantId(id);
    }
    let count = radiants.len();
    if count == 0 {
        return Topology { cluster: founding.cluster, epoch: Epoch(1), ..Topology::default() };
    }
    let seats = match count {
        1..=2 => count,
        3..=8 => 3,
        _ => 5,
    };
    let start = (founding.draw % count as u64) as usize;
    // Order `i` sits on the `size` radiants from `start + i` on, and the first of them leads: with as many orders as
    // radiants each leads exactly one.
    let order = |id: OrderId, i: usize, size: usize| {
        let member = |step: usize| RadiantId(((start + i + step) % count) as u64 + 1);
        let mut members: Vec<RadiantId> = (0..size.clamp(1, count)).map(member).collect();
        let preferred_herald = members[0];
        members.sort_unstable();
        Order { id, engine: founding.engine.clone(), members, preferred_herald }
    };
    let data_orders = if founding.orders == 0 { count } else { founding.orders };
    let mut orders = vec![order(OrderId::CONTROL, 0, seats)];
    orders.extend((0..data_orders).map(|i| order(OrderId(i as u64 + 2), i, founding.replication)));

    let shards: Vec<ShardId> = (1..=founding.scheme.shards() as u64).map(ShardId).collect();
    let views: Vec<OrderView> =
        orders.iter().skip(1).map(|order| OrderView { id: order.id, weight: 1 }).collect();
    let owners = Even.assign(&shards, &views, &vec![OrderId::NONE; shards.len()]);
    let table = Table {
        id: TableId::DEFAULT,
        name: "default".into(),
        scheme: founding.scheme.describe(),
        shards: shards.into_iter().zip(owners).map(|(id, order)| Shard { id, order }).collect(),
    };
    Topology { cluster: founding.cluster, epoch: Epoch(1), radiants, orders, tables: vec![table] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founded(count: usize, draw: u64) -> Topology {
        let founder = |i: usize| Radiant { name: format!("r{i}"), ..Radiant::default() };
        found(Founding {
            cluster: ClusterId(7),
            founders: (0..count).map(founder).collect(),
            orders: 0,
            replication: 3,
            engine: "openraft".into(),
            scheme: Slots::new(64).expect("within bounds"),
            draw,
        })
    }

    #[test]
    fn heralds_and_members_are_even_whatever_is_drawn() {
        for count in [1, 3, 5, 7, 9] {
            for draw in 0..20 {
                let topology = founded(count, draw);
                assert_eq!(topology.orders.len(), count + 1);
                for radiant in &topology.radiants {
                    let data = || topology.orders.iter().filter(|order| !order.id.is_control());
                    assert_eq!(data().filter(|order| order.preferred_herald == radiant.id).count(), 1);
                    let seats = data().filter(|order| order.members.contains(&radiant.id)).count();
                    assert_eq!(seats, 3.min(count), "{count} radiants, draw {draw}");
                }
                let shards: usize =
                    topology.orders.iter().map(|order| topology.shards_of(order.id).len()).sum();
                assert_eq!(shards, 64);
            }
        }
    }
}
