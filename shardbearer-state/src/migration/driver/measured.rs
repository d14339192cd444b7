//! How fast a copy really is, for people: not how fast it may be, which is [`Pace`](super::Pace)'s.

/// Of each new sample, one part in so many is taken over.
const SMOOTH: u64 = 4;

/// Bytes a second over the time that really passed, waits and retries included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Measured {
    /// When the last sample was taken, in milliseconds, and the bytes at that time.
    last: Option<(u64, u64)>,
    rate: Option<u64>,
}

impl Measured {
    /// Takes in how many bytes are copied now; returns bytes a second, lately, once that is known.
    pub(super) fn sample(&mut self, now_ms: u64, bytes: u64) -> Option<u64> {
        if let Some((since_ms, before)) = self.last {
            let passed_ms = now_ms.saturating_sub(since_ms);
            if passed_ms == 0 {
                return self.rate;
            }
            let now = bytes.saturating_sub(before).saturating_mul(1_000) / passed_ms;
            let smoothed = |rate: u64| rate.saturating_mul(SMOOTH - 1).saturating_add(now) / SMOOTH;
            self.rate = Some(self.rate.map_or(now, smoothed));
        }
        self.last = Some((now_ms, bytes));
        self.rate
    }

    /// The time until the next sample does not count: nobody wanted anything copied.
    pub(super) fn halt(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_is_divided_by_the_time_it_took() {
        let mut measured = Measured::default();
        let rates = [(5_000, 0), (6_000, 1_000), (6_000, 1_000), (7_000, 1_000), (9_000, 9_000)]
            .map(|(now_ms, bytes)| measured.sample(now_ms, bytes));
        assert_eq!(rates, [None, Some(1_000), Some(1_000), Some(750), Some(1_562)]);
        measured.halt();
        assert_eq!(measured.sample(99_000, 9_000), Some(1_562), "an hour of rest is not slowness");
        assert_eq!(measured.sample(100_000, 9_000 + 1_562), Some(1_562));
    }

    #[test]
    fn a_copy_that_stands_still_comes_to_nothing() {
        let mut measured = Measured::default();
        measured.sample(0, 0);
        measured.sample(1_000, 64 << 20);
        let rates: Vec<_> = (2..100).map(|second| measured.sample(second * 1_000, 64 << 20)).collect();
        assert!(rates.is_sorted_by(|one, next| one >= next), "{rates:?}");
        assert_eq!(rates.last(), Some(&Some(0)), "{rates:?}");
    }
}
