//! The network: messages between addresses that may be lost, delayed, doubled and reordered, and cuts in one
//! direction or both.
//!
//! A message travels in a task of the network, so that it survives its sender's crash; it is received in a
//! task of the receiver's life.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use crate::lock;
use crate::world::{Clock, Life, Universe};

/// How messages fare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Part of the messages that are lost.
    pub lost: f64,
    /// Part of the messages that arrive twice.
    pub doubled: f64,
    /// Part of the messages that take `late_ms` instead of `usual_ms`.
    pub late: f64,
    /// Shortest and longest way, in milliseconds.
    pub usual_ms: (u64, u64),
    /// The same for the late ones.
    pub late_ms: (u64, u64),
}

impl Weather {
    /// As in one room.
    pub const FAIR: Weather =
        Weather { lost: 0.0, doubled: 0.0, late: 0.0, usual_ms: (0, 2), late_ms: (0, 0) };
}

/// Who receives at an address.
#[async_trait]
pub trait Host: Send + Sync {
    /// A message; `Err` if there is nobody for it, which the sender is told at once.
    async fn receive(&self, message: Message) -> Result<Bytes, String>;
}

/// What is sent. The kind is the host's business.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is about, for the trace.
    pub kind: &'static str,
    /// What the host needs to know before it looks at the body.
    pub head: Bytes,
    /// The rest.
    pub body: Bytes,
    /// Whether it never arrives twice.
    pub once: bool,
}

/// Why a call got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It provably was not received.
    Unreachable(String),
    /// It may have been.
    Unknown(String),
}

/// Two ends of a way: from, to.
type Way = (String, String);

struct State {
    rng: StdRng,
    weather: Weather,
    hosts: BTreeMap<String, (Arc<Life>, Arc<dyn Host>)>,
    /// Ways that nothing passes.
    cut: BTreeMap<Way, bool>,
    /// Ways on which everything waits until this moment.
    clogged: BTreeMap<Way, u64>,
    /// When what was sent on a way arrives at the latest.
    latest: BTreeMap<Way, Duration>,
    /// Messages that pass nowhere.
    hushed: Option<fn(&Message) -> bool>,
}

/// The network of a run.
pub struct Net {
    universe: Arc<Universe>,
    life: Arc<Life>,
    state: Mutex<State>,
}

/// What happens to one message.
enum Fate {
    Lost { silently: bool },
    Arrives(Vec<Duration>),
}

impl Net {
    /// A network without hosts.
    pub fn new(universe: &Arc<Universe>, weather: Weather) -> Arc<Net> {
        let state = State {
            rng: universe.rng("net"),
            weather,
            hosts: BTreeMap::new(),
            cut: BTreeMap::new(),
            clogged: BTreeMap::new(),
            latest: BTreeMap::new(),
            hushed: None,
        };
        let life = Life::begin(universe, "net", &Arc::new(Clock::default()));
        Arc::new(Net { universe: universe.clone(), life, state: Mutex::new(state) })
    }

    /// From now on `host` receives at this address, in tasks of `life`.
    pub fn attach(&self, address: &str, life: &Arc<Life>, host: Arc<dyn Host>) {
        lock(&self.state).hosts.insert(address.to_owned(), (life.clone(), host));
    }

    /// From now on nobody receives at this address.
    pub fn detach(&self, address: &str) {
        lock(&self.state).hosts.remove(address);
    }

    /// Changes how messages fare.
    pub fn set_weather(&self, weather: Weather) {
        lock(&self.state).weather = weather;
    }

    /// Cuts or mends one direction.
    pub fn cut(&self, from: &str, to: &str, cut: bool) {
        lock(&self.state).cut.insert((from.to_owned(), to.to_owned()), cut);
    }

    /// Holds everything on one way for a time; then it arrives all at once.
    pub fn clog(&self, from: &str, to: &str, time: Duration) {
        let until = self.universe.now_ms() + time.as_millis() as u64;
        lock(&self.state).clogged.insert((from.to_owned(), to.to_owned()), until);
    }

    /// Lets messages of a kind pass nowhere; `None` lets all pass.
    pub fn hush(&self, which: Option<fn(&Message) -> bool>) {
        lock(&self.state).hushed = which;
    }

    /// Everything is well from now on.
    pub fn heal(&self) {
        let mut state = lock(&self.state);
        state.cut.clear();
        state.clogged.clear();
        state.hushed = None;
        state.weather = Weather::FAIR;
    }

