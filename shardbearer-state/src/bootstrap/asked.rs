//! Answers to other radiants: the founder's side of an attempt, and what is told of a cluster.

use shardbearer_core::bootstrap::{Accepted, Ask, Ballot, Founder, Request, Say, View};
use shardbearer_core::ids::ClusterId;
use shardbearer_core::limits::BOOTSTRAP_TERM_MAX;

use super::{Effect, Machine, Phase, vote, words};

impl Machine {
    pub(super) fn asked(&mut self, now_ms: u64, request: &Request, out: &mut Vec<Effect>) -> Say {
        let from = &request.from;
        if from.me.incarnation == self.me() {
            self.met_myself(now_ms, &from.me, out);
            return Say::Seen;
        }
        self.check_foreign(now_ms, from, out);
        if !request.to.is_none() && request.to != self.me() {
            return Say::Objection(words::not_me(&self.settings.me, request.to));
        }
        self.heard_member(now_ms, from);
        if let Some(known) = self.known(&from.me) {
            return known;
        }
        let address = from.me.doors.grpc.clone();
        if from.cluster.is_none() {
            self.peers.learn(&address, false, &from.me.name, now_ms);
        } else {
            self.peers.hurry(&address, &from.me.name, now_ms);
        }
        match &request.ask {
            Ask::Beacon => Say::Seen,
            Ask::Promise(ballot) => self.promise(now_ms, from, *ballot, out),
            Ask::Accept(accepted) => self.accept(now_ms, from, accepted, out),
            Ask::Founded(founding) => {
                if founding.names(self.me()) {
                    self.become_member(founding.clone(), out);
                } else {
                    self.peers.hurry(&address, &from.me.name, now_ms);
                }
                Say::Seen
            }
        }
    }

    fn promise(&mut self, now_ms: u64, from: &View, ballot: Ballot, out: &mut Vec<Effect>) -> Say {
        if let Some(objection) = self.objection(from, ballot) {
            return Say::Objection(objection);
        }
        match vote::promise(&mut self.vote, ballot) {
            Ok(changed) => {
                self.stand_back(now_ms, ballot);
                if changed {
                    out.push(Effect::Persist(self.vote.clone()));
                }
                Say::Promised { ballot, accepted: self.vote.accepted.clone() }
            }
            Err(promised) => Say::Superseded { ballot, promised },
        }
    }

    fn accept(&mut self, now_ms: u64, from: &View, accepted: &Accepted, out: &mut Vec<Effect>) -> Say {
        let ballot = accepted.ballot;
        if let Some(objection) = self.objection(from, ballot) {
            return Say::Objection(objection);
        }
        match vote::accept(&mut self.vote, accepted) {
            Ok(changed) => {
                self.stand_back(now_ms, ballot);
                if changed {
                    out.push(Effect::Persist(self.vote.clone()));
                }
                Say::Accepted(ballot)
            }
            Err(promised) => Say::Superseded { ballot, promised },
        }
    }

    /// Why not to vote at all in this attempt.
    fn objection(&self, from: &View, ballot: Ballot) -> Option<String> {
        if from.expect != self.settings.expect {
            return Some(words::other_expect(self.settings.expect, &from.me, from.expect));
        }
        let sound = ballot.term > 0 && ballot.term <= BOOTSTRAP_TERM_MAX;
        (!sound).then(|| format!("a founding term of {} cannot be", ballot.term))
    }

    /// What to say to everybody once a cluster is known.
    fn known(&self, asker: &Founder) -> Option<Say> {
        let founding = match &self.phase {
            Phase::Seeking => return None,
            Phase::Joining { cluster, via, founding: None } => {
                return Some(Say::Join { cluster: *cluster, via: via.clone() });
            }
            Phase::Joining { founding: Some(founding), .. } | Phase::Member(founding) => founding,
        };
        if founding.names(asker.incarnation) {
            return Some(Say::Member(founding.clone()));
        }
        if let Some(member) = founding.members.iter().find(|member| member.name == asker.name) {
            return Some(Say::NameTaken(words::name_taken(founding.cluster, member, asker)));
        }
        let via = founding
            .members
            .iter()
            .map(|member| self.moved.get(&member.incarnation).unwrap_or(&member.doors.grpc).clone());
        let via = via.filter(|address| !address.is_empty()).collect();
        Some(Say::Join { cluster: founding.cluster, via })
    }

    /// Somebody has this radiant's incarnation: itself, or a copy of its data directory.
    pub(super) fn met_myself(&mut self, now_ms: u64, other: &Founder, out: &mut Vec<Effect>) -> bool {
        if *other == self.settings.me {
            return true;
        }
        let words = words::copied(&self.settings.me, other);
        self.problem("copied", now_ms, || words, out);
        false
    }

    /// Members of two clusters must not meet unnoticed.
    pub(super) fn check_foreign(&mut self, now_ms: u64, from: &View, out: &mut Vec<Effect>) {
        let ours = match &self.phase {
            Phase::Seeking => ClusterId::NONE,
            Phase::Joining { cluster, .. } => *cluster,
            Phase::Member(founding) => founding.cluster,
        };
        if !ours.is_none() && !from.cluster.is_none() && from.cluster != ours {
            let words = words::foreign(ours, &from.me, from.cluster);
            self.problem(&format!("foreign {}", from.cluster), now_ms, || words, out);
        }
    }
}
