//! The task that owns the library's instance: feeds it messages, proposals and ticks, and lets out what it says once what
//! it wrote is durable.
//!
//! ```text
//!   inbox ──▶ step ──▶ writes ──▶ journal ──(durable)──┐
//!                └──▶ messages, decided ──▶ gate ──────┴──▶ links ──▶ transport
//!                                                      └──▶ apply
//! ```
//!
//! The library counts its own acceptance at once, before it is durable here. So its word that an entry is decided
//! passes the gate too, like everything it says.
//!
//! [`incoming`] has what comes from the others, [`outgoing`] the gate, [`reads`] the reads.

mod incoming;
mod outgoing;
mod reads;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use shardbearer_core::engine::not_herald;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::{LogPos, LogWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::outgoing::Held;
use self::reads::Probe;
use super::fragments::{Fragment, Gathering};
use super::journal::{Progress, Store};
use super::link::Link;
use super::wire::{self, CONFIGURATION, Entry, Hard, Loose, Packet, term};
use super::{Answer, Read, Shared};
use crate::watch;

/// Inputs taken in one step, and bytes of proposals: one message and one fsync for all of them.
const STEP_INPUTS_MAX: usize = 512;
const STEP_BYTES_MAX: usize = 1 << 20;

/// Proposals that may wait for their entry to be applied.
const PROPOSALS_MAX: usize = 16_384;

/// Heartbeats in a row in which a member may follow a higher ballot than the leader's before the leader acts: in so many
/// an election would have ended, since each takes as long as a leader may be silent.
const ABOVE_TIMES_MAX: u32 = 3;

/// What happens to a replica.
pub enum Input {
    Propose(Bytes, oneshot::Sender<Answer>),
    Read(oneshot::Sender<Read>),
    Packet(RadiantId, Packet),
    Fragment(RadiantId, Fragment),
    Campaign,
    HandOver(RadiantId),
    /// The data stand at this position, by an image.
    Installed(LogPos),
    /// The log up to here is not needed.
    Purge(LogPos),
}

/// The library's instance and what surrounds it.
pub struct Replica {
    shared: Arc<Shared>,
    paxos: OmniPaxos<Entry, Store>,
    incarnation: u64,
    links: BTreeMap<u64, Link>,
    /// Long packets on their way in, and how many went out.
    gathering: BTreeMap<u64, Gathering>,
    wholes: u64,
    loose: BTreeMap<u64, Vec<Loose>>,
    gate: VecDeque<Held>,
    progress: watch::Receiver<Progress>,
    /// What the library said in this step.
    said: Vec<Message<Entry>>,
    /// Members that follow a higher ballot than this one's, and how many heartbeats in a row they have said so.
    above: BTreeMap<u64, u32>,
    /// What was given to the data's task.
    committed: u64,
    /// The ballot followed, and where the log ended when it was first in order under it.
    ballot: Ballot,
    synced: Option<u64>,
    probe: Probe,
    /// When each other last answered a heartbeat, and what it has accepted.
    heard: BTreeMap<u64, Instant>,
    matched: BTreeMap<u64, u64>,
}

fn instance(shared: &Shared, hard: Hard) -> Result<OmniPaxos<Entry, Store>, String> {
    let timing = shared.context.timing;
    // A leader's silence is noticed after one round of heartbeats, agreed upon in the next. Answers wait for the disk like all
    // else that is said, and for a processor: with half of that as a round leaders were given up under overload.
    let round = timing.election_min.as_nanos() / timing.heartbeat.as_nanos().max(1);
    let config = OmniPaxosConfig {
        cluster_config: ClusterConfig {
            configuration_id: CONFIGURATION,
            nodes: (1..=shared.members.len() as u64).collect(),
            flexible_quorum: None,
        },
        server_config: ServerConfig {
            pid: shared.me,
            election_tick_timeout: u64::try_from(round).unwrap_or(1).max(1),
            resend_message_tick_timeout: 2,
            buffer_size: 64,
            ..ServerConfig::default()
        },
    };
    config.build(Store::new(shared.journal.clone(), hard)).map_err(|error| format!("{error:?}"))
}

impl Replica {
    /// Begins a new incarnation on what is stored.
    pub fn new(shared: Arc<Shared>, mut hard: Hard) -> Result<Self, String> {
        let position = shared.context.applier.applied().position;
        let applied = position.index;
        if shared.journal.bounds().1.index < applied {
            // It ended between the install of an image and this: to the library, nothing is decided that is not in the log.
            shared.journal.write(vec![LogWrite::Purge { upto: position }]);
        }
        hard.incarnation += 1;
        // Applied and purged entries were decided; the hard state is older.
        hard.decided = hard.decided.max(applied).max(shared.journal.bounds().0.index);
        hard.members = shared.members.iter().map(|member| member.0).collect();
        shared.journal.write(vec![LogWrite::Hard(wire::encode_hard(&hard))]);
        let incarnation = hard.incarnation;
        let paxos = instance(&shared, hard)?;
        let others = (1..=shared.members.len() as u64).filter(|pid| *pid != shared.me);
        Ok(Replica {
            links: others.map(|pid| (pid, Link::default())).collect(),
            gathering: BTreeMap::new(),
            wholes: 0,
            loose: BTreeMap::new(),
            progress: shared.journal.progress(),
            committed: applied,
            ballot: paxos.get_promise(),
            synced: None,
            probe: Probe::default(),
            heard: BTreeMap::new(),
            matched: BTreeMap::new(),
            gate: VecDeque::new(),
            said: Vec::new(),
            above: BTreeMap::new(),
            shared,
            paxos,
            incarnation,
        })
    }

