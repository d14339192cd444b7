//! The kit's network: frames between members may be late, lost, doubled and out of order; links are cut in one direction
//! or both; a member that stands still neither hears nor speaks until it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::engine::ConsensusEngine;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::transport::{CallError, Frame, Transport};
use tokio::sync::watch;
use tokio::time::Instant;

/// How a network treats frames.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Shortest and longest way, in microseconds.
    pub delay_us: (u64, u64),
    /// Frames lost, in a thousand.
    pub lost: u32,
    /// Frames that arrive twice, in a thousand.
    pub doubled: u32,
    /// Frames that take up to twenty times as long, in a thousand.
    pub late: u32,
}

impl Weather {
    /// Quick, and nothing is lost.
    pub const FAIR: Weather = Weather { delay_us: (100, 300), lost: 0, doubled: 0, late: 0 };

    /// One in ten is lost, one in ten comes twice, one in ten is late.
    pub const FOUL: Weather = Weather { delay_us: (200, 5_000), lost: 100, doubled: 100, late: 100 };
}

/// The network of one group.
pub struct Net {
    state: Mutex<State>,
    still: watch::Sender<BTreeSet<RadiantId>>,
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// A frame that was sent: when, from whom to whom, and what was in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    at: Duration,
    from: RadiantId,
    to: RadiantId,
    body: Bytes,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sent { at, from, to, body } = self;
        let some = body.get(..40).unwrap_or(body);
        write!(f, "{from} to {to} after {at:?}: {} bytes, {some:?}", body.len())
    }
}

struct State {
    weather: Weather,
    start: Instant,
    /// All frames, if they are to be kept.
    sent: Option<Vec<Sent>>,
    rng: StdRng,
    cut: BTreeSet<(RadiantId, RadiantId)>,
    members: BTreeMap<RadiantId, Arc<dyn ConsensusEngine>>,
}

impl Net {
    /// A fair network without members.
    pub fn new(seed: u64) -> Arc<Net> {
        Arc::new(Net {
            state: Mutex::new(State {
                weather: Weather::FAIR,
                start: Instant::now(),
                sent: None,
                rng: StdRng::seed_from_u64(seed),
                cut: BTreeSet::new(),
                members: BTreeMap::new(),
            }),
            still: watch::Sender::new(BTreeSet::new()),
            frames: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked")
    }

    /// Changes how frames are treated from now on.
    pub fn weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Keeps every frame from now on.
    pub fn keep(&self) {
        self.state().sent = Some(Vec::new());
    }

    /// What was kept.
    pub fn kept(&self) -> Vec<Sent> {
        self.state().sent.clone().unwrap_or_default()
    }

    /// Frames sent so far, answers included.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Bytes in them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lets nothing through from one member to another.
    pub fn cut(&self, from: RadiantId, to: RadiantId) {
        self.state().cut.insert((from, to));
    }

    /// Parts `some` from all `others`, both ways.
    pub fn part(&self, some: &[RadiantId], others: &[RadiantId]) {
        for one in some {
            for other in others.iter().filter(|other| *other != one) {
                self.cut(*one, *other);
                self.cut(*other, *one);
            }
        }
    }

    /// Whether frames pass between two members, both ways.
    pub fn connected(&self, one: RadiantId, other: RadiantId) -> bool {
        let state = self.state();
        !state.cut.contains(&(one, other)) && !state.cut.contains(&(other, one))
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.state().cut.clear();
    }

    /// Makes a member stand still: what is sent to it or by it waits.
    pub fn pause(&self, member: RadiantId) {
        self.still.send_if_modified(|still| still.insert(member));
    }

    /// Lets it go on.
    pub fn resume(&self, member: RadiantId) {
        self.still.send_if_modified(|still| still.remove(&member));
    }

    /// Connects a member that has opened.
    pub fn join(&self, member: RadiantId, engine: Arc<dyn ConsensusEngine>) {
        self.state().members.insert(member, engine);
    }

    /// Forgets a member that died.
    pub fn leave(&self, member: RadiantId) {
        self.state().members.remove(&member);
    }

    /// A member's way to the others; useless once `alive` is false.
    pub fn door(self: &Arc<Net>, me: RadiantId, alive: Arc<AtomicBool>) -> Arc<dyn Transport> {
        Arc::new(Way { net: self.clone(), me, alive })
    }

    /// What becomes of a frame: how long each copy of it takes.
    fn fate(&self, from: RadiantId, to: RadiantId, body: &Bytes) -> Vec<Duration> {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        let mut state = self.state();
        let at = state.start.elapsed();
        if let Some(sent) = &mut state.sent {
            sent.push(Sent { at, from, to, body: body.clone() });
        }
        let State { weather, rng, cut, .. } = &mut *state;
        let mut copies = 1;
        if cut.contains(&(from, to)) || rng.random_ratio(weather.lost, 1_000) {
            copies = 0;
        } else if rng.random_ratio(weather.doubled, 1_000) {
            copies = 2;
        }
        let one = |_| {
            let factor = if rng.random_ratio(weather.late, 1_000) { rng.random_range(2..20) } else { 1 };
            Duration::from_micros(rng.random_range(weather.delay_us.0..=weather.delay_us.1) * factor)
        };
        (0..copies).map(one).collect()
    }

    async fn on_its_way(&self, ends: [RadiantId; 2], delay: Duration) {
        tokio::time::sleep(delay).await;
        let mut still = self.still.subscribe();
        // The sender lives as long as the network.
        let _ = still.wait_for(|still| ends.iter().all(|end| !still.contains(end))).await;
    }

    fn member(&self, id: RadiantId) -> Option<Arc<dyn ConsensusEngine>> {
        self.state().members.get(&id).cloned()
    }
}

/// One member's way.
struct Way {
    net: Arc<Net>,
    me: RadiantId,
    alive: Arc<AtomicBool>,
}

#[async_trait]
impl Transport for Way {
    fn send(&self, to: RadiantId, frame: Frame) {
        if !self.alive.load(Ordering::Acquire) {
            return;
        }
        for delay in self.net.fate(self.me, to, &frame.body) {
            let (net, from, body) = (self.net.clone(), self.me, frame.body.clone());
            tokio::spawn(async move {
                net.on_its_way([from, to], delay).await;
                if let Some(engine) = net.member(to) {
                    engine.receive(from, body).await;
                }
            });
        }
    }

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        let silence = || CallError::Unknown { to, why: "no answer in time".into() };
        if !self.alive.load(Ordering::Acquire) || self.net.member(to).is_none() {
            return Err(CallError::Unreachable { to, why: "it is down".into() });
        }
        let (answered, mut answers) = tokio::sync::mpsc::channel(4);
        for delay in self.net.fate(self.me, to, &frame.body) {
            let (net, from, body, answered) =
                (self.net.clone(), self.me, frame.body.clone(), answered.clone());
            tokio::spawn(async move {
                net.on_its_way([from, to], delay).await;
                let Some(engine) = net.member(to) else { return };
                let answer = engine.receive(from, body).await;
                let said = answer.clone().unwrap_or_default();
                let Some(delay) = net.fate(to, from, &said).pop() else { return };
                net.on_its_way([to, from], delay).await;
                // The caller may have given up.
                let _ = answered.send(answer).await;
            });
        }
        // Kept open, so that a lost frame looks like silence and not like an answer.
        let answer = tokio::time::timeout(deadline, answers.recv()).await;
        drop(answered);
        let declined = || CallError::Unreachable { to, why: "it has nothing to say".into() };
        answer.map_err(|_| silence())?.ok_or_else(silence)?.ok_or_else(declined)
    }
}
