//! The one door by which nondeterminism enters: wall-clock time, randomness, tasks.
//!
//! Waiting goes through the runtime's timers, which a simulation can pause and drive; everything
//! else that differs between two runs comes from here.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A task.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work that may wait for a disk.
pub type Work = Box<dyn FnOnce() + Send>;

/// What a world is made of.
pub trait Nature: Send + Sync {
    /// Nanoseconds on a clock that never goes back, from an arbitrary start.
    fn monotonic_ns(&self) -> u64;

    /// Unix milliseconds. May jump. Only for expiry times and for people to read.
    fn wall_ms(&self) -> u64;

    /// Nanoseconds for which the machine was suspended since some start: time that passed for others, and that
    /// `monotonic_ns` did not see. Only grows.
    fn suspended_ns(&self) -> u64 {
        0
    }

    /// 64 random bits.
    fn draw(&self) -> u64;

    /// Starts a task; it ends with the world at the latest.
    fn spawn(&self, name: &'static str, task: Task);

    /// Does work that may wait for a disk, where that keeps nobody else waiting. The work is done, all of it, also if
    /// the future is dropped before.
    fn block(&self, work: Work) -> Task;
}

/// A handle to the world; clones are the same world.
#[derive(Clone)]
pub struct World {
    nature: Arc<dyn Nature>,
}

impl World {
    /// Wraps an implementation.
    pub fn new(nature: Arc<dyn Nature>) -> Self {
        World { nature }
    }

    /// Nanoseconds on a clock that never goes back.
    pub fn monotonic_ns(&self) -> u64 {
        self.nature.monotonic_ns()
    }

    /// For how long the machine was suspended since some start, in nanoseconds; what `monotonic_ns` did not see.
    pub fn suspended_ns(&self) -> u64 {
        self.nature.suspended_ns()
    }

    /// Unix milliseconds.
    pub fn wall_ms(&self) -> u64 {
        self.nature.wall_ms()
    }

    /// A generator of its own, so that one consumer's draws do not shift another's.
    pub fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.nature.draw())
    }

    /// 128 random bits, never zero.
    pub fn id(&self) -> u128 {
        ((u128::from(self.nature.draw()) << 64) | u128::from(self.nature.draw())).max(1)
    }

    /// Starts a task with a name.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.nature.spawn(name, Box::pin(task));
    }
    /// Does work that may wait for a disk and returns what it returns; `None` if it panicked.
    pub async fn block<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let place = Arc::new(Mutex::new(None));
        let result = place.clone();
        let work = Box::new(move || {
            let done = work();
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        });
        self.nature.block(work).await;
        result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
