//! Looks for an order of concurrent operations that a store doing one thing at a time could have carried out.
//!
//! The algorithm of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of what was
//! tried ("Testing for linearizability", 2017), as in Porcupine: of all operations not yet placed, one that began before
//! the first of them ended may be next; place it, go on; where nothing fits, go back. A situation, that is, what was
//! placed and the state it left, is never looked at twice.
//!
//! Made exact and fast for histories with lost answers by some rules, each of which only leaves out orders that
//! others stand for:
//! - A read that may be next and fits is next: moved to the front it disturbs nobody. (Not so a delete of an absent key:
//!   later it may be the one that made it absent.)
//! - Optional operations (those without an answer) are tried only where all others failed.
//! - Of optional operations alike the one that began first is used first.
//! - A situation is dropped if the same was reached before with fewer optional operations used up, or if a value is gone
//!   that is still to be read ([`Needs`]), or a revision has passed that is still to come.
//!
//! Operations that touch at one nanosecond count as concurrent. The search is exact or has [`Verdict::GaveUp`].

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use super::model::{Answer, Kind};
use super::needs::Needs;
use super::register::{Clocks, Moment, Next, Register};

/// An operation as the search sees it.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    /// Its index in the history.
    pub index: usize,
    pub start_ns: u64,
    /// `u64::MAX` if it may happen at any later time.
    pub end_ns: u64,
    /// Whether it may never happen at all.
    pub optional: bool,
    pub effect: Effect<'a>,
}

/// What an operation does to the registers of its part.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect<'a> {
    One(Touch<'a>),
    Batch { touches: Vec<Touch<'a>>, all_or_nothing: bool, applied: Option<bool> },
}

/// A step on the register of that number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Touch<'a> {
    pub slot: usize,
    pub kind: &'a Kind,
    pub answer: Option<Cow<'a, Answer>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Linearizable,
    /// No order gets past the end of this item.
    Stuck {
        item: usize,
    },
    GaveUp,
}

/// The problem: items in the order of their starts.
pub(super) struct Search<'s, 'a> {
    must: Vec<(usize, &'s Item<'a>)>,
    /// Optional items in groups that are alike, each group in the order of starts.
    may: Vec<Vec<(usize, &'s Item<'a>)>>,
    clocks: Clocks,
    needs: Needs<'s>,
}

/// What was placed, and the state it left.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Situation {
    /// All that must happen before this one is placed ...
    frontier: usize,
    /// ... and these behind it.
    ahead: Vec<usize>,
    registers: Vec<Register>,
}

/// How many of each group of optional items were used; sorted, without zeros.
type Used = Vec<(usize, usize)>;

/// A situation and how far its candidates were tried. The heap gives the one first that leads farthest, then the one
/// with the fewest optional items used, then the youngest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Open {
    placed: usize,
    used: Reverse<usize>,
    age: u64,
    stage: usize,
    node: Rc<(Situation, Used)>,
}

