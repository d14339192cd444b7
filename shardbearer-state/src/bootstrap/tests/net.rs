//! A small deterministic world for whole machines: virtual time, messages with a delay that may be
//! lost or repeated, cuts, crashes at the moment after something was stored, and what was stored.
//!
//! It checks on its own that no two cluster ids are ever announced (unless told not to), and that a
//! machine answers each question exactly once and within the step.

use std::collections::{BTreeMap, BTreeSet};

use shardbearer_core::bootstrap::{Ask, Founding, Request, Response, Say, Vote};
use shardbearer_core::ids::{ClusterId, Incarnation};

use super::super::{Effect, Event, Machine, Settings, TICK_MS};
use super::{found, founder};

/// When a call counts as failed.
const DEADLINE_MS: u64 = 1_000;

/// One radiant: what is stored survives a crash.
pub struct Node {
    pub settings: Settings,
    pub vote: Vote,
    pub member: Option<Founding>,
    pub join: Option<ClusterId>,
    pub machine: Option<Machine>,
    starts: u64,
}

enum Parcel {
    Ask { from: String, call: u64, to: String, request: Request },
    Answer { from: String, call: u64, to: String, response: Response },
}

/// What the network does to messages.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    /// Of a hundred messages, how many are lost.
    pub lost: u64,
    /// Of a hundred messages, how many come twice.
    pub repeated: u64,
    /// A message takes 10 ms and up to this much more.
    pub delay_ms: u64,
}

#[derive(Default)]
pub struct Net {
    pub now_ms: u64,
    pub nodes: BTreeMap<String, Node>,
    pub weather: Weather,
    /// Pairs that do not hear each other, ascending.
    pub cuts: BTreeSet<(String, String)>,
    /// Radiants that crash right after they stored a vote of this kind.
    pub traps: BTreeMap<String, String>,
    /// Stored votes do not survive a crash: the broken double.
    pub forgetful: bool,
    /// Every cluster that was ever announced.
    pub clusters: BTreeSet<ClusterId>,
    /// What happened, a line each.
    pub trace: Vec<String>,
    parcels: BTreeMap<(u64, u64), Parcel>,
    calls: BTreeMap<u64, (String, String, u64)>,
    told: BTreeSet<String>,
    serial: u64,
    random: u64,
}

impl Net {
    pub fn new(seed: u64) -> Net {
        Net { random: seed, ..Net::default() }
    }

    /// Goes on with other random numbers.
    pub fn reseed(&mut self, seed: u64) {
        self.random = seed;
    }

    /// Adds a radiant that is not started yet.
    pub fn add(&mut self, name: &str, incarnation: u128, expect: u32, neighbors: &[String]) {
        let settings = Settings {
            me: founder(name, incarnation),
            neighbors: neighbors.to_vec(),
            expect,
            window_ms: 5_000,
            seed: 0,
        };
        let node =
            Node { settings, vote: Vote::default(), member: None, join: None, machine: None, starts: 0 };
        self.nodes.insert(name.to_owned(), node);
    }

    pub fn start(&mut self, name: &str) {
        let (random, forgetful) = (self.draw(), self.forgetful);
        let node = self.nodes.get_mut(name).expect("the test names a radiant that it added");
        node.starts += 1;
        if forgetful {
            node.vote = Vote::default();
        }
        node.settings.seed = random ^ node.starts;
        node.machine = Some(Machine::new(node.settings.clone(), node.vote.clone(), node.member.clone()));
        self.step(name, Event::Start);
    }

    pub fn crash(&mut self, name: &str) {
        self.nodes.get_mut(name).expect("the test names a radiant that it added").machine = None;
    }

    pub fn cut(&mut self, one: &str, other: &str) {
        self.cuts.insert((one.min(other).to_owned(), one.max(other).to_owned()));
    }

    fn is_cut(&self, one: &str, other: &str) -> bool {
        self.cuts.contains(&(one.min(other).to_owned(), one.max(other).to_owned()))
    }

    /// Lets time pass.
    pub fn run(&mut self, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        while self.now_ms < until_ms {
            let tick_ms = (self.now_ms / TICK_MS + 1) * TICK_MS;
            while let Some(entry) = self.parcels.first_entry() {
                if entry.key().0 >= tick_ms.min(until_ms) {
                    break;
                }
                let ((at_ms, _), parcel) = entry.remove_entry();
                self.now_ms = self.now_ms.max(at_ms);
                self.deliver(parcel);
            }
            self.now_ms = tick_ms.min(until_ms);
            let names: Vec<String> = self.nodes.keys().cloned().collect();
            names.iter().for_each(|name| self.step(name, Event::Tick));
            self.admit();
            let over: Vec<u64> =
                self.calls.iter().filter(|(_, call)| self.now_ms >= call.2).map(|(id, _)| *id).collect();
            for id in over {
                if let Some((from, to, _)) = self.calls.remove(&id) {
                    self.step(
                        &from,
                        Event::Failed { address: format!("{to}:1"), why: "no answer in 1 s".into() },
                    );
                }
            }
        }
    }

