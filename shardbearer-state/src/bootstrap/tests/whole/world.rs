//! Whole machines and what is between them, in one value: what may happen next, and what must not.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use shardbearer_core::bootstrap::{Ask, Founding, Request, Response, Say, Vote};
use shardbearer_core::ids::Incarnation;

use super::super::super::{Effect, Event, Machine, Phase, Settings};
use super::super::{found, founder};

/// When all of it happens.
const NOW_MS: u64 = 1_000;

/// More rounds than any end takes.
const ROUNDS_MAX: usize = 40;

/// Something wrong that must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Double {
    /// What is stored does not survive a crash.
    Forgets,
    /// Silence is taken for consent: whoever is asked in an attempt is said to agree.
    Presumes,
    /// Members tell those who are named with them to join.
    SendsAway,
    /// Whoever is told of the founding is told of one without its last member.
    Shortens,
    /// What is promised is said first and stored when there is time.
    SaysFirst,
}

/// What may happen, how often in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Budget {
    pub attempts: u8,
    pub crashes: u8,
    pub beacons: u8,
    pub repeated: u8,
}

#[derive(Clone, Debug)]
struct Parcel {
    from: usize,
    to: usize,
    load: Load,
}

#[derive(Clone, Debug)]
enum Load {
    Ask(Request),
    Answer(Response),
}

#[derive(Clone, Debug)]
struct Node {
    settings: Settings,
    machine: Machine,
    /// What is stored.
    vote: Vote,
    member: Option<Founding>,
}

/// All machines, and what is under way.
#[derive(Clone)]
pub(super) struct State {
    nodes: Vec<Node>,
    /// By their hash, so that what was sent first makes no difference.
    sent: BTreeMap<u64, Parcel>,
    /// The founding of which anybody told.
    pub founded: Option<Founding>,
    left: Budget,
    double: Option<Double>,
}

fn hash(words: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish()
}

impl State {
    /// Radiants that have seen each other, and have not begun to found.
    pub fn new(radiants: usize, expect: u32, left: Budget, double: Option<Double>) -> State {
        // Each is told of one other: whoever starts again may see less than before.
        let neighbor = |one: usize| address(if one + 1 < radiants { one + 1 } else { one - 1 });
        let nodes = (0..radiants).map(|one| {
            let settings = Settings {
                me: founder(&format!("n{one}"), one as u128 + 1),
                neighbors: vec![neighbor(one)],
                expect,
                window_ms: 5_000,
                seed: 7,
            };
            let machine = Machine::new(settings.clone(), Vote::default(), None);
            Node { settings, machine, vote: Vote::default(), member: None }
        });
        let mut state =
            State { nodes: nodes.collect(), sent: BTreeMap::new(), founded: None, left, double: None };
        for one in 0..radiants {
            state.step(one, Event::Start).expect("a start");
            state.step(one, Event::Tick).expect("its first beacons");
        }
        for _ in 0..2 {
            state.everybody_beacons().expect("nothing is wrong yet");
        }
        state.double = double;
        state
    }

    pub fn hash(&self) -> u64 {
        let sent: Vec<u64> = self.sent.keys().copied().collect();
        hash((format!("{:?}{:?}", self.nodes, self.founded), sent, self.left))
    }

    fn send(&mut self, parcel: Parcel) {
        self.sent.insert(hash(format!("{parcel:?}")), parcel);
    }

