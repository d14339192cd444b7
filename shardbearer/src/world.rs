//! The real world: the machine's clocks, the system's randomness, tokio's tasks.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rand::RngCore;
use shardbearer_core::world::{Nature, Task, Work, World};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Owns every task of a radiant.
pub struct Real {
    start: Instant,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Real {
    /// A world and the handle that ends it.
    #[allow(clippy::disallowed_methods)] // this is the one door by which the clock comes in
    pub fn create() -> (World, Arc<Real>) {
        let real = Arc::new(Real {
            start: Instant::now(),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        });
        (World::new(real.clone()), real)
    }

    /// Ends all tasks and waits until they are gone.
    pub async fn end(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Nature for Real {
    fn monotonic_ns(&self) -> u64 {
        // 580 years fit.
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[allow(clippy::disallowed_methods)] // see above
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn suspended_ns(&self) -> u64 {
        use rustix::time::{ClockId, clock_gettime};
        let ns = |clock| {
            let time = clock_gettime(clock);
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        };
        // The second clock is read later, so that without a suspension the difference is never above zero.
        let (with, without) = (ns(ClockId::Boottime), ns(ClockId::Monotonic));
        u64::try_from(with - without).unwrap_or(0)
    }

    #[allow(clippy::disallowed_methods)] // see above
    fn draw(&self) -> u64 {
        rand::rng().next_u64()
    }

    fn spawn(&self, _: &'static str, task: Task) {
        let end = self.end.clone();
        // In the span of whoever starts it, so that log lines say which radiant they are of.
        let task = task.in_current_span();
        self.tasks.spawn(async move {
            // A cancelled task is dropped where it waits.
            let _ = end.run_until_cancelled(task).await;
        });
    }

    fn block(&self, work: Work) -> Task {
        #[allow(clippy::disallowed_methods)] // the door itself
        let done = tokio::task::spawn_blocking(work);
        // A panic has been reported where it happened; the caller sees that there is no result.
        Box::pin(async { drop(done.await) })
    }
}
