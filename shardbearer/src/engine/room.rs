//! Writing to a log that may be full for a moment.

use std::time::Duration;

use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogDone, LogError, LogStore, LogWrite};

/// How long a write waits for room on the disk before the order gives up, and with it the radiant.
const WAIT: Duration = Duration::from_secs(20);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// Hands a batch to the log; `done` makes what is to be called once it is durable. A disk that is slow or full for a moment is
/// no reason to stop: nothing was written. The caller writes nothing else of this order meanwhile.
pub(super) async fn write(
    log: &dyn LogStore,
    order: OrderId,
    writes: Vec<LogWrite>,
    done: impl Fn() -> LogDone,
) -> Result<(), LogError> {
    let end = tokio::time::Instant::now() + WAIT;
    loop {
        match log.write(order, writes.clone(), done()) {
            Err(LogError::Full(_)) if tokio::time::Instant::now() < end => tokio::time::sleep(LOOK).await,
            other => return other,
        }
    }
}
