//! How radiants that know a few addresses and a number become one cluster.
//!
//! A pure machine: [`Machine::step`] takes what happened and returns what to do. It reads no clock,
//! draws no random number but from its seed, and does no IO; the driver in `shardbearer` does. It
//! beacons neighbours, spreads what it hears of others, and then either
//! - **joins**: somebody is a member of a cluster; or
//! - **founds**: `expect` radiants are seen, and one of them gets all of a list of them to promise
//!   and accept the same founding configuration (Paxos, see [`vote`] and `docs/adr/0003-founding.md`).
//!
//! ```text
//!            Start                    enough seen, random wait
//!   stored ────┬──── fresh ──▶ Seeking ───────────▶ attempt: Promise… Accept…
//!     │        │                 │  ▲                 │ refused, or no answer in time
//!     ▼        ▼                 │  └─────────────────┘
//!   Member ◀───┴── Founded ◀─────┼──── all accepted, and named in it
//!                  Joining ◀─────┴──── a cluster answers, or not named in what was chosen
//! ```
//!
//! What must hold, whatever is lost, repeated, late, cut off or restarted:
//! - radiants of fewer than twice `expect` found at most one cluster;
//! - a radiant that knows its cluster never takes part in founding another;
//! - nothing is answered before what it follows from is stored ([`Effect::Persist`]);
//! - it is never silent about being stuck, and never gives up.
//!
//! Left out: joining itself (the control order does it), what a founding configuration holds
//! (a parameter), and everything after the first configuration.
//!
//! Files: `peers` keeps who is seen, `seek` decides when to found, `candidate` runs an attempt,
//! `asked` answers, `moved` looks for members at new addresses, `vote` is the agreement, `words` the sentences.

mod asked;
mod candidate;
mod moved;
mod peers;
mod seek;
#[cfg(test)]
mod tests;
mod vote;
mod words;

use std::collections::BTreeMap;

use bytes::Bytes;
use shardbearer_core::bootstrap::{Ask, Founder, Founding, Request, Response, View, Vote};
use shardbearer_core::ids::{ClusterId, Incarnation};

use candidate::Running;
use peers::Peers;
use words::Repeats;

/// How often [`Event::Tick`] should come, in milliseconds.
pub const TICK_MS: u64 = 50;

/// Makes up the founding configuration of a cluster with these radiants (ascending by name), encoded.
pub type Found = dyn Fn(ClusterId, &[Founder]) -> Bytes;

/// What does not change while a radiant runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This radiant.
    pub me: Founder,
    /// Addresses to begin with; its own among them does no harm.
    pub neighbors: Vec<String>,
    /// How many radiants found a cluster; 1 founds alone. Zero is taken as 1.
    pub expect: u32,
    /// How long all is quiet before the operator is told what is missing, and how long neighbours
    /// that never answered are waited for, in milliseconds.
    pub window_ms: u64,
    /// Random; of every start another.
    pub seed: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The radiant runs. Once more after a join that came to nothing.
    Start,
    /// Time passed.
    Tick,
    /// A radiant asks. Gets exactly one [`Effect::Answer`] with the same ticket, within the same step.
    Asked {
        /// Returned with the answer.
        ticket: u64,
        /// The question.
        request: Request,
    },
    /// An answer to an [`Effect::Send`]. Late and repeated ones do no harm.
    Answered {
        /// Where it was sent.
        address: String,
        /// The answer.
        response: Response,
    },
    /// An [`Effect::Send`] got no answer.
    Failed {
        /// Where it was sent.
        address: String,
        /// Why, in words.
        why: String,
    },
    /// The radiant is a member of this cluster: it joined, or the configuration changed.
    Belongs(Founding),
}

/// What to do, in the order given. Nothing may be done before all that stands ahead of it is done;
/// a [`Effect::Persist`] that fails must end the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Store durably what must never be forgotten.
    Persist(Vote),
    /// Call, and report [`Event::Answered`] or [`Event::Failed`].
    Send {
        /// Whom.
        address: String,
        /// The question.
        request: Request,
    },
    /// Answer an [`Event::Asked`].
    Answer {
        /// Whose.
        ticket: u64,
        /// The answer.
        response: Response,
    },
    /// The cluster exists and this radiant is named in it. Store it durably.
    Founded(Founding),
    /// A cluster exists; ask it for admission.
    Join {
        /// The cluster.
        cluster: ClusterId,
        /// Its members' addresses, the best first.
        via: Vec<String>,
    },
    /// A member of this radiant's cluster answered at another address than the configuration says. Whoever is
    /// spoken to there must still prove to be that radiant.
    Moved {
        /// Of its data directory.
        who: Incarnation,
        /// Where it is.
        address: String,
        /// Where it is according to the configuration; one that says something else makes this void.
        instead_of: String,
    },
    /// This radiant cannot enter a cluster as it is, whatever the others do: end, and say why. A sentence.
    GiveUp(String),
    /// Something for the operator to mend: a sentence.
    Problem(String),
    /// Something for the operator to know: a sentence.
    Notice(String),
}

