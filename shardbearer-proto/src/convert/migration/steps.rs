//! The steps of a migration and what they are answered.

use shardbearer_core::kv::{Import, Migrate, Migrated, MovedRow, Part, Progress, Seal, Standing, Step};

use crate::convert::{ConvertError, missing, slot};
use crate::pb;
use crate::pb::migrated_reply as answer;

impl From<&Progress> for pb::MigrateProgress {
    fn from(progress: &Progress) -> Self {
        pb::MigrateProgress {
            image: progress.image.clone(),
            complete: progress.complete,
            through: progress.through,
        }
    }
}

impl From<pb::MigrateProgress> for Progress {
    fn from(progress: pb::MigrateProgress) -> Self {
        Progress { image: progress.image, complete: progress.complete, through: progress.through }
    }
}

impl From<&Seal> for pb::MigrateSeal {
    fn from(seal: &Seal) -> Self {
        pb::MigrateSeal {
            revision: seal.revision,
            time_ms: seal.time_ms,
            forgot: seal.forgot,
            rows: seal.rows,
            bytes: seal.bytes,
            digest: seal.digest,
            sessions: seal.sessions,
            from: seal.from.into(),
            until: seal.until.into(),
        }
    }
}

impl TryFrom<pb::MigrateSeal> for Seal {
    type Error = ConvertError;

    fn try_from(seal: pb::MigrateSeal) -> Result<Self, ConvertError> {
        Ok(Seal {
            revision: seal.revision,
            time_ms: seal.time_ms,
            forgot: seal.forgot,
            rows: seal.rows,
            bytes: seal.bytes,
            digest: seal.digest,
            sessions: seal.sessions,
            from: slot("MigrateSeal.from", seal.from)?,
            until: slot("MigrateSeal.until", seal.until)?,
        })
    }
}

fn rows_to_wire(rows: &[MovedRow]) -> Vec<pb::MovedRow> {
    rows.iter().map(|row| pb::MovedRow { key: row.key.clone(), value: row.value.clone() }).collect()
}

fn rows_from_wire(rows: Vec<pb::MovedRow>) -> Vec<MovedRow> {
    rows.into_iter().map(|row| MovedRow { key: row.key, value: row.value }).collect()
}

impl From<&Migrate> for pb::Migrate {
    fn from(migrate: &Migrate) -> Self {
        use pb::migrate::{self as wire, Step as Kind};
        let step = match &migrate.step {
            // As older programs know it, where it is nothing else.
            Step::Watch { at: 0 } => Kind::Watch(true),
            Step::Watch { at } => Kind::WatchAt((*at).into()),
            Step::Image { after, bytes } => {
                Kind::Image(wire::Image { after: after.clone(), bytes_max: *bytes })
            }
            Step::Changes { after, bytes } => {
                Kind::Changes(wire::Changes { after: *after, bytes_max: *bytes })
            }
            Step::Forget { through } => Kind::ForgetThrough(*through),
            Step::Freeze => Kind::Freeze(true),
            Step::Release => Kind::Release(true),
            Step::Collect { epoch, until: 0 } => Kind::CollectEpoch(epoch.0),
            Step::Collect { epoch, until } => {
                Kind::Collect(wire::Collect { epoch: epoch.0, until: (*until).into() })
            }
            Step::Begin => Kind::Begin(true),
            Step::Import(import) => Kind::Import(pb::MigrateImport {
                from: Some((&import.from).into()),
                to: Some((&import.to).into()),
                seen: import.seen,
                rows: rows_to_wire(&import.rows),
                seal: import.seal.as_ref().map(Into::into),
            }),
            Step::Activate { epoch } => Kind::ActivateEpoch(epoch.0),
            Step::Discard => Kind::Discard(true),
        };
        pb::Migrate { migration: migrate.migration.0, step: Some(step) }
    }
}

impl TryFrom<pb::Migrate> for Migrate {
    type Error = ConvertError;

    fn try_from(migrate: pb::Migrate) -> Result<Self, ConvertError> {
        use pb::migrate::Step as Kind;
        let step = match migrate.step.ok_or_else(|| missing("Migrate.step"))? {
            Kind::Watch(_) => Step::Watch { at: 0 },
            Kind::WatchAt(at) => Step::Watch { at: slot("Migrate.watch_at", at)? },
            Kind::Image(image) => Step::Image { after: image.after, bytes: image.bytes_max },
            Kind::Changes(changes) => Step::Changes { after: changes.after, bytes: changes.bytes_max },
            Kind::ForgetThrough(through) => Step::Forget { through },
            Kind::Freeze(_) => Step::Freeze,
            Kind::Release(_) => Step::Release,
            Kind::CollectEpoch(epoch) => Step::Collect { epoch: epoch.into(), until: 0 },
            Kind::Collect(collect) => {
                Step::Collect { epoch: collect.epoch.into(), until: slot("Migrate.collect", collect.until)? }
            }
            Kind::Begin(_) => Step::Begin,
            Kind::Import(import) => Step::Import(Box::new(Import {
                from: import.from.unwrap_or_default().into(),
                to: import.to.unwrap_or_default().into(),
                seen: import.seen,
                rows: rows_from_wire(import.rows),
                seal: import.seal.map(TryInto::try_into).transpose()?,
            })),
            Kind::ActivateEpoch(epoch) => Step::Activate { epoch: epoch.into() },
            Kind::Discard(_) => Step::Discard,
        };
        Ok(Migrate { migration: migrate.migration.into(), step })
    }
}

