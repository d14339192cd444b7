//! Latencies and what is said about them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::driver::{Kind, Op};

/// Longest latency that is told apart, in microseconds.
const MOST_US: u64 = 120_000_000;

/// What one client, or all of them, have seen.
pub(super) struct Tally {
    pub(super) reads: Histogram<u64>,
    pub(super) writes: Histogram<u64>,
    pub(super) errors: u64,
    pub(super) given_up: u64,
    pub(super) last_error: Option<String>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { reads: empty(), writes: empty(), errors: 0, given_up: 0, last_error: None }
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MOST_US, 3).expect("the bounds are constants in range")
}

impl Tally {
    /// Notes that all of these took so long.
    pub(super) fn record(&mut self, ops: &[Op], took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(MOST_US);
        for op in ops {
            match op.kind {
                Kind::Read => self.reads.saturating_record(us),
                Kind::Write => self.writes.saturating_record(us),
            }
        }
    }

    /// Notes that so many failed.
    pub(super) fn fail(&mut self, ops: usize, why: String) {
        self.errors += ops as u64;
        self.last_error = Some(why);
    }

    /// Takes another one's in.
    pub(super) fn add(&mut self, other: &Tally) {
        self.reads += &other.reads;
        self.writes += &other.writes;
        self.errors += other.errors;
        self.given_up += other.given_up;
        self.last_error = other.last_error.clone().or(self.last_error.take());
    }

    /// Reads and writes together.
    pub(super) fn all(&self) -> Histogram<u64> {
        let mut all = self.reads.clone();
        all += &self.writes;
        all
    }
}

/// Throughput and latency of one kind of operations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Part {
    /// How many were finished.
    pub ops: u64,
    /// A second.
    pub ops_per_second: f64,
    /// Half of them took at most so many microseconds; the next three likewise.
    pub p50_us: u64,
    /// 95 %.
    pub p95_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p999_us: u64,
    /// All.
    pub max_us: u64,
}

impl Part {
    pub(super) fn new(histogram: &Histogram<u64>, seconds: f64) -> Part {
        Part {
            ops: histogram.len(),
            ops_per_second: histogram.len() as f64 / seconds.max(0.001),
            p50_us: histogram.value_at_quantile(0.5),
            p95_us: histogram.value_at_quantile(0.95),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let op = |kind| Op { kind, key: "k".into() };
        let (mut one, mut two) = (Tally::default(), Tally::default());
        for us in 1..=1000 {
            one.record(&[op(Kind::Read), op(Kind::Write)], Duration::from_micros(us));
        }
        two.fail(3, "gone".into());
        two.add(&one);
        let all = Part::new(&two.all(), 2.0);
        assert_eq!((all.ops, all.ops_per_second), (2000, 1000.0));
        assert_eq!((all.p50_us, all.p99_us, all.max_us), (500, 990, 1000));
        assert_eq!((two.reads.len(), two.errors, two.last_error.as_deref()), (1000, 3, Some("gone")));
    }
}
