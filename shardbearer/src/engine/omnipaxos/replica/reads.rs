//! Linearizable reads: the leader asks a majority whether it promised anybody more, all waiting reads at once.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::super::Read;
use super::super::wire::Loose;
use super::Replica;

/// Reads that ask the others whether this one still leads.
#[derive(Default)]
pub(super) struct Probe {
    pub(super) round: u64,
    pub(super) confirmed: BTreeSet<u64>,
    /// What must be applied before the answer.
    pub(super) floor: u64,
    pub(super) asking: Vec<oneshot::Sender<Read>>,
    /// For the next round: they came after this one was sent.
    pub(super) next: Vec<oneshot::Sender<Read>>,
}

impl Replica {
    pub(super) fn send_probe(&mut self) {
        let (ballot, round) = (self.paxos.get_promise(), self.probe.round);
        for pid in self.links.keys().copied().collect::<Vec<u64>>() {
            self.say(pid, Loose::Probe { ballot, round });
        }
    }

    /// Moves reads on: begins a round if none is under way, ends one that a majority confirmed.
    pub(super) fn reads(&mut self) {
        let majority = self.shared.members.len() / 2 + 1;
        if !self.probe.asking.is_empty() && self.probe.confirmed.len() + 1 >= majority {
            let asking = std::mem::take(&mut self.probe.asking);
            self.shared.answer_reads_at(self.probe.floor, asking);
        }
        if self.probe.asking.is_empty() && !self.probe.next.is_empty() {
            self.probe.asking = std::mem::take(&mut self.probe.next);
            self.probe.round += 1;
            self.probe.confirmed.clear();
            self.probe.floor = self.synced.unwrap_or(0).max(self.paxos.get_decided_idx() as u64);
            self.send_probe();
        }
    }
}
