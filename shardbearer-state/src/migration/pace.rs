//! How fast rows are copied: additive increase while the orders answer as quickly as they can, halved when they do not.
//!
//! What is watched is how long the copy's own steps take. They go through the same queues, logs and disks as
//! the clients' requests, so when those begin to wait, so do these.

/// Bytes a second at the start.
pub const RATE_START: u64 = 8 << 20;

/// Bytes a second at least: a copy must end some day.
pub const RATE_MIN: u64 = 256 << 10;

/// Bytes a second at most: leaves most of a disk and a network to the clients.
pub const RATE_MAX: u64 = 64 << 20;

/// Added after each chunk that was answered quickly.
const RATE_STEP: u64 = 128 << 10;

/// A chunk that takes longer than this many times the quickest one waits for others.
const SLOW: u64 = 2;

/// And this much longer at least: small numbers are noise.
const SLOW_MS: u64 = 5;

/// The quickest chunk counts for one to two times so long, in milliseconds. Long, for slowness that lasts must not become
/// what is usual; not for ever, for nor must an idle hour.
const WINDOW_MS: u64 = 600_000;

/// The rate of one copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    rate: u64,
    most: u64,
    /// How long a chunk takes when nobody waits, in microseconds: the least of this window and of the one before.
    quickest_us: [u64; 2],
    /// How much of this window has passed.
    window_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new(RATE_MAX)
    }
}

impl Pace {
    /// A pace that never exceeds `most` bytes a second.
    pub fn new(most: u64) -> Pace {
        let most = most.max(RATE_MIN);
        Pace { rate: RATE_START.min(most), most, quickest_us: [u64::MAX; 2], window_ms: 0 }
    }

    /// Bytes a second now.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Takes in how long a chunk took; returns how long to wait before the next, in milliseconds.
    pub fn passed(&mut self, bytes: u64, took_ms: u64) -> u64 {
        let took_us = took_ms.saturating_mul(1_000).max(1);
        let [quickest, before] = self.quickest_us;
        self.quickest_us = [quickest.min(took_us), before];
        let usual_us = quickest.min(before).min(took_us);
        let slow = took_us > usual_us.saturating_mul(SLOW) && took_us - usual_us > SLOW_MS * 1_000;
        self.rate = match slow {
            true => (self.rate / 2).max(RATE_MIN),
            false => (self.rate + RATE_STEP).min(self.most),
        };
        let wait_ms = (bytes.saturating_mul(1_000) / self.rate.max(1)).saturating_sub(took_ms);
        self.window_ms = self.window_ms.saturating_add(took_ms).saturating_add(wait_ms);
        if self.window_ms >= WINDOW_MS {
            (self.quickest_us, self.window_ms) = ([u64::MAX, self.quickest_us[0]], 0);
        }
        wait_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_backs_off_when_others_wait_and_recovers() {
        let mut pace = Pace::new(RATE_MAX);
        for _ in 0..500 {
            pace.passed(1 << 20, 2);
        }
        assert_eq!(pace.rate(), RATE_MAX);
        assert_eq!(pace.passed(1 << 20, 2), 13, "a mebibyte at 64 MiB/s takes 15.6 ms");
        for _ in 0..20 {
            pace.passed(1 << 20, 200);
        }
        assert!(pace.rate() < RATE_START, "{}", pace.rate());
        let low = pace.rate();
        for _ in 0..10 {
            pace.passed(1 << 20, 2);
        }
        assert_eq!(pace.rate(), low + 10 * RATE_STEP);
    }

    #[test]
    fn a_pace_stays_within_its_bounds() {
        let mut pace = Pace::new(1);
        for took_ms in [1, 10_000, 1, u64::MAX, 0] {
            pace.passed(u64::MAX, took_ms);
            assert_eq!(pace.rate(), RATE_MIN);
        }
    }
    /// Whoever makes the copy slow may do so for minutes; a machine that has become slow for good is found out later.
    #[test]
    fn slowness_that_lasts_does_not_become_what_is_usual() {
        let mut pace = Pace::new(RATE_MAX);
        let mut passed_ms = 0;
        let mut chunk = |took_ms: u64| {
            passed_ms += took_ms + pace.passed(64 << 10, took_ms);
            (passed_ms, pace.rate())
        };
        chunk(2);
        let mut chunks = 0;
        while chunk(100).0 < WINDOW_MS {
            chunks += 1;
            assert!(chunk(100).1 <= RATE_START, "after {chunks} slow chunks");
        }
        assert_eq!(chunk(100).1, RATE_MIN);
        while chunk(100).0 < 2 * WINDOW_MS + 1_000 {}
        assert!(chunk(100).1 > RATE_MIN, "after two windows of nothing else this is how quick it is");
    }
}
