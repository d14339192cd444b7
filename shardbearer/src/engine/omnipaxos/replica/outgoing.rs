//! What goes to the others, and to the data: held back until the writes before it are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use omnipaxos::messages::Message;
use omnipaxos::messages::ballot_leader_election::BLEMessage;
use omnipaxos::messages::sequence_paxos::{PaxosMessage, PaxosMsg};
use shardbearer_core::engine::EngineStatus;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::transport::{Channel, Frame};

use super::super::wire::{self, Entry, Loose, term};
use super::super::{fragments, image};
use super::Replica;

/// As many messages of decided entries are sent from the log to who lacks them. Beyond that an image is sent, whose length does not
/// depend on how long somebody was away.
const FROM_THE_LOG: usize = 8;

/// What one step said, held back until the writes before it are durable.
pub(super) struct Held {
    after: u64,
    messages: Vec<Message<Entry>>,
    decided: u64,
}

impl Replica {
    pub(super) fn say(&mut self, pid: u64, loose: Loose) {
        self.loose.entry(pid).or_default().push(loose);
    }

    /// Ends a step: everything said goes behind the gate, and what may leave leaves.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        if self.paxos.get_promise() != self.ballot {
            self.ballot = self.paxos.get_promise();
            self.give_up("the lead changed");
        }
        if self.leads() && self.synced.is_none() {
            self.synced = Some(self.paxos.get_accepted_idx() as u64);
        }
        self.reads();
        self.listen();
        let messages = std::mem::take(&mut self.said);
        let decided = self.paxos.get_decided_idx() as u64;
        if !messages.is_empty() || self.gate.back().map_or(self.committed, |held| held.decided) < decided {
            self.gate.push_back(Held { after: self.shared.journal.issued(), messages, decided });
        }
        let progress = self.progress.borrow().clone();
        if let Some(why) = progress.failure {
            return Err(why);
        }
        self.release(progress.durable);
        self.refresh();
        Ok(())
    }

    fn release(&mut self, durable: u64) {
        let mut ordered: BTreeMap<u64, Vec<PaxosMsg<Entry>>> = BTreeMap::new();
        while self.gate.front().is_some_and(|held| held.after <= durable) {
            let Some(held) = self.gate.pop_front() else { break };
            self.committed = self.committed.max(held.decided);
            for message in held.messages {
                match message {
                    Message::SequencePaxos(PaxosMessage { to, msg, .. }) => {
                        ordered.entry(to).or_default().push(msg)
                    }
                    Message::BLE(BLEMessage { to, msg, .. }) => self.say(to, Loose::Heartbeat(msg)),
                }
            }
        }
        self.shared.commit.send_if_modified(|commit| {
            let more = self.committed > *commit;
            *commit = self.committed.max(*commit);
            more
        });
        let mut loose = std::mem::take(&mut self.loose);
        let to: BTreeSet<u64> = ordered.keys().chain(loose.keys()).copied().collect();
        for pid in to {
            let ordered = ordered.remove(&pid).unwrap_or_default();
            self.send(pid, ordered, loose.remove(&pid).unwrap_or_default());
        }
    }

    fn send(&mut self, pid: u64, mut ordered: Vec<PaxosMsg<Entry>>, loose: Vec<Loose>) {
        let (Some(radiant), Some(link)) = (self.shared.radiant(pid), self.links.get_mut(&pid)) else {
            return;
        };
        ordered.retain(wire::is_sent);
        let most = self.shared.context.limits.message_bytes_max;
        let decided = self.paxos.get_decided_idx();
        let missing: usize = ordered.iter().map(|message| wire::bytes_before(message, decided)).sum();
        if missing > most.saturating_mul(FROM_THE_LOG) {
            // So much is missing there that an image is better; to the library the messages are lost. What is not decided yet is in
            // no image, and goes there however long it is.
            ordered.clear();
            image::start(&self.shared, radiant);
        }
        let packet = link.pack(self.incarnation, ordered, loose);
        let frame = wire::encode_frame(&wire::Frame::Packet(packet));
        if frame.len() <= most {
            return self.post(radiant, frame);
        }
        self.wholes += 1;
        for fragment in fragments::cut((self.incarnation, self.wholes), &frame, most) {
            self.post(radiant, wire::encode_frame(&wire::Frame::Fragment(fragment)));
        }
    }

    fn post(&self, to: RadiantId, body: Bytes) {
        let frame = Frame { channel: Channel::Engine(self.shared.context.order), body };
        self.shared.context.transport.send(to, frame);
    }

    fn refresh(&self) {
        let lease: Duration = self.shared.context.timing.election_max;
        let heard = self.heard.values().filter(|heard| heard.elapsed() <= lease).count();
        let leads = self.leads() && heard + 1 > self.shared.members.len() / 2;
        let matched = self.matched.iter().filter(|_| leads);
        let matched = matched.filter_map(|(pid, index)| Some((self.shared.radiant(*pid)?, *index)));
        self.shared.refresh(EngineStatus {
            herald: self.herald(),
            leading: leads,
            term: term(self.paxos.get_promise()),
            last_log: self.paxos.get_accepted_idx() as u64,
            members: self.shared.members.clone(),
            matched: matched.collect(),
            ..EngineStatus::default()
        });
    }
}
