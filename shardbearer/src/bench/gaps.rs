//! The longest time in which nobody was answered: what clients see of a failure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// All times are microseconds since the beginning.
pub(super) struct Gaps {
    begin: Instant,
    latest: AtomicU64,
    longest: AtomicU64,
}

impl Gaps {
    /// What was finished before `begin` does not count.
    pub(super) fn new(begin: Instant) -> Gaps {
        Gaps { begin, latest: AtomicU64::new(0), longest: AtomicU64::new(0) }
    }

    /// Notes that an operation was finished.
    pub(super) fn finished(&self, at: Instant) {
        let at = micros(at.saturating_duration_since(self.begin));
        let before = self.latest.fetch_max(at, Ordering::Relaxed);
        self.longest.fetch_max(at.saturating_sub(before), Ordering::Relaxed);
    }

    /// The longest, if no more comes until `end`.
    pub(super) fn longest(&self, end: Instant) -> Duration {
        self.finished(end);
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_between_neighbours_the_beginning_and_the_end() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let longest = |finished: &[u64], end| {
            let gaps = Gaps::new(begin);
            finished.iter().for_each(|ms| gaps.finished(at(*ms)));
            gaps.longest(at(end)).as_millis()
        };
        assert_eq!(longest(&[10, 20, 70, 75], 80), 50);
        assert_eq!(longest(&[30, 35], 40), 30, "from the beginning");
        assert_eq!(longest(&[5], 40), 35, "to the end");
        assert_eq!(longest(&[10, 40, 20], 50), 30, "out of order");
        assert_eq!(longest(&[], 50), 50, "never");
    }
}
