//! Cuts a violation down to the few operations that contradict each other. Every cut only weakens what is asked, so
//! that what still has no order proves that the whole has none:
//! - What began after the operation that no order gets past is left out; what had not ended by then becomes optional.
//! - A window may begin with any state. What ended before it is left out, what reaches into it becomes optional.
//! - A read is left out; a write becomes optional.
//!
//! Optional operations are not part of the proof, since it holds with and without them.

use std::ops::Range;

use super::partition::Part;
use super::register::{Clocks, Register};
use super::search::{Item, Search, Verdict};

/// The end of a search that was cut down.
pub(super) struct Window {
    /// Indices in the history, in the order of their starts.
    pub operations: Vec<usize>,
    /// Whether these contradict each other whatever the keys held before; otherwise only because they were absent.
    pub from_anything: bool,
    /// More that may or may not have happened at the time and do not help.
    pub optional: Vec<usize>,
}

/// Situations per attempt, and attempts: for people a larger window beats a longer wait.
const STATES_MAX: u64 = 100_000;
const ATTEMPTS_MAX: usize = 200;
/// Items above which no attempt is made to leave out single ones: their number would count squared.
const NEEDLESS_MAX: usize = 4_000;

/// The smallest window found around the item that no order gets past.
pub(super) fn narrow(part: &Part<'_>, stuck: usize, begin: &Register, clocks: Clocks) -> Window {
    let mut attempt = Attempt { slots: part.keys.len(), begin: begin.clone(), clocks, left: ATTEMPTS_MAX };
    let ended = attempt.earliest_end(&part.items, part.items[stuck].end_ns);
    let (items, from_anything) = match attempt.latest_begin(&ended) {
        Some(items) => {
            attempt.begin = Register::ANYTHING;
            (items, true)
        }
        None => (ended, *begin == Register::ANYTHING),
    };
    let items = attempt.without_the_needless(items);
    let (proof, optional): (Vec<_>, Vec<_>) = items.iter().partition(|item| !item.optional);
    let indices = |items: Vec<&Item<'_>>| {
        let mut indices: Vec<usize> = items.iter().map(|item| item.index).collect();
        indices.dedup();
        indices
    };
    Window { operations: indices(proof), from_anything, optional: indices(optional) }
}

struct Attempt {
    slots: usize,
    begin: Register,
    clocks: Clocks,
    left: usize,
}

impl Attempt {
    /// Whether these have no order; whatever takes too long is taken to have one.
    fn fails(&mut self, items: &[Item<'_>], begin: &Register) -> bool {
        self.left = self.left.saturating_sub(1);
        let (verdict, _) = Search::new(items, self.clocks).run(vec![begin.clone(); self.slots], STATES_MAX);
        matches!(verdict, Verdict::Stuck { .. })
    }

    /// The shortest beginning that has no order. It ends no earlier than where the search got stuck, but maybe later: a
    /// search turns back early if it sees that a read to come cannot be right.
    fn earliest_end<'a>(&mut self, items: &[Item<'a>], stuck_ns: u64) -> Vec<Item<'a>> {
        let begin = self.begin.clone();
        let ends = items.iter().filter(|item| !item.optional).map(|item| item.end_ns);
        let mut ends: Vec<u64> = ends.filter(|end_ns| *end_ns >= stuck_ns).collect();
        ends.sort_unstable();
        let (mut passes, mut length) = (0, 1);
        while length < ends.len() && !self.fails(&until(items, ends[length - 1]), &begin) {
            passes = length;
            length = (length * 2).min(ends.len());
        }
        while passes + 1 < length {
            let middle = passes.midpoint(length);
            match self.fails(&until(items, ends[middle - 1]), &begin) {
                true => length = middle,
                false => passes = middle,
            }
        }
        until(items, ends[length - 1])
    }

    /// The shortest window that has no order whatever was there before; `None` if there is none.
    fn latest_begin<'a>(&mut self, items: &[Item<'a>]) -> Option<Vec<Item<'a>>> {
        let starts: Vec<u64> = items.iter().filter(|item| !item.optional).map(|item| item.start_ns).collect();
        // Doubles the window until it fails, then halves the rest: windows are short, histories long.
        let mut length = 1;
        while !self.fails(&from(items, starts[starts.len() - length]), &Register::ANYTHING) {
            if length == starts.len() {
                return None;
            }
            length = (length * 2).min(starts.len());
        }
        let mut passes = length / 2;
        while passes + 1 < length {
            let middle = passes.midpoint(length);
            match self.fails(&from(items, starts[starts.len() - middle]), &Register::ANYTHING) {
                true => length = middle,
                false => passes = middle,
            }
        }
        Some(from(items, starts[starts.len() - length]))
    }

    /// Leaves out what the contradiction does not need, many at a time and then one by one.
    fn without_the_needless<'a>(&mut self, mut items: Vec<Item<'a>>) -> Vec<Item<'a>> {
        let begin = self.begin.clone();
        let mut chunk = if items.len() > NEEDLESS_MAX { 0 } else { items.len().div_ceil(2) };
        while chunk > 0 {
            // From behind, so that what was left out moves nothing that is still to be tried.
            let mut end = items.len();
            while end > 0 && self.left > 0 {
                let range = end.saturating_sub(chunk)..end;
                end = range.start;
                if items[range.clone()].iter().any(|item| !item.optional) {
                    let fewer = without(&items, &range);
                    if self.fails(&fewer, &begin) {
                        items = fewer;
                    }
                }
            }
            chunk /= 2;
        }
        items
    }
}

/// What had begun by this time; what had not ended then may have happened or not.
fn until<'a>(items: &[Item<'a>], end_ns: u64) -> Vec<Item<'a>> {
    let begun = items.iter().filter(|item| item.start_ns <= end_ns);
    begun.filter_map(|item| kept(item, item.end_ns <= end_ns)).collect()
}

/// The window from this time on.
fn from<'a>(items: &[Item<'a>], begin_ns: u64) -> Vec<Item<'a>> {
    let inside = items.iter().filter(|item| item.end_ns >= begin_ns);
    inside.filter_map(|item| kept(item, item.start_ns >= begin_ns)).collect()
}

/// Without the reads of a range, and with its writes optional.
fn without<'a>(items: &[Item<'a>], range: &Range<usize>) -> Vec<Item<'a>> {
    items.iter().enumerate().filter_map(|(at, item)| kept(item, !range.contains(&at))).collect()
}

/// An item that is asked for in full, or else may have happened at any later time or never; as such a read is nothing.
fn kept<'a>(item: &Item<'a>, in_full: bool) -> Option<Item<'a>> {
    match in_full {
        true => Some(item.clone()),
        false => item.effect.may_write().then(|| Item { optional: true, end_ns: u64::MAX, ..item.clone() }),
    }
}
