//! Chain replication: the head orders writes, each member passes them to the next, the tail commits them.
//!
//! ```text
//!            entries, once durable here ──▶            ──▶
//!   clients ──▶ head ──────────────────── middle ───────────── tail
//!            ◀── committed, and how far you match      ◀──
//! ```
//!
//! After van Renesse and Schneider, *Chain Replication for Supporting High Throughput and Availability* (OSDI 2004), with
//! reads at any member as in Terrace and Freedman's CRAQ (USENIX ATC 2009).
//!
//! **Writes.** A member sends an entry on only when it is durable there, so each log is a prefix of its predecessor's,
//! on disk. What the tail has is on every disk, and thereby committed; that news travels back up. The head leads.
//! Each member sends to one other, so a wide order costs its head no more than a narrow one; the price is that a write takes
//! as many fsyncs in a row as there are members.
//!
//! **Reads.** CRAQ asks the tail, and relies on the master to stop members that were left out. Here nothing is
//! said about clocks, so a barrier asks every member whether the epoch still is the latest ([`barriers`]): one
//! round trip to all at once, shared by all reads that wait. Any member can do it, and each waits for what the tail says is
//! committed: the tail is the first to know.
//!
//! **Learners** stand behind the tail and get what it has, which is committed by then. Nobody waits for them; one that has
//! caught up can be made a member without holding the others up for long.
//!
//! **Failures.** A chain cannot tell a dead member from a slow one, and does not try: while one is silent the chain
//! stops, and goes on when it is back; it neither loses nor forks. To leave a member out, somebody who has a quorum of his
//! own (the control order) decides on a new configuration and tells any member ([`epochs`]). All messages carry the
//! epoch, so members of an older one are told of the newer instead of being listened to.
//!
//! **What it leaves out.** Choosing the new configuration; changing the head without an epoch; leases.
//!
//! - [`flow`] has entries down and acknowledgements up
//! - [`barriers`] has the reads
//! - [`epochs`] has the configurations
//! - [`wire`] has the messages as bytes

mod barriers;
mod epochs;
mod flow;
#[cfg(test)]
mod tests;
pub(super) mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use shardbearer_core::engine::{Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory};
use shardbearer_core::error::Refused;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{
    Boot, Change, Configuration, Durable, Entry, Input, Payload, Protocol, Ready, Status, Terms, Ticks,
};

use self::barriers::Barrier;
use self::wire::Say;
use super::driver;

/// Makes orders that run chain replication.
pub struct ChainFactory;

#[async_trait]
impl EngineFactory for ChainFactory {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linearizable_reads: true,
            reads_at_every_member: true,
            // Not by itself: `ConsensusEngine::configure` takes what was decided elsewhere.
            reconfigure: false,
            members_decided_elsewhere: true,
            snapshots: true,
            // By itself it stops while a member is down, and loses nothing. Where somebody decides on its members, as the
            // control order of a cluster does, it survives all but one, one after the other.
            tolerates: |_| 0,
        }
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        driver::open::<Chain>(context).await
    }
}

/// A member of a chain.
#[derive(Clone, Debug)]
pub struct Chain {
    order: OrderId,
    me: RadiantId,
    ticks: Ticks,
    configuration: Configuration,
    /// Whether the log here holds all that was committed in earlier epochs: only then may this member be head.
    complete: bool,
    /// The two above are not written yet.
    unsaved: bool,
    log: Terms,
    durable: u64,
    commit: u64,
    /// The log up to here is known to be the head's, in this epoch.
    matched: u64,
    /// The end of the head's log when the epoch, or the head, began: what may have been acknowledged before.
    base: Option<u64>,
    below: Below,
    /// Ticks since the start.
    tick: u64,
    /// On the head: counts ticks, from a number that no earlier start used. On others: what came from there last.
    beat: u64,
    /// The newest beat that came back from the tail.
    echo: Option<u64>,
    round: u64,
    barriers: Vec<Barrier>,
}

/// What is known of the successor.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Below {
    /// The next entry to send.
    next: u64,
    /// Its log is known to match up to here.
    matched: u64,
    /// Durable from it to the tail.
    commit: u64,
    /// Entries or a snapshot are on their way; one at a time, and what gathers meanwhile is the next.
    busy: bool,
}

impl Chain {
    fn position(&self) -> Option<usize> {
        self.configuration.members.iter().position(|member| *member == self.me)
    }

    fn head(&self) -> Option<RadiantId> {
        self.configuration.members.first().copied()
    }

    fn is_head(&self) -> bool {
        self.head() == Some(self.me)
    }

    fn tail(&self) -> Option<RadiantId> {
        self.configuration.members.last().copied()
    }

    fn is_tail(&self) -> bool {
        self.tail() == Some(self.me)
    }

    /// Members, then learners: who sends to whom.
    fn line(&self) -> impl Iterator<Item = RadiantId> + use<'_> {
        self.configuration.members.iter().chain(&self.configuration.learners).copied()
    }

    fn place(&self) -> Option<usize> {
        self.line().position(|one| one == self.me)
    }

    fn is_learner(&self) -> bool {
        self.configuration.learners.contains(&self.me)
    }

    fn predecessor(&self) -> Option<RadiantId> {
        let before = self.place()?.checked_sub(1)?;
        self.line().nth(before)
    }

    fn successor(&self) -> Option<RadiantId> {
        self.line().nth(self.place()? + 1)
    }

    fn others(&self) -> impl Iterator<Item = RadiantId> + use<'_> {
        self.configuration.members.iter().copied().filter(|member| *member != self.me)
    }

    /// Why this member takes no writes.
    fn refusal(&self) -> Refused {
        match self.head().filter(|head| *head != self.me) {
            None if self.is_head() => Refused::Unavailable("a member of the chain does not answer".into()),
            hint => Refused::NotHerald { order: self.order, hint },
        }
    }

    /// Whether everything that was ever acknowledged is known to be committed.
    fn is_settled(&self) -> bool {
        self.complete && self.base.is_some_and(|base| self.commit >= base)
    }

    /// Whether this is the head of a chain that works: a beat went to the tail and back lately.
    fn leads(&self) -> bool {
        let alone = self.configuration.members.len() == 1;
        let heard = self.echo.is_some_and(|echo| self.beat.saturating_sub(echo) <= self.ticks.election_min);
        self.is_head() && self.is_settled() && (alone || heard)
    }
}