    /// Joining itself is not the machine's: whoever asked becomes a member.
    fn admit(&mut self) {
        let asking =
            self.nodes.iter_mut().filter(|(_, node)| node.machine.is_some() && node.member.is_none());
        let mut admitted = Vec::new();
        for (name, node) in asking {
            if let Some(cluster) = node.join {
                let members = vec![node.settings.me.clone()];
                let founding = Founding { cluster, members, topology: Default::default() };
                node.member = Some(founding.clone());
                admitted.push((name.clone(), founding));
            }
        }
        for (name, founding) in admitted {
            self.step(&name, Event::Belongs(founding));
        }
    }

    /// Runs until all radiants that are up know the cluster. How long it took, if within the bound.
    pub fn run_until_settled(&mut self, bound_ms: u64) -> Option<u64> {
        let begin_ms = self.now_ms;
        while self.now_ms < begin_ms + bound_ms {
            self.run(TICK_MS);
            let mut up = self.nodes.values().filter(|node| node.machine.is_some());
            if up.all(|node| node.member.is_some() || node.join.is_some()) {
                return Some(self.now_ms - begin_ms);
            }
        }
        None
    }

    pub fn draw(&mut self) -> u64 {
        // xorshift64*: another generator than the machine's, so that the two are not in step.
        self.random = self.random.max(1);
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Hands an event to a radiant, if it is up, and carries out what it says.
    pub fn step(&mut self, name: &str, event: Event) {
        let asked = if let Event::Asked { ticket, .. } = &event { Some(*ticket) } else { None };
        let now_ms = self.now_ms;
        let Some(machine) = self.nodes.get_mut(name).and_then(|node| node.machine.as_mut()) else { return };
        let effects = machine.step(now_ms, event, &found);
        let answers: Vec<u64> = effects
            .iter()
            .filter_map(
                |effect| if let Effect::Answer { ticket, .. } = effect { Some(*ticket) } else { None },
            )
            .collect();
        assert_eq!(answers, asked.into_iter().collect::<Vec<u64>>(), "each question gets its answer at once");
        for effect in effects {
            if !self.perform(name, effect) {
                self.crash(name);
                return self.say(format!("{name} crashes"));
            }
        }
    }

    /// False when a trap makes the radiant crash after this effect.
    fn perform(&mut self, name: &str, effect: Effect) -> bool {
        match effect {
            Effect::Persist(vote) => {
                let accepted = vote.accepted.as_ref().filter(|accepted| accepted.ballot == vote.promised);
                let kind = if accepted.is_some() { "accepted" } else { "promised" };
                let node = self.nodes.get_mut(name).expect("a radiant that acts was added");
                node.vote = vote.clone();
                self.say(format!("{name} stores {kind} {}", words::vote(&vote)));
                if self.traps.get(name).is_some_and(|trap| trap == kind) {
                    self.traps.remove(name);
                    return false;
                }
            }
            Effect::Send { address, request } => {
                let to = address.strip_suffix(":1").unwrap_or(&address).to_owned();
                self.serial += 1;
                let call = self.serial;
                self.calls.insert(call, (name.to_owned(), to.clone(), self.now_ms + DEADLINE_MS));
                let first = request.ask != Ask::Beacon || self.told.insert(format!("{name} {to}"));
                if first {
                    self.say(format!("{name} -> {to}: {}", words::ask(&request.ask)));
                }
                self.post(|| Parcel::Ask {
                    from: name.to_owned(),
                    call,
                    to: to.clone(),
                    request: request.clone(),
                });
            }
            Effect::Answer { ticket, response } => {
                if let Some((to, _, _)) = self.calls.get(&ticket).cloned() {
                    let words = format!("{name} -> {to}: {}", words::say(&response.say));
                    if response.say != Say::Seen && self.told.insert(words.clone()) {
                        self.say(words);
                    }
                    let from = name.to_owned();
                    self.post(|| Parcel::Answer {
                        from: from.clone(),
                        call: ticket,
                        to: to.clone(),
                        response: response.clone(),
                    });
                }
            }
            Effect::Founded(founding) => {
                self.clusters.insert(founding.cluster);
                self.say(format!("{name} IS IN A CLUSTER of {}", words::founding(&founding)));
                self.nodes.get_mut(name).expect("a radiant that acts was added").member = Some(founding);
            }
            Effect::Join { cluster, via } => {
                self.clusters.insert(cluster);
                self.say(format!("{name} JOINS via {}", via.join(", ")));
                self.nodes.get_mut(name).expect("a radiant that acts was added").join = Some(cluster);
            }
            Effect::Moved { who, address, .. } => self.say(format!("{name} sees {who} moved to {address}")),
            Effect::GiveUp(words) => {
                self.say(format!("{name} GIVES UP: {words}"));
                self.crash(name);
            }
            Effect::Problem(words) => self.say(format!("{name} PROBLEM: {words}")),
            Effect::Notice(words) => self.say(format!("{name} notice: {words}")),
        }
        true
    }

    fn post(&mut self, parcel: impl Fn() -> Parcel) {
        let copies = if self.draw() % 100 < self.weather.repeated { 2 } else { 1 };
        for _ in 0..copies {
            let delay_ms = 10 + self.draw() % (self.weather.delay_ms + 1);
            if self.draw() % 100 >= self.weather.lost {
                self.serial += 1;
                self.parcels.insert((self.now_ms + delay_ms, self.serial), parcel());
            }
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Ask { from, call, to, request } => {
                let up = self.nodes.get(&to).is_some_and(|node| node.machine.is_some());
                if self.is_cut(&from, &to) {
                    return;
                }
                if up {
                    self.step(&to, Event::Asked { ticket: call, request });
                } else if self.calls.remove(&call).is_some() {
                    self.step(
                        &from,
                        Event::Failed { address: format!("{to}:1"), why: "connection refused".into() },
                    );
                }
            }
            Parcel::Answer { from, call, to, response } => {
                if !self.is_cut(&from, &to) && self.calls.remove(&call).is_some() {
                    self.step(&to, Event::Answered { address: format!("{from}:1"), response });
                }
            }
        }
    }

    fn say(&mut self, line: String) {
        self.trace.push(format!("{:>6} {line}", self.now_ms));
    }

    /// Panics if two clusters were announced, or a radiant is in another than the announced one.
    pub fn assert_one_cluster(&self) {
        assert!(self.clusters.len() <= 1, "{:?} clusters:\n{}", self.clusters.len(), self.trace.join("\n"));
    }

    /// The radiant's incarnation is drawn anew and all that it stored is gone.
    pub fn wipe(&mut self, name: &str, incarnation: u128) {
        let node = self.nodes.get_mut(name).expect("the test names a radiant that it added");
        (node.vote, node.member, node.join, node.machine) = (Vote::default(), None, None, None);
        node.settings.me.incarnation = Incarnation(incarnation);
    }
}

/// Messages in words.
mod words {
    use super::*;
    use shardbearer_core::bootstrap::{Accepted, Ballot};

