//! What an operator leaves open who has a shard split: at which slot, and where the new one shall be.

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::migration::Split;
use shardbearer_core::slots::{SLOTS, Slots};
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb::move_request;

use super::Cluster;

/// A split that leaves nothing open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    /// The shard that is divided, and where.
    pub(super) split: Split,
    /// The order of the new one.
    pub(super) to: OrderId,
}

/// Decides by what is known here. An error is a sentence.
pub(super) fn decide(cluster: &Cluster, asked: &move_request::Split) -> Result<Decided, String> {
    let topology = cluster.map.topology();
    let parent = ShardId(asked.shard);
    let at = match asked.at {
        0 => middle(&topology, parent)?,
        at => match u16::try_from(at) {
            Ok(at) if usize::from(at) < SLOTS => at,
            Ok(_) | Err(_) => {
                return Err(format!("there are {SLOTS} slots, 0 to {}, and no {at}", SLOTS - 1));
            }
        },
    };
    let to = match asked.to {
        0 => least(&topology, parent, |shard| {
            let load = cluster.peers.load(shard).unwrap_or_default();
            load.reads.saturating_add(load.writes)
        })
        .ok_or_else(|| "there is no order that takes shards".to_owned())?,
        to => OrderId(to),
    };
    Ok(Decided { split: Split { parent, at }, to })
}

/// The slot in the middle of a shard.
fn middle(topology: &Topology, shard: ShardId) -> Result<u16, String> {
    let position =
        |shards: &[shardbearer_core::topology::Shard]| shards.iter().position(|one| one.id == shard);
    let mut tables = topology.tables.iter();
    let found = tables.find_map(|table| Some((table, position(&table.shards)?)));
    let (table, position) = found.ok_or_else(|| format!("there is no shard {shard}"))?;
    let slots = Slots::parse(&table.scheme).ok_or_else(|| {
        format!("table {} is sharded by {:?}; only slots can be split", table.name, table.scheme)
    })?;
    let range = slots.slots_of(position);
    Ok(range.start.midpoint(range.end) as u16)
}

/// The order that has the least to do for its share of the shards, and then the fewest of them. Of equals rather another than the
/// one that has the shard.
fn least(topology: &Topology, parent: ShardId, requests: impl Fn(ShardId) -> u64) -> Option<OrderId> {
    let own = topology.owner_of(parent);
    let policy = &topology.policy;
    let takes =
        |order: OrderId| !order.is_control() && !policy.removing.contains(&order) && policy.weight(order) > 0;
    let orders = topology.orders.iter().map(|order| order.id).filter(|order| takes(*order));
    orders.min_by_key(|order| {
        let shards = topology.shards_of(*order);
        let weight = u64::from(policy.weight(*order)).max(1);
        let share = |count: u64| count.saturating_mul(1_000) / weight;
        let busy = share(shards.iter().map(|shard| requests(*shard)).sum());
        (busy, share(shards.len() as u64), own == Some(*order), *order)
    })
}

#[cfg(test)]
mod tests {
    use shardbearer_core::topology::{Order, Shard, Table};

    use super::*;

    fn topology() -> Topology {
        let order = |id| Order { id: OrderId(id), ..Order::default() };
        let shard = |id, order| Shard { id: ShardId(id), order: OrderId(order) };
        let (name, scheme) = ("default".to_owned(), "slots:16384/3+100".to_owned());
        let shards = vec![shard(1, 2), shard(4, 3), shard(2, 3), shard(3, 2)];
        Topology {
            orders: [1, 2, 3, 4].map(order).into(),
            tables: vec![Table { name, scheme, shards, ..Table::default() }],
            ..Topology::default()
        }
    }

    #[test]
    fn what_is_left_open_is_the_middle_and_whoever_has_least_to_do() {
        let mut topology = topology();
        let middles = [1, 4, 2, 3].map(|shard| middle(&topology, ShardId(shard)));
        assert_eq!(middles, [Ok(50), Ok(2_780), Ok(8_191), Ok(13_653)]);
        assert_eq!(middle(&topology, ShardId(5)), Err("there is no shard 5".into()));
        topology.tables[0].scheme = "ranges".into();
        assert!(middle(&topology, ShardId(1)).is_err_and(|why| why.contains("only slots")));

        let to = |topology: &Topology, busy: u64| {
            least(topology, ShardId(1), |shard| if shard == ShardId(busy) { 9 } else { 1 })
        };
        assert_eq!(to(&topology, 1), Some(OrderId(4)), "it has none");
        topology.policy.removing.insert(OrderId(4));
        assert_eq!(to(&topology, 1), Some(OrderId(3)));
        assert_eq!(to(&topology, 2), Some(OrderId(2)), "busy elsewhere, so its own");
        assert_eq!(to(&topology, 9), Some(OrderId(3)), "of equals rather another");
        topology.policy.removing.extend([OrderId(2), OrderId(3)]);
        assert_eq!(to(&topology, 9), None);
    }
}
