//! How fast rows are copied and how many at once: more while everybody answers as quickly as they can, half when they do not.
//!
//! Two things are watched. How long the copy's own steps take, since they go through the same queues, logs and
//! disks as the clients' requests: when those begin to wait, so do these. And how long clients' writes take where the two orders
//! are, as far as somebody writes there.

/// Bytes a second at the start.
pub const RATE_START: u64 = 8 << 20;

/// Bytes a second at least: a copy must end some day.
pub const RATE_MIN: u64 = 256 << 10;

/// Bytes a second at most: leaves most of a disk and a network to the clients.
pub const RATE_MAX: u64 = 64 << 20;

/// Bytes of rows in one step at first and at least: a log entry that delays the clients' by a millisecond or two.
pub const PIECE_MIN: u64 = 64 << 10;

/// Bytes of rows in one step at most. Two of them are in memory at each end.
pub const PIECE_MAX: u64 = 1 << 20;

/// Sizes of steps that are told apart, each twice as large as the one before.
const SIZES: usize = (PIECE_MAX / PIECE_MIN).ilog2() as usize + 1;

/// For each byte that was copied quickly the rate grows by so many bytes a second: it doubles each time when a second's worth or
/// two have crossed.
const RATE_GROWTH: u64 = 2;

/// Steps become larger while they take no longer than this. Whoever comes while one is under way waits for its end.
const SHORT_MS: u64 = 16;

/// So many short ones in a row.
const SHORT_STEPS: u32 = 4;

/// Steps become smaller when they take longer than this.
const LONG_MS: u64 = 40;

/// What takes longer than this many times the quickest waits for others.
const SLOW: u64 = 2;

/// And this much longer at least: small numbers are noise.
const SLOW_MS: u64 = 5;

/// So many slow or long steps in a row: one by itself is a disk that has been tidied up.
const SLOW_STEPS: u32 = 3;

/// So many reports in a row of clients whose writes take long: a few writes say little.
const SLOW_REPORTS: u32 = 2;

/// The quickest counts for one to two times so long, in milliseconds. Long, for slowness that lasts must not become
/// what is usual; not for ever, for nor must an idle hour.
const WINDOW_MS: u64 = 600_000;

/// The pace of one copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    rate: u64,
    most: u64,
    piece: u64,
    pieces: [u64; 2],
    /// How long a step of each size takes when nobody waits.
    steps: [Quickest; SIZES],
    /// How long clients' writes take at the source and at the destination when nobody copies.
    others: [Quickest; 2],
    /// How often in a row they have taken longer.
    waiting: [u32; 2],
    /// Slow ones, long ones and short ones in a row.
    slow: u32,
    long: u32,
    short: u32,
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
        Pace {
            rate: RATE_START.min(most),
            most,
            piece: PIECE_MIN,
            pieces: [PIECE_MIN, PIECE_MAX],
            steps: [Quickest::default(); SIZES],
            others: [Quickest::default(); 2],
            waiting: [0; 2],
            slow: 0,
            long: 0,
            short: 0,
            window_ms: 0,
        }
    }

    /// A pace whose steps have so many bytes always.
    #[cfg(test)]
    pub(super) fn of_pieces(bytes: u64) -> Pace {
        Pace { piece: bytes, pieces: [bytes; 2], ..Pace::default() }
    }

    /// The pace as it was at the start.
    #[cfg(test)]
    pub(super) fn anew(&self) -> Pace {
        Pace { pieces: self.pieces, piece: self.pieces[0], ..Pace::new(self.most) }
    }

    /// Bytes a second now.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Bytes of rows in one step now.
    pub fn piece(&self) -> u64 {
        self.piece
    }

    /// How long so many bytes take at this pace, in milliseconds.
    pub fn takes_ms(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(1_000) / self.rate.max(1)
    }

    /// Takes in how long a step took; returns how long to wait before the next, in milliseconds.
    pub fn passed(&mut self, bytes: u64, took_ms: u64) -> u64 {
        let size = (bytes.saturating_sub(1) / PIECE_MIN).checked_ilog2().map_or(0, |log| log as usize + 1);
        let slow = self.steps[size.min(SIZES - 1)].is_slow(took_ms.saturating_mul(1_000));
        self.slow = if slow { self.slow + 1 } else { 0 };
        self.long = if took_ms > LONG_MS { self.long + 1 } else { 0 };
        self.short = if took_ms <= SHORT_MS { self.short + 1 } else { 0 };
        if self.slow >= SLOW_STEPS {
            self.back_off();
        } else if !slow {
            self.rate = self.rate.saturating_add(bytes.saturating_mul(RATE_GROWTH)).min(self.most);
        }
        if self.long >= SLOW_STEPS {
            self.resize(self.piece / 2);
        } else if self.short >= SHORT_STEPS {
            self.resize(self.piece * 2);
        }
        let wait_ms = self.takes_ms(bytes).saturating_sub(took_ms);
        self.window_ms = self.window_ms.saturating_add(took_ms).saturating_add(wait_ms);
        if self.window_ms >= WINDOW_MS {
            self.window_ms = 0;
            self.steps.iter_mut().for_each(Quickest::turn);
            self.others.iter_mut().for_each(Quickest::turn);
        }
        wait_ms
    }

    /// Takes in how long clients' writes took lately at the source and at the destination, in microseconds, where that is
    /// known anew.
    pub fn others_took(&mut self, us: [Option<u64>; 2]) {
        let mut wait = false;
        for ((us, usual), waiting) in us.into_iter().zip(&mut self.others).zip(&mut self.waiting) {
            let Some(us) = us else { continue };
            *waiting = if usual.is_slow(us) { *waiting + 1 } else { 0 };
            wait |= *waiting >= SLOW_REPORTS;
        }
        if wait {
            self.back_off();
            self.waiting = [0; 2];
        }
    }

    fn back_off(&mut self) {
        self.rate = (self.rate / 2).max(RATE_MIN);
        self.resize(self.piece / 2);
    }

    fn resize(&mut self, bytes: u64) {
        let [least, most] = self.pieces;
        self.piece = bytes.clamp(least, most);
        (self.slow, self.long, self.short) = (0, 0, 0);
    }
}

