//! Every interleaving of the agreement within bounds: who becomes a candidate with which list, in
//! which order messages arrive, which are lost or repeated, who crashes when. Runs the code of
//! [`super::super::vote`] itself.
//!
//! The network is the set of all messages ever sent: any may be delivered at any later time, again,
//! or never. So loss, repetition, delay and every cut (into halves too) need no steps of their own, and
//! neither does a crash between storing and sending. A crash drops the candidate's count; what is
//! stored stays. Visited states are kept as 64-bit hashes.
//!
//! What must hold in every state: all candidates that ever found a value chosen found the same.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use shardbearer_core::bootstrap::{Accepted, Ballot, Founding, Vote};
use shardbearer_core::ids::{ClusterId, Incarnation};

use super::super::vote::{self, Attempt};

/// What is explored.
#[derive(Clone)]
struct Bounds {
    radiants: u8,
    /// Candidates choose among these lists; each list has its members as candidates.
    lists: Vec<Vec<u8>>,
    /// Attempts in all.
    attempts: u8,
    /// Crashes in all.
    crashes: u8,
    /// A broken double: the vote does not survive a crash.
    forgetful: bool,
    /// A broken double: so many of a list are a quorum.
    quorum: Option<usize>,
}

#[derive(Clone, Hash, Default)]
struct State {
    nodes: Vec<Node>,
    sent: BTreeSet<Message>,
    chosen: BTreeSet<ClusterId>,
    attempts: u8,
    crashes: u8,
}

#[derive(Clone, Hash, Default)]
struct Node {
    vote: Vote,
    attempt: Option<Attempt>,
}

/// Term and candidate.
type Number = (u64, u8);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Promise { to: u8, ballot: Number },
    Promised { from: u8, ballot: Number, before: Option<(Number, u128)> },
    Accept { to: u8, ballot: Number, value: u128 },
    Accepted { from: u8, ballot: Number },
}

fn id(node: u8) -> Incarnation {
    Incarnation(u128::from(node) + 1)
}

fn ballot((term, node): Number) -> Ballot {
    Ballot { term, candidate: id(node) }
}

fn number(ballot: Ballot) -> Number {
    (ballot.term, (ballot.candidate.0 - 1) as u8)
}

fn accepted(at: Number, value: u128) -> Accepted {
    Accepted { ballot: ballot(at), founding: Founding { cluster: ClusterId(value), ..Founding::default() } }
}

impl State {
    fn campaign(&mut self, node: u8, list: &[u8], quorum: Option<usize>) {
        let at = (self.nodes[usize::from(node)].vote.promised.term + 1, node);
        let mut attempt = Attempt::new(ballot(at), list.iter().map(|one| id(*one)));
        attempt.needed = quorum.unwrap_or(attempt.needed);
        self.attempts += 1;
        self.nodes[usize::from(node)].attempt = Some(attempt);
        self.sent.extend(list.iter().map(|to| Message::Promise { to: *to, ballot: at }));
        // As in the machine, the candidate's own part is done in the same step.
        self.deliver(Message::Promise { to: node, ballot: at });
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Promise { to, ballot: at } => {
                let vote = &mut self.nodes[usize::from(to)].vote;
                if vote::promise(vote, ballot(at)).is_ok() {
                    let before = vote.accepted.as_ref();
                    let before = before.map(|one| (number(one.ballot), one.founding.cluster.0));
                    self.answer(to, Message::Promised { from: to, ballot: at, before });
                }
            }
            Message::Promised { from, ballot: at, before } => {
                let Some(attempt) = &mut self.nodes[usize::from(at.1)].attempt else { return };
                let before = before.map(|(at, value)| accepted(at, value));
                if attempt.promised(id(from), ballot(at), before) {
                    let value = u128::from(at.0) * 16 + u128::from(at.1) + 1;
                    let proposal = attempt.propose(|| accepted(at, value).founding);
                    let list: Vec<Incarnation> = attempt.missing().collect();
                    let value = proposal.founding.cluster.0;
                    let to = list.iter().map(|one| (one.0 - 1) as u8);
                    self.sent.extend(to.map(|to| Message::Accept { to, ballot: at, value }));
                    self.deliver(Message::Accept { to: at.1, ballot: at, value });
                }
            }
            Message::Accept { to, ballot: at, value } => {
                if vote::accept(&mut self.nodes[usize::from(to)].vote, &accepted(at, value)).is_ok() {
                    self.answer(to, Message::Accepted { from: to, ballot: at });
                }
            }
            Message::Accepted { from, ballot: at } => {
                let Some(attempt) = &mut self.nodes[usize::from(at.1)].attempt else { return };
                if let Some(founding) = attempt.accepted(id(from), ballot(at)) {
                    self.chosen.insert(founding.cluster);
                }
            }
        }
    }

    fn answer(&mut self, from: u8, message: Message) {
        let (Message::Promised { ballot: at, .. } | Message::Accepted { ballot: at, .. }) = message else {
            return;
        };
        if at.1 == from {
            self.deliver(message);
        } else {
            self.sent.insert(message);
        }
    }

    /// Forgets messages that can have no effect any more, so that states which differ only in them are one.
    fn prune(&mut self) {
        let nodes = &self.nodes;
        let waits = |at: Number, from: u8, for_accepts: bool| {
            let attempt = nodes[usize::from(at.1)].attempt.as_ref().filter(|one| one.ballot == ballot(at));
            attempt.is_some_and(|attempt| {
                attempt.proposal().is_some() == for_accepts && attempt.missing().any(|one| one == id(from))
            })
        };
        self.sent.retain(|message| match *message {
            Message::Promise { to, ballot: at } => ballot(at) > nodes[usize::from(to)].vote.promised,
            Message::Promised { from, ballot: at, .. } => waits(at, from, false),
            Message::Accept { to, ballot: at, .. } => {
                let vote = &nodes[usize::from(to)].vote;
                let before = vote.accepted.as_ref().map(|one| one.ballot).unwrap_or_default();
                ballot(at) >= vote.promised && ballot(at) > before
            }
            Message::Accepted { from, ballot: at } => waits(at, from, true),
        });
    }

    fn next(&self, bounds: &Bounds, mut visit: impl FnMut(State)) {
        for message in &self.sent {
            let mut next = self.clone();
            next.deliver(*message);
            visit(next);
        }
        for node in 0..bounds.radiants {
            let may = |list: &&Vec<u8>| self.attempts < bounds.attempts && list.contains(&node);
            for list in bounds.lists.iter().filter(may) {
                let mut next = self.clone();
                next.campaign(node, list, bounds.quorum);
                visit(next);
            }
            if self.crashes < bounds.crashes {
                let mut next = self.clone();
                next.crashes += 1;
                next.nodes[usize::from(node)].attempt = None;
                if bounds.forgetful {
                    next.nodes[usize::from(node)].vote = Vote::default();
                }
                visit(next);
            }
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }
}

