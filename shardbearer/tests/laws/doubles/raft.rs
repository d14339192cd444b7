//! The least Raft there is, to show what figure 8 of its paper warns of: a leader that counts the holders of an entry whatever
//! the entry's term is. The same one that commits only what is of its own term, and with it all before, keeps the law.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::engine::Start;
use shardbearer_core::error::Refused;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{
    Boot, Durable, Entry, Envelope, Input, Message, Payload, Protocol, Ready, Status, Terms,
};

/// What members say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Say {
    kind: u8,
    term: u64,
    /// Where the candidate's log ends; what is before the entries; how far the follower matches.
    at: LogPos,
    commit: u64,
}

const VOTE: u8 = 0;
const VOTED: u8 = 1;
const APPEND: u8 = 2;
const TOOK: u8 = 3;
const LACKS: u8 = 4;

impl Message for Say {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.kind);
        [self.term, self.at.term, self.at.index, self.commit].iter().for_each(|number| out.put_u64(*number));
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let kind = bytes.try_get_u8().ok()?;
        let mut number = || bytes.try_get_u64().ok();
        let term = number()?;
        let at = LogPos { term: number()?, index: number()? };
        Some(Say { kind, term, at, commit: number()? })
    }
}

#[derive(Clone, Debug)]
pub struct Raft<const COUNTS_OLD_TERMS: bool> {
    boot: Boot,
    members: Vec<RadiantId>,
    term: u64,
    voted: RadiantId,
    log: Terms,
    durable: u64,
    commit: u64,
    tick: u64,
    /// When a leader or a candidate was heard, and how long after that this one stands.
    heard: u64,
    patience: u64,
    leader: RadiantId,
    /// Of a candidate or leader.
    votes: BTreeSet<RadiantId>,
    matched: BTreeMap<RadiantId, u64>,
    next: BTreeMap<RadiantId, u64>,
}

impl<const COUNTS_OLD_TERMS: bool> Raft<COUNTS_OLD_TERMS> {
    fn leads(&self) -> bool {
        self.leader == self.boot.me
    }

    fn others(&self) -> Vec<RadiantId> {
        self.members.iter().copied().filter(|member| *member != self.boot.me).collect()
    }

    fn save(&self, ready: &mut Ready<Say>) {
        ready.hard([self.term.to_be_bytes(), self.voted.0.to_be_bytes()].concat());
    }

    fn say(&self, kind: u8, at: LogPos) -> Say {
        Say { kind, term: self.term, at, commit: self.commit }
    }

    fn draw(&mut self) {
        self.boot.seed = self.boot.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let ticks = self.boot.ticks;
        self.patience =
            ticks.election_min + (self.boot.seed >> 33) % (ticks.election_max - ticks.election_min);
    }

    fn stand(&mut self, ready: &mut Ready<Say>) {
        self.term += 1;
        (self.voted, self.leader, self.heard) = (self.boot.me, RadiantId::NONE, self.tick);
        self.votes = BTreeSet::from([self.boot.me]);
        self.draw();
        self.save(ready);
        for other in self.others() {
            ready.send_after(other, self.say(VOTE, self.log.last()));
        }
    }

    fn follow(&mut self, term: u64, ready: &mut Ready<Say>) {
        if term > self.term {
            (self.term, self.voted, self.leader) = (term, RadiantId::NONE, RadiantId::NONE);
            self.votes.clear();
            self.save(ready);
        }
    }

    fn append_to(&self, other: RadiantId, ready: &mut Ready<Say>) {
        let next = self.next.get(&other).copied().unwrap_or(1);
        let at = LogPos { term: self.log.term(next - 1).unwrap_or(0), index: next - 1 };
        let entries = next..self.log.last().index + 1;
        ready.now.push(Envelope { to: other, message: self.say(APPEND, at), entries });
    }

    fn append_to_all(&self, ready: &mut Ready<Say>) {
        self.others().into_iter().for_each(|other| self.append_to(other, ready));
    }

    /// What a majority has on disk.
    fn advance(&mut self, ready: &mut Ready<Say>) {
        if !self.leads() {
            return;
        }
        let mut have: Vec<u64> = self.matched.values().copied().chain([self.durable]).collect();
        have.sort_unstable();
        let Some(most) = have.get((self.members.len() - 1) / 2).copied() else { return };
        let own = self.log.term(most) == Some(self.term);
        if most > self.commit && (own || COUNTS_OLD_TERMS) {
            self.commit = most;
            ready.commit(most);
            self.append_to_all(ready);
        }
    }

