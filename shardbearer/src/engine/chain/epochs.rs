//! Configurations: who is in the chain and in which order, as decided outside of it.
//!
//! Why this loses nothing. A write is acknowledged only when it is durable on every member of its epoch, so any member that
//! was there all the time has it: such a member is *complete*, and only a complete one acts as head. A member that moves
//! from an epoch to the very next one stays complete. Any other (a newcomer, or one that missed an epoch and cannot
//! know whether it was left out) becomes complete when it has all that the head had when the epoch began. A head that is not
//! complete stands still until a better configuration comes. A learner is not complete, however much it has: what is
//! committed does not wait for it. It says when it has caught up, which is when its log goes on as the others' does: were one made
//! a member before, the chain would stand still until an image had come.
//!
//! Why it does not fork. An epoch has one list, and one head; the head is the only one to write entries of that
//! epoch. Entries that a log has beyond the head's, from an earlier epoch, were never committed: the head's first entry, an
//! empty one, takes their place.

use bytes::Bytes;
use shardbearer_core::engine::Start;
use shardbearer_core::error::Refused;
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{Answer, Boot, Configuration, Payload, Ready, Ticket};

use super::wire::{self, MEMBERS_MAX};
use super::{Below, Chain, Say};

/// The configuration a member begins with, whether it is complete, and whether that has to be written.
pub(super) fn recover(boot: &Boot, hard: Option<Bytes>) -> Result<(Configuration, bool, bool), String> {
    if let Some(hard) = hard {
        let (configuration, complete) =
            wire::decode_hard(hard).ok_or("the stored configuration is of an unknown version")?;
        return Ok((configuration, complete, false));
    }
    match &boot.start {
        Start::Join => Ok((Configuration::default(), false, false)),
        Start::Found(members) => {
            let configuration =
                Configuration { epoch: Epoch(1), members: members.clone(), ..Configuration::default() };
            match check(&configuration) {
                Some(why) => Err(why),
                None if !members.contains(&boot.me) => Err(format!("radiant {} is no member", boot.me)),
                None => Ok((configuration, true, true)),
            }
        }
    }
}

/// Why a list cannot be a chain.
fn check(configuration: &Configuration) -> Option<String> {
    let (members, learners) = (&configuration.members, &configuration.learners);
    let mut sorted: Vec<RadiantId> = members.iter().chain(learners).copied().collect();
    sorted.sort_unstable();
    sorted.dedup();
    if members.is_empty() || members.len() + learners.len() > MEMBERS_MAX {
        return Some(format!("a chain has 1 to {MEMBERS_MAX} members, not {}", members.len()));
    }
    if sorted.first().is_some_and(|first| first.is_none()) {
        return Some("a member without an id".into());
    }
    if sorted.len() < members.len() + learners.len() {
        return Some("a member stands in the chain twice".into());
    }
    None
}

impl Chain {
    /// The operator's, or rather the controller's, way in.
    pub(super) fn configure(&mut self, ticket: Ticket, configuration: Configuration, ready: &mut Ready<Say>) {
        let refusal = match check(&configuration) {
            Some(why) => Some(why),
            None if configuration == self.configuration => None,
            None if configuration.epoch <= self.configuration.epoch => Some(format!(
                "epoch {} is not newer than {}, which holds here",
                configuration.epoch, self.configuration.epoch
            )),
            None => {
                self.adopt(configuration, ready);
                None
            }
        };
        match refusal {
            Some(why) => ready.refuse(ticket, Refused::Invalid(why)),
            None => ready.answer(ticket, Answer::Done),
        }
    }

    /// A configuration from another member.
    pub(super) fn hear(&mut self, configuration: Configuration, ready: &mut Ready<Say>) {
        if configuration.epoch > self.configuration.epoch && check(&configuration).is_none() {
            self.adopt(configuration, ready);
        }
    }

    fn adopt(&mut self, configuration: Configuration, ready: &mut Ready<Say>) {
        let stayed = self.position().is_some() && configuration.previous == self.configuration.epoch;
        if let Some(successor) = self.successor() {
            ready.delivered(successor); // what is on its way is of the old epoch
        }
        let old = std::mem::replace(&mut self.configuration, configuration);
        self.complete = self.complete && stayed && self.position().is_some();
        self.save(ready);
        for barrier in self.barriers.drain(..) {
            ready.refuse(barrier.ticket, Refused::Unavailable("the members changed meanwhile".into()));
        }
        // What is committed is the same everywhere; the rest has to be compared with the new head's.
        (self.matched, self.base, self.echo) = (self.commit, None, None);
        self.below = Below { next: self.log.last().index + 1, ..Below::default() };
        if self.is_head() && self.complete {
            let position = LogPos { term: self.configuration.epoch.0, index: self.log.last().index + 1 };
            if self.log.push(position) {
                ready.append(position, Payload::Blank, None);
            }
            (self.matched, self.base) = (position.index, Some(position.index));
        }
        let mut told: Vec<RadiantId> = old.members;
        told.extend(old.learners);
        told.extend(self.line());
        told.sort_unstable();
        told.dedup();
        for member in told.into_iter().filter(|member| *member != self.me) {
            ready.send_after(member, Say::Take(self.configuration.clone()));
        }
        self.advance(ready);
    }

    /// A member that was not complete is so once it has, on disk, all that the head had at the beginning.
    pub(super) fn settle(&mut self, ready: &mut Ready<Say>) {
        if !self.complete && self.position().is_some() && !self.is_head() && self.has_caught_up() {
            self.complete = true;
            self.save(ready);
        }
    }

    /// Whether all that the head had at the beginning is here, on disk. Of a learner it is forgotten whenever the log here turns
    /// out not to go on as the others' does.
    pub(super) fn has_caught_up(&self) -> bool {
        self.base.is_some_and(|base| self.matched >= base && self.durable >= base)
    }

    pub(super) fn save(&mut self, ready: &mut Ready<Say>) {
        self.unsaved = false;
        ready.hard(wire::encode_hard(&self.configuration, self.complete));
    }
}
