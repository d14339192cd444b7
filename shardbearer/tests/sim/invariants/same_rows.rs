//! Replicas that applied the same position hold the same rows.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use shardbearer_core::ids::OrderId;
use shardbearer_core::storage::Space;

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
    for (space, rows) in &spaces {
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