impl<'s, 'a> Search<'s, 'a> {
    pub fn new(items: &'s [Item<'a>], clocks: Clocks) -> Self {
        debug_assert!(items.is_sorted_by_key(|item| item.start_ns), "parts are sorted when they are made");
        let must: Vec<(usize, &Item<'a>)> =
            items.iter().enumerate().filter(|(_, item)| !item.optional).collect();
        let mut may: Vec<Vec<(usize, &Item<'a>)>> = Vec::new();
        for (index, item) in items.iter().enumerate().filter(|(_, item)| item.optional) {
            match may.iter_mut().find(|group| group[0].1.effect == item.effect) {
                Some(group) => group.push((index, item)),
                None => may.push(vec![(index, item)]),
            }
        }
        let needs =
            Needs::of(must.iter().map(|(_, item)| *item), may.iter().flatten().map(|(_, item)| *item));
        Search { must, may, clocks, needs }
    }

    /// Looks for an order that begins with these registers; with the verdict, how many situations were looked at.
    pub fn run(&self, registers: Vec<Register>, states_max: u64) -> (Verdict, u64) {
        // A situation of many registers costs as much as several of one.
        let cost = 1 + registers.len() as u64 / 8;
        let mut seen: BTreeMap<Situation, Vec<Used>> = BTreeMap::new();
        let mut open = BinaryHeap::new();
        let mut states = 0;
        let mut stuck = (0, 0);
        open.push(Open::new(0, Situation { frontier: 0, ahead: Vec::new(), registers }, Used::new()));
        while let Some(mut entry) = open.pop() {
            let node = Rc::clone(&entry.node);
            let (situation, used) = &*node;
            let (bound_ns, must) = self.next_musts(situation);
            let Some(first_to_end) = must.first() else { return (Verdict::Linearizable, states) };
            if bound_ns >= stuck.0 {
                stuck = (bound_ns, first_to_end.index);
            }
            if must.iter().any(|candidate| candidate.item.effect.is_late(&situation.registers)) {
                continue;
            }
            let after = |candidate: &Candidate<'s, 'a>| {
                let Item { start_ns, end_ns, .. } = *candidate.item;
                let moment = Moment { start_ns, end_ns, latest_ns: bound_ns, clocks: self.clocks };
                candidate.item.effect.after(&situation.registers, moment)
            };
            let idle = |candidate: &&Candidate<'s, 'a>| {
                !candidate.item.effect.may_write() && after(candidate).contains(&situation.registers)
            };
            let mut place = |candidate: &Candidate<'s, 'a>, registers| {
                let before = &situation.registers;
                let (situation, used) = candidate.placed(situation, used, registers);
                if !self.hopeless(before, &situation) && remember(&mut seen, &situation, &used) {
                    states += cost;
                    open.push(Open::new(states, situation, used));
                }
            };
            if entry.stage == 0
                && let Some(idle) = must.iter().find(idle)
            {
                place(idle, situation.registers.clone());
                continue;
            }
            let optional;
            let candidate = match must.get(entry.stage) {
                Some(candidate) => candidate,
                None => match self.next_may(entry.stage - must.len(), used, bound_ns) {
                    Some(found) => {
                        entry.stage = must.len() + found.group;
                        optional = found;
                        &optional
                    }
                    None => continue,
                },
            };
            for registers in after(candidate) {
                // An optional item that changes nothing is as good as none.
                if candidate.must.is_some() || registers != situation.registers {
                    place(candidate, registers);
                }
            }
            if states > states_max {
                return (Verdict::GaveUp, states);
            }
            entry.stage += 1;
            if entry.stage == must.len() {
                entry.turn_to_optional();
            }
            if entry.stage < must.len() + self.may.len() {
                open.push(entry);
            }
        }
        (Verdict::Stuck { item: stuck.1 }, states)
    }

    /// Whether a value is gone that is still to be read and cannot come again.
    fn hopeless(&self, before: &[Register], after: &Situation) -> bool {
        let placed = |must: usize| must < after.frontier || after.ahead.binary_search(&must).is_ok();
        before.iter().zip(&after.registers).enumerate().any(|(slot, (before, after))| {
            before
                .value()
                .is_some_and(|value| after.value() != Some(value) && self.needs.lost(slot, value, placed))
        })
    }

    /// When the first of the unplaced ends, and all of them that may be next, that one first.
    fn next_musts(&self, situation: &Situation) -> (u64, Vec<Candidate<'s, 'a>>) {
        let mut bound_ns = u64::MAX;
        let mut next = Vec::new();
        let mut ahead = situation.ahead.iter().peekable();
        for (must, (index, item)) in self.must.iter().enumerate().skip(situation.frontier) {
            if item.start_ns > bound_ns {
                break;
            }
            if ahead.next_if_eq(&&must).is_none() {
                bound_ns = bound_ns.min(item.end_ns);
                next.push(Candidate { must: Some(must), group: 0, index: *index, item });
            }
        }
        next.sort_by_key(|candidate| candidate.item.end_ns);
        (bound_ns, next)
    }

    /// The next optional item that may be next, of this group or of one after it.
    fn next_may(&self, from: usize, used: &Used, bound_ns: u64) -> Option<Candidate<'s, 'a>> {
        self.may.iter().enumerate().skip(from).find_map(|(group, items)| {
            let count = used.binary_search_by_key(&group, |(group, _)| *group).map_or(0, |at| used[at].1);
            let (index, item) = *items.get(count).filter(|(_, item)| item.start_ns <= bound_ns)?;
            Some(Candidate { must: None, group, index, item })
        })
    }
}

impl Open {
    fn new(age: u64, situation: Situation, used: Used) -> Open {
        let used_now = used.iter().map(|(_, count)| count).sum();
        Open {
            placed: situation.frontier + situation.ahead.len() + 1,
            used: Reverse(used_now),
            age,
            stage: 0,
            node: Rc::new((situation, used)),
        }
    }

    /// An optional candidate leads no farther than this and uses one more.
    fn turn_to_optional(&mut self) {
        self.placed -= 1;
        self.used.0 += 1;
    }
}

/// Something that may be next: a place among those that must happen, or a group of those that may.
struct Candidate<'s, 'a> {
    must: Option<usize>,
    group: usize,
    /// Among all items.
    index: usize,
    item: &'s Item<'a>,
}

impl Candidate<'_, '_> {
    /// What a situation becomes by it.
    fn placed(&self, from: &Situation, used: &Used, registers: Vec<Register>) -> (Situation, Used) {
        let (mut frontier, mut ahead, mut used) = (from.frontier, from.ahead.clone(), used.clone());
        match self.must {
            Some(must) if must == frontier => {
                let run = ahead.iter().zip(frontier + 1..).take_while(|(have, want)| *have == want).count();
                ahead.drain(..run);
                frontier += 1 + run;
            }
            Some(must) => {
                let at = ahead.partition_point(|placed| *placed < must);
                ahead.insert(at, must);
            }
            None => match used.binary_search_by_key(&self.group, |(group, _)| *group) {
                Ok(at) => used[at].1 += 1,
                Err(at) => used.insert(at, (self.group, 1)),
            },
        }
        (Situation { frontier, ahead, registers }, used)
    }
}

impl Effect<'_> {
    /// Whether it may change a register, as far as is known.
    pub fn may_write(&self) -> bool {
        let writes = |touch: &Touch<'_>| {
            touch.kind.is_write() && touch.answer.as_ref().is_none_or(|answer| answer.applied)
        };
        match self {
            Effect::One(touch) => writes(touch),
            Effect::Batch { touches, applied, .. } => *applied != Some(false) && touches.iter().any(writes),
        }
    }

    /// Whether it was told a revision that has passed. Checked of single steps only.
    fn is_late(&self, registers: &[Register]) -> bool {
        match self {
            Effect::One(touch) => {
                touch.answer.as_ref().is_some_and(|answer| registers[touch.slot].is_past(answer))
            }
            Effect::Batch { .. } => false,
        }
    }

    /// All states that it can leave behind.
    fn after(&self, before: &[Register], moment: Moment) -> Vec<Vec<Register>> {
        match self {
            Effect::One(touch) => {
                touch.after(before, moment).into_iter().map(|next| touch.set(before, next.register)).collect()
            }
            Effect::Batch { touches, all_or_nothing, applied } => {
                let mut branches = vec![Branch { registers: before.to_vec(), failed: false, ended: false }];
                for touch in touches {
                    branches = branches.into_iter().flat_map(|branch| branch.then(touch, moment)).collect();
                }
                let mut after = Vec::new();
                for branch in branches {
                    let took = !(branch.ended || branch.failed && *all_or_nothing);
                    let registers = if took { branch.registers } else { before.to_vec() };
                    if applied.is_none_or(|applied| applied == took) && !after.contains(&registers) {
                        after.push(registers);
                    }
                }
                after
            }
        }
    }
}

