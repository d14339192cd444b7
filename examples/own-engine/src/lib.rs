//! A replication protocol in one file, to begin one's own from: a star.
//!
//! The first member leads, for good. It sends each entry, once that is durable, to all others at the same time; an
//! entry is committed when it is durable everywhere. There are no elections and no changes of members, so
//! while one member is down nothing is written. That is little, and all of it is right: no acknowledged write is lost
//! by any crash, and the leader needs to ask nobody to read.
//!
//! `Star` is the protocol, `Say` its messages, `StarFactory` its name and what it promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer::engine::driver;
use shardbearer_core::engine::{
    Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory, Start,
};
use shardbearer_core::error::Refused;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{
    Answer, Boot, Durable, Entry, Input, Message, Payload, Protocol, Ready, Status, Terms,
};

/// Nobody else ever leads.
const TERM: u64 = 1;

/// Makes orders that replicate in a star.
pub struct StarFactory;

#[async_trait]
impl EngineFactory for StarFactory {
    fn name(&self) -> &'static str {
        "star"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linearizable_reads: true,
            reads_at_every_member: false,
            reconfigure: false,
            members_decided_elsewhere: false,
            snapshots: true,
            tolerates: |_| 0,
        }
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        driver::open::<Star>(context).await
    }
}

/// What members say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// The leader: here are the entries behind this index. So much is committed.
    Take {
        /// The index before the first entry.
        after: u64,
        /// Committed up to here.
        commit: u64,
    },
    /// Another: I have everything up to here, durably.
    Have {
        /// The last entry.
        upto: u64,
    },
}

/// The version of the messages.
const VERSION: u8 = 1;

impl Message for Say {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        match self {
            Say::Take { after, commit } => {
                out.put_u8(0);
                out.put_u64(*after);
                out.put_u64(*commit);
            }
            Say::Have { upto } => {
                out.put_u8(1);
                out.put_u64(*upto);
            }
        }
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let version = bytes.try_get_u8().ok()?;
        let said = match bytes.try_get_u8().ok()? {
            0 => Say::Take { after: bytes.try_get_u64().ok()?, commit: bytes.try_get_u64().ok()? },
            1 => Say::Have { upto: bytes.try_get_u64().ok()? },
            _ => return None,
        };
        (version == VERSION && bytes.is_empty()).then_some(said)
    }
}

/// A member of a star.
#[derive(Clone, Debug)]
pub struct Star {
    boot: Boot,
    members: Vec<RadiantId>,
    log: Terms,
    durable: u64,
    commit: u64,
    /// On the leader: the end of the log at its start. Some of it may have been acknowledged, so it is no leader before
    /// all of that is committed again.
    base: u64,
    tick: u64,
    rays: BTreeMap<RadiantId, Ray>,
}

/// What the leader knows of another member.
#[derive(Clone, Copy, Debug)]
struct Ray {
    /// It has everything up to here, durably.
    have: u64,
    /// Entries or a snapshot are on their way to it.
    busy: bool,
    /// When it was last heard.
    heard: Option<u64>,
}

impl Protocol for Star {
    type Message = Say;

    fn recover(boot: Boot, durable: Durable) -> Result<Self, String> {
        let Start::Found(members) = boot.start.clone() else {
            return Err("a star has the members it was founded with".into());
        };
        let last = durable.log.last().index;
        let ray = Ray { have: 0, busy: false, heard: None };
        let others = members.iter().filter(|member| **member != boot.me);
        Ok(Star {
            rays: others.map(|member| (*member, ray)).collect(),
            log: durable.log,
            durable: last,
            commit: durable.applied.position.index,
            base: last,
            tick: 0,
            boot,
            members,
        })
    }