impl Protocol for Chain {
    type Message = Say;

    fn recover(boot: Boot, durable: Durable) -> Result<Self, String> {
        let (configuration, complete, unsaved) = epochs::recover(&boot, durable.hard)?;
        let last = durable.log.last().index;
        let applied = durable.applied.position.index;
        let mut chain = Chain {
            order: boot.order,
            me: boot.me,
            ticks: boot.ticks,
            configuration,
            complete,
            unsaved,
            log: durable.log,
            durable: last,
            commit: applied,
            matched: applied,
            base: None,
            below: Below { next: last + 1, ..Below::default() },
            tick: 0,
            beat: 0,
            echo: None,
            round: boot.seed,
            barriers: Vec::new(),
        };
        if chain.is_head() && chain.complete {
            // The head's log is the truth, and some of it may have been acknowledged.
            (chain.matched, chain.base) = (last, Some(last));
            chain.beat = boot.seed >> 1; // room to count on
        }
        Ok(chain)
    }

    fn step(&mut self, input: Input<Say>, ready: &mut Ready<Say>) {
        if self.unsaved {
            self.save(ready);
        }
        match input {
            Input::Tick => self.tick(ready),
            Input::Receive { from, message, entries } => self.receive(from, message, entries, ready),
            Input::Propose { ticket, proposal } => {
                if !self.leads() {
                    return ready.refuse(ticket, self.refusal());
                }
                let position = LogPos { term: self.configuration.epoch.0, index: self.log.last().index + 1 };
                if self.log.push(position) {
                    ready.append(position, Payload::Proposal(proposal), Some(ticket));
                    self.matched = position.index;
                }
            }
            Input::ReadBarrier { ticket } => self.read(ticket, ready),
            Input::GivenUp { ticket } => self.barriers.retain(|barrier| barrier.ticket != ticket),
            Input::Reconfigure { ticket, change: Change::Decided(configuration) } => {
                self.configure(ticket, configuration, ready);
            }
            Input::Reconfigure { ticket, change: Change::Agree(_) } => {
                let why = "a chain's members are decided outside of it, each list with an epoch of its own";
                ready.refuse(ticket, Refused::Invalid(why.into()));
            }
            Input::HandOver { ticket, .. } => {
                let why = "the first of the chain leads; another one needs another configuration";
                ready.refuse(ticket, Refused::Invalid(why.into()));
            }
            Input::Persisted { upto } => {
                self.durable = upto;
                self.advance(ready);
            }
            Input::Purged { upto } => self.log.purge(upto),
            Input::Installed { applied, .. } => self.installed(applied.position, ready),
            Input::Applied { .. } | Input::Campaign => {}
        }
    }

    fn status(&self) -> Status {
        // What is committed is on all; of the successor more is known.
        let known = |member| if Some(member) == self.successor() { self.below.matched } else { self.commit };
        Status {
            herald: self.head(),
            leading: self.leads(),
            term: self.configuration.epoch.0,
            members: self.configuration.members.clone(),
            matched: if self.is_head() {
                self.others().map(|id| (id, known(id))).collect()
            } else {
                Vec::new()
            },
            complete: if self.is_learner() { self.has_caught_up() } else { self.complete },
        }
    }
}

impl Chain {
    fn tick(&mut self, ready: &mut Ready<Say>) {
        self.tick += 1;
        if self.is_head() && self.complete {
            self.beat += 1;
            if self.tick.is_multiple_of(self.ticks.heartbeat) {
                self.send_down(ready);
            }
        }
        self.advance(ready);
    }

    fn receive(&mut self, from: RadiantId, message: Say, entries: Vec<Entry>, ready: &mut Ready<Say>) {
        if let Say::Take(configuration) = message {
            return self.hear(configuration, ready);
        }
        let (here, there) = (self.configuration.epoch, message.epoch());
        if there < here {
            return ready.send_after(from, Say::Take(self.configuration.clone()));
        }
        if there > here {
            return ready.send_now(from, Say::Ask { epoch: here });
        }
        match message {
            Say::Append { prev, base, beat, .. } if self.predecessor() == Some(from) => {
                self.append(prev, base, beat, entries, ready);
            }
            Say::Ack { matched, commit, beat, .. } if self.successor() == Some(from) => {
                self.acknowledged(matched, commit, beat, ready);
            }
            Say::Reject { back, .. } if self.successor() == Some(from) => self.rejected(back, ready),
            Say::Confirm { round, .. } if self.position().is_some() => {
                let last = self.tail_end();
                ready.send_now(from, Say::Confirmed { epoch: here, round, last });
            }
            Say::Confirmed { round, last, .. } => self.confirmed(from, round, last, ready),
            // From no neighbour of this epoch, or with nothing to it.
            Say::Append { .. }
            | Say::Ack { .. }
            | Say::Reject { .. }
            | Say::Confirm { .. }
            | Say::Ask { .. }
            | Say::Take(_) => {}
        }
    }
}
