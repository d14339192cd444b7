//! Members of a pure protocol in one value: logs, messages under way, and what was promised to clients.
//!
//! Nothing here waits or runs: [`Net::happen`] lets one thing happen to one member and checks every promise. What
//! happens next is chosen by a [`script`], by lot ([`walk`]), or [every way is gone](explore). A `Net` can be cloned, so that
//! one state leads to many.
//!
//! Promises that are checked after every step: members apply the same entries in the same order; what was acknowledged is
//! what was applied, and a later read waits for it; what was refused is never applied; a protocol asks its driver for
//! nothing that makes no sense.

pub mod explore;
mod member;
pub mod script;
pub mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use shardbearer_core::engine::Start;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::protocol::{
    Answer, Change, Configuration, Entry, Envelope, Input, Payload, Protocol, Ready, Ticket,
};

pub use self::member::Member;
use crate::conformance::Broken;

/// Something that is under way to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight<M> {
    /// Who sent it.
    pub from: RadiantId,
    /// For whom.
    pub to: RadiantId,
    /// What.
    pub load: Load<M>,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load<M> {
    /// A message with its entries.
    Message(M, Vec<Entry>),
    /// A snapshot: everything applied where it comes from.
    Snapshot(Vec<Entry>),
}

/// One thing that can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What is at this place of [`Net::flights`] arrives.
    Deliver(usize),
    /// It arrives, and once more later.
    Double(usize),
    /// It is lost.
    Lose(usize),
    /// Time passes for a member.
    Tick(RadiantId),
    /// A member sends again all that has not arrived as far as it knows.
    Again(RadiantId),
    /// The oldest write of a member becomes durable.
    Persist(RadiantId),
    /// A member ends, and what is not durable of its log is gone. Its data are there as they were applied.
    Crash(RadiantId),
    /// The same, and of its data only that is left which its log had to let go of. The log has the rest.
    PowerCut(RadiantId),
    /// It starts again.
    Restart(RadiantId),
    /// A client proposes the next number at a member.
    Propose(RadiantId),
    /// A client wants to read at a member.
    Read(RadiantId),
    /// A client does not wait for its read at a member any longer.
    GiveUp(RadiantId),
    /// Somebody decided on a configuration and tells a member.
    Configure(RadiantId, Configuration),
    /// A member forgets the log under what it applied.
    Purge(RadiantId),
}

/// A read that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    by: RadiantId,
    /// The last entry acknowledged when it was asked.
    acknowledged: u64,
    /// The last entry that an answer to another read had shown when it was asked.
    shown: u64,
}

/// All members and all that is between them.
#[derive(Clone)]
pub struct Net<P: Protocol> {
    /// By id.
    pub members: BTreeMap<RadiantId, Member<P>>,
    /// In the order in which they were sent.
    pub flights: Vec<Flight<P::Message>>,
    /// Every entry applied anywhere, in order.
    pub history: Vec<Entry>,
    /// The last entry whose proposer got a reply.
    pub acknowledged: u64,
    /// The last entry that an answer to a read showed, at least.
    pub shown: u64,
    /// Reads that were answered.
    pub answered: u64,
    /// What the last thing led to, in words; for scripts.
    pub said: Vec<String>,
    proposed: u64,
    tickets: u64,
    refused: BTreeSet<u64>,
    reads: BTreeMap<Ticket, Asked>,
    /// Proposals by ticket: their number.
    proposals: BTreeMap<Ticket, u64>,
    restarts: u64,
}

impl<P: Protocol + Clone + fmt::Debug> Net<P> {
    /// Members that begin so, with ids from 1.
    ///
    /// # Panics
    /// If one cannot begin.
    pub fn new(starts: Vec<Start>) -> Self {
        let mut net = Net {
            members: BTreeMap::new(),
            flights: Vec::new(),
            history: Vec::new(),
            acknowledged: 0,
            shown: 0,
            answered: 0,
            said: Vec::new(),
            proposed: 0,
            tickets: 0,
            refused: BTreeSet::new(),
            reads: BTreeMap::new(),
            proposals: BTreeMap::new(),
            restarts: 0,
        };
        for (id, start) in (1..).zip(starts) {
            let mut member = Member::new(RadiantId(id), start);
            member.start(id).expect("a member of a new order can begin");
            net.members.insert(RadiantId(id), member);
        }
        net
    }

    /// `count` founders.
    pub fn founded(count: u64) -> Self {
        let members: Vec<RadiantId> = (1..=count).map(RadiantId).collect();
        Net::new(members.iter().map(|_| Start::Found(members.clone())).collect())
    }

