//! The outline of a log: where it begins and ends, and which term wrote which entry. A few words however long the
//! log is, because terms change seldom.

use crate::log::LogPos;

/// The outline of a log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// What comes before the first entry.
    purged: LogPos,
    /// The first entry of each term that is there, ascending.
    firsts: Vec<LogPos>,
    /// The last entry's index.
    last: u64,
}

impl Terms {
    /// An empty log that goes on after `purged`.
    pub fn after(purged: LogPos) -> Terms {
        Terms { purged, firsts: Vec::new(), last: purged.index }
    }

    /// The last position forgotten.
    pub fn purged(&self) -> LogPos {
        self.purged
    }

    /// The last entry's position; what was purged if there is none.
    pub fn last(&self) -> LogPos {
        let term = self.firsts.last().map_or(self.purged.term, |first| first.term);
        LogPos { term, index: self.last }
    }

    /// The term of an entry, also of the last one purged.
    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        if index < self.purged.index || index > self.last {
            return None;
        }
        let after = self.firsts.partition_point(|first| first.index <= index);
        self.firsts.get(after.checked_sub(1)?).map(|first| first.term)
    }

    /// Whether the entry of exactly this position is there, or was the last one purged.
    pub fn holds(&self, position: LogPos) -> bool {
        self.term(position.index) == Some(position.term)
    }

    /// The index of the first entry that has the term of this one, as far as the log reaches back.
    pub fn first_of_term(&self, index: u64) -> u64 {
        let after = self.firsts.partition_point(|first| first.index <= index);
        after.checked_sub(1).and_then(|at| self.firsts.get(at)).map_or(index, |first| first.index)
    }

    /// Adds an entry. `false`, and nothing happens, unless it follows the last one in index and its term is no lower.
    #[must_use]
    pub fn push(&mut self, position: LogPos) -> bool {
        let last = self.last();
        if Some(position.index) != last.index.checked_add(1) || position.term < last.term {
            return false;
        }
        if self.firsts.last().is_none_or(|first| first.term != position.term) {
            self.firsts.push(position);
        }
        self.last = position.index;
        true
    }

    /// Removes the entries from this index on, as far as they are not purged.
    pub fn truncate(&mut self, from: u64) {
        let from = from.max(self.purged.index + 1);
        if from <= self.last {
            self.last = from - 1;
            self.firsts.retain(|first| first.index < from);
        }
    }

    /// Forgets the entries up to this one, which must be there.
    pub fn purge(&mut self, upto: LogPos) {
        if upto.index <= self.purged.index || !self.holds(upto) {
            return;
        }
        let next = self.term(upto.index + 1).map(|term| LogPos { term, index: upto.index + 1 });
        self.firsts.retain(|first| first.index > upto.index + 1);
        if let Some(next) = next {
            self.firsts.insert(0, next);
        }
        self.purged = upto;
    }

    /// The log after a snapshot of this position was installed: as it was if it has that very entry,
    /// otherwise empty. Returns whether it was emptied.
    pub fn install(&mut self, position: LogPos) -> bool {
        if self.holds(position) || position.index < self.purged.index {
            return false;
        }
        *self = Terms::after(position);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> LogPos {
        LogPos { term, index }
    }

    /// A log of these terms, from index 1.
    fn log(terms: &[u64]) -> Terms {
        let mut log = Terms::default();
        for (index, term) in (1..).zip(terms) {
            assert!(log.push(at(*term, index)));
        }
        log
    }

    fn shown(log: &Terms) -> Vec<u64> {
        (log.purged().index + 1..=log.last().index).map(|i| log.term(i).expect("inside")).collect()
    }

    #[test]
    fn every_cut_of_a_log_is_what_a_plain_list_would_be() {
        let terms = [1, 1, 3, 3, 3, 4, 7, 7];
        for cut in 1..=terms.len() + 2 {
            let mut cut_log = log(&terms);
            cut_log.truncate(cut as u64);
            assert_eq!(shown(&cut_log), terms[..(cut - 1).min(terms.len())], "cut at {cut}");
            for upto in 1..=cut_log.last().index {
                let mut purged = cut_log.clone();
                let position = at(terms[upto as usize - 1], upto);
                purged.purge(position);
                assert_eq!(purged.purged(), position);
                assert_eq!(purged.last(), cut_log.last(), "cut at {cut}, purged to {upto}");
                assert_eq!(shown(&purged), terms[upto as usize..cut_log.last().index as usize]);
                assert!(purged.holds(position) && purged.term(upto - 1).is_none());
            }
        }
    }

    #[test]
    fn gaps_and_older_terms_are_not_taken() {
        let mut log = log(&[2, 2]);
        for wrong in [at(2, 2), at(2, 4), at(1, 3), at(9, 0), at(9, u64::MAX)] {
            assert!(!log.push(wrong), "{wrong:?}");
        }
        assert!(log.push(at(2, 3)));
        assert_eq!(log.last(), at(2, 3));
    }

    #[test]
    fn a_snapshot_empties_a_log_that_does_not_hold_its_end() {
        for (position, emptied) in [(at(2, 3), false), (at(3, 3), true), (at(3, 9), true), (at(1, 1), false)]
        {
            let mut log = log(&[1, 2, 2, 2]);
            assert_eq!(log.install(position), emptied, "{position:?}");
            let last = if emptied { position } else { at(2, 4) };
            assert_eq!(log.last(), last, "{position:?}");
        }
    }

    #[test]
    fn a_conflict_is_traced_to_where_its_term_begins() {
        let log = log(&[1, 1, 3, 3, 3, 4]);
        for (index, first) in [(1, 1), (2, 1), (3, 3), (5, 3), (6, 6)] {
            assert_eq!(log.first_of_term(index), first);
        }
    }
}
