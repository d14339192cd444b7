//! One member: its protocol, what its log holds, what of that is on disk, what it applied.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use shardbearer_core::engine::{Applied, Start};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{
    Boot, Durable, Entry, Envelope, Letters, Payload, Persist, Protocol, Standing, Terms, Ticket, Ticks,
};

use super::{Flight, Load};
use crate::conformance::Broken;

/// Few, so that walks see suspicion soon.
const TICKS: Ticks = Ticks { heartbeat: 2, election_min: 10, election_max: 20 };

/// A log as it is readable, or as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Log {
    terms: Terms,
    entries: VecDeque<Entry>,
    hard: Option<Bytes>,
}

/// One write, and what leaves when it is durable.
#[derive(Clone)]
struct Write<M> {
    changes: Vec<Change>,
    held: Vec<Flight<M>>,
}

#[derive(Clone, Debug)]
enum Change {
    Append(Entry),
    Truncate(u64),
    Hard(Bytes),
    Purge(LogPos),
    Restart(LogPos),
}

impl Log {
    fn change(&mut self, change: Change) -> Result<(), Broken> {
        match change {
            Change::Append(entry) => {
                if !self.terms.push(entry.position) {
                    return Err(Broken(format!("{entry:?} does not follow {:?}", self.terms.last())));
                }
                self.entries.push_back(entry);
            }
            Change::Truncate(from) => {
                self.terms.truncate(from);
                self.entries.retain(|entry| entry.position.index < from);
            }
            Change::Hard(hard) => self.hard = Some(hard),
            Change::Purge(upto) => {
                self.terms.purge(upto);
                self.entries.retain(|entry| entry.position.index > upto.index);
            }
            Change::Restart(position) => {
                self.terms = Terms::after(position);
                self.entries.clear();
            }
        }
        Ok(())
    }
}

/// A member.
#[derive(Clone)]
pub struct Member<P: Protocol> {
    /// Its id.
    pub id: RadiantId,
    /// `None` while it is down.
    pub protocol: Option<P>,
    /// What it applied, from the first entry on.
    pub applied: Vec<Entry>,
    /// How many of them a power cut leaves. The log has the others.
    pub(super) kept: usize,
    start: Start,
    log: Log,
    disk: Log,
    writes: VecDeque<Write<P::Message>>,
    commit: u64,
    tickets: BTreeMap<u64, (u64, Ticket)>,
    letters: Letters<P::Message>,
    /// Ticks since the start.
    tick: u64,
}

impl<P: Protocol> Member<P> {
    /// One that is down and has nothing.
    pub(super) fn new(id: RadiantId, start: Start) -> Self {
        Member {
            id,
            protocol: None,
            applied: Vec::new(),
            kept: 0,
            start,
            log: Log::default(),
            disk: Log::default(),
            writes: VecDeque::new(),
            commit: 0,
            tickets: BTreeMap::new(),
            letters: Letters::default(),
            tick: 0,
        }
    }

    /// Starts it from what is on its disk.
    pub(super) fn start(&mut self, seed: u64) -> Result<(), String> {
        let applied = self.applied_position();
        if self.disk.terms.install(applied) {
            self.disk.entries.clear();
        }
        self.log = self.disk.clone();
        self.commit = applied.index;
        let own = |entry: &Entry| match &entry.payload {
            Payload::Own(bytes) => Some((entry.position, bytes.clone())),
            Payload::Blank | Payload::Proposal(_) => None,
        };
        let note = self.applied.iter().rev().find_map(own).map(|(_, bytes)| bytes).unwrap_or_default();
        let durable = Durable {
            hard: self.disk.hard.clone(),
            log: self.disk.terms.clone(),
            own: self.disk.entries.iter().filter_map(own).collect(),
            applied: Applied { position: applied, note },
        };
        let boot = Boot { order: OrderId(3), me: self.id, start: self.start.clone(), seed, ticks: TICKS };
        self.protocol = Some(P::recover(boot, durable)?);
        Ok(())
    }

    pub(super) fn crash(&mut self) {
        self.protocol = None;
        self.writes.clear();
        self.tickets.clear();
        (self.letters, self.tick) = (Letters::default(), 0);
    }

    fn applied_position(&self) -> LogPos {
        self.applied.last().map(|entry| entry.position).unwrap_or_default()
    }

    /// The end of the log as it is now, as far as it is on disk.
    fn durable(&self) -> u64 {
        let last = self.log.terms.last().index.min(self.disk.terms.last().index);
        let same = |index: &u64| {
            let here = self.log.terms.term(*index);
            here.is_some() && here == self.disk.terms.term(*index)
        };
        // What a snapshot took the place of is durable in the data.
        (0..=last).rev().find(same).unwrap_or(0).max(self.log.terms.purged().index)
    }

