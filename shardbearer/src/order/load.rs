//! How much each shard is read and written at its herald: counted with every request, and told as rates that are smoothed
//! over some seconds, so that a burst is no reason to move anything. And how long clients' writes take there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use shardbearer_core::ids::ShardId;
use shardbearer_core::kv::Item;

/// What is this old counts about a third.
const WINDOW_S: f64 = 10.0;

/// Shorter than this says nothing yet: whoever has just begun to lead would make a busy shard look idle.
const MEASURED_S: f64 = 3.0;

/// Between two samples at least.
const SAMPLE_S: f64 = 0.5;

/// After such a gap the lead was somebody else's, and what was measured before says nothing.
const GAP_S: f64 = 5.0;

/// Reads and writes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rates {
    /// Commands that only read.
    pub reads: u64,
    /// The others.
    pub writes: u64,
}

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// A shard when it was looked at last.
#[derive(Clone, Copy, Default)]
struct Sample {
    at_ns: u64,
    since_ns: u64,
    reads: u64,
    writes: u64,
    reads_per_s: f64,
    writes_per_s: f64,
}

/// How long calls took together, in microseconds, and how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Took {
    /// Microseconds.
    pub us: u64,
    /// Calls.
    pub calls: u64,
}

/// The shards of one order.
#[derive(Default)]
pub(super) struct Meter {
    counts: RwLock<BTreeMap<ShardId, Arc<Counts>>>,
    samples: Mutex<BTreeMap<ShardId, Sample>>,
    writes: Mutex<Took>,
}

impl Meter {
    /// Counts what is asked of the shards.
    pub(super) fn count(&self, items: &[Item]) {
        for item in items {
            let known = self.counts.read().get(&item.shard).cloned();
            let counts = known.unwrap_or_else(|| self.counts.write().entry(item.shard).or_default().clone());
            let counter = if item.command.is_write() { &counts.writes } else { &counts.reads };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes in how long a write of clients took.
    pub(super) fn wrote(&self, us: u64) {
        let mut writes = self.writes.lock();
        (writes.us, writes.calls) = (writes.us.saturating_add(us), writes.calls + 1);
    }

    /// How long writes took since this was asked last.
    pub(super) fn take_writes(&self) -> Took {
        std::mem::take(&mut *self.writes.lock())
    }

    /// A shard's rates; `None` as long as it was not watched for long enough. To be asked about once a second.
    pub(super) fn rates(&self, shard: ShardId, now_ns: u64) -> Option<Rates> {
        let counts = self.counts.read().get(&shard).cloned().unwrap_or_default();
        let (reads, writes) = (counts.reads.load(Ordering::Relaxed), counts.writes.load(Ordering::Relaxed));
        let mut samples = self.samples.lock();
        let fresh = Sample { at_ns: now_ns, since_ns: now_ns, reads, writes, ..Sample::default() };
        let sample = samples.entry(shard).or_insert(fresh);
        let seconds = |since_ns: u64| now_ns.saturating_sub(since_ns) as f64 / 1e9;
        let passed = seconds(sample.at_ns);
        if passed > GAP_S {
            *sample = fresh;
        } else if passed >= SAMPLE_S {
            // The first samples count in full, so that a new herald need not wait for the whole window.
            let weight =
                (1.0 - (-passed / WINDOW_S).exp()).max(passed / seconds(sample.since_ns).max(passed));
            let smooth = |rate: f64, count: u64| rate + weight * (count as f64 / passed - rate);
            sample.reads_per_s = smooth(sample.reads_per_s, reads.saturating_sub(sample.reads));
            sample.writes_per_s = smooth(sample.writes_per_s, writes.saturating_sub(sample.writes));
            (sample.at_ns, sample.reads, sample.writes) = (now_ns, reads, writes);
        }
        (seconds(sample.since_ns) >= MEASURED_S).then_some(Rates {
            reads: sample.reads_per_s.round() as u64,
            writes: sample.writes_per_s.round() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shardbearer_core::kv::Command;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn items(shard: u64, reads: usize, writes: usize) -> Vec<Item> {
        let key = Bytes::from_static(b"k");
        let item = |command| Item::of(ShardId(shard), command);
        let mut items = vec![item(Command::Get { key: key.clone() }); reads];
        items.extend(vec![item(Command::Increment { key, by: 1 }); writes]);
        items
    }

    #[test]
    fn rates_are_told_once_they_mean_something_and_forgotten_after_a_gap() {
        let meter = Meter::default();
        let shard = ShardId(7);
        for second in 0..3 {
            assert_eq!(meter.rates(shard, second * SECOND), None, "second {second}");
            meter.count(&items(7, 100, 20));
            meter.count(&items(8, 1, 1));
        }
        assert_eq!(meter.rates(shard, 3 * SECOND), Some(Rates { reads: 100, writes: 20 }));
        // A burst of one second is a tenth of it.
        meter.count(&items(7, 1_100, 20));
        let rates = meter.rates(shard, 4 * SECOND).expect("measured");
        assert!((200..400).contains(&rates.reads) && rates.writes == 20, "{rates:?}");
        // Idle, it fades.
        let idle = (5..60).map(|second| meter.rates(shard, second * SECOND)).last().flatten();
        assert!(idle.is_some_and(|rates| rates.reads <= 3 && rates.writes == 0), "{idle:?}");
        assert_eq!(meter.rates(shard, 90 * SECOND), None, "somebody else led meanwhile");
    }
}
