//! What the steps of a migration do to a shard: see [`Step`] for who takes them and in which order.
//!
//! A step is carried out if the order stands where the step begins and knows no later migration; otherwise
//! nothing happens. The answer says how the order stands.

use bytes::Bytes;
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::kv::{Import, Migrate, Migrated, MovedRow, Part, Progress, Seal, Standing, Step};
use shardbearer_core::machine::Workspace;
use shardbearer_core::storage::{Space, StorageError, View};

use super::apply::Scope;
use super::session::Sessions;
use super::{Owned, ShardMachine, digest, notes, space, split};
use crate::keys::{self, Carried, ShardMeta, Stage};

impl ShardMachine {
    pub(super) fn migrate(&mut self, shard: ShardId, command: Migrate, work: &mut Workspace<'_>) -> Migrated {
        let Migrate { migration, step } = command;
        let order = self.order;
        if matches!(step, Step::Begin | Step::Discard) {
            // The record outlives the shard, so that a late step of a migration that is over is known.
            let absent =
                || Owned { meta: ShardMeta::empty(Standing::Gone, 0), sessions: Sessions::default() };
            self.shards.entry(shard).or_insert_with(absent);
        }
        let Some(owned) = self.shards.get_mut(&shard) else { return Migrated::Part(Part::default()) };
        let arrival = Space::Order(order);
        let meta = &mut owned.meta;
        let present = meta.migration == migration;
        let (mut more, mut dropped) = (false, None);
        match (step, meta.standing) {
            // What is left of a split is in the way until it is dropped.
            (Step::Watch { at }, Standing::Serving)
                if meta.migration < migration && meta.cut.stage == Stage::Whole && meta.cut.may_end(at) =>
            {
                meta.standing = Standing::Leaving;
                (meta.migration, meta.noted, meta.forgotten, meta.lost) = (migration, 0, 0, false);
                if at != 0 {
                    split::begin(&mut meta.cut, at);
                    more = split::weigh(meta, space(order, shard, meta), work);
                }
            }
            (Step::Watch { .. }, Standing::Leaving) if present => {
                more = split::weigh(meta, space(order, shard, meta), work);
            }
            (Step::Forget { through }, Standing::Leaving | Standing::Frozen) if present => {
                more = notes::forget(meta, space(order, shard, meta), through, work);
            }
            (Step::Freeze, Standing::Leaving) if present && meta.cut.stage != Stage::Weighing => {
                meta.standing = Standing::Frozen;
            }
            (Step::Release, Standing::Serving | Standing::Leaving | Standing::Frozen)
                if meta.migration <= migration =>
            {
                meta.standing = Standing::Serving;
                meta.migration = migration;
                split::call_off(&mut meta.cut);
                more = notes::forget(meta, space(order, shard, meta), u64::MAX - 1, work);
            }
            // A source whose log was lost in part may have forgotten that it had stopped, or that anything moved. What is left
            // of an earlier split is dropped first, since it is counted in another way.
            (Step::Collect { epoch, until }, Standing::Serving)
                if until != 0
                    && meta.migration < migration
                    && meta.cut.stage == Stage::Whole
                    && meta.cut.may_end(until) =>
            {
                (meta.epoch, meta.migration) = (epoch, migration);
                split::end(meta, until);
                more = true;
            }
            (Step::Collect { epoch, until }, Standing::Leaving | Standing::Frozen)
                if until != 0 && meta.migration <= migration =>
            {
                // Nothing is dropped yet: the source may be asked to serve on before the destination begins to.
                (meta.standing, meta.epoch, meta.migration) = (Standing::Serving, epoch, migration);
                split::end(meta, until);
                more = true;
            }
            (Step::Collect { until, .. }, Standing::Serving) if until != 0 => {
                more = split::prune(meta, space(order, shard, meta), work);
            }
            (Step::Collect { epoch, until: 0 }, Standing::Serving | Standing::Leaving | Standing::Frozen)
                if meta.migration < migration || present && meta.standing != Standing::Serving =>
            {
                dropped = Some(space(order, shard, meta));
                *meta = ShardMeta { epoch, migration, ..ShardMeta::empty(Standing::Gone, meta.generation) };
                owned.sessions = Sessions::default();
            }
            (Step::Begin, Standing::Gone) if meta.migration < migration => {
                let generation = meta.generation + 1;
                *meta = ShardMeta { migration, ..ShardMeta::empty(Standing::Arriving, generation) };
                work.put(arrival, keys::arrival(shard), keys::encode_arrival(&Progress::default()));
            }
            (Step::Import(import), Standing::Arriving) if present => {
                let (answer, given_up) = take_in(order, shard, meta, *import, work);
                for space in given_up {
                    work.forget_space(space);
                    self.dropped.push(space);
                }
                if let Some(answer) = answer {
                    return answer;
                }
            }
            (Step::Activate { epoch }, Standing::Verified) if present => {
                (meta.standing, meta.epoch) = (Standing::Serving, epoch);
                let rows = work.scan(space(order, shard, meta), &keys::sessions(), usize::MAX);
                owned.sessions = Sessions::from_rows(rows);
                work.delete(arrival, keys::arrival(shard));
            }
            (Step::Discard, Standing::Arriving | Standing::Verified) if present => {
                dropped = Some(space(order, shard, meta));
                *meta = ShardMeta { migration, ..ShardMeta::empty(Standing::Gone, meta.generation) };
                work.delete(arrival, keys::arrival(shard));
            }
            (Step::Discard, Standing::Gone) => meta.migration = meta.migration.max(migration),
            // Taken already, stale, or not for this order: the answer tells.
            _ => {}
        }
        let progress = work.get(arrival, &keys::arrival(shard)).as_ref().and_then(keys::decode_arrival);
        let part = Part { more, ..part_of(&owned.meta, progress) };
        if let Some(space) = dropped {
            work.forget_space(space);
            self.dropped.push(space);
        }
        Migrated::Part(part)
    }
}

