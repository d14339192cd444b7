//! What is explored, broken.

use shardbearer_core::kv::{Migrated, MovedRow, Seal};

use crate::keys::{self, Carried};

/// Broken in one way each; every one must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Double {
    /// The destination serves without waiting for the control order's decision.
    ActivatesUndecided,
    /// The source takes the shard back when it was frozen for long, without asking.
    TakesBack,
    /// Sessions do not travel.
    ForgetsSessions,
    /// The source drops its copy and tells nobody that it is done with a migration that was called off.
    NeverReleases,
    /// The source forgets to say what changed.
    LosesChanges,
    /// Who comes back takes a shard back that it gave away while it was gone.
    KeepsWhatItGave,
    /// The destination is not waited for although the shard is its own already.
    EndsTooEarly,
    /// What is split off takes whatever it is asked for.
    TakesAnything,
}

/// The source's answer as a double gives it.
pub(super) fn broken(answer: Migrated, double: Option<Double>) -> Migrated {
    match double {
        Some(Double::ForgetsSessions) => lose(answer, true),
        Some(Double::LosesChanges) => lose(answer, false),
        Some(Double::TakesAnything) => unbounded(answer),
        _ => answer,
    }
}

/// The source's answer with a seal that does not say where the shard begins.
fn unbounded(answer: Migrated) -> Migrated {
    match answer {
        Migrated::Changes { rows, through, seen, lost, seal } => {
            let seal = seal.map(|seal| Seal { from: 0, ..seal });
            Migrated::Changes { rows, through, seen, lost, seal }
        }
        other => other,
    }
}

/// The source's answer without its sessions, and with a seal that knows nothing of them; or without records that changed.
fn lose(answer: Migrated, sessions: bool) -> Migrated {
    let record = |row: &MovedRow| matches!(keys::carried(&row.key), Some(Carried::Record(_)));
    match answer {
        Migrated::Image { mut rows, through, complete, seen } => {
            rows.retain(|row| record(row) || !sessions);
            Migrated::Image { rows, through, complete, seen }
        }
        Migrated::Changes { mut rows, through, seen, lost, seal } => {
            rows.retain(|row| record(row) == sessions);
            let seal = seal.map(|seal| Seal { sessions: if sessions { 0 } else { seal.sessions }, ..seal });
            Migrated::Changes { rows, through, seen, lost, seal }
        }
        other => other,
    }
}