    /// One step of a machine and what follows from it; the answer, if it was asked.
    fn step(&mut self, one: usize, event: Event) -> Result<Option<Response>, String> {
        let machine = &mut self.nodes[one].machine;
        let effects = machine.step(NOW_MS, event, &found);
        // When it will do something, and what it would say of it, decides nothing here.
        (machine.random, machine.tries, machine.next_ms) = (machine.settings.seed, 0, None);
        (machine.last, machine.repeats) = Default::default();
        let mut answer = None;
        for effect in effects {
            match effect {
                Effect::Persist(_) if self.double == Some(Double::SaysFirst) => {}
                Effect::Persist(vote) => self.nodes[one].vote = vote,
                Effect::Send { address, request } => self.ask(one, &address, request)?,
                Effect::Answer { response, .. } => {
                    if answer.is_some() {
                        return Err(format!("n{one} answers twice"));
                    }
                    answer = Some(self.say(one, response)?);
                }
                Effect::Founded(founding) => {
                    if !founding.names(id(one)) {
                        return Err(format!("n{one} is a member of a cluster that does not name it"));
                    }
                    self.told(&founding)?;
                    self.nodes[one].member = Some(founding);
                }
                Effect::Join { cluster, .. } => match &self.founded {
                    Some(founded) if founded.cluster != cluster => {
                        return Err("two clusters are told of".into());
                    }
                    Some(founded) if founded.names(id(one)) => {
                        return Err(format!("n{one} is to join a cluster that names it"));
                    }
                    Some(_) => {}
                    None => return Err("a cluster is told of before anybody founded it".into()),
                },
                Effect::GiveUp(why) => return Err(format!("n{one} gives up: {why}")),
                Effect::Moved { .. } | Effect::Problem(_) | Effect::Notice(_) => {}
            }
        }
        Ok(answer)
    }

