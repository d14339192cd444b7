//! Migrations: steps, answers, records, changes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shardbearer_core::ids::Epoch;
use shardbearer_core::kv::{Import, Migrate, Migrated, MovedRow, Part, Progress, Seal, Standing, Step};
use shardbearer_core::migration::{Migration, MigrationChange, Phase, Report, Split};

use super::rebalancing::reason;
use super::{bytes, text};

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

fn progress() -> impl Strategy<Value = Progress> {
    (bytes(), any::<bool>(), any::<u64>()).prop_map(|(image, complete, through)| Progress {
        image,
        complete,
        through,
    })
}

fn rows() -> impl Strategy<Value = Vec<MovedRow>> {
    vec((bytes(), option::of(bytes())).prop_map(|(key, value)| MovedRow { key, value }), 0..4)
}

fn seal() -> impl Strategy<Value = Seal> {
    (any::<[u64; 6]>(), any::<bool>(), slot(), slot()).prop_map(
        |([revision, time_ms, rows, bytes, digest, sessions], forgot, from, until)| Seal {
            revision,
            time_ms,
            forgot,
            rows,
            bytes,
            digest,
            sessions,
            from,
            until,
        },
    )
}

pub(in super::super) fn slot() -> impl Strategy<Value = u16> {
    0..=16_384_u16
}

pub(in super::super) fn migrate() -> impl Strategy<Value = Migrate> {
    let import = (progress(), progress(), any::<u64>(), rows(), option::of(seal()));
    let step = prop_oneof![
        slot().prop_map(|at| Step::Watch { at }),
        (bytes(), any::<u64>()).prop_map(|(after, bytes)| Step::Image { after, bytes }),
        (any::<u64>(), any::<u64>()).prop_map(|(after, bytes)| Step::Changes { after, bytes }),
        any::<u64>().prop_map(|through| Step::Forget { through }),
        Just(Step::Freeze),
        Just(Step::Release),
        (epoch(), slot()).prop_map(|(epoch, until)| Step::Collect { epoch, until }),
        Just(Step::Begin),
        import.prop_map(|(from, to, seen, rows, seal)| {
            Step::Import(Box::new(Import { from, to, seen, rows, seal }))
        }),
        epoch().prop_map(|epoch| Step::Activate { epoch }),
        Just(Step::Discard),
    ];
    (epoch(), step).prop_map(|(migration, step)| Migrate { migration, step })
}

fn part() -> impl Strategy<Value = Part> {
    let standing = prop_oneof![
        Just(Standing::Absent),
        Just(Standing::Serving),
        Just(Standing::Leaving),
        Just(Standing::Frozen),
        Just(Standing::Arriving),
        Just(Standing::Verified),
        Just(Standing::Gone),
    ];
    (standing, any::<[u64; 4]>(), progress(), any::<[bool; 2]>(), [slot(), slot(), slot()]).prop_map(
        |(standing, [migration, rows, bytes, noted], progress, [more, pruning], [at, from, until])| Part {
            standing,
            migration: Epoch(migration),
            rows,
            bytes,
            noted,
            progress,
            more,
            at,
            from,
            until,
            pruning,
        },
    )
}

pub(in super::super) fn migrated() -> impl Strategy<Value = Migrated> {
    prop_oneof![
        part().prop_map(Migrated::Part),
        (seal(), seal()).prop_map(|(here, wanted)| Migrated::Differs { here, wanted }),
        (rows(), bytes(), any::<bool>(), any::<u64>())
            .prop_map(|(rows, through, complete, seen)| Migrated::Image { rows, through, complete, seen }),
        (rows(), any::<u64>(), any::<u64>(), any::<bool>(), option::of(seal())).prop_map(
            |(rows, through, seen, lost, seal)| Migrated::Changes { rows, through, seen, lost, seal }
        ),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    (any::<[u64; 5]>(), vec(any::<u8>(), 0..9), text()).prop_map(
        |([rows, bytes, bytes_total, rate, rounds], cursor, blocker)| Report {
            rows,
            bytes,
            bytes_total,
            rate,
            rounds,
            cursor,
            blocker,
        },
    )
}

fn split() -> impl Strategy<Value = Split> {
    (any::<u64>(), slot()).prop_map(|(parent, at)| Split { parent: parent.into(), at })
}

pub(in super::super) fn change() -> impl Strategy<Value = MigrationChange> {
    prop_oneof![
        (any::<u64>(), any::<u64>())
            .prop_map(|(shard, to)| MigrationChange::Plan { shard: shard.into(), to: to.into() }),
        (split(), any::<u64>()).prop_map(|(split, to)| MigrationChange::Split { split, to: to.into() }),
        epoch().prop_map(|id| MigrationChange::Undo { id }),
        (epoch(), any::<bool>()).prop_map(|(id, paused)| MigrationChange::Pause { id, paused }),
        epoch().prop_map(|id| MigrationChange::Cancel { id }),
        epoch().prop_map(|id| MigrationChange::Copy { id }),
        epoch().prop_map(|id| MigrationChange::Freeze { id }),
        epoch().prop_map(|id| MigrationChange::Commit { id }),
        epoch().prop_map(|id| MigrationChange::Collected { id }),
        (epoch(), any::<bool>(), any::<bool>())
            .prop_map(|(id, released, discarded)| MigrationChange::Returned { id, released, discarded }),
        (epoch(), report()).prop_map(|(id, report)| MigrationChange::Report { id, report }),
    ]
}

pub(in super::super) fn migration() -> impl Strategy<Value = Migration> {
    let phase = prop_oneof![
        Just(Phase::Planned),
        Just(Phase::Copying),
        Just(Phase::Frozen),
        Just(Phase::Serving),
        Just(Phase::Collected),
        Just(Phase::Returning),
        Just(Phase::Returned),
    ];
    let texts = [text(), text(), text(), text()];
    let outcome = (report(), reason(), option::of(split()), slot());
    (any::<[u64; 8]>(), phase, any::<[bool; 3]>(), texts, outcome).prop_map(
        |(numbers, phase, [paused, released, discarded], [who, why, called_off, effect], outcome)| {
            let (report, reason, split, until) = outcome;
            let [id, shard, from, to, started_ms, changed_ms, ended, version] = numbers;
            Migration {
                id: Epoch(id),
                shard: shard.into(),
                split,
                until,
                from: from.into(),
                to: to.into(),
                phase,
                paused,
                who,
                why,
                called_off,
                started_ms,
                changed_ms,
                ended: Epoch(ended),
                released,
                discarded,
                version,
                report,
                reason,
                effect,
            }
        },
    )
}
