//! The candidate's side: one attempt to get a founding chosen, and its answers.

use shardbearer_core::bootstrap::{Accepted, Ask, Ballot, Founder, Founding, Response, Say};
use shardbearer_core::ids::{ClusterId, Incarnation};
use shardbearer_core::limits::BOOTSTRAP_TERM_MAX;

use super::vote::Attempt;
use super::{Effect, Found, Machine, Phase, vote};

/// How long an attempt may take before another is made.
const ATTEMPT_MS: u64 = 3_000;
/// When what got no answer is sent again within an attempt.
const RESEND_MS: u64 = 400;
/// The first random wait is below this; it doubles with each failure.
const WAIT_MS: u64 = 300;
/// How often it doubles.
const DOUBLINGS_MAX: u32 = 4;

/// An attempt with its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    attempt: Attempt,
    list: Vec<Founder>,
    until_ms: u64,
    resend_ms: u64,
}

impl Machine {
    /// A random wait, longer after each failure, so that one of several candidates gets through.
    pub(super) fn random_wait_ms(&mut self) -> u64 {
        self.draw() % (WAIT_MS << self.tries.min(DOUBLINGS_MAX))
    }

    /// Another's attempt runs: leave it the time that it may take.
    pub(super) fn stand_back(&mut self, now_ms: u64, ballot: Ballot) {
        self.term = self.term.max(ballot.term);
        if self.running.as_ref().is_some_and(|running| running.attempt.ballot < ballot) {
            self.running = None;
        }
        self.next_ms = Some(now_ms + ATTEMPT_MS + self.random_wait_ms());
    }

    /// Begins an attempt with these founders.
    pub(super) fn campaign(&mut self, now_ms: u64, list: Vec<Founder>, found: &Found, out: &mut Vec<Effect>) {
        let term = self.term.max(self.vote.promised.term) + 1;
        if term > BOOTSTRAP_TERM_MAX {
            return;
        }
        let ballot = Ballot { term, candidate: self.me() };
        let attempt = Attempt::new(ballot, list.iter().map(|founder| founder.incarnation));
        self.term = term;
        self.next_ms = None;
        self.running =
            Some(Running { attempt, list, until_ms: now_ms + ATTEMPT_MS, resend_ms: now_ms + RESEND_MS });
        if vote::promise(&mut self.vote, ballot).is_ok() {
            out.push(Effect::Persist(self.vote.clone()));
            self.on_promised(now_ms, self.me(), ballot, self.vote.accepted.clone(), found, out);
            self.send_missing(now_ms, out);
        }
    }

    /// Sends again what got no answer, and gives up what takes too long.
    pub(super) fn tend_attempt(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        let Some(running) = &mut self.running else { return };
        if now_ms >= running.until_ms {
            let missing: Vec<Incarnation> = running.attempt.missing().collect();
            let names: Vec<String> = missing.into_iter().map(|id| self.peers.name(id)).collect();
            self.give_up(
                now_ms,
                format!("the last attempt got no agreement from {} in time", names.join(", ")),
            );
        } else if now_ms >= running.resend_ms {
            running.resend_ms = now_ms + RESEND_MS;
            self.send_missing(now_ms, out);
        }
    }

    fn give_up(&mut self, now_ms: u64, why: String) {
        self.running = None;
        self.last = why;
        self.tries = self.tries.saturating_add(1);
        self.next_ms = Some(now_ms + self.random_wait_ms());
    }

    fn send_missing(&self, now_ms: u64, out: &mut Vec<Effect>) {
        let Some(running) = &self.running else { return };
        let ask = match running.attempt.proposal() {
            Some(proposal) => Ask::Accept(proposal.clone()),
            None => Ask::Promise(running.attempt.ballot),
        };
        for to in running.attempt.missing().filter(|to| *to != self.me()) {
            if let Some(address) = self.peers.address(to) {
                let request = self.request(now_ms, to, ask.clone());
                out.push(Effect::Send { address: address.to_owned(), request });
            }
        }
    }