    fn fate(&self, from: &str, to: &str, once: bool) -> Fate {
        let now = self.universe.now_ms();
        let mut state = lock(&self.state);
        let State { rng, weather, cut, clogged, latest, .. } = &mut *state;
        let way = (from.to_owned(), to.to_owned());
        // A cut is noticed late or never; a single loss mostly breaks the connection.
        if cut.get(&way).copied().unwrap_or(false) {
            self.universe.trace.cover("message cut off");
            return Fate::Lost { silently: rng.random_bool(0.5) };
        }
        if weather.lost > 0.0 && rng.random_bool(weather.lost) {
            self.universe.trace.cover("message lost");
            return Fate::Lost { silently: rng.random_bool(0.1) };
        }
        let held = clogged.get(&way).map_or(0, |until| until.saturating_sub(now));
        let mut travel = || {
            let late = weather.late > 0.0 && rng.random_bool(weather.late);
            if late {
                self.universe.trace.cover("message late");
            }
            let (least, most) = if late { weather.late_ms } else { weather.usual_ms };
            Duration::from_millis(held + rng.random_range(least..=most))
        };
        let mut arrivals = vec![travel()];
        let second = travel();
        let (arrives, latest) = (Duration::from_millis(now) + arrivals[0], latest.entry(way).or_default());
        if arrives < *latest {
            self.universe.trace.cover("message overtook another");
        }
        *latest = arrives.max(*latest);
        if !once && weather.doubled > 0.0 && rng.random_bool(weather.doubled) {
            self.universe.trace.cover("message doubled");
            arrivals.push(second);
        }
        Fate::Arrives(arrivals)
    }

    /// Sends without waiting for anything.
    pub fn send(self: &Arc<Self>, from: &str, to: &str, message: Message) {
        drop(self.launch(from, to, message));
    }

    /// Sends and waits for the answer. The first of several wins.
    pub async fn call(
        self: &Arc<Self>,
        from: &str,
        to: &str,
        message: Message,
        deadline: Duration,
    ) -> Result<Bytes, Failure> {
        let answer = self.launch(from, to, message);
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(why))) => Err(Failure::Unreachable(why)),
            Ok(Err(_)) => Err(Failure::Unknown("the connection broke".into())),
            Err(_) => Err(Failure::Unknown("no answer in time".into())),
        }
    }

    /// Sets a message on its way.
    fn launch(
        self: &Arc<Self>,
        from: &str,
        to: &str,
        message: Message,
    ) -> oneshot::Receiver<Result<Bytes, String>> {
        let (sender, receiver) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let hushed = lock(&self.state).hushed.is_some_and(|which| which(&message));
        match if hushed { Fate::Lost { silently: true } } else { self.fate(from, to, message.once) } {
            Fate::Lost { silently } => self.lose(sender, silently),
            Fate::Arrives(arrivals) => {
                // Of two copies one may be declined and the other not, so that neither proves anything.
                let only = arrivals.len() == 1;
                for travel in arrivals {
                    let (net, message, sender) = (self.clone(), message.clone(), sender.clone());
                    let (from, to) = (from.to_owned(), to.to_owned());
                    self.life.spawn("message", async move {
                        tokio::time::sleep(travel).await;
                        net.arrive(from, to, message, sender, only);
                    });
                }
            }
        }
        receiver
    }

    fn arrive(self: Arc<Self>, from: String, to: String, message: Message, sender: Answer, only: bool) {
        let found = lock(&self.state).hosts.get(&to).cloned();
        let Some((life, host)) = found else {
            return if only {
                reply(&sender, Err(format!("nobody is at {to}")))
            } else {
                self.lose(sender, false)
            };
        };
        let what = message.kind;
        self.universe.trace.bytes(self.universe.now_ms(), what, &message.body);
        life.spawn("message-in", async move {
            let answer = host.receive(message).await;
            match self.fate(&to, &from, true) {
                Fate::Lost { silently } => self.lose(sender, silently),
                Fate::Arrives(_) if answer.is_err() && !only => self.lose(sender, false),
                Fate::Arrives(arrivals) => {
                    let travel = arrivals.into_iter().min().unwrap_or_default();
                    self.life.clone().spawn("answer", async move {
                        tokio::time::sleep(travel).await;
                        if let Ok(bytes) = &answer {
                            self.universe.trace.bytes(self.universe.now_ms(), "answer", bytes);
                        }
                        reply(&sender, answer);
                    });
                }
            }
        });
    }

    /// Makes the caller notice nothing, or that the connection broke.
    fn lose(&self, sender: Answer, silently: bool) {
        const LONGER_THAN_ANY_DEADLINE: Duration = Duration::from_secs(30);
        if silently {
            self.life.spawn("silence", async move {
                tokio::time::sleep(LONGER_THAN_ANY_DEADLINE).await;
                drop(sender);
            });
        }
    }

    /// Ends all that is on its way.
    pub async fn end(&self) {
        lock(&self.state).hosts.clear();
        self.life.end().await;
    }
}

type Answer = Arc<Mutex<Option<oneshot::Sender<Result<Bytes, String>>>>>;

fn reply(sender: &Answer, answer: Result<Bytes, String>) {
    if let Some(sender) = lock(sender).take() {
        // The caller has given up.
        let _ = sender.send(answer);
    }
}
