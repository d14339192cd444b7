//! Virtual time, seeded randomness, and lives: a radiant's tasks from its start to its end or crash.
//!
//! Everything runs on one thread on tokio's paused clock, which jumps to the next timer when nobody has anything to do. A
//! [`Life`] is the [`Nature`] of one start of one radiant. A crash drops all its tasks where they wait; a pause
//! stops giving them the thread. What outlives it is the machine's: disks, and the [`Clock`].

use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngCore, SeedableRng};
use shardbearer_core::world::{Nature, Task, Work, World};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::disk::Disk;
use crate::lock;
use crate::trace::Trace;

/// Unix milliseconds at which every run begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Runs a simulation to its end on this thread.
///
/// # Panics
/// If the runtime cannot be made.
pub fn block_on<F: Future>(simulation: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without sockets and threads").block_on(simulation)
}

/// What all lives of a run share.
pub struct Universe {
    seed: u64,
    start: Instant,
    /// What happened.
    pub trace: Trace,
}

impl Universe {
    /// A universe that begins now.
    pub fn new(seed: u64) -> Arc<Universe> {
        Arc::new(Universe { seed, start: Instant::now(), trace: Trace::default() })
    }

    /// A generator for one purpose, so that one consumer's draws do not shift another's.
    pub fn rng(&self, purpose: &str) -> StdRng {
        let mut hasher = DefaultHasher::new();
        (self.seed, purpose).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish())
    }

    /// Virtual milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Unix milliseconds by a clock that is right.
    pub fn wall_ms(&self) -> u64 {
        EPOCH_MS as u64 + self.now_ms()
    }

    /// Virtual nanoseconds since the beginning.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Puts an event into the trace.
    pub fn event(&self, what: std::fmt::Arguments<'_>) {
        self.trace.event(self.now_ms(), what);
    }
}

/// A machine's clocks.
#[derive(Default)]
pub struct Clock {
    /// By how many millionths the monotonic clock runs too fast. Set before the first life.
    pub drift_ppm: AtomicI64,
    /// By how much the wall clock is off.
    pub wall_ms: AtomicI64,
}

/// One start of one radiant, or of whatever else has tasks.
pub struct Life {
    name: String,
    universe: Arc<Universe>,
    clock: Arc<Clock>,
    rng: Mutex<StdRng>,
    state: Mutex<State>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    spawned: AtomicU64,
    disk: OnceLock<Arc<Disk>>,
}

#[derive(Default)]
struct State {
    dead: bool,
    paused: bool,
    waiting: Vec<Waker>,
}

impl Life {
    /// A life. The name is unique in the run, as it is what its randomness comes from.
    pub fn begin(universe: &Arc<Universe>, name: &str, clock: &Arc<Clock>) -> Arc<Life> {
        Arc::new(Life {
            name: name.to_owned(),
            universe: universe.clone(),
            clock: clock.clone(),
            rng: Mutex::new(universe.rng(name)),
            state: Mutex::default(),
            tasks: Mutex::default(),
            spawned: AtomicU64::new(0),
            disk: OnceLock::new(),
        })
    }

    /// From now on work that waits for a disk waits for this one.
    pub fn stand_on(&self, disk: &Arc<Disk>) {
        // A second disk would be another machine's.
        let _ = self.disk.set(disk.clone());
    }

    /// The life's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The life as a world.
    pub fn world(self: &Arc<Self>) -> World {
        World::new(Arc::new(Of(self.clone())))
    }

    /// Starts a task that ends with the life.
    pub fn spawn(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.start(name, Box::pin(task));
        let mut tasks = lock(&self.tasks);
        if self.spawned.fetch_add(1, Ordering::Relaxed).is_multiple_of(256) {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task);
    }

    /// Starts the task that ends the others with [`Life::end`], and is itself ended only by [`Life::kill`].
    pub fn main(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.start("main", Box::pin(task))
    }

    fn start(self: &Arc<Self>, name: &'static str, task: Task) -> JoinHandle<()> {
        tokio::spawn(Gate { life: self.clone(), name, task: Some(task) })
    }

    /// Ends all tasks but the main one; returns when they are gone.
    pub async fn end(&self) {
        loop {
            let tasks = std::mem::take(&mut *lock(&self.tasks));
            if tasks.is_empty() {
                return;
            }
            tasks.iter().for_each(JoinHandle::abort);
            for task in tasks {
                // Cancelled is what it should be.
                let _ = task.await;
            }
        }
    }

    /// The end without a warning. No task gets the thread again; [`Life::end`] waits until they are dropped.
    pub fn kill(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            state.dead = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
        lock(&self.tasks).iter().for_each(JoinHandle::abort);
    }

    /// Whether the life was killed.
    pub fn is_dead(&self) -> bool {
        lock(&self.state).dead
    }

    /// Stops giving its tasks the thread, or goes on: in any order, as threads would.
    pub fn pause(&self, paused: bool) {
        let mut waiting = {
            let mut state = lock(&self.state);
            state.paused = paused;
            if paused { Vec::new() } else { std::mem::take(&mut state.waiting) }
        };
        waiting.shuffle(&mut *lock(&self.rng));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A task that runs only while its life lets it.
struct Gate {
    life: Arc<Life>,
    name: &'static str,
    task: Option<Task>,
}

impl Future for Gate {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let life = self.life.clone();
        {
            let mut state = lock(&life.state);
            if state.dead {
                drop(state);
                self.task = None;
                return Poll::Ready(());
            }
            if state.paused {
                state.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        life.universe.trace.poll(life.universe.now_ms(), &life.name, self.name);
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
                let words = words.unwrap_or_else(|| "no words".into());
                life.universe.trace.broken(format!("{}: task {} panicked: {words}", life.name, self.name));
                Poll::Ready(())
            }
        }
    }
}

/// A life as a nature.
struct Of(Arc<Life>);

impl Nature for Of {
    fn monotonic_ns(&self) -> u64 {
        let ppm = self.0.clock.drift_ppm.load(Ordering::Relaxed);
        let now = self.0.universe.now_ns();
        // Never zero, which some take for "never".
        let skewed = i128::from(now) + i128::from(now) * i128::from(ppm) / 1_000_000;
        u64::try_from(skewed).unwrap_or(u64::MAX).max(1)
    }

    fn wall_ms(&self) -> u64 {
        let now = i64::try_from(self.0.universe.now_ms()).unwrap_or(i64::MAX);
        u64::try_from(EPOCH_MS + now + self.0.clock.wall_ms.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn draw(&self) -> u64 {
        lock(&self.0.rng).next_u64()
    }

    fn spawn(&self, name: &'static str, task: Task) {
        self.0.spawn(name, task);
    }

    fn block(&self, work: Work) -> Task {
        // On the only thread there is: what takes time on a real disk takes it in `disk`, or here before it begins.
        let takes = self.0.disk.get().map_or(Duration::ZERO, |disk| disk.data_takes());
        if takes.is_zero() {
            return Box::pin(async move { work() });
        }
        // In a task of its own: it is done also if nobody waits for it any more.
        let (done, waits) = oneshot::channel();
        self.0.spawn("slow-work", async move {
            tokio::time::sleep(takes).await;
            work();
            let _ = done.send(());
        });
        Box::pin(async move {
            let _ = waits.await;
        })
    }
}
