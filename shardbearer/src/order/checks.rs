//! The rolling digest of a replica: a number for what it holds, every so many entries of the log. Pulses carry the last of
//! them, and whoever has a seat in the same order compares them with its own. `shardbearer verify` reads all rows for a
//! verdict; this costs nothing and is always on, but sees a row only when it is written over.

use std::collections::VecDeque;

use parking_lot::Mutex;
use shardbearer_core::log::LogPos;

/// Between one and the next, by the index of entries, so that all replicas take theirs at the same.
pub const EVERY: u64 = 64;

/// So many are kept. Replicas are compared as long as they are no more than this, times [`EVERY`], apart.
pub const KEPT: usize = 8;

/// What a replica held right after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The entry. Its term tells it from one of a log that was given up.
    pub at: LogPos,
    /// See `StateMachine::digest`.
    pub digest: u64,
}

/// The last ones.
#[derive(Default)]
pub struct Checks(Mutex<VecDeque<Check>>);

impl Checks {
    /// Adds some that are later than all before.
    pub(super) fn add(&self, more: Vec<Check>) {
        if more.is_empty() {
            return;
        }
        let mut kept = self.0.lock();
        kept.extend(more);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }

    /// Forgets them: what they tell of is not what is here any more.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Check> {
        self.0.lock().iter().copied().collect()
    }
}

/// What two replicas have to say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They were not at the same entry lately.
    Unknown,
    /// They held the same at the last entry that both know of.
    Same,
    /// They did not, at this one.
    Different(LogPos),
}

/// Compares two replicas at the last entry of which both tell.
pub fn compare(ours: &[Check], theirs: &[Check]) -> Verdict {
    let common = |ours: &&Check| theirs.iter().find(|theirs| theirs.at == ours.at);
    let last = ours.iter().rev().find_map(|ours| Some((ours, common(&ours)?)));
    match last {
        None => Verdict::Unknown,
        Some((ours, theirs)) if ours.digest == theirs.digest => Verdict::Same,
        Some((ours, _)) => Verdict::Different(ours.at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(term: u64, index: u64, digest: u64) -> Check {
        Check { at: LogPos { term, index }, digest }
    }

    #[test]
    fn only_what_was_held_at_the_same_entry_is_compared() {
        let ours = [check(1, 64, 5), check(1, 128, 6), check(2, 192, 7)];
        assert_eq!(compare(&ours, &[check(1, 64, 5), check(1, 128, 6)]), Verdict::Same);
        assert_eq!(compare(&ours, &[check(1, 256, 9)]), Verdict::Unknown);
        assert_eq!(compare(&ours, &[check(1, 192, 9)]), Verdict::Unknown, "of a log that was given up");
        let theirs = [check(1, 128, 9), check(3, 256, 9)];
        assert_eq!(compare(&ours, &theirs), Verdict::Different(LogPos { term: 1, index: 128 }));
        assert_eq!(compare(&ours, &[]), Verdict::Unknown);
    }

    #[test]
    fn it_is_over_when_they_hold_the_same_again() {
        let ours = [check(1, 64, 5), check(1, 128, 6)];
        assert_eq!(compare(&ours, &[check(1, 64, 4), check(1, 128, 6)]), Verdict::Same);
    }

    #[test]
    fn the_last_ones_are_kept() {
        let checks = Checks::default();
        checks.add((1..=20).map(|number| check(1, number * EVERY, number)).collect());
        let kept = checks.all();
        assert_eq!((kept.len(), kept.last().map(|last| last.digest)), (KEPT, Some(20)));
    }
}