/// Takes rows in if they fit on what is there. Returns an answer if it is not the usual one, and the spaces given up.
fn take_in(
    order: OrderId,
    shard: ShardId,
    meta: &mut ShardMeta,
    import: Import,
    work: &mut Workspace<'_>,
) -> (Option<Migrated>, Vec<Space>) {
    let row = work.get(Space::Order(order), &keys::arrival(shard));
    let progress = row.as_ref().and_then(keys::decode_arrival).unwrap_or_default();
    let mut given_up = Vec::new();
    if import.from != progress || import.seen < progress.through || import.to.through < progress.through {
        return (None, given_up);
    }
    for row in import.rows {
        if row.key.is_empty() {
            given_up.push(space(order, shard, meta));
            let (migration, generation) = (meta.migration, meta.generation + 1);
            *meta = ShardMeta { migration, ..ShardMeta::empty(Standing::Arriving, generation) };
            continue;
        }
        let space = space(order, shard, meta);
        place(&mut Scope { space, meta, work }, row);
    }
    work.put(Space::Order(order), keys::arrival(shard), keys::encode_arrival(&import.to));
    let Some(wanted) = import.seal else { return (None, given_up) };
    let here = Seal {
        revision: wanted.revision,
        time_ms: wanted.time_ms,
        forgot: wanted.forgot,
        rows: meta.rows,
        bytes: meta.bytes,
        digest: meta.digest,
        sessions: sum(work.scan(space(order, shard, meta), &keys::sessions(), usize::MAX)),
        from: wanted.from,
        until: wanted.until,
    };
    if here != wanted {
        return (Some(Migrated::Differs { here, wanted }), given_up);
    }
    meta.standing = Standing::Verified;
    (meta.revision, meta.time_ms, meta.forgot) = (wanted.revision, wanted.time_ms, wanted.forgot);
    (meta.cut.from, meta.cut.until) = (wanted.from, wanted.until);
    (None, given_up)
}

/// Puts one row where it belongs. What is no row of a shard is left out, and missed when the copy is verified.
fn place(scope: &mut Scope<'_, '_>, row: MovedRow) {
    match keys::carried(&row.key) {
        Some(Carried::Record(key)) => {
            let old = scope.work.get(scope.space, &row.key).as_ref().and_then(keys::decode_record);
            let new = row.value.as_ref().and_then(keys::decode_record);
            scope.replace(&key, old.as_ref(), new.as_ref());
        }
        Some(Carried::Session) => match row.value {
            Some(value) => scope.work.put(scope.space, row.key, value),
            None => scope.work.delete(scope.space, row.key),
        },
        None => {}
    }
}

/// The digest of rows as they are stored.
fn sum(rows: impl IntoIterator<Item = (Bytes, Bytes)>) -> u64 {
    rows.into_iter().fold(0, |sum, (key, value)| sum.wrapping_add(digest::of_row(&key, &value)))
}

fn part_of(meta: &ShardMeta, progress: Option<Progress>) -> Part {
    let cut = &meta.cut;
    let (rows, bytes) = if cut.at == 0 { (meta.rows, meta.bytes) } else { (cut.rows, cut.bytes) };
    Part {
        standing: meta.standing,
        migration: meta.migration,
        rows,
        bytes,
        at: cut.at,
        from: cut.from,
        until: cut.until,
        pruning: matches!(cut.stage, Stage::Pruning { .. }),
        noted: meta.noted,
        progress: progress.unwrap_or_default(),
        more: false,
    }
}

/// What the order has of a shard.
pub fn part(view: &dyn View, order: OrderId, shard: ShardId) -> Result<Part, StorageError> {
    let Some(meta) = super::shard_meta(view, order, shard)? else { return Ok(Part::default()) };
    let row = view.get(Space::Order(order), &keys::arrival(shard))?;
    Ok(part_of(&meta, row.as_ref().and_then(keys::decode_arrival)))
}