/// A batch half done, one of several ways it can go.
struct Branch {
    registers: Vec<Register>,
    /// Some step did not take effect.
    failed: bool,
    /// A guard did not hold: nothing takes effect.
    ended: bool,
}

impl Branch {
    fn then(self, touch: &Touch<'_>, moment: Moment) -> Vec<Branch> {
        if self.ended {
            return vec![self];
        }
        let guard = matches!(touch.kind, Kind::Check { .. });
        let next = touch.after(&self.registers, moment);
        let branch = |next: Next| Branch {
            registers: touch.set(&self.registers, next.register),
            failed: self.failed || !next.applied,
            ended: guard && !next.applied,
        };
        next.into_iter().map(branch).collect()
    }
}

impl Touch<'_> {
    fn after(&self, registers: &[Register], moment: Moment) -> Vec<Next> {
        registers[self.slot].step(self.kind, self.answer.as_deref(), moment)
    }

    fn set(&self, registers: &[Register], register: Register) -> Vec<Register> {
        let mut after = registers.to_vec();
        after[self.slot] = register;
        after
    }
}

/// Whether a situation is new: not reached before with the same or fewer optional items used.
fn remember(seen: &mut BTreeMap<Situation, Vec<Used>>, situation: &Situation, used: &Used) -> bool {
    let Some(known) = seen.get_mut(situation) else {
        seen.insert(situation.clone(), vec![used.clone()]);
        return true;
    };
    if known.iter().any(|known| at_most(known, used)) {
        return false;
    }
    known.retain(|known| !at_most(used, known));
    known.push(used.clone());
    true
}

/// Whether `few` uses of each group at most what `many` uses.
fn at_most(few: &Used, many: &Used) -> bool {
    few.iter().all(|(group, count)| {
        many.binary_search_by_key(group, |(group, _)| *group).is_ok_and(|at| many[at].1 >= *count)
    })
}