    /// The protocol of a member that is up.
    pub fn protocol(&self, id: RadiantId) -> Option<&P> {
        self.members.get(&id)?.protocol.as_ref()
    }

    /// Members that are up.
    pub fn up(&self) -> impl Iterator<Item = RadiantId> + use<'_, P> {
        self.members.values().filter(|member| member.protocol.is_some()).map(|member| member.id)
    }

    /// Lets something happen and checks every promise. What cannot happen now has no effect.
    pub fn happen(&mut self, event: Event) -> Result<(), Broken> {
        self.said.clear();
        match event {
            Event::Deliver(at) if at < self.flights.len() => {
                let flight = self.flights.remove(at);
                self.deliver(flight)
            }
            Event::Double(at) if at < self.flights.len() => {
                let flight = self.flights.remove(at);
                self.flights.push(flight.clone());
                self.deliver(flight)
            }
            Event::Lose(at) if at < self.flights.len() => {
                self.flights.remove(at);
                Ok(())
            }
            Event::Deliver(_) | Event::Double(_) | Event::Lose(_) => Ok(()),
            Event::Tick(id) => {
                self.step(id, Input::Tick)?;
                self.repeat(id, Member::ticked);
                Ok(())
            }
            Event::Again(id) => {
                self.repeat(id, Member::again);
                Ok(())
            }
            Event::Persist(id) => match self.members.get_mut(&id).and_then(Member::persisted) {
                Some((upto, held)) => {
                    self.flights.extend(held);
                    self.step(id, Input::Persisted { upto })
                }
                None => Ok(()),
            },
            Event::Crash(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.crash();
                }
                Ok(())
            }
            Event::PowerCut(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.crash();
                    member.applied.truncate(member.kept);
                }
                Ok(())
            }
            Event::Restart(id) => {
                self.restarts += 1;
                let seed = 1_000_000 * self.restarts;
                match self.members.get_mut(&id) {
                    Some(member) if member.protocol.is_none() => member.start(seed + id.0).map_err(Broken),
                    Some(_) | None => Ok(()),
                }
            }
            Event::Propose(id) => self.propose(id),
            Event::Read(id) => {
                let ticket = self.ticket();
                let Net { acknowledged, shown, .. } = *self;
                self.reads.insert(ticket, Asked { by: id, acknowledged, shown });
                self.step(id, Input::ReadBarrier { ticket })
            }
            Event::GiveUp(id) => {
                let up = self.protocol(id).is_some();
                let of = |(ticket, asked): (&Ticket, &Asked)| (up && asked.by == id).then_some(*ticket);
                let Some(ticket) = self.reads.iter().find_map(of) else { return Ok(()) };
                self.reads.remove(&ticket);
                if let Some(member) = self.members.get_mut(&id) {
                    member.ended(ticket);
                }
                self.step(id, Input::GivenUp { ticket })
            }
            Event::Configure(id, configuration) => {
                let ticket = self.ticket();
                self.step(id, Input::Reconfigure { ticket, change: Change::Decided(configuration) })
            }
            Event::Purge(id) => match self.members.get_mut(&id).and_then(Member::purge) {
                Some(upto) => self.step(id, Input::Purged { upto }),
                None => Ok(()),
            },
        }
    }

    fn repeat(&mut self, id: RadiantId, what: impl Fn(&mut Member<P>) -> Vec<Envelope<P::Message>>) {
        if let Some(member) = self.members.get_mut(&id).filter(|member| member.protocol.is_some()) {
            let again = what(member);
            script::tell_envelopes(&again, id, "", &mut self.said);
            let flights = member.seal(again);
            self.flights.extend(flights.into_iter().filter(|flight| flight.to != id));
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn propose(&mut self, id: RadiantId) -> Result<(), Broken> {
        self.proposed += 1;
        let ticket = self.ticket();
        self.proposals.insert(ticket, self.proposed);
        let proposal = Bytes::copy_from_slice(&self.proposed.to_be_bytes());
        self.step(id, Input::Propose { ticket, proposal })
    }

    fn deliver(&mut self, flight: Flight<P::Message>) -> Result<(), Broken> {
        let Flight { from, to, load } = flight;
        match load {
            Load::Message(message, entries) => self.step(to, Input::Receive { from, message, entries }),
            Load::Snapshot(entries) => {
                match self.members.get_mut(&to).and_then(|one| one.install(&entries)) {
                    Some(applied) => self.step(to, Input::Installed { from, applied }),
                    None => Ok(()),
                }
            }
        }
    }

    /// One step of a member, and what follows from it.
    fn step(&mut self, id: RadiantId, input: Input<P::Message>) -> Result<(), Broken> {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
            let Some(protocol) = &mut member.protocol else { return Ok(()) };
            let mut ready = Ready::default();
            protocol.step(input, &mut ready);
            inputs.extend(self.carry_out(id, ready)?);
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        id: RadiantId,
        ready: Ready<P::Message>,
    ) -> Result<Option<Input<P::Message>>, Broken> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(None) };
        script::tell(&ready, id, &mut self.said);
        member.write(ready.persist)?;
        let at_once = [ready.now, member.stand(ready.standing)].concat();
        let (now, after) = (member.seal(at_once), member.seal(ready.after));
        self.flights.extend(now.into_iter().filter(|flight| flight.to != id));
        self.flights.extend(member.hold(after.into_iter().filter(|flight| flight.to != id).collect()));
        for to in ready.snapshots {
            let load = Load::Snapshot(member.applied.clone());
            let flight = Flight { from: id, to, load };
            if !self.flights.contains(&flight) {
                self.flights.push(flight);
            }
        }
        let (fresh, replies) = member.apply(ready.commit)?;
        let input = fresh.last().map(|last| Input::Applied { upto: last.position.index });
        for entry in fresh {
            self.applied(id, entry)?;
        }
        for (index, ticket) in replies {
            self.said.push(format!("{id} acknowledges {index}"));
            self.acknowledged = self.acknowledged.max(index);
            self.proposals.remove(&ticket);
        }
        for (ticket, answer) in ready.answers {
            if let Some(member) = self.members.get_mut(&id) {
                member.ended(ticket);
            }
            self.hear(id, ticket, answer)?;
        }
        Ok(input)
    }

    /// All apply the same.
    fn applied(&mut self, id: RadiantId, entry: Entry) -> Result<(), Broken> {
        let index = entry.position.index;
        if let Payload::Proposal(bytes) = &entry.payload {
            let number = bytes.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default();
            if self.refused.contains(&number) {
                return Err(Broken(format!("proposal {number} was refused, and {id} applied it at {index}")));
            }
        }
        match usize::try_from(index - 1).ok().and_then(|at| self.history.get(at)) {
            Some(known) if *known == entry => Ok(()),
            Some(known) => Err(Broken(format!("{id} applied {entry:?}, another member {known:?}"))),
            None if self.history.len() as u64 + 1 == index => {
                self.history.push(entry);
                Ok(())
            }
            None => Err(Broken(format!("{id} skipped entries before {index}"))),
        }
    }

    fn hear(&mut self, id: RadiantId, ticket: Ticket, answer: Answer) -> Result<(), Broken> {
        match answer {
            Answer::Read(index) => {
                let Some(asked) = self.reads.remove(&ticket) else { return Ok(()) };
                self.answered += 1;
                if index < asked.acknowledged {
                    let Asked { by, acknowledged, .. } = asked;
                    return Err(Broken(format!(
                        "a read at {by} waits for {index}, and {acknowledged} was acknowledged before it"
                    )));
                }
                // Who reads sees all that is applied there.
                let applied = self.members.get(&id).map_or(0, |member| member.applied.len() as u64);
                let (shows, Asked { by, shown, .. }) = (index.max(applied), asked);
                if shows < shown {
                    let before = format!("and a read that was over before it showed {shown}");
                    return Err(Broken(format!("a read at {by} shows {shows}, {before}")));
                }
                self.shown = self.shown.max(shows);
            }
            Answer::Refused(_) => {
                if let Some(number) = self.proposals.remove(&ticket) {
                    let appended = self.members.get(&id).is_some_and(|one| one.waits_for(ticket));
                    if appended {
                        return Err(Broken(format!("proposal {number} was refused after it was appended")));
                    }
                    self.refused.insert(number);
                }
            }
            Answer::Unknown(_) | Answer::Done => {}
        }
        Ok(())
    }
}

impl<P: Protocol + fmt::Debug> Net<P> {
    /// Everything that decides what can happen next, except for what is under way.
    fn but_for_flights(&self) -> String {
        let Net { members, acknowledged, shown, reads, refused, history, proposed, .. } = self;
        format!("{members:?} {acknowledged} {shown} {reads:?} {refused:?} {history:?} {proposed}")
    }
}

impl<P: Protocol + fmt::Debug> fmt::Debug for Net<P> {
    /// Everything that decides what can happen next; two nets that look the same behave the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.flights, self.but_for_flights())
    }
}