    /// How many writes are not durable.
    pub fn unwritten(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn write(&mut self, persist: Vec<Persist>) -> Result<(), Broken> {
        let mut changes = Vec::new();
        for one in persist {
            let change = match one {
                Persist::Append(entry, ticket) => {
                    if let Some(ticket) = ticket {
                        self.tickets.insert(entry.position.index, (entry.position.term, ticket));
                    }
                    Change::Append(entry)
                }
                Persist::Truncate { from } if from <= self.commit => {
                    return Err(Broken(format!("{} cuts {from}, and {} is committed", self.id, self.commit)));
                }
                Persist::Truncate { from } => {
                    self.tickets.split_off(&from);
                    self.letters.truncated(from);
                    Change::Truncate(from)
                }
                Persist::Hard(hard) => Change::Hard(hard),
            };
            self.log.change(change.clone())?;
            changes.push(change);
        }
        if !changes.is_empty() {
            self.writes.push_back(Write { changes, held: Vec::new() });
        }
        Ok(())
    }

    /// Messages with their entries.
    pub(super) fn seal(&self, envelopes: Vec<Envelope<P::Message>>) -> Vec<Flight<P::Message>> {
        let seal = |envelope: Envelope<P::Message>| {
            let first = self.log.terms.purged().index + 1;
            let there = envelope.entries.start >= first;
            let wanted = |entry: &&Entry| there && envelope.entries.contains(&entry.position.index);
            let entries = self.log.entries.iter().filter(wanted).cloned().collect();
            Flight { from: self.id, to: envelope.to, load: Load::Message(envelope.message, entries) }
        };
        envelopes.into_iter().map(seal).collect()
    }

    /// What is sent again from now on, or not any more. Returns what leaves at once.
    pub(super) fn stand(&mut self, changes: Vec<Standing<P::Message>>) -> Vec<Envelope<P::Message>> {
        changes.into_iter().filter_map(|change| self.letters.change(change, self.tick)).collect()
    }

    /// Nobody waits under the ticket any more.
    pub(super) fn ended(&mut self, ticket: Ticket) {
        self.letters.keep(|other| other != ticket);
    }

    /// Whether anything is sent again until it has arrived.
    pub fn insists(&self) -> bool {
        !self.letters.is_empty()
    }

    /// Time passes. Returns what is sent again.
    pub(super) fn ticked(&mut self) -> Vec<Envelope<P::Message>> {
        self.tick += 1;
        self.letters.due(self.tick, TICKS.heartbeat)
    }

    /// Everything that is sent again, now.
    pub(super) fn again(&mut self) -> Vec<Envelope<P::Message>> {
        self.letters.due(self.tick, 0)
    }

    /// Keeps messages until the last write is durable; gives them back if all are.
    pub(super) fn hold(&mut self, flights: Vec<Flight<P::Message>>) -> Vec<Flight<P::Message>> {
        match self.writes.back_mut() {
            Some(write) => {
                write.held.extend(flights);
                Vec::new()
            }
            None => flights,
        }
    }

    /// The oldest write becomes durable: up to where the log is so now, and what may leave.
    pub(super) fn persisted(&mut self) -> Option<(u64, Vec<Flight<P::Message>>)> {
        self.protocol.as_ref()?;
        let write = self.writes.pop_front()?;
        for change in write.changes {
            self.disk.change(change).expect("what the readable log took, the disk takes as well");
        }
        Some((self.durable(), write.held))
    }

    /// Applies what is committed and durable: the entries, and the tickets that get their reply.
    #[allow(clippy::type_complexity)] // read once, right where it is made
    pub(super) fn apply(&mut self, commit: u64) -> Result<(Vec<Entry>, Vec<(u64, Ticket)>), Broken> {
        if commit > self.log.terms.last().index {
            return Err(Broken(format!("{} commits {commit}, which it does not have", self.id)));
        }
        self.commit = self.commit.max(commit);
        let upto = self.commit.min(self.durable());
        let from = self.applied_position().index;
        let due = |entry: &&Entry| entry.position.index > from && entry.position.index <= upto;
        let fresh: Vec<Entry> = self.log.entries.iter().filter(due).cloned().collect();
        self.applied.extend(fresh.iter().cloned());
        let mut replies = Vec::new();
        for entry in &fresh {
            if let Some((term, ticket)) = self.tickets.remove(&entry.position.index)
                && term == entry.position.term
            {
                replies.push((entry.position.index, ticket));
            }
        }
        Ok((fresh, replies))
    }

    pub(super) fn waits_for(&self, ticket: Ticket) -> bool {
        self.tickets.values().any(|(_, waiting)| *waiting == ticket)
    }

    /// Takes a snapshot over if it is newer, on disk at once.
    pub(super) fn install(&mut self, entries: &[Entry]) -> Option<Applied> {
        self.protocol.as_ref()?;
        if entries.len() > self.applied.len() {
            self.applied = entries.to_vec();
            self.kept = entries.len();
        }
        let position = self.applied_position();
        let mut log = self.log.terms.clone();
        if log.install(position) {
            let restart = Change::Restart(position);
            self.letters.emptied();
            self.log.change(restart.clone()).expect("a restart always fits");
            self.writes.push_back(Write { changes: vec![restart], held: Vec::new() });
        }
        self.commit = self.commit.max(position.index);
        Some(Applied { position, note: Bytes::new() })
    }

    pub(super) fn purge(&mut self) -> Option<LogPos> {
        self.protocol.as_ref()?;
        let upto = self.applied_position();
        if upto.index <= self.log.terms.purged().index {
            return None;
        }
        // The data first, then the log lets go of it.
        self.kept = self.applied.len();
        let purge = Change::Purge(upto);
        self.log.change(purge.clone()).ok()?;
        self.letters.purged(upto.index);
        self.writes.push_back(Write { changes: vec![purge], held: Vec::new() });
        Some(upto)
    }
}

impl<P: Protocol + fmt::Debug> fmt::Debug for Member<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?} {:?} ", self.protocol, self.log, self.disk, self.tickets)?;
        if !self.letters.is_empty() {
            write!(f, "{:?} {} ", self.letters, self.tick)?;
        }
        for write in &self.writes {
            write!(f, "{:?} {:?} ", write.changes, write.held)?;
        }
        write!(f, "{} {} {}", self.commit, self.applied.len(), self.kept)
    }
}
