//! Replicas that applied the same position hold the same rows.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use shardbearer_core::ids::OrderId;
use shardbearer_core::kv::Standing;
use shardbearer_core::storage::Space;
use shardbearer_sim::disk::storage::Rows;
use shardbearer_state::keys;

use super::Invariant;
use crate::cluster::Cluster;
use crate::machine::Machine;

pub struct SameRows;

impl Invariant for SameRows {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        positions(cluster).map(drop)
    }
}

/// How many positions each order stands at; an error says which replicas stand at the same and differ.
pub fn positions(cluster: &Cluster) -> Result<BTreeMap<OrderId, usize>, String> {
    let mut positions = BTreeMap::new();
    for order in cluster.orders() {
        let mut standing: BTreeMap<Bytes, (&str, u64)> = BTreeMap::new();
        for machine in &cluster.machines {
            let Some((position, rows)) = digest(machine, order) else { continue };
            let (other, expected) = *standing.entry(position).or_insert((&machine.name, rows));
            if expected != rows {
                return Err(format!(
                    "order {order}: {other} and {} applied the same and differ",
                    machine.name
                ));
            }
        }
        positions.insert(order, standing.len());
    }
    Ok(positions)
}

/// The applied position of an order on a machine, and a digest of its rows; `None` where it has none, or where an image is
/// just taking their place.
fn digest(machine: &Machine, order: OrderId) -> Option<(Bytes, u64)> {
    let spaces = machine.disk.rows_of(order);
    let mut position = None;
    let mut digest = DefaultHasher::new();
    for (space, rows) in spaces.iter().filter(|(space, _)| !is_left_over(**space, &spaces)) {
        for (key, value) in rows.iter() {
            // The applier's own rows, see `order/applier.rs`: of them only the position is the same everywhere.
            match (space, key.as_ref()) {
                (Space::Order(_), b"\xffinstalling") => return None,
                (Space::Order(_), b"\xffapplied") => position = Some(value.clone()),
                (Space::Order(_), [0xff, ..]) => {}
                _ => (space, key, value).hash(&mut digest),
            }
        }
    }
    Some((position?, digest.finish()))
}

/// Whether the order has given these rows up, as its record of the shard says. They are dropped after the commit that says so, and
/// after a crash in between when the radiant is back: at the same position one may have dropped them, and another not yet.
fn is_left_over(space: Space, spaces: &BTreeMap<Space, Arc<Rows>>) -> bool {
    let Space::Shard { order, shard, generation } = space else { return false };
    let record = spaces.get(&Space::Order(order)).and_then(|rows| rows.get(&keys::shard_meta(shard)));
    let meta = record.and_then(|row| keys::decode_meta(row));
    meta.is_some_and(|meta| meta.standing == Standing::Gone || meta.generation != generation)
}
