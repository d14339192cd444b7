//! What the operator is told, and how often. Each sentence says what is seen, and what to check.

use std::collections::BTreeMap;

use shardbearer_core::bootstrap::Founder;
use shardbearer_core::ids::{ClusterId, Incarnation};

use super::peers::Contact;

/// The longest pause between two repetitions.
const PAUSE_MS_MAX: u64 = 30_000;
/// Different problems remembered; a babbling neighbour cannot fill the memory.
const PROBLEMS_MAX: usize = 64;

/// Lets a problem through at once, again after a window, and then ever more seldom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Repeats(BTreeMap<String, (u64, u64)>);

impl Repeats {
    /// Whether the problem `key` should be said now.
    pub fn is_due(&mut self, key: &str, now_ms: u64, window_ms: u64) -> bool {
        let first = window_ms.clamp(1, PAUSE_MS_MAX);
        if let Some((next_ms, pause_ms)) = self.0.get_mut(key) {
            if now_ms < *next_ms {
                return false;
            }
            *pause_ms = (*pause_ms * 2).min(PAUSE_MS_MAX);
            *next_ms = now_ms + *pause_ms;
            return true;
        }
        if self.0.len() >= PROBLEMS_MAX {
            self.0.clear();
        }
        self.0.insert(key.to_owned(), (now_ms + first, first));
        true
    }
}

/// Not enough radiants answer.
pub(super) fn too_few(seen: &[&str], expect: u32, waited_ms: u64, silent: &[(&str, &Contact)]) -> String {
    let count = seen.len();
    let mut words =
        format!("{count} of {expect} radiants seen after {} s ({})", waited_ms / 1000, seen.join(", "));
    if silent.is_empty() {
        let lacking = (expect as usize).saturating_sub(count);
        words += &format!(
            "; all known addresses answer, so start {lacking} more, or give the running ones a common neighbour \
             in [bootstrap] neighbors, or lower [bootstrap] expect on all of them"
        );
        return words;
    }
    words += &format!(
        "; no answer from {}. Check that a radiant runs there, that the address is right ([bootstrap] neighbors \
         here, [advertise] grpc there), and that nothing between blocks it",
        silent_ones(silent)
    );
    words
}

/// The addresses with the reasons.
fn silent_ones(silent: &[(&str, &Contact)]) -> String {
    let words = silent.iter().map(|(address, contact)| {
        let told = match contact.told_by.as_str() {
            "" => String::new(),
            name => format!(", advertised as {name}'s or told by it"),
        };
        let why = if contact.why.is_empty() { "no answer yet" } else { &contact.why };
        format!("{address} ({why}{told})")
    });
    words.collect::<Vec<_>>().join(", ")
}

/// `expect` is 1, but a neighbour that might know a cluster is silent.
pub(super) fn alone_but_neighbors(silent: &[(&str, &Contact)]) -> String {
    format!(
        "[bootstrap] expect is 1, but no answer from {}: a neighbour may know a cluster to join. Start it, or \
         remove it from [bootstrap] neighbors to found a cluster of this radiant alone",
        silent_ones(silent)
    )
}

/// `expect` is 1 and this radiant founds.
pub(super) fn alone(name: &str) -> String {
    format!(
        "{name} founds a cluster alone, as [bootstrap] expect is 1: nothing is replicated until others join"
    )
}

/// Enough are seen, and still there is no cluster.
pub(super) fn stalled(seen: usize, expect: u32, waited_ms: u64, last: &str) -> String {
    let last = if last.is_empty() { "waiting for one of them to found it" } else { last };
    format!(
        "{seen} radiants seen of {expect} that are needed, but no cluster founded after {} s: {last}. Check that all \
         radiants can reach each other at their [advertise] grpc addresses",
        waited_ms / 1000
    )
}

/// Two radiants with one name.
pub(super) fn same_name(one: &Founder, other: &Founder) -> String {
    format!(
        "two radiants are called \"{}\": the one at {} with data directory {} and the one at {} with data \
         directory {}. Give one of them another [radiant] name (and an empty data directory)",
        one.name, one.doors.grpc, one.incarnation, other.doors.grpc, other.incarnation
    )
}

/// One data directory in two places.
pub(super) fn copied(me: &Founder, other: &Founder) -> String {
    format!(
        "the data directory {} is in use twice: by \"{}\" at {} and by \"{}\" at {}. One is a copy: stop one radiant \
         and give it an empty data directory and another [radiant] name",
        me.incarnation, me.name, me.doors.grpc, other.name, other.doors.grpc
    )
}

/// Members of two clusters met.
pub(super) fn foreign(ours: ClusterId, other: &Founder, theirs: ClusterId) -> String {
    format!(
        "\"{}\" at {} belongs to cluster {theirs}, this radiant to cluster {ours}. They stay apart; correct [bootstrap] \
         neighbors, or give the radiant that is wrong here an empty data directory and another [radiant] name",
        other.name, other.doors.grpc
    )
}

/// Two ideas of how many radiants there should be.
pub(super) fn other_expect(mine: u32, other: &Founder, theirs: u32) -> String {
    format!(
        "\"{}\" at {} has [bootstrap] expect = {theirs}, this radiant {mine}; they will not found a cluster together. \
         Set the same number on all",
        other.name, other.doors.grpc
    )
}

/// The cluster has another radiant of that name.
pub(super) fn name_taken(cluster: ClusterId, member: &Founder, newcomer: &Founder) -> String {
    format!(
        "cluster {cluster} has a radiant \"{}\" with data directory {} already; this one has {}. Start it with that \
         directory, or with an empty one under another [radiant] name",
        member.name, member.incarnation, newcomer.incarnation
    )
}

/// A message for another data directory.
pub(super) fn not_me(me: &Founder, to: Incarnation) -> String {
    format!("this is \"{}\" with data directory {}, not {to}", me.name, me.incarnation)
}