    fn hear(&mut self, from: RadiantId, say: Say, entries: Vec<Entry>, ready: &mut Ready<Say>) {
        self.follow(say.term, ready);
        let current = say.term == self.term;
        match say.kind {
            VOTE if current && (self.voted.is_none() || self.voted == from) && say.at >= self.log.last() => {
                (self.voted, self.heard) = (from, self.tick);
                self.save(ready);
                ready.send_after(from, self.say(VOTED, say.at));
            }
            VOTED if current && self.voted == self.boot.me && !self.leads() => {
                self.votes.insert(from);
                if self.votes.len() * 2 > self.members.len() {
                    self.leader = self.boot.me;
                    let next = self.log.last().index + 1;
                    self.matched = self.others().into_iter().map(|other| (other, 0)).collect();
                    self.next = self.others().into_iter().map(|other| (other, next)).collect();
                    self.append_to_all(ready);
                }
            }
            APPEND if current && !self.leads() => self.take(from, say, entries, ready),
            TOOK if current && self.leads() => {
                let matched = self.matched.entry(from).or_default();
                *matched = say.at.index.max(*matched);
                let next = *matched + 1;
                self.next.insert(from, next);
                self.advance(ready);
            }
            LACKS if current && self.leads() => {
                self.next.insert(from, say.at.index + 1);
                self.append_to(from, ready);
            }
            _ => {}
        }
    }

    fn take(&mut self, from: RadiantId, say: Say, entries: Vec<Entry>, ready: &mut Ready<Say>) {
        (self.leader, self.heard) = (from, self.tick);
        if !self.log.holds(say.at) {
            let back = self.log.last().index.min(say.at.index.saturating_sub(1));
            return ready.send_now(from, self.say(LACKS, LogPos { term: 0, index: back }));
        }
        let mut last = say.at;
        for Entry { position, payload } in entries {
            last = position;
            if self.log.holds(position) {
                continue;
            }
            if position.index <= self.log.last().index {
                ready.truncate(position.index);
                self.log.truncate(position.index);
                self.durable = self.durable.min(position.index - 1);
            }
            if self.log.push(position) {
                ready.append(position, payload, None);
            }
        }
        self.commit = self.commit.max(say.commit.min(last.index));
        ready.commit(self.commit);
        ready.send_after(from, self.say(TOOK, last));
    }
}

impl<const COUNTS_OLD_TERMS: bool> Protocol for Raft<COUNTS_OLD_TERMS> {
    type Message = Say;

    fn recover(boot: Boot, durable: Durable) -> Result<Self, String> {
        let Start::Found(members) = boot.start.clone() else { return Err("it is founded".into()) };
        let mut hard = durable.hard.unwrap_or_default();
        let mut number = || hard.try_get_u64().unwrap_or(0);
        let mut raft = Raft {
            members,
            term: number(),
            voted: RadiantId(number()),
            durable: durable.log.last().index,
            log: durable.log,
            commit: durable.applied.position.index,
            tick: 0,
            heard: 0,
            patience: 0,
            leader: RadiantId::NONE,
            votes: BTreeSet::new(),
            matched: BTreeMap::new(),
            next: BTreeMap::new(),
            boot,
        };
        raft.draw();
        Ok(raft)
    }

    fn step(&mut self, input: Input<Say>, ready: &mut Ready<Say>) {
        match input {
            Input::Tick => {
                self.tick += 1;
                if self.leads() && self.tick.is_multiple_of(self.boot.ticks.heartbeat) {
                    self.append_to_all(ready);
                } else if !self.leads() && self.tick - self.heard >= self.patience {
                    self.stand(ready);
                }
            }
            Input::Receive { from, message, entries } => self.hear(from, message, entries, ready),
            Input::Propose { ticket, proposal } if self.leads() => {
                let position = LogPos { term: self.term, index: self.log.last().index + 1 };
                if self.log.push(position) {
                    ready.append(position, Payload::Proposal(proposal), Some(ticket));
                }
                self.append_to_all(ready);
            }
            Input::Propose { ticket, .. }
            | Input::ReadBarrier { ticket }
            | Input::Reconfigure { ticket, .. }
            | Input::HandOver { ticket, .. } => {
                let hint = Some(self.leader).filter(|leader| !leader.is_none());
                ready.refuse(ticket, Refused::NotHerald { order: self.boot.order, hint });
            }
            Input::Persisted { upto } => {
                self.durable = upto;
                self.advance(ready);
            }
            Input::GivenUp { .. }
            | Input::Campaign
            | Input::Applied { .. }
            | Input::Purged { .. }
            | Input::Installed { .. } => {}
        }
    }

    fn status(&self) -> Status {
        Status {
            herald: Some(self.leader).filter(|leader| !leader.is_none()),
            leading: self.leads(),
            term: self.term,
            members: self.members.clone(),
            ..Status::default()
        }
    }
}
