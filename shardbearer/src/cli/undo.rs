//! `shard undo`: moves a shard back, as soon as that can be.

use std::time::Duration;

use shardbearer_client::pb::move_request::Kind;
use shardbearer_client::{Client, pb};
use tokio::time::Instant;

use super::watching::Watch;
use crate::report::migration::Migration;

/// How long an undo waits for the migration that it undoes to be over.
const UNDO_PATIENCE: Duration = Duration::from_secs(30);

/// Undoes a migration, 0: the last. While its source is dropping its copy that is waited for, since the shard cannot come back
/// to where its old rows are.
pub(super) async fn run(client: &Client, id: u64, why: String) -> anyhow::Result<Option<Migration>> {
    let (mut watch, end) = (Watch::new("the migration"), Instant::now() + UNDO_PATIENCE);
    let mut looked_over = false;
    // Named before it is asked for: a request that is sent on to another radiant, since its answer was lost, would take the
    // undoing move for the last one and undo that.
    let named = match id {
        0 => watch.look(client).await?.migration.map_or(0, |last| last.id),
        id => id,
    };
    loop {
        // Where nothing ever moved, that is what is answered.
        let kind = if named == 0 { Kind::Undo(true) } else { Kind::UndoOf(named) };
        let request = pb::MoveRequest { kind: Some(kind), who: String::new(), why: why.clone() };
        let refused = match client.move_shard(request).await {
            Err(error) if !error.may_have_happened() => error,
            answer => {
                watch.finish();
                return Ok(answer?.map(Migration::from));
            }
        };
        let last = watch.look(client).await?.migration;
        let meant = last.filter(|last| last.id == named);
        let Some(migration) = meant.filter(|last| is_ending(last, &mut looked_over)) else {
            watch.finish();
            return Err(refused.into());
        };
        if Instant::now() >= end {
            watch.finish();
            let seconds = UNDO_PATIENCE.as_secs();
            return Err(anyhow::Error::new(refused).context(format!(
                "the move is not over after {seconds} s ({}); `shardbearer shard undo {}` when it is, which `shardbearer \
                 shard watch` shows",
                migration.sentence(),
                migration.id
            )));
        }
        watch.say(&migration.phase, &format!("waiting to undo it: {}", migration.sentence()));
    }
}

/// Whether a migration is so near its end that undoing it can only wait for that. What is seen may be a moment older than the
/// refusal, or newer: of one that is over it is tried once more.
fn is_ending(migration: &Migration, looked_over: &mut bool) -> bool {
    match migration.phase.as_str() {
        // It is refused for good.
        _ if migration.parent.is_some() => false,
        "frozen" | "serving" => true,
        "collected" => !std::mem::replace(looked_over, true),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undo_waits_for_the_end_and_not_for_ever() {
        let of = |phase: &str| Migration { phase: phase.into(), ..Migration::default() };
        let mut looked_over = false;
        for (phase, waits) in [
            ("copying", false), // it is to be cancelled
            ("frozen", true),
            ("serving", true),
            ("collected", true),
            ("collected", false), // refused for another reason
            ("returned", false),
        ] {
            assert_eq!(is_ending(&of(phase), &mut looked_over), waits, "{phase}");
        }
    }
}
