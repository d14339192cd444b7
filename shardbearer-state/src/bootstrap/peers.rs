//! Who is out there: addresses that are beaconed, and the radiants that answered from them. Passive
//! bookkeeping; what follows from it is decided in `seek.rs`.
//!
//! A radiant counts as seen only while it answers *our* beacons: a founder that can be heard but not
//! called would be of no use in an attempt. Addresses come from the configuration, from the
//! advertised doors of whoever beacons us, and from what peers tell of their peers; so a chain of
//! neighbours is enough.

use std::collections::BTreeMap;

use shardbearer_core::bootstrap::{Founder, View};
use shardbearer_core::ids::Incarnation;
use shardbearer_core::limits::BOOTSTRAP_PEERS_MAX;

/// Between two beacons to one address that answers.
pub(super) const BEACON_MS: u64 = 250;
/// How long an answer counts: several beacons, so that one that is lost does no harm.
pub(super) const ALIVE_MS: u64 = 2_000;
/// Between two beacons to an address that does not answer.
const BEACON_FAILED_MS_MAX: u64 = 2_000;
/// After that a call is given up, even if nobody reports its end.
const CALL_MS_MAX: u64 = 5_000;
/// An address known by hearsay only is forgotten after so long without an answer.
const HEARSAY_MS: u64 = 30_000;

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    /// Named in the configuration, so never forgotten.
    pub configured: bool,
    /// Who else named it; for the operator.
    pub told_by: String,
    /// Who answered last.
    pub who: Option<Incarnation>,
    /// Why the last call failed.
    pub why: String,
    known_ms: u64,
    next_ms: u64,
    called_ms: Option<u64>,
    failures: u32,
}

impl Contact {
    /// Whether the last calls were in vain, or none was ever answered.
    pub fn is_silent(&self) -> bool {
        self.who.is_none() || self.failures > 2
    }
}

/// A radiant that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// As it presented itself.
    pub founder: Founder,
    /// How many radiants it expects.
    pub expect: u32,
    /// Where it answered.
    pub address: String,
    answered_ms: u64,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peers {
    contacts: BTreeMap<String, Contact>,
    peers: BTreeMap<Incarnation, Peer>,
}

impl Peers {
    /// An address to beacon at once. Known ones stay as they are.
    pub fn learn(&mut self, address: &str, configured: bool, told_by: &str, now_ms: u64) {
        let full = self.contacts.len() >= BOOTSTRAP_PEERS_MAX && !configured;
        if address.is_empty() || full || self.contacts.contains_key(address) {
            return;
        }
        let contact = Contact {
            configured,
            told_by: told_by.to_owned(),
            who: None,
            why: String::new(),
            known_ms: now_ms,
            next_ms: now_ms,
            called_ms: None,
            failures: 0,
        };
        self.contacts.insert(address.to_owned(), contact);
    }

    /// An address that should be asked without delay, because it may know something.
    pub fn hurry(&mut self, address: &str, told_by: &str, now_ms: u64) {
        self.learn(address, false, told_by, now_ms);
        if let Some(contact) = self.contacts.get_mut(address) {
            contact.next_ms = contact.next_ms.min(now_ms + BEACON_MS / 5);
        }
    }

    /// The addresses whose time has come; each is taken as called now.
    pub fn due(&mut self, now_ms: u64) -> Vec<String> {
        let mut due = Vec::new();
        for (address, contact) in &mut self.contacts {
            let waiting = contact.called_ms.is_some_and(|called| now_ms < called + CALL_MS_MAX);
            if !waiting && now_ms >= contact.next_ms {
                contact.called_ms = Some(now_ms);
                contact.next_ms = now_ms + BEACON_MS;
                due.push(address.clone());
            }
        }
        due
    }

    /// Somebody answered at an address.
    pub fn answered(&mut self, address: &str, view: &View, now_ms: u64) {
        let who = view.me.incarnation;
        if let Some(contact) = self.contacts.get_mut(address) {
            contact.who = Some(who);
            contact.called_ms = None;
            contact.failures = 0;
            contact.known_ms = now_ms;
        }
        // A directory that was wiped comes back as another radiant; the former one is gone.
        self.peers.retain(|incarnation, peer| *incarnation == who || peer.address != address);
        if self.peers.len() < BOOTSTRAP_PEERS_MAX || self.peers.contains_key(&who) {
            let (founder, address) = (view.me.clone(), address.to_owned());
            self.peers.insert(who, Peer { founder, expect: view.expect, address, answered_ms: now_ms });
        }
    }

    /// This radiant answered itself.
    pub fn is_me(&mut self, address: &str) {
        self.contacts.remove(address);
    }

    /// A call was in vain.
    pub fn failed(&mut self, address: &str, why: &str, now_ms: u64) {
        if let Some(contact) = self.contacts.get_mut(address) {
            contact.called_ms = None;
            contact.why = why.to_owned();
            contact.failures = contact.failures.saturating_add(1);
            let wait_ms = (BEACON_MS << contact.failures.min(3)).min(BEACON_FAILED_MS_MAX);
            contact.next_ms = now_ms + wait_ms;
        }
    }

    /// Drops hearsay that came to nothing and radiants that are long gone.
    pub fn forget(&mut self, now_ms: u64) {
        self.contacts.retain(|_, contact| contact.configured || now_ms < contact.known_ms + HEARSAY_MS);
        self.peers.retain(|_, peer| now_ms < peer.answered_ms + HEARSAY_MS);
    }

    /// The radiants that answer, ascending by incarnation.
    pub fn alive(&self, now_ms: u64) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(move |peer| now_ms < peer.answered_ms + ALIVE_MS)
    }

    /// Where a radiant answered last.
    pub fn address(&self, incarnation: Incarnation) -> Option<&str> {
        self.peers.get(&incarnation).map(|peer| peer.address.as_str())
    }

    /// What it is called, for sentences.
    pub fn name(&self, incarnation: Incarnation) -> String {
        self.peers.get(&incarnation).map_or_else(|| incarnation.to_string(), |peer| peer.founder.name.clone())
    }

    /// All addresses.
    pub fn contacts(&self) -> impl Iterator<Item = (&str, &Contact)> {
        self.contacts.iter().map(|(address, contact)| (address.as_str(), contact))
    }
}