impl From<&Migrated> for pb::MigratedReply {
    fn from(migrated: &Migrated) -> Self {
        let kind = match migrated {
            Migrated::Part(part) => answer::Kind::Part(answer::Part {
                standing: standing_to_wire(part.standing).into(),
                migration: part.migration.0,
                rows: part.rows,
                bytes: part.bytes,
                noted: part.noted,
                progress: Some((&part.progress).into()),
                more: part.more,
                at: part.at.into(),
                from: part.from.into(),
                until: part.until.into(),
                pruning: part.pruning,
            }),
            Migrated::Differs { here, wanted } => answer::Kind::Differs(answer::Differs {
                here: Some(here.into()),
                wanted: Some(wanted.into()),
            }),
            Migrated::Image { rows, through, complete, seen } => answer::Kind::Image(answer::Image {
                rows: rows_to_wire(rows),
                complete: *complete,
                seen: *seen,
                through: through.clone(),
            }),
            Migrated::Changes { rows, through, seen, lost, seal } => answer::Kind::Changes(answer::Changes {
                rows: rows_to_wire(rows),
                through: *through,
                seen: *seen,
                lost: *lost,
                seal: seal.as_ref().map(Into::into),
            }),
        };
        pb::MigratedReply { kind: Some(kind) }
    }
}

impl TryFrom<pb::MigratedReply> for Migrated {
    type Error = ConvertError;

    fn try_from(reply: pb::MigratedReply) -> Result<Self, ConvertError> {
        Ok(match reply.kind.ok_or_else(|| missing("MigratedReply.kind"))? {
            answer::Kind::Part(part) => Migrated::Part(Part {
                standing: standing_from_wire(part.standing)?,
                migration: part.migration.into(),
                rows: part.rows,
                bytes: part.bytes,
                noted: part.noted,
                progress: part.progress.unwrap_or_default().into(),
                more: part.more,
                at: slot("Part.at", part.at)?,
                from: slot("Part.from", part.from)?,
                until: slot("Part.until", part.until)?,
                pruning: part.pruning,
            }),
            answer::Kind::Differs(differs) => Migrated::Differs {
                here: differs.here.ok_or_else(|| missing("Differs.here"))?.try_into()?,
                wanted: differs.wanted.ok_or_else(|| missing("Differs.wanted"))?.try_into()?,
            },
            answer::Kind::Image(image) => Migrated::Image {
                rows: rows_from_wire(image.rows),
                through: image.through,
                complete: image.complete,
                seen: image.seen,
            },
            answer::Kind::Changes(changes) => Migrated::Changes {
                rows: rows_from_wire(changes.rows),
                through: changes.through,
                seen: changes.seen,
                lost: changes.lost,
                seal: changes.seal.map(TryInto::try_into).transpose()?,
            },
        })
    }
}

fn standing_to_wire(standing: Standing) -> pb::MigrateStanding {
    match standing {
        Standing::Absent => pb::MigrateStanding::Absent,
        Standing::Serving => pb::MigrateStanding::Serving,
        Standing::Leaving => pb::MigrateStanding::Leaving,
        Standing::Frozen => pb::MigrateStanding::Frozen,
        Standing::Arriving => pb::MigrateStanding::Arriving,
        Standing::Verified => pb::MigrateStanding::Verified,
        Standing::Gone => pb::MigrateStanding::Gone,
    }
}

fn standing_from_wire(standing: i32) -> Result<Standing, ConvertError> {
    match pb::MigrateStanding::try_from(standing) {
        Ok(pb::MigrateStanding::Absent) => Ok(Standing::Absent),
        Ok(pb::MigrateStanding::Serving) => Ok(Standing::Serving),
        Ok(pb::MigrateStanding::Leaving) => Ok(Standing::Leaving),
        Ok(pb::MigrateStanding::Frozen) => Ok(Standing::Frozen),
        Ok(pb::MigrateStanding::Arriving) => Ok(Standing::Arriving),
        Ok(pb::MigrateStanding::Verified) => Ok(Standing::Verified),
        Ok(pb::MigrateStanding::Gone) => Ok(Standing::Gone),
        Err(_) => Err(ConvertError::Field { field: "MigratedReply.standing", why: "unknown value" }),
    }
}
