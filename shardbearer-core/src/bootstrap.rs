//! What radiants say to each other before there is a cluster, and what they must remember of it.
//!
//! Plain values only. Who says what and when is decided by the bootstrap machine of
//! `shardbearer-state`; how they look on the wire and on disk is said in `shardbearer-proto`;
//! `docs/adr/0003-founding.md` tells why the protocol is what it is. The proposed configuration is
//! opaque here: only the two ends encode and decode it.
//!
//! ```text
//!   candidate                       each founder of its list
//!      │  Beacon  ───────────────────▶  Seen               "here I am, and these I see"
//!      │  Promise(ballot) ───────────▶  Promised(accepted?)     stored before it is answered
//!      │  Accept(ballot, founding) ──▶  Accepted                stored before it is answered
//!      │  Founded(founding) ─────────▶  Seen               all of the list accepted: it is chosen
//! ```

use bytes::Bytes;

use crate::ids::{ClusterId, Incarnation};
use crate::topology::Doors;

/// A radiant as it presents itself, before it has an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Founder {
    /// Chosen by its operator; unique in a cluster.
    pub name: String,
    /// Of its data directory: tells two radiants with one name apart.
    pub incarnation: Incarnation,
    /// Where it says that it can be reached.
    pub doors: Doors,
}

/// What is agreed on: the configuration that a cluster begins with. Also used to tell a later
/// configuration to a radiant that is named in it and does not know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Founding {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who is named in it, ascending by name.
    pub members: Vec<Founder>,
    /// The encoded configuration.
    pub topology: Bytes,
}

impl Founding {
    /// Whether the data directory belongs to this cluster.
    pub fn names(&self, incarnation: Incarnation) -> bool {
        self.members.iter().any(|member| member.incarnation == incarnation)
    }

    /// Where the members can be reached.
    pub fn addresses(&self) -> Vec<String> {
        let grpc = self.members.iter().map(|member| &member.doors.grpc);
        grpc.filter(|address| !address.is_empty()).cloned().collect()
    }
}

/// The number of one attempt to found a cluster: terms first, ties broken by candidate, so that no
/// two attempts share one. The default is below every attempt's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ballot {
    /// Grows with each attempt.
    pub term: u64,
    /// Whose attempt it is.
    pub candidate: Incarnation,
}

/// A founding that a founder accepted, and in which attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// The attempt.
    pub ballot: Ballot,
    /// What it proposed.
    pub founding: Founding,
}

/// What a founder must never forget: stored durably before any answer that follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Vote {
    /// Takes part in no attempt below this one.
    pub promised: Ballot,
    /// The last founding that was accepted.
    pub accepted: Option<Accepted>,
}

/// What a radiant tells of itself with every message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct View {
    /// The speaker.
    pub me: Founder,
    /// How many radiants it wants to see before a cluster is founded.
    pub expect: u32,
    /// The cluster that it is a member of, if any.
    pub cluster: ClusterId,
    /// The radiants that answer it, itself not included.
    pub peers: Vec<Founder>,
}

/// A message that wants an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub from: View,
    /// Whom it is meant for; none for "whoever is at this address".
    pub to: Incarnation,
    /// What is asked.
    pub ask: Ask,
}

/// What a [`Request`] asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who are you, whom do you see, do you know a cluster?
    Beacon,
    /// Take part in no attempt below this one, and tell what you accepted so far.
    Promise(Ballot),
    /// Accept this founding in this attempt.
    Accept(Accepted),
    /// This founding is chosen.
    Founded(Founding),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Who answers.
    pub from: View,
    /// The answer.
    pub say: Say,
}

/// What a [`Response`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// Nothing beyond the view.
    Seen,
    /// Promised.
    Promised {
        /// The attempt asked for.
        ballot: Ballot,
        /// What was accepted before it.
        accepted: Option<Accepted>,
    },
    /// Accepted.
    Accepted(Ballot),
    /// Not promised or not accepted: a later attempt has the speaker's promise.
    Superseded {
        /// The attempt asked for.
        ballot: Ballot,
        /// The later one.
        promised: Ballot,
    },
    /// There is a cluster and you are named in it.
    Member(Founding),
    /// There is a cluster that you may ask to join.
    Join {
        /// The cluster.
        cluster: ClusterId,
        /// Where its members can be reached.
        via: Vec<String>,
    },
    /// No, and why: a sentence for the operator.
    Objection(String),
    /// The cluster has another radiant of the asker's name, with another data directory: it cannot be let in as it is.
    /// A sentence for its operator.
    NameTaken(String),
}
