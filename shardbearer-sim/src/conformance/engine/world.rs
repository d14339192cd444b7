//! A [`World`] of the kit: seeded randomness, the runtime's clock (virtual where it is paused), and tasks that can all
//! be ended at once, which is how a member dies, or kept where they stand while the clock goes on, which is how it pauses.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use shardbearer_core::world::{Nature, Task, Work, World};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// An arbitrary day on which every run begins, in Unix milliseconds.
const FIRST_DAY_MS: u64 = 1_700_000_000_000;

/// What a member's world is made of.
pub struct Lived {
    start: Instant,
    rng: Mutex<StdRng>,
    tasks: Mutex<Vec<AbortHandle>>,
    gate: Arc<Gate>,
}

/// Where tasks wait while they stand still; `None` while they go on.
#[derive(Default)]
struct Gate(Mutex<Option<Vec<Waker>>>);

impl Gate {
    fn state(&self) -> std::sync::MutexGuard<'_, Option<Vec<Waker>>> {
        self.0.lock().expect("nobody panicked")
    }

    /// Whether who asks has to wait. It is woken when it may go on.
    fn holds(&self, task: &Context<'_>) -> bool {
        let mut state = self.state();
        let Some(waiting) = &mut *state else { return false };
        if !waiting.iter().any(|other| other.will_wake(task.waker())) {
            waiting.push(task.waker().clone());
        }
        true
    }
}

impl Lived {
    /// A world that began at `start`, and the handle that ends it.
    pub fn create(start: Instant, seed: u64) -> (World, Arc<Lived>) {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        let lived = Arc::new(Lived { start, rng, tasks: Mutex::default(), gate: Arc::default() });
        (World::new(lived.clone()), lived)
    }

    /// Keeps every task where it stands until [`Lived::resume`]. Clocks go on, and so does what is no task of this world: a
    /// sync that was begun ends.
    pub fn pause(&self) {
        self.gate.state().get_or_insert_default();
    }

    /// Lets all go on.
    pub fn resume(&self) {
        let waiting = self.gate.state().take();
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Ends every task where it stands.
    pub fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("nobody panicked"));
        tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Nature for Lived {
    fn monotonic_ns(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    fn wall_ms(&self) -> u64 {
        FIRST_DAY_MS + self.monotonic_ns() / 1_000_000
    }

    fn draw(&self) -> u64 {
        self.rng.lock().expect("nobody panicked").next_u64()
    }

    fn spawn(&self, _: &'static str, mut task: Task) {
        let gate = self.gate.clone();
        let gated = poll_fn(move |cx| match gate.holds(cx) {
            true => Poll::Pending,
            false => task.as_mut().poll(cx),
        });
        let handle = tokio::spawn(gated).abort_handle();
        let mut tasks = self.tasks.lock().expect("nobody panicked");
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }

    fn block(&self, work: Work) -> Task {
        // The kit's disks wait by themselves.
        Box::pin(async move { work() })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX) // 580 years fit
}