/// The machine of one radiant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    settings: Settings,
    vote: Vote,
    phase: Phase,
    peers: Peers,
    running: Option<Running>,
    /// When to become a candidate, while all conditions hold; of a member, when to beacon again.
    next_ms: Option<u64>,
    /// Attempts that failed in a row.
    tries: u32,
    /// The highest term heard of.
    term: u64,
    /// Why the last attempt ended.
    last: String,
    repeats: Repeats,
    started_ms: u64,
    /// Since when enough radiants are seen without a break.
    enough_ms: Option<u64>,
    /// Since when another one of this radiant's name is seen.
    same_name_ms: Option<u64>,
    /// Since when a member says that the cluster has one of this radiant's name.
    name_taken_ms: Option<u64>,
    /// Members that answered elsewhere than the configuration says.
    moved: BTreeMap<Incarnation, String>,
    random: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Seeking,
    /// A cluster is known that this radiant is no member of; how it was founded only if it was seen.
    Joining {
        cluster: ClusterId,
        via: Vec<String>,
        founding: Option<Founding>,
    },
    Member(Founding),
}

impl Machine {
    /// The machine of a radiant that starts: with the vote that it stored, and its cluster if it has one.
    pub fn new(settings: Settings, vote: Vote, member: Option<Founding>) -> Machine {
        let settings = Settings { expect: settings.expect.max(1), ..settings };
        Machine {
            random: settings.seed,
            settings,
            vote,
            phase: member.map_or(Phase::Seeking, Phase::Member),
            peers: Peers::default(),
            running: None,
            next_ms: None,
            tries: 0,
            term: 0,
            last: String::new(),
            repeats: Repeats::default(),
            started_ms: 0,
            enough_ms: None,
            same_name_ms: None,
            name_taken_ms: None,
            moved: BTreeMap::new(),
        }
    }

    /// Takes in what happened at `now_ms` (on a clock that never goes back) and says what to do.
    pub fn step(&mut self, now_ms: u64, event: Event, found: &Found) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Start => self.start(now_ms),
            Event::Tick => self.tick(now_ms, found, &mut out),
            Event::Asked { ticket, request } => {
                let say = self.asked(now_ms, &request, &mut out);
                let response = Response { from: self.view(now_ms), say };
                out.push(Effect::Answer { ticket, response });
            }
            Event::Answered { address, response } => {
                self.answered(now_ms, &address, response, found, &mut out);
            }
            Event::Failed { address, why } => self.failed(now_ms, &address, &why),
            Event::Belongs(founding) => {
                (self.running, self.next_ms) = (None, None);
                self.forget_moved(&founding);
                self.phase = Phase::Member(founding);
            }
        }
        out
    }

    /// The cluster that this radiant is a member of.
    pub fn member(&self) -> Option<&Founding> {
        match &self.phase {
            Phase::Member(founding) => Some(founding),
            Phase::Seeking | Phase::Joining { .. } => None,
        }
    }

    fn start(&mut self, now_ms: u64) {
        self.started_ms = now_ms;
        self.tries = 0;
        self.next_ms = None;
        self.enough_ms = None;
        if let Phase::Joining { .. } = self.phase {
            self.phase = Phase::Seeking;
        }
        for address in &self.settings.neighbors {
            if *address != self.settings.me.doors.grpc {
                self.peers.learn(address, true, "", now_ms);
            }
        }
    }

    fn me(&self) -> Incarnation {
        self.settings.me.incarnation
    }

    fn view(&self, now_ms: u64) -> View {
        View {
            me: self.settings.me.clone(),
            expect: self.settings.expect,
            cluster: self.member().map(|founding| founding.cluster).unwrap_or_default(),
            peers: self.peers.alive(now_ms).map(|peer| peer.founder.clone()).collect(),
        }
    }

    fn request(&self, now_ms: u64, to: Incarnation, ask: Ask) -> Request {
        Request { from: self.view(now_ms), to, ask }
    }

    fn problem(&mut self, key: &str, now_ms: u64, words: impl FnOnce() -> String, out: &mut Vec<Effect>) {
        if self.repeats.is_due(key, now_ms, self.settings.window_ms) {
            out.push(Effect::Problem(words()));
        }
    }

    /// A random number. SplitMix64 (Steele, Lea, Flood 2014): all of its state is one number.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
