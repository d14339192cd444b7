//! Migrations for the kit of machines: steps of data orders, decisions of the control order, and its beginning anew. Drawn so
//! that some come in the order in which they make sense; the others are what stale drivers and old logs hold.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::control::Anew;
use shardbearer_core::ids::{Epoch, OrderId, RadiantId, SessionId, ShardId};
use shardbearer_core::kv::{Import, Migrate, MovedRow, Progress, Record, Seal, Step};
use shardbearer_core::migration::{Migration, MigrationChange, Phase, Report};
use shardbearer_core::topology::Topology;
use shardbearer_state::keys;

/// A step for any shard. The migration is mostly the one of its time.
pub(super) fn step(rng: &mut StdRng, time: u64) -> Migrate {
    let migration = Epoch((time / 15 + rng.random_range(0..2)).max(1));
    let step = match rng.random_range(0..16) {
        0..2 => Step::Watch { at: slot(rng) },
        2..4 => Step::Freeze,
        4 => Step::Forget { through: rng.random_range(0..6) },
        5 => Step::Release,
        6 => Step::Collect { epoch: Epoch(rng.random_range(0..9)), until: slot(rng) },
        7..9 => Step::Begin,
        9..11 => Step::Activate { epoch: Epoch(rng.random_range(0..9)) },
        11 => Step::Discard,
        // Questions; they have no business in a log and must do no harm there.
        12 if rng.random() => Step::Image { after: row_key(rng), bytes: rng.random_range(0..99) },
        12 => Step::Changes { after: rng.random_range(0..6), bytes: rng.random_range(0..99) },
        _ => Step::Import(Box::new(import(rng))),
    };
    Migrate { migration, step }
}

/// Mostly none: the whole shard moves.
fn slot(rng: &mut StdRng) -> u16 {
    if rng.random_ratio(1, 3) { rng.random_range(0..=16_384) } else { 0 }
}

/// Mostly the only one of a shard without rows, which is then complete.
fn import(rng: &mut StdRng) -> Import {
    let to = Progress { image: row_key(rng), complete: rng.random(), through: rng.random_range(0..4) };
    if rng.random_ratio(1, 2) {
        return Import { to, seal: Some(Seal::default()), ..Import::default() };
    }
    let rows = (0..rng.random_range(0..4))
        .map(|_| MovedRow { key: row_key(rng), value: (!rng.random_ratio(1, 3)).then(|| row_value(rng)) });
    let rows = rows.collect();
    let seal = rng.random::<bool>().then(|| Seal { rows: rng.random_range(0..3), ..Seal::default() });
    Import { to, rows, seen: rng.random_range(0..6), seal, ..Import::default() }
}

/// Of a record, of what a session remembers, of nothing, or of what there is not.
fn row_key(rng: &mut StdRng) -> Bytes {
    match rng.random_range(0..6) {
        0 => Bytes::new(),
        1 => Bytes::from_static(b"\xffno key"),
        2 => keys::session(SessionId(rng.random_range(0..4))),
        _ => keys::data(&super::key(rng)),
    }
}

fn row_value(rng: &mut StdRng) -> Bytes {
    if rng.random_ratio(1, 4) {
        return super::value(rng);
    }
    keys::encode_record(&Record {
        value: super::value(rng),
        revision: rng.random_range(0..9),
        expires_at_ms: rng.random::<bool>().then(|| super::time(rng)),
    })
}

/// The migration that is planned first, if the cluster is founded by the first command and this is the second.
const FIRST: Epoch = Epoch(2);

/// A decision about a migration; the first one mostly comes through.
pub(super) fn decision(rng: &mut StdRng, time: u64) -> MigrationChange {
    let plan = |rng: &mut StdRng| MigrationChange::Plan {
        shard: ShardId(rng.random_range(0..5)),
        to: OrderId(rng.random_range(0..5)),
    };
    if time == 1 {
        return MigrationChange::Plan { shard: ShardId(1), to: OrderId(3) };
    }
    if rng.random_ratio(1, 2) {
        return match time / 12 {
            0 => MigrationChange::Copy { id: FIRST },
            1 => MigrationChange::Freeze { id: FIRST },
            2 => MigrationChange::Commit { id: FIRST },
            3 => MigrationChange::Collected { id: FIRST },
            _ => MigrationChange::Undo { id: FIRST },
        };
    }
    let id = if rng.random_ratio(1, 2) { FIRST } else { Epoch(rng.random_range(0..12)) };
    match rng.random_range(0..12) {
        0 => MigrationChange::Undo { id },
        1 | 2 => MigrationChange::Pause { id, paused: rng.random() },
        3 => MigrationChange::Cancel { id },
        4 => MigrationChange::Copy { id },
        5 => MigrationChange::Freeze { id },
        6 => MigrationChange::Commit { id },
        7 => MigrationChange::Collected { id },
        8 => MigrationChange::Returned { id, released: rng.random(), discarded: rng.random() },
        9 => MigrationChange::Report { id, report: report(rng) },
        _ => plan(rng),
    }
}

fn report(rng: &mut StdRng) -> Report {
    Report {
        rows: rng.random_range(0..9),
        bytes_total: rng.random(),
        cursor: super::key(rng).to_vec(),
        blocker: "something".into(),
        ..Report::default()
    }
}

/// A beginning from one member's log, of a configuration that others told.
pub(super) fn anew(rng: &mut StdRng, time: u64, mut known: Topology) -> Anew {
    known.epoch = Epoch(rng.random_range(0..=time));
    let migration = rng.random::<bool>().then(|| Migration {
        id: Epoch(rng.random_range(0..6)),
        shard: ShardId(rng.random_range(1..4)),
        from: OrderId(2),
        to: OrderId(3),
        phase: [Phase::Planned, Phase::Copying, Phase::Serving, Phase::Returned][rng.random_range(0..4)],
        version: rng.random_range(0..6),
        report: report(rng),
        ..Migration::default()
    });
    let generation = Epoch(rng.random_range(0..=time + 3));
    Anew { known, migration, generation, survivor: RadiantId(rng.random_range(0..4)) }
}
