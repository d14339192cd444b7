//! Migrations: their record and its changes here, the steps that orders take in [`steps`].

mod steps;

use shardbearer_core::migration::{Migration, MigrationChange, Phase, Report, Split};

use super::{ConvertError, missing, slot};
use crate::pb;

impl From<&Report> for pb::MigrationReport {
    fn from(report: &Report) -> Self {
        pb::MigrationReport {
            rows: report.rows,
            bytes: report.bytes,
            bytes_total: report.bytes_total,
            rate: report.rate,
            rounds: report.rounds,
            cursor: report.cursor.clone().into(),
            blocker: report.blocker.clone(),
        }
    }
}

impl From<pb::MigrationReport> for Report {
    fn from(report: pb::MigrationReport) -> Self {
        Report {
            rows: report.rows,
            bytes: report.bytes,
            bytes_total: report.bytes_total,
            rate: report.rate,
            rounds: report.rounds,
            cursor: report.cursor.into(),
            blocker: report.blocker,
        }
    }
}

impl From<&Split> for pb::Split {
    fn from(split: &Split) -> Self {
        pb::Split { parent: split.parent.0, at: split.at.into() }
    }
}

impl TryFrom<pb::Split> for Split {
    type Error = ConvertError;

    fn try_from(split: pb::Split) -> Result<Self, ConvertError> {
        Ok(Split { parent: split.parent.into(), at: slot("Split.at", split.at)? })
    }
}

impl From<&Migration> for pb::Migration {
    fn from(migration: &Migration) -> Self {
        pb::Migration {
            id: migration.id.0,
            shard: migration.shard.0,
            from: migration.from.0,
            to: migration.to.0,
            phase: migration.phase.name().into(),
            paused: migration.paused,
            who: migration.who.clone(),
            why: migration.why.clone(),
            called_off: migration.called_off.clone(),
            started_ms: migration.started_ms,
            changed_ms: migration.changed_ms,
            ended: migration.ended.0,
            released: migration.released,
            discarded: migration.discarded,
            version: migration.version,
            report: Some((&migration.report).into()),
            reason: Some((&migration.reason).into()),
            effect: migration.effect.clone(),
            split: migration.split.as_ref().map(Into::into),
            until: migration.until.into(),
        }
    }
}

impl TryFrom<pb::Migration> for Migration {
    type Error = ConvertError;

    fn try_from(migration: pb::Migration) -> Result<Self, ConvertError> {
        const PHASES: [Phase; 7] = [
            Phase::Planned,
            Phase::Copying,
            Phase::Frozen,
            Phase::Serving,
            Phase::Collected,
            Phase::Returning,
            Phase::Returned,
        ];
        let phase = PHASES.into_iter().find(|phase| phase.name() == migration.phase);
        Ok(Migration {
            id: migration.id.into(),
            shard: migration.shard.into(),
            from: migration.from.into(),
            to: migration.to.into(),
            phase: phase.ok_or(ConvertError::Field { field: "Migration.phase", why: "unknown value" })?,
            paused: migration.paused,
            who: migration.who,
            why: migration.why,
            called_off: migration.called_off,
            started_ms: migration.started_ms,
            changed_ms: migration.changed_ms,
            ended: migration.ended.into(),
            released: migration.released,
            discarded: migration.discarded,
            version: migration.version,
            report: migration.report.unwrap_or_default().into(),
            reason: migration.reason.unwrap_or_default().into(),
            effect: migration.effect,
            until: slot("Migration.until", migration.until)?,
            split: migration.split.map(Split::try_from).transpose()?,
        })
    }
}

impl From<&MigrationChange> for pb::MigrationChange {
    fn from(change: &MigrationChange) -> Self {
        use pb::migration_change::{self as wire, Kind};
        let kind = match change {
            MigrationChange::Plan { shard, to } => Kind::Plan(wire::Plan { shard: shard.0, to: to.0 }),
            MigrationChange::Split { split, to } => {
                Kind::Split(wire::Split { split: Some(split.into()), to: to.0 })
            }
            // As it was in an older log, so that every replica has the same bytes.
            MigrationChange::Undo { id } if id.is_none() => Kind::Undo(true),
            MigrationChange::Undo { id } => Kind::UndoOf(id.0),
            MigrationChange::Pause { id, paused } => Kind::Pause(wire::Pause { id: id.0, paused: *paused }),
            MigrationChange::Cancel { id } => Kind::Cancel(id.0),
            MigrationChange::Copy { id } => Kind::Copy(id.0),
            MigrationChange::Freeze { id } => Kind::Freeze(id.0),
            MigrationChange::Commit { id } => Kind::Commit(id.0),
            MigrationChange::Collected { id } => Kind::Collected(id.0),
            MigrationChange::Returned { id, released, discarded } => {
                Kind::Returned(wire::Returned { id: id.0, released: *released, discarded: *discarded })
            }
            MigrationChange::Report { id, report } => {
                Kind::Report(wire::Report { id: id.0, report: Some(report.into()) })
            }
        };
        pb::MigrationChange { kind: Some(kind) }
    }
}

impl TryFrom<pb::MigrationChange> for MigrationChange {
    type Error = ConvertError;

    fn try_from(change: pb::MigrationChange) -> Result<Self, ConvertError> {
        use pb::migration_change::Kind;
        Ok(match change.kind.ok_or_else(|| missing("MigrationChange.kind"))? {
            Kind::Plan(plan) => MigrationChange::Plan { shard: plan.shard.into(), to: plan.to.into() },
            Kind::Split(asked) => {
                let split = asked.split.ok_or_else(|| missing("MigrationChange.split"))?.try_into()?;
                MigrationChange::Split { split, to: asked.to.into() }
            }
            Kind::Undo(_) => MigrationChange::Undo { id: 0.into() },
            Kind::UndoOf(id) => MigrationChange::Undo { id: id.into() },
            Kind::Pause(pause) => MigrationChange::Pause { id: pause.id.into(), paused: pause.paused },
            Kind::Cancel(id) => MigrationChange::Cancel { id: id.into() },
            Kind::Copy(id) => MigrationChange::Copy { id: id.into() },
            Kind::Freeze(id) => MigrationChange::Freeze { id: id.into() },
            Kind::Commit(id) => MigrationChange::Commit { id: id.into() },
            Kind::Collected(id) => MigrationChange::Collected { id: id.into() },
            Kind::Returned(returned) => MigrationChange::Returned {
                id: returned.id.into(),
                released: returned.released,
                discarded: returned.discarded,
            },
            Kind::Report(report) => MigrationChange::Report {
                id: report.id.into(),
                report: report.report.unwrap_or_default().into(),
            },
        })
    }
}
