//! Members of this radiant's cluster that are found elsewhere than the configuration says.
//!
//! Normally a radiant that comes back with another address has it written into the configuration. That takes the
//! control order, though, and when most radiants have moved at once nobody reaches anybody: so members look for each
//! other with the same beacons that founders use. What counts is only who *answers* at an address, with the cluster
//! and with a data directory that the configuration names. Who merely says so is asked there first.

use shardbearer_core::bootstrap::{Founder, Founding, View};

use super::{Effect, Machine, Phase};

/// A member beacons this often: neighbours that were restarted and know nobody should find the
/// cluster, and members of another one should be noticed.
const BEACON_MS: u64 = 10_000;
/// The same while a neighbour is silent: it may be one that looks for the others at new addresses.
const BEACON_SILENT_MS: u64 = 1_000;

impl Machine {
    /// The beacons of a member.
    pub(super) fn tick_member(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        if now_ms >= *self.next_ms.get_or_insert(now_ms) {
            let silent = self.peers.contacts().any(|(_, contact)| contact.is_silent());
            self.next_ms = Some(now_ms + if silent { BEACON_SILENT_MS } else { BEACON_MS });
            self.peers.forget(now_ms);
            self.beacon(now_ms, out);
        }
    }

    /// Somebody answered: if it is a member, this is where it is.
    pub(super) fn found_member(&mut self, now_ms: u64, from: &View, out: &mut Vec<Effect>) {
        let peers: Vec<&Founder> = from.peers.iter().filter(|peer| self.has_moved(from, peer)).collect();
        for peer in peers {
            self.ask_there(now_ms, peer, &from.me.name);
        }
        if !self.has_moved(from, &from.me) {
            return;
        }
        let Phase::Member(founding) = &self.phase else { return };
        let Some(listed) = listed(founding, &from.me) else { return };
        let (who, address) = (from.me.incarnation, from.me.doors.grpc.clone());
        let instead_of = listed.doors.grpc.clone();
        self.moved.insert(who, address.clone());
        out.push(Effect::Moved { who, address, instead_of });
    }

    /// Somebody says that it is a member, and elsewhere: whether that is so is asked at once.
    pub(super) fn heard_member(&mut self, now_ms: u64, from: &View) {
        if self.has_moved(from, &from.me) {
            self.ask_there(now_ms, &from.me, &from.me.name);
        }
    }

    fn ask_there(&mut self, now_ms: u64, whom: &Founder, told_by: &str) {
        self.peers.hurry(&whom.doors.grpc, told_by, now_ms);
        self.next_ms = Some(now_ms);
    }

    /// Whether `whom`, of whom `from` tells, would be a member at an address that is news.
    fn has_moved(&self, from: &View, whom: &Founder) -> bool {
        let Phase::Member(founding) = &self.phase else { return false };
        let address = &whom.doors.grpc;
        if from.cluster != founding.cluster || address.is_empty() || whom.incarnation == self.me() {
            return false;
        }
        let Some(listed) = listed(founding, whom) else { return false };
        self.moved.get(&whom.incarnation).unwrap_or(&listed.doors.grpc) != address
    }

    /// Another configuration: what it says anew of where a member is counts for more than what was seen before.
    pub(super) fn forget_moved(&mut self, next: &Founding) {
        let Phase::Member(before) = &self.phase else { return };
        let address = |founding: &Founding, who| {
            let member = founding.members.iter().find(|member| member.incarnation == who);
            member.map(|member| member.doors.grpc.clone())
        };
        self.moved.retain(|who, _| address(before, *who) == address(next, *who));
    }
}

fn listed<'a>(founding: &'a Founding, whom: &Founder) -> Option<&'a Founder> {
    founding.members.iter().find(|member| member.incarnation == whom.incarnation)
}