/// All lists of `expect` out of `radiants`.
fn lists(radiants: u8, expect: usize) -> Vec<Vec<u8>> {
    let all = 0..1_u32 << radiants;
    let chosen = all.filter(|set| set.count_ones() as usize == expect);
    chosen.map(|set| (0..radiants).filter(|node| set >> node & 1 == 1).collect()).collect()
}

/// How many states there are, and in how many a value is chosen; or after how many one is bad.
fn explore(bounds: Bounds) -> Result<(usize, usize), usize> {
    let nodes = vec![Node::default(); usize::from(bounds.radiants)];
    let first = State { nodes, ..State::default() };
    let mut seen = HashSet::from([first.hash()]);
    let mut queue = VecDeque::from([first]);
    let (mut bad, mut decided) = (None, 0);
    while let Some(state) = queue.pop_front() {
        state.next(&bounds, |mut next| {
            next.prune();
            if bad.is_none() && seen.insert(next.hash()) {
                decided += usize::from(!next.chosen.is_empty());
                bad = (next.chosen.len() > 1).then_some(seen.len());
                queue.push_back(next);
            }
        });
        if let Some(states) = bad {
            return Err(states);
        }
    }
    Ok((seen.len(), decided))
}

/// Radiants that all expect three.
fn bounds(radiants: u8, attempts: u8, crashes: u8) -> Bounds {
    Bounds { radiants, lists: lists(radiants, 3), attempts, crashes, forgetful: false, quorum: None }
}

/// Explores to the end, or panics. A space without any decision would prove nothing. How many states there are is in
/// docs/testing.md.
fn assert_safe(bounds: Bounds, states_min: usize) {
    let of =
        format!("{} radiants, {} attempts, {} crashes", bounds.radiants, bounds.attempts, bounds.crashes);
    let (states, decided) =
        explore(bounds).unwrap_or_else(|after| panic!("two foundings after {after} states"));
    println!("{of}: {states} states, of them {decided} decided");
    assert!(states >= states_min && decided > states / 20, "{states} states, of them {decided} decided");
}

#[test]
fn three_radiants_choose_one_founding_in_every_interleaving_of_three_attempts() {
    assert_safe(bounds(3, 3, 1), 150_000);
}

#[test]
fn four_radiants_choose_one_founding_in_every_interleaving_of_two_attempts() {
    assert_safe(bounds(4, 2, 1), 80_000);
}

#[test]
fn five_radiants_choose_one_founding_in_every_interleaving_of_two_attempts() {
    assert_safe(bounds(5, 2, 0), 150_000);
}

/// A third attempt must find what was chosen even if the second one only half took it over.
#[test]
fn two_overlapping_lists_choose_one_founding_in_every_interleaving_of_three_attempts() {
    let lists = vec![vec![0, 1, 2], vec![2, 3, 4]];
    assert_safe(Bounds { lists, ..bounds(5, 3, 0) }, 100_000);
}

/// Four radiants, two of a list of three are taken as a quorum: each pair founds a cluster. Two attempts
/// are enough, and breadth first shows it after 46 thousand states, in less than a second.
#[test]
fn a_majority_is_caught_with_four_radiants() {
    let after = explore(Bounds { quorum: Some(2), ..bounds(4, 2, 0) }).expect_err("a majority is not safe");
    println!("a majority: two foundings after {after} states");
    assert!(after < 60_000, "caught only after {after} states");
}

/// The founder that two lists share forgets its promise when it restarts. Pruning supposes that votes are
/// kept, so it hides some of the harm; what is left is plenty.
#[test]
fn a_forgotten_promise_is_caught_with_one_crash() {
    let lists = vec![vec![0, 1, 2], vec![2, 3, 4]];
    let broken = Bounds { lists, forgetful: true, ..bounds(5, 2, 1) };
    let after = explore(broken).expect_err("a forgotten promise is not safe");
    println!("a forgotten promise: two foundings after {after} states");
    assert!(after < 200_000, "caught only after {after} states");
}
