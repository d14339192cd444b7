//! What is acknowledged is on the disks of a majority of the order's members, before the answer leaves.

use std::sync::Arc;

use shardbearer_core::ids::OrderId;
use shardbearer_core::log::LogPos;
use shardbearer_sim::disk::Disk;

/// Where every disk's log of an order was purged up to, to be asked before a proposal; what is purged later may have
/// held it.
pub fn purged(disks: &[Arc<Disk>], order: OrderId) -> Vec<LogPos> {
    disks.iter().map(|disk| disk.durable_log_of(order).0).collect()
}

/// Whether an acknowledged entry is durable on enough disks.
pub fn check(
    disks: &[Arc<Disk>],
    order: OrderId,
    members: usize,
    entry: &[u8],
    before: &[LogPos],
) -> Result<(), String> {
    let holds = |(disk, before): &(&Arc<Disk>, &LogPos)| {
        let (purged, records) = disk.durable_log_of(order);
        // Engines put something of theirs around the entry.
        let found = records.iter().rev().any(|record| contains(&record.payload, entry));
        found || purged > **before
    };
    let holding = disks.iter().zip(before).filter(holds).count();
    // While members change there may be one more than the majority is counted of.
    if holding >= members.div_ceil(2) {
        return Ok(());
    }
    Err(format!("order {order}: a write was acknowledged that is durable on {holding} of {members} members"))
}

fn contains(payload: &[u8], entry: &[u8]) -> bool {
    // Mostly at one of the ends.
    payload.ends_with(entry) || payload.windows(entry.len().max(1)).any(|window| window == entry)
}
