//! A log is purged only behind what the data hold durably: what of it a crash takes from the data is still in the log.

use bytes::{Buf, Bytes};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::LogPos;
use shardbearer_core::storage::Space;

use super::Invariant;
use crate::cluster::Cluster;

/// See `order/applier.rs`.
const APPLIED: &[u8] = b"\xffapplied";

pub struct Purged;

impl Invariant for Purged {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            for order in cluster.orders() {
                let rows = machine.disk.rows_of(order);
                // Otherwise the seat was given up, and the log is about to be dropped, too.
                if !rows.get(&Space::Order(order)).is_some_and(|rows| rows.contains_key(APPLIED)) {
                    continue;
                }
                let (purged, _) = machine.disk.durable_log_of(order);
                let row = machine.disk.durable_row_of(order, APPLIED);
                let applied = row.map_or(LogPos::default(), position);
                if purged.index > applied.index {
                    return Err(behind(order, &machine.name, purged, applied));
                }
            }
        }
        Ok(())
    }
}

fn behind(order: OrderId, name: &str, purged: LogPos, applied: LogPos) -> String {
    let (purged, applied) = (purged.index, applied.index);
    format!("order {order} on {name}: the log is purged up to {purged}, the data are durable up to {applied}")
}

/// A version, a checksum, the term, the index.
fn position(mut row: Bytes) -> LogPos {
    row.advance(5);
    LogPos { term: row.get_u64(), index: row.get_u64() }
}
