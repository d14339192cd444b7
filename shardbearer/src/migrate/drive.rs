//! Performs what the driver of a migration decides, at the herald of the destination.

use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::kv::{Migrated, Step};
use shardbearer_core::migration::{Migration, MigrationChange};
use shardbearer_state::migration::{Driver, Effect, Event, Failure, Pace};
use shardbearer_state::shard::part;

use super::{STEP_DEADLINE, item, one};
use crate::cluster::{Cluster, migrations};
use crate::order::Order;
use crate::router::Router;

/// Drives a migration until it is over or this radiant does not lead its destination any more.
pub(super) async fn drive(
    cluster: &Arc<Cluster>,
    router: &Arc<Router>,
    order: &Arc<Order>,
    record: Migration,
) {
    tracing::info!(
        migration = %record.id, shard = %record.shard, from = %record.from, to = %record.to,
        phase = record.phase.name(), "drives the migration"
    );
    let mut driver = Driver::new(record, Pace::default());
    let mut event = Event::Waited;
    let mut heard = Heard::default();
    while order.engine().status().leading {
        driver.others_took(heard.news(cluster, driver.record()));
        let effect = driver.step(cluster.world.monotonic_ns() / 1_000_000, event);
        event = match effect {
            Effect::Over => return tracing::info!(migration = %driver.record().id, "the migration is over"),
            Effect::Wait(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Event::Waited
            }
            Effect::Look => look(cluster, order, driver.record()).await,
            Effect::Own(step) => Event::Own(own(order, driver.record(), step).await),
            Effect::Source(step) => Event::Source(source(router, driver.record(), step).await),
            Effect::Both { own: step, source: question } => {
                let record = driver.record();
                let (taken, read) = tokio::join!(own(order, record, step), source(router, record, question));
                Event::Both(taken, read)
            }
            Effect::Control(change, why) => {
                tell(&change, driver.record(), &why);
                let who = format!("order {}", order.id());
                let result = migrations::change(cluster, change, who, why).await;
                Event::Control(result.map_err(|error| Failure { why: error.to_string(), disk_full: false }))
            }
        };
    }
}

/// Until when the pulses of the two heralds are known, the source's first (monotonic, ns).
#[derive(Default)]
struct Heard([u64; 2]);

impl Heard {
    /// What is new of how long clients' writes take where the two orders are led, in microseconds.
    fn news(&mut self, cluster: &Cluster, record: &Migration) -> [Option<u64>; 2] {
        let heralds = [cluster.leads.herald(record.from), Some(cluster.me)];
        let mut news = [None; 2];
        for ((herald, until), news) in heralds.into_iter().zip(&mut self.0).zip(&mut news) {
            let Some((at_ns, us)) = herald.and_then(|herald| cluster.peers.writes_took(herald)) else {
                continue;
            };
            if at_ns > *until {
                (*until, *news) = (at_ns, Some(us).filter(|us| *us > 0));
            }
        }
        news
    }
}

/// A step of this order.
async fn own(order: &Order, record: &Migration, step: Step) -> Result<Migrated, Failure> {
    let results = order.execute(vec![item(record, record.shard, step)], STEP_DEADLINE).await;
    one(results).map_err(|error| failure(&error, "destination"))
}

/// A step of the source, or a question.
async fn source(router: &Router, record: &Migration, step: Step) -> Result<Migrated, Failure> {
    let results = router.attempt(record.from, vec![item(record, record.source(), step)], STEP_DEADLINE).await;
    one(results).map_err(|error| failure(&error, "source"))
}

/// The record from the control order, and what this order has once it has applied everything it should.
async fn look(cluster: &Arc<Cluster>, order: &Arc<Order>, record: &Migration) -> Event {
    let barrier = tokio::time::timeout(STEP_DEADLINE, order.engine().read_barrier());
    let (found, settled) = tokio::join!(migrations::record(cluster), barrier);
    let present = part(order.view().as_ref(), order.id(), record.shard);
    match (found, settled, present) {
        (Ok(found), Ok(Ok(_)), Ok(present)) => Event::Looked(found.map(Box::new), present),
        (_, _, Ok(present)) => Event::Looked(None, present),
        (_, _, Err(error)) => {
            tracing::error!(order = %order.id(), %error, "cannot read a shard's record");
            Event::Waited
        }
    }
}

fn tell(change: &MigrationChange, record: &Migration, why: &str) {
    let (migration, shard) = (record.id, record.shard);
    match change {
        MigrationChange::Report { .. } => {}
        // It should not happen, and somebody should look at why it did.
        MigrationChange::Cancel { .. } => {
            tracing::error!(%migration, %shard, "calls the migration off: {why}")
        }
        MigrationChange::Plan { .. }
        | MigrationChange::Split { .. }
        | MigrationChange::Undo { .. }
        | MigrationChange::Pause { .. }
        | MigrationChange::Copy { .. }
        | MigrationChange::Freeze { .. }
        | MigrationChange::Commit { .. }
        | MigrationChange::Collected { .. }
        | MigrationChange::Returned { .. } => tracing::info!(%migration, %shard, "{change:?}: {why}"),
    }
}

fn failure(error: &RequestError, whose: &str) -> Failure {
    let disk_full = matches!(error, RequestError::Refused(Refused::DiskFull(_)));
    Failure { why: format!("the {whose}: {error}"), disk_full }
}