    fn step(&mut self, input: Input<Say>, ready: &mut Ready<Say>) {
        match input {
            Input::Tick => {
                self.tick += 1;
                if self.leader() == self.boot.me && self.tick.is_multiple_of(self.boot.ticks.heartbeat) {
                    self.send_all(true, ready);
                }
                self.advance(ready);
            }
            Input::Receive { from, message: Say::Take { after, commit }, entries }
                if from == self.leader() =>
            {
                self.take(after, commit, entries, ready);
            }
            Input::Receive { from, message: Say::Have { upto }, .. } if self.leads_or_will() => {
                if let Some(ray) = self.rays.get_mut(&from) {
                    // It may say less than before: what was lost on the way is sent from there again.
                    *ray = Ray { have: upto.min(self.durable), busy: false, heard: Some(self.tick) };
                    ready.delivered(from);
                }
                self.advance(ready);
                self.send_all(false, ready);
            }
            Input::Receive { .. } => {} // from somebody who has no say in it
            Input::Propose { ticket, proposal } => {
                if !self.status().leading {
                    return ready.refuse(ticket, self.refusal());
                }
                let position = LogPos { term: TERM, index: self.log.last().index + 1 };
                if self.log.push(position) {
                    ready.append(position, Payload::Proposal(proposal), Some(ticket));
                }
            }
            // Nobody else acknowledges anything, ever; so what is committed here is all there is to see.
            Input::ReadBarrier { ticket } if self.is_settled() => {
                ready.answer(ticket, Answer::Read(self.commit))
            }
            Input::ReadBarrier { ticket } => ready.refuse(ticket, self.refusal()),
            Input::Reconfigure { ticket, .. } | Input::HandOver { ticket, .. } => {
                ready.refuse(ticket, Refused::Invalid("a star stays as it was founded".into()));
            }
            Input::Persisted { upto } => {
                self.durable = upto;
                self.advance(ready);
                if self.leads_or_will() {
                    self.send_all(false, ready);
                }
            }
            Input::Purged { upto } => self.log.purge(upto),
            Input::Installed { applied, .. } => {
                if self.log.install(applied.position) {
                    self.durable = applied.position.index;
                }
                self.commit = self.commit.max(applied.position.index);
                self.tell(ready);
            }
            Input::Campaign | Input::Applied { .. } | Input::GivenUp { .. } => {}
        }
    }

    fn status(&self) -> Status {
        let patience = self.boot.ticks.election_min;
        let near = |ray: &Ray| ray.heard.is_some_and(|heard| self.tick - heard <= patience);
        Status {
            herald: Some(self.leader()),
            leading: self.is_settled() && self.rays.values().all(near),
            term: TERM,
            members: self.members.clone(),
            matched: self.rays.iter().map(|(member, ray)| (*member, ray.have)).collect(),
            complete: false,
        }
    }
}

impl Star {
    fn leader(&self) -> RadiantId {
        self.members.first().copied().unwrap_or_default()
    }

    fn leads_or_will(&self) -> bool {
        self.leader() == self.boot.me
    }

    fn is_settled(&self) -> bool {
        self.leads_or_will() && self.commit >= self.base
    }

    fn refusal(&self) -> Refused {
        if self.leads_or_will() {
            return Refused::Unavailable("a member of the star does not answer".into());
        }
        Refused::NotHerald { order: self.boot.order, hint: Some(self.leader()) }
    }

    /// The leader finds out what is durable everywhere.
    fn advance(&mut self, ready: &mut Ready<Say>) {
        if self.leads_or_will() {
            let everywhere = self.rays.values().map(|ray| ray.have).chain([self.durable]).min().unwrap_or(0);
            self.commit = self.commit.max(everywhere);
            ready.commit(self.commit);
        }
    }

    /// Sends what is durable here to whoever does not have it: at most one message with entries on its way to each, which the
    /// driver repeats until it is told that it arrived. With a beat also to those who have everything.
    fn send_all(&mut self, beat: bool, ready: &mut Ready<Say>) {
        for (member, ray) in &mut self.rays {
            let due = ray.have < self.durable && !ray.busy;
            if !beat && !due {
                continue;
            }
            let say = Say::Take { after: ray.have, commit: self.commit };
            if due && self.log.term(ray.have).is_none() {
                ready.snapshot(*member); // the log does not reach back so far
                ready.send_now(*member, say);
            } else if due {
                ready.deliver(*member, say, ray.have + 1..self.durable + 1);
            } else {
                ready.send_now(*member, say);
            }
            ray.busy |= due;
        }
    }

    /// Another member takes in what the leader sent. Its log is always the beginning of the leader's, so there is nothing to compare.
    fn take(&mut self, after: u64, commit: u64, entries: Vec<Entry>, ready: &mut Ready<Say>) {
        let mut next = after;
        for entry in entries {
            next += 1;
            if next > self.log.last().index && entry.position.index == next && self.log.push(entry.position) {
                ready.append(entry.position, entry.payload, None);
            }
        }
        let commit = commit.min(self.log.last().index);
        if commit > self.commit {
            self.commit = commit;
            ready.commit(commit);
        }
        self.tell(ready);
    }

    /// Says what it has. The driver lets that leave when it is durable.
    fn tell(&self, ready: &mut Ready<Say>) {
        ready.send_after(self.leader(), Say::Have { upto: self.log.last().index });
    }
}
