//! What a protocol begins with: the outline of its log and what is applied, made to fit each other.

use std::sync::Arc;

use bytes::Bytes;
use shardbearer_core::engine::EngineContext;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogPos, LogStore, LogWrite};
use shardbearer_core::protocol::{Durable, Payload, Terms};
use tokio::sync::oneshot;

use super::frame;

/// Bytes of entries looked through at once.
const SCAN_BYTES: usize = 4 << 20;

/// Reads what is durable. An error is a sentence.
pub async fn durable(context: &EngineContext) -> Result<Durable, String> {
    let (order, store) = (context.order, &context.log);
    let bounds = store.bounds(order);
    let applied = context.applier.applied();
    super::super::without_gap(context)?;
    let (mut log, mut own) = scan(context, bounds.purged)?;
    if log.install(applied.position) {
        own.clear();
        write_through(store, order, restart(bounds.purged, bounds.last, applied.position)).await?;
    }
    Ok(Durable { hard: bounds.hard, log, own, applied })
}

/// Reads the whole log for its outline and the protocol's own entries.
fn scan(context: &EngineContext, purged: LogPos) -> Result<(Terms, Vec<(LogPos, Bytes)>), String> {
    let mut log = Terms::after(purged);
    let mut own = Vec::new();
    loop {
        let next = log.last().index + 1;
        let records = context
            .log
            .entries(context.order, next..u64::MAX, SCAN_BYTES)
            .map_err(|error| error.to_string())?;
        if records.is_empty() {
            return Ok((log, own));
        }
        for record in records {
            let position = record.position;
            if !log.push(position) {
                return Err(format!(
                    "log entry {} of term {} is out of order",
                    position.index, position.term
                ));
            }
            let entry = frame::entry(record)
                .ok_or_else(|| format!("log entry {} is of an unknown kind", position.index))?;
            if let Payload::Own(bytes) = entry.payload {
                own.push((position, bytes));
            }
        }
    }
}

/// The writes by which a log is emptied and goes on after `applied`.
pub fn restart(purged: LogPos, last: LogPos, applied: LogPos) -> Vec<LogWrite> {
    let mut writes = Vec::new();
    if last.index > purged.index {
        writes.push(LogWrite::Truncate { from: purged.index + 1 });
    }
    writes.push(LogWrite::Purge { upto: applied });
    writes
}

async fn write_through(
    store: &Arc<dyn LogStore>,
    order: OrderId,
    writes: Vec<LogWrite>,
) -> Result<(), String> {
    let (done, result) = oneshot::channel();
    let report = Box::new(move |outcome| drop(done.send(outcome)));
    store.write(order, writes, report).map_err(|error| error.to_string())?;
    let outcome = result.await.map_err(|_| "the log closed".to_owned())?;
    outcome.map_err(|error| error.to_string())
}
