//! openraft's tasks and random numbers, from the [`World`]: so they end with it, and one seed replays them.
//!
//! openraft asks for both by functions without arguments. Which world is meant is known from the task that asks: it was
//! started by [`inside`], or by one that was.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use openraft::Instant;
use openraft::impls::TokioRuntime;
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::{AsyncRuntime, OptionalSend};
use rand::RngCore;
use shardbearer_core::world::World;
use tokio::sync::oneshot;

use crate::beat::until_beat;

tokio::task_local! {
    static WORLD: World;
}

/// Tasks of the world, random numbers from its seed.
pub type Seeded = DeterministicRng<Worldly>;

/// Runs what starts openraft, so that all it starts belongs to the world.
pub async fn inside<F: Future>(world: &World, starting: F) -> F::Output {
    let seed = world.rng().next_u64();
    WORLD.scope(world.clone(), Seeded::scope(seed, starting)).await
}

/// tokio, except that tasks are started by the world, and who waits for the same is woken in order.
#[derive(Debug)]
pub struct Worldly(TokioRuntime);

/// A task's result.
pub struct Handle<T>(oneshot::Receiver<Result<T, Ended>>);

/// A task that ended without a result.
#[derive(Debug)]
pub enum Ended {
    /// It panicked, which has been reported.
    Panicked,
    /// The world ended.
    Dropped,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Panicked => "the task panicked",
            Ended::Dropped => "the task ended with the radiant",
        })
    }
}

impl<T> Future for Handle<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or(Err(Ended::Dropped)))
    }
}

impl AsyncRuntime for Worldly {
    type JoinError = Ended;
    type JoinHandle<T: OptionalSend + 'static> = Handle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = super::watch::Ordered;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Handle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (done, handle) = oneshot::channel();
        let world = WORLD.with(World::clone);
        world.clone().spawn(
            "openraft",
            WORLD.scope(world, async move {
                let result = AssertUnwindSafe(future).catch_unwind().await;
                // openraft may not be interested.
                let _ = done.send(result.map_err(|_| Ended::Panicked));
            }),
        );
        Handle(handle)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        // So it waits between two ticks, of which each order has its own.
        let now = Self::Instant::now();
        let wait = deadline.saturating_duration_since(now);
        let wait = WORLD.try_with(|world| until_beat(world, wait)).unwrap_or(wait);
        TokioRuntime::sleep_until(now + wait)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(ended: &Ended) -> bool {
        matches!(ended, Ended::Panicked)
    }

    /// Never asked: [`Seeded`] draws.
    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Worldly(TokioRuntime::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }
}