/// The shards that are on their way to or from the order, or have left something behind, ascending.
pub fn moving_shards(view: &dyn View, order: OrderId) -> Result<Vec<ShardId>, StorageError> {
    let moving = |standing| match standing {
        Standing::Leaving | Standing::Frozen | Standing::Arriving | Standing::Verified => true,
        Standing::Absent | Standing::Serving | Standing::Gone => false,
    };
    let pruning = |meta: &ShardMeta| matches!(meta.cut.stage, Stage::Pruning { .. });
    super::query::shards_where(view, order, |meta| moving(meta.standing) || pruning(meta))
}

/// Answers the questions of a migration. Of an order that is not its source the answer is how it stands.
pub(super) fn answer(
    view: &dyn View,
    order: OrderId,
    shard: ShardId,
    question: &Migrate,
) -> Result<Migrated, StorageError> {
    let meta = super::shard_meta(view, order, shard)?;
    let source = |meta: &ShardMeta| {
        meta.migration == question.migration && matches!(meta.standing, Standing::Leaving | Standing::Frozen)
    };
    let Some(meta) = meta.filter(source) else { return Ok(Migrated::Part(part(view, order, shard)?)) };
    let space = space(order, shard, &meta);
    match &question.step {
        Step::Image { after, bytes } => image(view, space, &meta, after, *bytes),
        Step::Changes { after, bytes } => changes(view, space, &meta, *after, *bytes),
        _ => Ok(Migrated::Part(part(view, order, shard)?)),
    }
}

fn image(
    view: &dyn View,
    space: Space,
    meta: &ShardMeta,
    after: &[u8],
    bytes: u64,
) -> Result<Migrated, StorageError> {
    let (mut rows, mut size, mut through) = (Vec::new(), 0, Bytes::new());
    for range in keys::carried_after(after) {
        for row in view.scan(space, &range) {
            if size >= bytes {
                return Ok(Migrated::Image { rows, through, complete: false, seen: meta.noted });
            }
            let (key, value) = row?;
            // What is read and left behind costs as much.
            size += (key.len() + value.len()) as u64;
            through = key.clone();
            if carries(meta, &key) {
                rows.push(MovedRow { key, value: Some(value) });
            }
        }
    }
    Ok(Migrated::Image { rows, through, complete: true, seen: meta.noted })
}

/// Whether a carried row crosses: of a split not every record does.
fn carries(meta: &ShardMeta, row: &Bytes) -> bool {
    match keys::carried(row) {
        Some(Carried::Record(key)) => meta.cut.at == 0 || meta.cut.crosses(&key),
        Some(Carried::Session) | None => true,
    }
}

fn changes(
    view: &dyn View,
    space: Space,
    meta: &ShardMeta,
    after: u64,
    bytes: u64,
) -> Result<Migrated, StorageError> {
    let (mut rows, mut size, mut through) = (Vec::new(), 0, meta.noted.max(after));
    let mut seen = std::collections::BTreeSet::new();
    let mut last = after;
    for note in view.scan(space, &keys::notes_after(meta.migration, after)) {
        let (number, key) = note?;
        // A row that is taken already costs nothing more, and the last changes of a row that changes all the time are
        // to be answered by it, however large it is.
        if size >= bytes && !seen.contains(&key) {
            through = last;
            break;
        }
        last = keys::note_number(&number).unwrap_or(last);
        if seen.insert(key.clone()) {
            let value = if key.is_empty() { None } else { view.get(space, &key)? };
            size += (key.len() + value.as_ref().map_or(0, Bytes::len) + 16) as u64;
            rows.push(MovedRow { key, value });
        }
    }
    let seal = match meta.standing == Standing::Frozen && through == meta.noted && !meta.lost {
        true => Some(seal(view, space, meta)?),
        false => None,
    };
    Ok(Migrated::Changes { rows, through, seen: meta.noted, lost: meta.lost, seal })
}

/// What a shard that does not change any more comes to.
fn seal(view: &dyn View, space: Space, meta: &ShardMeta) -> Result<Seal, StorageError> {
    let mut sessions = 0u64;
    for row in view.scan(space, &keys::sessions()) {
        let (key, value) = row?;
        sessions = sessions.wrapping_add(digest::of_row(&key, &value));
    }
    let cut = &meta.cut;
    // The new shard of a split begins where the other one is to end, and ends where that has ended.
    let (rows, bytes, digest, from) = match cut.at {
        0 => (meta.rows, meta.bytes, meta.digest, cut.from),
        at => (cut.rows, cut.bytes, cut.digest, at),
    };
    let ShardMeta { revision, time_ms, forgot, .. } = *meta;
    Ok(Seal { revision, time_ms, forgot, rows, bytes, digest, sessions, from, until: cut.until })
}
