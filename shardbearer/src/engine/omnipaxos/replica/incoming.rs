//! What comes from the others: taken in order, and handed to the library unless it would trip over it.

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::messages::ballot_leader_election::{BLEMessage, HeartbeatMsg};
use omnipaxos::messages::sequence_paxos::{PaxosMessage, PaxosMsg};
use shardbearer_core::ids::RadiantId;
use tokio::time::Instant;

use super::super::fragments::Fragment;
use super::super::image;
use super::super::wire::{CONFIGURATION, Entry, Frame, Loose, Packet, decode_frame};
use super::Replica;

impl Replica {
    pub(super) fn packet(&mut self, from: RadiantId, packet: Packet) {
        let Some(pid) = self.shared.pid(from) else { return };
        let Some(link) = self.links.get_mut(&pid) else { return };
        let Some(arrival) = link.arrive(self.incarnation, &packet) else { return };
        if arrival.broken {
            self.paxos.reconnected(pid);
            self.listen();
        }
        for loose in packet.loose {
            self.loose(pid, loose, arrival.paired);
        }
        if arrival.ordered {
            packet.ordered.into_iter().for_each(|message| self.message(pid, message));
        }
    }

    pub(super) fn fragment(&mut self, from: RadiantId, fragment: Fragment) {
        let Some(pid) = self.shared.pid(from) else { return };
        let whole = self.gathering.entry(pid).or_default().take(fragment);
        if let Some(Frame::Packet(packet)) = whole.and_then(decode_frame) {
            self.packet(from, packet);
        }
    }

    fn loose(&mut self, pid: u64, loose: Loose, paired: bool) {
        match loose {
            Loose::Heartbeat(msg) => {
                if let HeartbeatMsg::Reply(reply) = &msg {
                    if !paired {
                        return;
                    }
                    self.heard.insert(pid, Instant::now());
                    if reply.leader > self.paxos.get_promise() {
                        *self.above.entry(pid).or_default() += 1;
                    } else {
                        self.above.remove(&pid);
                    }
                }
                self.paxos.handle_incoming(Message::BLE(BLEMessage { from: pid, to: self.shared.me, msg }));
            }
            Loose::Probe { ballot, round } => {
                if paired && ballot == self.paxos.get_promise() {
                    self.say(pid, Loose::Confirmed { round });
                }
            }
            Loose::Confirmed { round } => {
                if paired && round == self.probe.round {
                    self.probe.confirmed.insert(pid);
                }
            }
            Loose::Campaign { ballot } => {
                if paired && ballot == self.paxos.get_promise() && ballot.pid == pid {
                    self.campaign();
                }
            }
        }
    }

    /// Hands a message to the library, unless it would need what is not in the log any more, or trip over it.
    fn message(&mut self, pid: u64, mut msg: PaxosMsg<Entry>) {
        let purged = self.shared.journal.bounds().0.index;
        let (decided, accepted) = (self.paxos.get_decided_idx(), self.paxos.get_accepted_idx());
        let behind = |index: usize| (index as u64) < purged;
        let fits = |sync_idx: usize| (decided..=accepted).contains(&sync_idx);
        if let PaxosMsg::Promise(late) = &mut msg
            && self.leads()
        {
            // Too late to take anything over.
            late.log_sync = None;
            if late.n_accepted != late.n {
                // The library would compare the logs from where the last ballot's ended when this one began, which
                // may be purged since. With a ballot that nobody had, it begins at what the other has decided.
                late.n_accepted = Ballot::with(CONFIGURATION, 0, 0, pid);
            }
        }
        let sensible = match &msg {
            PaxosMsg::Prepare(prepare) if prepare.n.pid == pid && behind(prepare.decided_idx) => {
                return self.bring_up(pid);
            }
            // Its log is continued from one of them.
            PaxosMsg::Promise(promise) if behind(promise.decided_idx.min(promise.accepted_idx)) => {
                return self.bring_up(pid);
            }
            PaxosMsg::Prepare(prepare) => prepare.n.pid == pid,
            PaxosMsg::Promise(promise) => promise.log_sync.as_ref().is_none_or(|sync| fits(sync.sync_idx)),
            PaxosMsg::AcceptSync(accept) => accept.n.pid == pid && fits(accept.log_sync.sync_idx),
            PaxosMsg::AcceptDecide(accept) => accept.n.pid == pid,
            PaxosMsg::Decide(decide) => decide.n.pid == pid,
            PaxosMsg::Accepted(has) => {
                if has.n == self.paxos.get_promise() {
                    self.matched.insert(pid, has.accepted_idx as u64);
                }
                has.accepted_idx <= accepted
            }
            PaxosMsg::PrepareReq(_) | PaxosMsg::NotAccepted(_) => true,
            PaxosMsg::ProposalForward(_)
            | PaxosMsg::Compaction(_)
            | PaxosMsg::AcceptStopSign(_)
            | PaxosMsg::ForwardStopSign(_) => false,
        };
        if sensible {
            let message = PaxosMessage { from: pid, to: self.shared.me, msg };
            self.paxos.handle_incoming(Message::SequencePaxos(message));
            self.listen();
        }
    }

    fn bring_up(&self, pid: u64) {
        if let Some(radiant) = self.shared.radiant(pid) {
            image::start(&self.shared, radiant);
        }
    }
}