    /// All tell of the same founding.
    fn told(&mut self, founding: &Founding) -> Result<(), String> {
        match &self.founded {
            None => self.founded = Some(founding.clone()),
            Some(founded) if founded.cluster != founding.cluster => {
                return Err("two clusters are told of".into());
            }
            Some(founded) if founded != founding => {
                return Err("of one cluster two lists of members are told".into());
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn ask(&mut self, from: usize, address: &str, mut request: Request) -> Result<(), String> {
        let to = (0..self.nodes.len()).find(|one| self::address(*one) == address).expect("one of them");
        if let (Ask::Founded(founding), Some(Double::Shortens)) = (&mut request.ask, self.double) {
            self.told(&founding.clone())?;
            founding.members.pop();
        }
        if let Ask::Founded(founding) = &request.ask {
            self.told(founding)?;
        }
        let agreed = match (&request.ask, self.double) {
            (Ask::Promise(ballot), Some(Double::Presumes)) => {
                Some(Say::Promised { ballot: *ballot, accepted: None })
            }
            (Ask::Accept(accepted), Some(Double::Presumes)) => Some(Say::Accepted(accepted.ballot)),
            _ => None,
        };
        if let Some(say) = agreed {
            let response = Response { from: self.nodes[to].machine.view(NOW_MS), say };
            self.send(Parcel { from: to, to: from, load: Load::Answer(response) });
        }
        self.send(Parcel { from, to, load: Load::Ask(request) });
        Ok(())
    }

    /// What is answered counts on what is stored.
    fn say(&mut self, one: usize, mut response: Response) -> Result<Response, String> {
        if let (Say::Member(founding), Some(Double::SendsAway)) = (&response.say, self.double) {
            response.say = Say::Join { cluster: founding.cluster, via: founding.addresses() };
        }
        let vote = &self.nodes[one].vote;
        let stored = match &response.say {
            Say::Promised { ballot, .. } => vote.promised >= *ballot,
            Say::Accepted(ballot) => vote.accepted.as_ref().is_some_and(|stored| stored.ballot >= *ballot),
            _ => true,
        };
        if !stored {
            return Err(format!("n{one} promises what it has not stored"));
        }
        if let Say::Member(founding) = &response.say {
            self.told(founding)?;
        }
        Ok(response)
    }

    fn deliver(&mut self, Parcel { from, to, load }: Parcel) -> Result<(), String> {
        match load {
            Load::Ask(request) => {
                let answer = self.step(to, Event::Asked { ticket: 0, request })?;
                let response = answer.ok_or_else(|| format!("n{to} does not answer"))?;
                self.send(Parcel { from: to, to: from, load: Load::Answer(response) });
                Ok(())
            }
            Load::Answer(response) => {
                self.step(to, Event::Answered { address: address(from), response }).map(drop)
            }
        }
    }

    /// Somebody stops waiting. Whether it became a candidate.
    fn attempt(&mut self, one: usize) -> Result<bool, String> {
        let machine = &mut self.nodes[one].machine;
        if machine.phase != Phase::Seeking {
            return Ok(false);
        }
        (machine.running, machine.next_ms) = (None, Some(NOW_MS));
        self.step(one, Event::Tick)?;
        Ok(self.nodes[one].machine.running.is_some())
    }

    fn crash(&mut self, one: usize) -> Result<(), String> {
        let node = &mut self.nodes[one];
        if self.double == Some(Double::Forgets) {
            node.vote = Vote::default();
        }
        node.machine = Machine::new(node.settings.clone(), node.vote.clone(), node.member.clone());
        self.step(one, Event::Start)?;
        // Its first beacons.
        self.step(one, Event::Tick).map(drop)
    }

    fn beacon(&mut self, from: usize, to: usize) {
        let request = self.nodes[from].machine.request(NOW_MS, Incarnation::NONE, Ask::Beacon);
        self.send(Parcel { from, to, load: Load::Ask(request) });
    }

    fn everybody_beacons(&mut self) -> Result<(), String> {
        for from in 0..self.nodes.len() {
            (0..self.nodes.len()).filter(|to| *to != from).for_each(|to| self.beacon(from, to));
        }
        self.deliver_all()
    }

    fn deliver_all(&mut self) -> Result<(), String> {
        while let Some((_, parcel)) = self.sent.pop_first() {
            self.deliver(parcel)?;
        }
        Ok(())
    }

    pub fn next(&self) -> Vec<Result<State, String>> {
        let mut next = Vec::new();
        let mut may = |change: &dyn Fn(&mut State) -> Result<bool, String>| {
            let mut state = self.clone();
            match change(&mut state) {
                Ok(true) => next.push(Ok(state)),
                Ok(false) => {}
                Err(why) => next.push(Err(why)),
            }
        };
        for (key, parcel) in &self.sent {
            may(&|state| {
                state.sent.remove(key);
                state.deliver(parcel.clone()).map(|()| true)
            });
            if self.left.repeated > 0 {
                may(&|state| {
                    state.left.repeated -= 1;
                    state.deliver(parcel.clone()).map(|()| true)
                });
            }
        }
        for one in 0..self.nodes.len() {
            if self.left.attempts > 0 {
                may(&|state| {
                    state.left.attempts -= 1;
                    state.attempt(one)
                });
            }
            if self.left.crashes > 0 {
                may(&|state| {
                    state.left.crashes -= 1;
                    state.crash(one).map(|()| true)
                });
            }
            for other in (0..self.nodes.len()).filter(|other| *other != one && self.left.beacons > 0) {
                may(&|state| {
                    state.left.beacons -= 1;
                    state.beacon(one, other);
                    Ok(true)
                });
            }
        }
        next
    }

    /// From here on messages arrive, and somebody tries again whenever nothing comes of it.
    pub fn ends(mut self) -> Result<(), String> {
        for round in 0..ROUNDS_MAX {
            self.deliver_all()?;
            self.everybody_beacons()?;
            if self.nodes.iter().all(|node| node.machine.phase != Phase::Seeking) {
                let named = |one: usize| self.founded.as_ref().is_some_and(|founded| founded.names(id(one)));
                let member = |one: usize| self.nodes[one].machine.member().is_some();
                let wrong = (0..self.nodes.len()).find(|one| named(*one) != member(*one));
                return wrong.map_or(Ok(()), |one| {
                    Err(format!("n{one} is named and no member, or a member and not named"))
                });
            }
            self.attempt(round % self.nodes.len())?;
        }
        Err("it comes to no end".into())
    }
}

fn address(one: usize) -> String {
    format!("n{one}:1")
}

fn id(one: usize) -> Incarnation {
    Incarnation(one as u128 + 1)
}