/// The least of this window and of the one before, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Quickest([u64; 2]);

impl Default for Quickest {
    fn default() -> Self {
        Quickest([u64::MAX; 2])
    }
}

impl Quickest {
    /// Takes in a time; whether it is far longer than the least.
    fn is_slow(&mut self, us: u64) -> bool {
        let us = us.max(1);
        let [now, before] = self.0;
        self.0 = [now.min(us), before];
        let usual = now.min(before).min(us);
        us > usual.saturating_mul(SLOW) && us - usual > SLOW_MS * 1_000
    }

    /// Another window begins.
    fn turn(&mut self) {
        self.0 = [u64::MAX, self.0[0]];
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
        assert_eq!((pace.rate(), pace.piece()), (RATE_MAX, PIECE_MAX));
        assert_eq!(pace.passed(1 << 20, 2), 13, "a mebibyte at 64 MiB/s takes 15.6 ms");
        for _ in 0..20 {
            pace.passed(1 << 20, 200);
        }
        assert!(pace.rate() < RATE_START, "{}", pace.rate());
        assert_eq!(pace.piece(), PIECE_MIN);
        let low = pace.rate();
        for _ in 0..10 {
            pace.passed(64 << 10, 2);
        }
        assert_eq!(pace.rate(), low + 10 * RATE_GROWTH * (64 << 10));
        assert_eq!(pace.piece(), 4 * PIECE_MIN);
    }

    /// A disk that tidies up says nothing of anybody else.
    #[test]
    fn one_slow_step_by_itself_changes_nothing() {
        let mut pace = Pace::new(RATE_MAX);
        for _ in 0..500 {
            pace.passed(1 << 20, 8);
        }
        for took_ms in [300, 300, 8].repeat(50) {
            pace.passed(1 << 20, took_ms);
        }
        assert_eq!((pace.rate(), pace.piece()), (RATE_MAX, PIECE_MAX));
    }

    /// Whoever comes while a step is under way waits for its end: so a machine that is slow by nature gets small ones.
    #[test]
    fn steps_are_only_as_large_as_is_short() {
        let mut pace = Pace::new(RATE_MAX);
        for _ in 0..100 {
            let bytes = pace.piece();
            pace.passed(bytes, 6 * bytes / PIECE_MIN);
        }
        assert_eq!(pace.piece(), 4 * PIECE_MIN, "24 ms: no longer short, and not long");
        let mut pace = Pace::new(RATE_MAX);
        for _ in 0..100 {
            pace.passed(64 << 10, 100);
        }
        assert_eq!(pace.piece(), PIECE_MIN);
        assert_eq!(pace.rate(), RATE_START + 100 * RATE_GROWTH * (64 << 10), "slow it is, but nobody waits");
    }

    #[test]
    fn clients_whose_writes_take_longer_are_made_way_for() {
        let mut pace = Pace::new(RATE_MAX);
        for _ in 0..500 {
            pace.passed(1 << 20, 8);
        }
        for us in [900, 6_000, 1_200, 6_000, 5_500] {
            pace.others_took([Some(20_000), Some(us)]);
        }
        assert_eq!((pace.rate(), pace.piece()), (RATE_MAX, PIECE_MAX), "now and then is nothing");
        pace.others_took([None, Some(6_000)]);
        pace.others_took([None, None]);
        pace.others_took([None, Some(6_000)]);
        assert_eq!((pace.rate(), pace.piece()), (RATE_MAX / 2, PIECE_MAX / 2), "6 ms are 5 more than usual");
        for _ in 0..40 {
            pace.others_took([Some(60_000), None]);
        }
        assert_eq!((pace.rate(), pace.piece()), (RATE_MIN, PIECE_MIN));
    }

    #[test]
    fn a_pace_stays_within_its_bounds() {
        let mut pace = Pace::new(1);
        for took_ms in [1, 10_000, 1, u64::MAX, 0] {
            pace.passed(u64::MAX, took_ms);
            pace.others_took([Some(u64::MAX - took_ms); 2]);
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
            assert!(chunk(100).1 <= RATE_START + RATE_GROWTH * (64 << 10), "after {chunks} slow chunks");
        }
        assert_eq!(chunk(100).1, RATE_MIN);
        while chunk(100).0 < 2 * WINDOW_MS + 1_000 {}
        assert!(chunk(100).1 > RATE_MIN, "after two windows of nothing else this is how quick it is");
    }
}