    /// Runs until the member closes or fails.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let heartbeat = self.shared.context.timing.heartbeat;
        let mut tick = Instant::now() + heartbeat;
        let mut inputs = Vec::new();
        let shared = self.shared.clone();
        loop {
            let outcome = tokio::select! {
                biased;
                () = shared.closing.cancelled() => return,
                changed = self.progress.changed() => changed.map_err(|_| "the journal is gone".to_owned()),
                () = tokio::time::sleep_until(tick) => {
                    // After a standstill the missed ticks are gone, not made up for.
                    tick = Instant::now() + heartbeat;
                    self.tick();
                    Ok(())
                }
                received = inbox.recv_many(&mut inputs, STEP_INPUTS_MAX) => {
                    if received == 0 {
                        return;
                    }
                    self.inputs(&mut inputs)
                }
            };
            if let Err(why) = outcome.and_then(|()| self.flush()) {
                return shared.fail(&why);
            }
        }
    }

    fn tick(&mut self) {
        self.paxos.tick();
        self.listen();
        self.rise();
        if !self.probe.asking.is_empty() {
            self.send_probe();
        }
    }

    /// Takes what the library said. After each message that it handled: within one take it adds later entries to an
    /// earlier message to the same member, also across a new agreement with that member, and they would be lost.
    fn listen(&mut self) {
        self.paxos.take_outgoing_messages(&mut self.said);
    }

    /// A member that promised a candidate more than the leader has does not follow the leader, and the library leaves it at
    /// that while there is a majority without it. So the leader takes a higher ballot, if that lasts.
    fn rise(&mut self) {
        if self.leads() && self.above.values().any(|times| *times >= ABOVE_TIMES_MAX) {
            self.above.clear();
            self.paxos.try_become_leader();
            self.listen();
        }
    }

    fn inputs(&mut self, inputs: &mut Vec<Input>) -> Result<(), String> {
        let mut bytes = 0;
        for input in inputs.drain(..) {
            match input {
                Input::Propose(proposal, answer) => {
                    bytes += proposal.len();
                    self.propose(proposal, answer);
                    if bytes > STEP_BYTES_MAX {
                        self.flush()?;
                        bytes = 0;
                    }
                }
                Input::Read(answer) => match self.leads() {
                    true => self.probe.next.push(answer),
                    // Whoever asked may have given up; here and below.
                    false => drop(answer.send(Err(self.not_herald()))),
                },
                Input::Packet(from, packet) => self.packet(from, packet),
                Input::Fragment(from, fragment) => self.fragment(from, fragment),
                Input::Campaign => self.campaign(),
                Input::HandOver(to) => {
                    if let Some(pid) = self.shared.pid(to).filter(|_| self.leads()) {
                        let ballot = self.paxos.get_promise();
                        self.say(pid, Loose::Campaign { ballot });
                    }
                }
                Input::Installed(upto) => self.begin_anew(upto)?,
                // A candidate may still read what it promised to send.
                Input::Purge(upto) if self.leads() || !self.is_candidate() => {
                    self.shared.journal.write(vec![LogWrite::Purge { upto }]);
                }
                Input::Purge(_) => {}
            }
        }
        Ok(())
    }

    /// Whether this one leads and its log is in order.
    fn leads(&self) -> bool {
        self.paxos.get_current_leader() == Some((self.shared.me, true))
    }

    fn is_candidate(&self) -> bool {
        self.paxos.get_promise().pid == self.shared.me
    }

    fn campaign(&mut self) {
        if !self.is_candidate() {
            self.paxos.try_become_leader();
            self.listen();
        }
    }

    fn herald(&self) -> Option<RadiantId> {
        let (pid, in_order) = self.paxos.get_current_leader()?;
        self.shared.radiant(pid).filter(|_| in_order)
    }

    fn not_herald(&self) -> RequestError {
        let other = self.herald().filter(|herald| *herald != self.shared.context.me);
        not_herald(self.shared.context.order, other)
    }

    fn propose(&mut self, proposal: Bytes, answer: oneshot::Sender<Answer>) {
        if !self.leads() {
            return drop(answer.send(Err(self.not_herald())));
        }
        let mut waiting = self.shared.waiting.lock();
        if waiting.proposals.len() >= PROPOSALS_MAX {
            return drop(answer.send(Err(Refused::Busy("too many proposals wait".into()).into())));
        }
        let term = term(self.paxos.get_promise());
        let index = self.paxos.get_accepted_idx() as u64 + 1;
        match self.paxos.append(Entry { term, proposal }) {
            Ok(()) => drop(waiting.proposals.insert(index, (term, answer))),
            Err(_) => drop(answer.send(Err(Refused::Unavailable("members change".into()).into()))),
        }
    }

    /// The log begins behind the image, and what the library has in memory is older: it recovers, as after a restart.
    /// Promises and accepted entries behind the image stay.
    fn begin_anew(&mut self, upto: LogPos) -> Result<(), String> {
        self.shared.journal.write(vec![LogWrite::Purge { upto }]);
        let hard = self.shared.hard()?;
        let links = std::mem::take(&mut self.links);
        let mut anew = Replica::new(self.shared.clone(), hard)?;
        anew.committed = self.committed.max(upto.index);
        anew.links = links;
        anew.links.values_mut().for_each(Link::reset);
        self.give_up("it began anew behind an image");
        *self = anew;
        Ok(())
    }

    /// Nobody who waits will be answered by this lead.
    fn give_up(&mut self, why: &str) {
        self.shared.forget_proposals(u64::MAX, why);
        let (asking, next) = (std::mem::take(&mut self.probe.asking), std::mem::take(&mut self.probe.next));
        for read in asking.into_iter().chain(next) {
            drop(read.send(Err(self.not_herald())));
        }
        self.synced = None;
        self.matched.clear();
    }
}
