//! The first configuration of a cluster: who sits in which order, who leads, who owns what.

use shardbearer_core::ids::{ClusterId, Epoch, OrderId, RadiantId, ShardId, TableId};
use shardbearer_core::membership::Roster;
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
    /// Engine of the data orders, where nothing else is said.
    pub engine: String,
    /// Engines of the data orders, given to them in turn; empty means `engine` for all.
    pub engines: Vec<String>,
    /// Of the control order, which has to decide on its own members.
    pub control_engine: String,
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
    let order = |id: OrderId, i: usize, size: usize, engine: &str| {
        let member = |step: usize| RadiantId(((start + i + step) % count) as u64 + 1);
        let mut members: Vec<RadiantId> = (0..size.clamp(1, count)).map(member).collect();
        let preferred_herald = members[0];
        members.sort_unstable();
        let roster = Roster {
            epoch: Epoch(1),
            size: u32::try_from(members.len()).unwrap_or(u32::MAX),
            ..Roster::default()
        };
        Order { id, engine: engine.to_owned(), members, preferred_herald, roster }
    };
    let data_orders = if founding.orders == 0 { count } else { founding.orders };
    let mut orders = vec![order(OrderId::CONTROL, 0, seats, &founding.control_engine)];
    let all_alike = std::slice::from_ref(&founding.engine);
    let engines = if founding.engines.is_empty() { all_alike } else { &founding.engines };
    orders.extend(
        (0..data_orders)
            .zip(engines.iter().cycle())
            .map(|(i, engine)| order(OrderId(i as u64 + 2), i, founding.replication, engine)),
    );

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
    let tables = vec![table];
    Topology { cluster: founding.cluster, epoch: Epoch(1), radiants, orders, tables, ..Topology::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founded(count: usize, replication: usize, orders: usize, draw: u64) -> Topology {
        // Given in another order than that of their names.
        let founder = |i: usize| Radiant { name: format!("r{i}"), ..Radiant::default() };
        found(Founding {
            cluster: ClusterId(7),
            founders: (0..count).rev().map(founder).collect(),
            orders,
            replication,
            engine: "openraft".into(),
            engines: Vec::new(),
            control_engine: "openraft".into(),
            scheme: Slots::new(64).expect("within bounds"),
            draw,
        })
    }

    fn data_orders(topology: &Topology) -> impl Iterator<Item = &Order> {
        topology.orders.iter().filter(|order| !order.id.is_control())
    }

    fn assert_even(counts: impl Iterator<Item = usize>, case: &str) {
        let counts: Vec<usize> = counts.collect();
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "{case}: {counts:?}");
    }

    #[test]
    fn seats_heralds_and_shards_are_even_whatever_is_drawn() {
        for count in 1..=9 {
            for replication in 1..=5 {
                for draw in 0..20 {
                    let topology = founded(count, replication, 0, draw);
                    let case = format!("{count} radiants, {replication} copies, draw {draw}");
                    assert_eq!(topology.orders.len(), count + 1, "{case}");
                    for radiant in &topology.radiants {
                        let leads = data_orders(&topology)
                            .filter(|order| order.preferred_herald == radiant.id)
                            .count();
                        assert_eq!(leads, 1, "{case}");
                        let seats = data_orders(&topology)
                            .filter(|order| order.members.contains(&radiant.id))
                            .count();
                        assert_eq!(seats, replication.min(count), "{case}");
                    }
                    let shards = || data_orders(&topology).map(|order| topology.shards_of(order.id).len());
                    assert_eq!(shards().sum::<usize>(), 64, "{case}");
                    assert_even(shards(), &case);
                }
            }
        }
    }

    #[test]
    fn any_number_of_orders_is_as_even_as_it_can_be() {
        for count in 1..=9 {
            for orders in 1..=20 {
                let topology = founded(count, 3, orders, 5);
                let leads = topology.radiants.iter().map(|radiant| {
                    data_orders(&topology).filter(|order| order.preferred_herald == radiant.id).count()
                });
                assert_even(leads, &format!("{count} radiants, {orders} orders"));
            }
        }
    }

    #[test]
    fn members_are_distinct_radiants_and_one_of_them_leads() {
        for count in 1..=9 {
            let topology = founded(count, 3, 0, 3);
            for order in &topology.orders {
                assert!(order.members.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
                assert!(order.members.iter().all(|member| topology.radiant(*member).is_some()), "{order:?}");
                assert!(order.members.contains(&order.preferred_herald), "{order:?}");
            }
            let control = topology.order(OrderId::CONTROL).expect("there is one").members.len();
            let expected = [1, 2, 3, 3, 3, 3, 3, 3, 5][count - 1];
            assert_eq!(control, expected, "the control order of {count}");
        }
    }

    #[test]
    fn founders_are_numbered_by_name_however_they_are_listed() {
        let topology = founded(4, 3, 0, 1);
        let names: Vec<&str> = topology.radiants.iter().map(|radiant| radiant.name.as_str()).collect();
        assert_eq!(names, ["r0", "r1", "r2", "r3"]);
        assert_eq!(topology.radiants.iter().map(|radiant| radiant.id.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn engines_are_given_to_data_orders_in_turn() {
        let topology = found(Founding {
            cluster: ClusterId(7),
            founders: (0..3).map(|i| Radiant { name: format!("r{i}"), ..Radiant::default() }).collect(),
            orders: 3,
            replication: 3,
            engine: "unused".into(),
            engines: vec!["b".into(), "c".into()],
            control_engine: "a".into(),
            scheme: Slots::new(8).expect("within bounds"),
            draw: 0,
        });
        let engines: Vec<&str> = topology.orders.iter().map(|order| order.engine.as_str()).collect();
        assert_eq!(engines, ["a", "b", "c", "b"]);
    }

    #[test]
    fn draws_differ_and_nobody_is_no_panic() {
        let first = founded(5, 3, 0, 0);
        assert!((1..5).any(|draw| founded(5, 3, 0, draw).orders != first.orders));
        assert!(founded(0, 3, 0, 0).orders.is_empty());
        assert_eq!(founded(3, 0, 0, u64::MAX).orders[1].members.len(), 1, "no copies is one copy");
    }
}
