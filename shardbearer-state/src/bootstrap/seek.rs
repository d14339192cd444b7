//! Looking for others: beacons, what their answers tell, and when there are enough to found.

use shardbearer_core::bootstrap::{Ask, Founder, Response, Say};
use shardbearer_core::ids::Incarnation;

use super::peers::{Contact, Peer};
use super::{Effect, Found, Machine, Phase, words};

/// For a member that was away to hear of what was decided meanwhile.
const NEWS_MS: u64 = 3_000;

impl Machine {
    pub(super) fn tick(&mut self, now_ms: u64, found: &Found, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::Joining { .. } => return, // the driver is busy with it
            Phase::Member(_) => return self.tick_member(now_ms, out),
            Phase::Seeking => {}
        }
        self.peers.forget(now_ms);
        self.beacon(now_ms, out);
        self.tend_attempt(now_ms, out);
        let list = self.founders(now_ms, out);
        if self.running.is_some() {
            return;
        }
        let Some(list) = list else {
            self.next_ms = None;
            return;
        };
        let alone = self.settings.expect == 1;
        let wait_ms = if alone { 0 } else { self.random_wait_ms() };
        let at_ms = *self.next_ms.get_or_insert(now_ms + wait_ms);
        if now_ms >= at_ms {
            if alone {
                out.push(Effect::Notice(words::alone(&self.settings.me.name)));
            }
            self.campaign(now_ms, list, found, out);
        }
    }

    pub(super) fn beacon(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        for address in self.peers.due(now_ms) {
            let request = self.request(now_ms, Incarnation::NONE, Ask::Beacon);
            out.push(Effect::Send { address, request });
        }
    }

    pub(super) fn answered(
        &mut self,
        now_ms: u64,
        address: &str,
        response: Response,
        found: &Found,
        out: &mut Vec<Effect>,
    ) {
        let from = &response.from;
        if from.me.incarnation == self.me() {
            if self.met_myself(now_ms, &from.me, out) {
                self.peers.is_me(address);
            }
            return;
        }
        self.check_foreign(now_ms, from, out);
        self.peers.answered(address, from, now_ms);
        self.found_member(now_ms, from, out);
        if self.phase != Phase::Seeking {
            return;
        }
        for peer in &from.peers {
            if peer.incarnation != self.me() && self.peers.address(peer.incarnation).is_none() {
                self.peers.learn(&peer.doors.grpc, false, &from.me.name, now_ms);
            }
        }
        match &response.say {
            Say::Member(founding) if founding.names(self.me()) => self.become_member(founding.clone(), out),
            Say::Join { cluster, via } if *cluster == from.cluster && !cluster.is_none() => {
                let mut all = vec![address.to_owned()];
                all.extend(via.iter().filter(|one| *one != address).cloned());
                self.running = None;
                self.phase = Phase::Joining { cluster: *cluster, via: all.clone(), founding: None };
                out.push(Effect::Join { cluster: *cluster, via: all });
            }
            // Hearsay: ask the members themselves, who know whether this radiant is one.
            Say::Join { cluster, via } => {
                self.last = format!("cluster {cluster} exists, but of its members none answered yet");
                via.iter().for_each(|address| self.peers.hurry(address, &from.me.name, now_ms));
            }
            Say::NameTaken(why) => {
                // Who was away may not have heard yet that the former one of that name has left.
                let since_ms = *self.name_taken_ms.get_or_insert(now_ms);
                if now_ms - since_ms >= NEWS_MS {
                    out.push(Effect::GiveUp(why.clone()));
                } else {
                    self.last.clone_from(why);
                    self.problem("name taken", now_ms, || why.clone(), out);
                }
            }
            Say::Objection(why) => {
                let words = format!("\"{}\" at {address} objects: {why}", from.me.name);
                self.problem(&format!("objection {address}"), now_ms, || words, out);
                self.counted(now_ms, response, found, out);
            }
            Say::Seen | Say::Member(_) | Say::Promised { .. } | Say::Accepted(_) | Say::Superseded { .. } => {
                self.counted(now_ms, response, found, out);
            }
        }
    }

    pub(super) fn failed(&mut self, now_ms: u64, address: &str, why: &str) {
        self.peers.failed(address, why, now_ms);
    }

    /// The founders to try it with, if all conditions hold; else tells the operator what is missing.
    fn founders(&mut self, now_ms: u64, out: &mut Vec<Effect>) -> Option<Vec<Founder>> {
        let expect = self.settings.expect;
        let alive: Vec<Peer> = self.peers.alive(now_ms).cloned().collect();
        for peer in alive.iter().filter(|peer| peer.expect != expect) {
            let words = words::other_expect(expect, &peer.founder, peer.expect);
            self.problem(&format!("expect {}", peer.founder.incarnation), now_ms, || words, out);
        }
        let mut seen = vec![self.settings.me.clone()];
        seen.extend(alive.into_iter().filter(|peer| peer.expect == expect).map(|peer| peer.founder));
        if let Some((one, other)) = same_name(&seen) {
            let words = words::same_name(one, other);
            if one.name == self.settings.me.name {
                // Which of the two is meant only the operator knows, and has had the time to say.
                let since_ms = *self.same_name_ms.get_or_insert(now_ms);
                if now_ms - since_ms >= self.settings.window_ms {
                    out.push(Effect::GiveUp(words));
                    return None;
                }
            }
            self.problem(&format!("name {}", one.name), now_ms, || words, out);
            return None;
        }
        self.same_name_ms = None;
        if !self.are_enough(now_ms, &seen, out) {
            self.enough_ms = None;
            return None;
        }
        let enough_ms = now_ms - *self.enough_ms.get_or_insert(now_ms);
        let is_late = enough_ms >= self.settings.window_ms;
        if is_late {
            let words = words::stalled(seen.len(), expect, enough_ms, &self.last);
            self.problem("stalled", now_ms, || words, out);
        }
        choose(&seen, &self.settings.me, expect as usize, is_late)
    }

    /// Whether those seen may found a cluster: there are `expect` of them, and no neighbour is left
    /// that never answered and so may know a cluster, unless it had its time.
    fn are_enough(&mut self, now_ms: u64, seen: &[Founder], out: &mut Vec<Effect>) -> bool {
        let waited_ms = now_ms.saturating_sub(self.started_ms);
        let is_late = waited_ms >= self.settings.window_ms;
        let expect = self.settings.expect;
        let silent: Vec<(&str, &Contact)> =
            self.peers.contacts().filter(|(_, one)| one.is_silent()).collect();
        if seen.len() < expect as usize {
            if is_late {
                let names: Vec<&str> = seen.iter().map(|founder| founder.name.as_str()).collect();
                let words = words::too_few(&names, expect, waited_ms, &silent);
                self.problem("few", now_ms, || words, out);
            }
            return false;
        }
        if !self.peers.contacts().any(|(_, contact)| contact.configured && contact.who.is_none()) {
            return true;
        }
        if is_late && expect == 1 {
            let words = words::alone_but_neighbors(&silent);
            self.problem("alone", now_ms, || words, out);
        }
        is_late && expect > 1
    }
}

/// The `expect` founders with the lowest incarnations, if this radiant is one of them: all who see
/// the same think of the same list. A surplus one takes its place among them only when that did not
/// lead to a cluster, and then its list still shares all but one with everybody's.
fn choose(seen: &[Founder], me: &Founder, expect: usize, insist: bool) -> Option<Vec<Founder>> {
    let mut list = seen.to_vec();
    list.sort_by_key(|founder| founder.incarnation);
    list.truncate(expect);
    if !list.contains(me) {
        if !insist || expect < 2 {
            return None;
        }
        list.pop();
        list.push(me.clone());
    }
    Some(list)
}

fn same_name(seen: &[Founder]) -> Option<(&Founder, &Founder)> {
    let mut sorted: Vec<&Founder> = seen.iter().collect();
    sorted.sort_by(|one, other| (&one.name, one.incarnation).cmp(&(&other.name, other.incarnation)));
    sorted.windows(2).find(|pair| pair[0].name == pair[1].name).map(|pair| (pair[0], pair[1]))
}
