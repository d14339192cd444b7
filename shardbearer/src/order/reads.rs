//! Linearizable reads: one barrier for all that wait, then a consistent view, no log and no fsync. At the herald, and
//! where the engine answers barriers at every member (a chain does), at whoever is asked.
//!
//! A row whose time has come by the wall clock, but not yet by the order's replicated time, is
//! neither there nor gone. Such a read first has the replicated time advanced by a sweep, so that
//! no two reads ever disagree about what has expired, whatever the radiants' clocks say.

use std::sync::Arc;

use shardbearer_core::engine::not_herald;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::kv::{Command, Item};
use shardbearer_core::limits;
use shardbearer_core::storage::{StorageError, View};
use shardbearer_state::shard::{QueryOutcome, query};

use super::{Order, ROWS_PER_SWEEP, item};
use crate::kv::CallResult;

/// Rounds of sweeping before a read gives up: each round moves the clock, so one is the rule.
const SWEEPS_MAX: usize = 8;

/// Answers read-only items.
pub(super) async fn read(order: &Order, items: Vec<Item>) -> Result<Vec<CallResult>, RequestError> {
    order.engine.read_barrier().await?;
    let items: Arc<[Item]> = items.into();
    for _ in 0..SWEEPS_MAX {
        let due = match look(order, &items).await.map_err(broken)? {
            Some(Attempt::Answered(results)) => return Ok(results),
            Some(Attempt::Due(shard)) => shard,
            None => return Err(Refused::Unavailable("an image is being installed here".into()).into()),
        };
        // The time of the order is advanced by its herald alone.
        let (herald, leading) = order.engine.lead();
        if !leading {
            return Err(not_herald(order.id, herald.filter(|herald| *herald != order.me)));
        }
        let sweep = vec![item(due, Command::Sweep { limit: ROWS_PER_SWEEP })];
        order.queue.submit(sweep, std::time::Duration::from_secs(5)).await?;
    }
    Err(Refused::Busy("rows expire faster than they are removed".into()).into())
}

/// Answers read-only items behind a barrier of the caller's, if it takes nobody else: no image is being installed, no row's time
/// has come.
pub(super) async fn once(order: &Order, items: &[Item]) -> Option<Vec<CallResult>> {
    match look(order, &items.to_vec().into()).await {
        Ok(Some(Attempt::Answered(results))) => Some(results),
        Ok(Some(Attempt::Due(_)) | None) | Err(_) => None,
    }
}

/// Answers from what is applied; `None` while an image is being installed.
async fn look(order: &Order, items: &Arc<[Item]>) -> Result<Option<Attempt>, StorageError> {
    let (id, now) = (order.id, order.world.wall_ms());
    if !items.iter().any(|item| reads_many_rows(&item.command)) {
        return order.applier.look(|view| attempt(view, id, now, items));
    }
    // Megabytes, perhaps from the disk: not on a thread that has heartbeats to carry.
    let (applier, items) = (order.applier.clone(), items.clone());
    let found = order.world.block(move || applier.look(|view| attempt(view, id, now, &items))).await;
    found.unwrap_or_else(|| Err(StorageError::Io("reading the rows panicked".into())))
}

/// Whether answering may touch more than a few rows. A count is kept, but what expired since the last sweep is read.
fn reads_many_rows(command: &Command) -> bool {
    matches!(command, Command::Scan(_) | Command::Count | Command::Migrate(_))
}

enum Attempt {
    Answered(Vec<CallResult>),
    Due(ShardId),
}

/// Answers all items from one view, or names a shard whose time must advance first.
fn attempt(view: &dyn View, order: OrderId, now: u64, items: &[Item]) -> Result<Attempt, StorageError> {
    let (mut results, mut bytes) = (Vec::with_capacity(items.len()), 0);
    for item in items {
        if bytes > limits::ANSWERS_BYTES_MAX {
            let why =
                format!("the answers have more than {bytes} bytes together; ask for fewer keys at once");
            results.push(Err(Refused::Invalid(why).into()));
            continue;
        }
        match query(view, order, item, now)? {
            QueryOutcome::Reply(reply) => {
                bytes += reply.weight();
                results.push(Ok(reply));
            }
            QueryOutcome::NeedsSweep => return Ok(Attempt::Due(item.shard)),
        }
    }
    Ok(Attempt::Answered(results))
}

fn broken(error: StorageError) -> RequestError {
    Refused::Unavailable(format!("this radiant cannot read its data: {error}")).into()
}