    fn ballot(ballot: &Ballot) -> String {
        format!("{}.{:x}", ballot.term, ballot.candidate.0)
    }

    pub fn founding(founding: &Founding) -> String {
        String::from_utf8_lossy(&founding.topology).into_owned()
    }

    fn accepted(accepted: &Accepted) -> String {
        format!("{} in {}", founding(&accepted.founding), ballot(&accepted.ballot))
    }

    pub fn vote(vote: &Vote) -> String {
        match vote.accepted.as_ref().filter(|accepted| accepted.ballot == vote.promised) {
            Some(now) => accepted(now),
            None => ballot(&vote.promised),
        }
    }

    pub fn ask(ask: &Ask) -> String {
        match ask {
            Ask::Beacon => "beacon".into(),
            Ask::Promise(number) => format!("promise {}?", ballot(number)),
            Ask::Accept(proposal) => format!("accept {}?", accepted(proposal)),
            Ask::Founded(value) => format!("founded {}", founding(value)),
        }
    }

    pub fn say(say: &Say) -> String {
        match say {
            Say::Seen => "seen".into(),
            Say::Promised { ballot: number, accepted: None } => format!("promised {}", ballot(number)),
            Say::Promised { ballot: number, accepted: Some(before) } => {
                format!("promised {}, accepted before: {}", ballot(number), accepted(before))
            }
            Say::Accepted(number) => format!("accepted {}", ballot(number)),
            Say::Superseded { ballot: number, promised } => {
                format!("{} comes after {}", ballot(number), ballot(promised))
            }
            Say::Member(value) => format!("you are in the cluster of {}", founding(value)),
            Say::Join { via, .. } => format!("there is a cluster: {}", via.join(", ")),
            Say::Objection(why) => format!("objection: {why}"),
            Say::NameTaken(why) => format!("name taken: {why}"),
        }
    }
}