    /// What an answer means for the attempt.
    pub(super) fn counted(&mut self, now_ms: u64, response: Response, found: &Found, out: &mut Vec<Effect>) {
        let from = response.from.me;
        match response.say {
            Say::Promised { ballot, accepted } => {
                if self.on_promised(now_ms, from.incarnation, ballot, accepted, found, out) {
                    self.send_missing(now_ms, out);
                }
            }
            Say::Accepted(ballot) => self.on_accepted(now_ms, from.incarnation, ballot, out),
            Say::Superseded { ballot, promised } => {
                if promised.term <= BOOTSTRAP_TERM_MAX {
                    self.term = self.term.max(promised.term);
                }
                if self.running.as_ref().is_some_and(|running| running.attempt.ballot == ballot) {
                    self.give_up(
                        now_ms,
                        format!("the last attempt was overtaken by another, as {} says", from.name),
                    );
                }
            }
            Say::Objection(why) => {
                let listed = |running: &Running| running.attempt.missing().any(|id| id == from.incarnation);
                if self.running.as_ref().is_some_and(listed) {
                    self.give_up(now_ms, format!("{} objects: {why}", from.name));
                }
            }
            Say::Seen | Say::Member(_) | Say::Join { .. } | Say::NameTaken(_) => {}
        }
    }

    /// True when the proposal is fixed and should go out.
    fn on_promised(
        &mut self,
        now_ms: u64,
        from: Incarnation,
        ballot: Ballot,
        accepted: Option<Accepted>,
        found: &Found,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(running) = &mut self.running else { return false };
        if !running.attempt.promised(from, ballot, accepted) {
            return false;
        }
        let mut members = running.list.clone();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        let cluster = self.new_cluster(ballot);
        let Some(running) = &mut self.running else { return false };
        let proposal = running.attempt.propose(|| {
            let topology = found(cluster, &members);
            Founding { cluster, members, topology }
        });
        match vote::accept(&mut self.vote, &proposal) {
            Ok(_) => {
                out.push(Effect::Persist(self.vote.clone()));
                self.on_accepted(now_ms, self.me(), ballot, out);
                true
            }
            Err(_) => false, // promised to a later candidate meanwhile: the attempt runs out
        }
    }

    fn on_accepted(&mut self, now_ms: u64, from: Incarnation, ballot: Ballot, out: &mut Vec<Effect>) {
        let Some(running) = &mut self.running else { return };
        let Some(founding) = running.attempt.accepted(from, ballot) else { return };
        let list: Vec<Founder> = std::mem::take(&mut running.list);
        self.running = None;
        let others: Vec<&Founder> = list.iter().filter(|one| !founding.names(one.incarnation)).collect();
        let mut tell = Vec::new();
        for founder in founding.members.iter().chain(others).filter(|one| one.incarnation != self.me()) {
            let address = self.peers.address(founder.incarnation).unwrap_or(&founder.doors.grpc).to_owned();
            let request = self.request(now_ms, founder.incarnation, Ask::Founded(founding.clone()));
            tell.push(Effect::Send { address, request });
        }
        if founding.names(self.me()) {
            self.become_member(founding, out);
            out.extend(tell);
        } else {
            out.extend(tell); // nobody else may know it yet
            let (cluster, via) = (founding.cluster, founding.addresses());
            self.phase = Phase::Joining { cluster, via: via.clone(), founding: Some(founding) };
            out.push(Effect::Join { cluster, via });
        }
    }

    pub(super) fn become_member(&mut self, founding: Founding, out: &mut Vec<Effect>) {
        (self.running, self.next_ms) = (None, None);
        self.phase = Phase::Member(founding.clone());
        out.push(Effect::Founded(founding));
    }

    /// A cluster's id: random, and never one of another attempt even if the randomness is poor.
    fn new_cluster(&mut self, ballot: Ballot) -> ClusterId {
        let random = (u128::from(self.draw()) << 64) | u128::from(self.draw());
        let attempt = ballot.candidate.0.rotate_left(17) ^ u128::from(ballot.term);
        ClusterId((random ^ attempt).max(1))
    }
}
