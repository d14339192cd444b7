//! Reads at any member.
//!
//! A read may go on when the data here hold all that was acknowledged, or shown to another read, before it was asked for.
//! Within an epoch the tail is the first to know that something is committed: what the head acknowledges, and what any member has
//! applied, was committed there before. So everybody asks the tail how far that is, the head too, whose own news of
//! it may be on their way while a member below shows it already. What earlier epochs acknowledged or showed is
//! in the log of this one's head when it begins. That no newer
//! epoch has acknowledged anything is known once every member said, after the question, that it knows of none: an epoch
//! acknowledges nothing before a complete head leads it, and completeness is handed on from epoch to epoch only by
//! members that moved on themselves.

use std::collections::BTreeSet;

use shardbearer_core::error::Refused;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::protocol::{Answer, Ready, Ticket};

use super::{Chain, Say};

/// A question that is not answered by all yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Barrier {
    pub(super) ticket: Ticket,
    round: u64,
    open: BTreeSet<RadiantId>,
    index: u64,
}

impl Chain {
    pub(super) fn read(&mut self, ticket: Ticket, ready: &mut Ready<Say>) {
        let index = match () {
            () if self.position().is_none() => None,
            () if self.is_tail() => self.tail_end(),
            () if self.is_head() => self.is_settled().then_some(self.commit),
            () => Some(0), // the tail will say
        };
        let Some(index) = index else {
            let why = "this member of the chain is not up to date yet";
            return ready.refuse(ticket, Refused::Unavailable(why.into()));
        };
        self.round = self.round.wrapping_add(1);
        let barrier = Barrier { ticket, round: self.round, open: self.others().collect(), index };
        if barrier.open.is_empty() {
            return ready.answer(ticket, Answer::Read(index));
        }
        for member in &barrier.open {
            ready.ask(
                ticket,
                *member,
                Say::Confirm { epoch: self.configuration.epoch, round: barrier.round },
            );
        }
        self.barriers.push(barrier);
    }

    /// What is committed, if this is the tail and knows it of all that may have been shown: by earlier epochs, and by itself
    /// before it started anew, which is no more than its log holds.
    pub(super) fn tail_end(&self) -> Option<u64> {
        let sure = self.base.is_some_and(|base| self.commit >= base) && self.matched == self.log.last().index;
        (self.is_tail() && sure).then_some(self.commit)
    }

    pub(super) fn confirmed(
        &mut self,
        from: RadiantId,
        round: u64,
        last: Option<u64>,
        ready: &mut Ready<Say>,
    ) {
        let needs_end = self.tail() == Some(from);
        if needs_end && last.is_none() {
            return; // it is asked again
        }
        let Some(at) = self.barriers.iter().position(|barrier| barrier.round == round) else { return };
        let Some(barrier) = self.barriers.get_mut(at) else { return };
        barrier.open.remove(&from);
        ready.heard(barrier.ticket, from);
        if needs_end {
            barrier.index = barrier.index.max(last.unwrap_or_default());
        }
        if barrier.open.is_empty() {
            let barrier = self.barriers.remove(at);
            ready.answer(barrier.ticket, Answer::Read(barrier.index));
        }
    }
}
