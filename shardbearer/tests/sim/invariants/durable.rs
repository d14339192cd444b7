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

/// The members of an order while a proposal was made.
pub struct Members {
    /// As few as there were.
    pub count: usize,
    /// Whether they were being changed: then `count` may be those before and after together, and a majority of each of
    /// both is no majority of all.
    pub changing: bool,
}

impl Members {
    /// How many of them have to hold what is acknowledged.
    fn quorum(&self) -> usize {
        if self.changing { self.count.div_ceil(2) } else { self.count / 2 + 1 }
    }
}

/// Whether an acknowledged entry is durable on enough disks.
pub fn check(
    disks: &[Arc<Disk>],
    order: OrderId,
    members: &Members,
    entry: &[u8],
    before: &[LogPos],
) -> Result<(), String> {
    let seen = disks.iter().zip(before).map(|(disk, before)| {
        let (purged, records) = disk.durable_log_of(order);
        // Engines put something of theirs around the entry.
        let found = records.iter().rev().find(|record| contains(&record.payload, entry));
        Seen { at: found.map(|record| record.position.index), purged: purged.index, before: before.index }
    });
    let holding = holding(&seen.collect::<Vec<_>>());
    if holding >= members.quorum() {
        return Ok(());
    }
    let count = members.count;
    Err(format!("order {order}: a write was acknowledged that is durable on {holding} of {count} members"))
}

/// What a disk has of an entry.
struct Seen {
    at: Option<u64>,
    purged: u64,
    /// Where it was purged up to before the entry was proposed.
    before: u64,
}

/// On how many the entry is, or was until the log let go of it. Where nobody has it any more, whoever let go of anything since
/// may have had it.
fn holding(disks: &[Seen]) -> usize {
    // A request that was sent again is in the log twice.
    let first = disks.iter().filter_map(|seen| seen.at).min();
    let holds = |seen: &&Seen| seen.at.is_some() || seen.purged >= first.unwrap_or(seen.before + 1);
    disks.iter().filter(holds).count()
}

fn contains(payload: &[u8], entry: &[u8]) -> bool {
    // Mostly at one of the ends.
    payload.ends_with(entry) || payload.windows(entry.len().max(1)).any(|window| window == entry)
}

#[test]
fn a_majority_is_more_than_half_unless_members_change() {
    let quorums = |changing| [1, 2, 3, 4, 5].map(|count| Members { count, changing }.quorum());
    assert_eq!(quorums(false), [1, 2, 2, 3, 3]);
    assert_eq!(quorums(true), [1, 1, 2, 2, 3]);
}

#[test]
fn who_let_go_of_less_than_the_entry_has_not_held_it() {
    let seen = |at, purged| Seen { at, purged, before: 10 };
    assert_eq!(
        holding(&[seen(Some(40), 20), seen(None, 39), seen(None, 20)]),
        1,
        "compacted, but never had it"
    );
    assert_eq!(holding(&[seen(Some(40), 20), seen(None, 40), seen(Some(41), 20)]), 3);
    assert_eq!(holding(&[seen(None, 11), seen(None, 10)]), 1, "nobody has it any more");
}
