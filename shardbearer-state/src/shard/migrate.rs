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
use super::{Owned, ShardMachine, digest, notes, space};
use crate::keys::{self, Carried, ShardMeta};

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
            (Step::Watch, Standing::Serving) if meta.migration < migration => {
                meta.standing = Standing::Leaving;
                (meta.migration, meta.noted, meta.forgotten, meta.lost) = (migration, 0, 0, false);
            }
            (Step::Forget { through }, Standing::Leaving | Standing::Frozen) if present => {
                more = notes::forget(meta, space(order, shard, meta), through, work);
            }
            (Step::Freeze, Standing::Leaving) if present => meta.standing = Standing::Frozen,
            (Step::Release, Standing::Serving | Standing::Leaving | Standing::Frozen)
                if meta.migration <= migration =>
            {
                meta.standing = Standing::Serving;
                meta.migration = migration;
                more = notes::forget(meta, space(order, shard, meta), u64::MAX - 1, work);
            }
            // A source whose log was lost in part may have forgotten that it had stopped, or that anything moved.
            (Step::Collect { epoch }, Standing::Serving | Standing::Leaving | Standing::Frozen)
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
    };
    if here != wanted {
        return (Some(Migrated::Differs { here, wanted }), given_up);
    }
    meta.standing = Standing::Verified;
    (meta.revision, meta.time_ms, meta.forgot) = (wanted.revision, wanted.time_ms, wanted.forgot);
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
    Part {
        standing: meta.standing,
        migration: meta.migration,
        rows: meta.rows,
        bytes: meta.bytes,
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

/// The shards that are on their way to or from the order, ascending.
pub fn moving_shards(view: &dyn View, order: OrderId) -> Result<Vec<ShardId>, StorageError> {
    let moving = |standing| match standing {
        Standing::Leaving | Standing::Frozen | Standing::Arriving | Standing::Verified => true,
        Standing::Absent | Standing::Serving | Standing::Gone => false,
    };
    super::query::shards_where(view, order, |meta| moving(meta.standing))
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
    let (mut rows, mut size) = (Vec::new(), 0);
    for range in keys::carried_after(after) {
        for row in view.scan(space, &range) {
            if size >= bytes {
                return Ok(Migrated::Image { rows, complete: false, seen: meta.noted });
            }
            let (key, value) = row?;
            size += (key.len() + value.len()) as u64;
            rows.push(MovedRow { key, value: Some(value) });
        }
    }
    Ok(Migrated::Image { rows, complete: true, seen: meta.noted })
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
    Ok(Seal {
        revision: meta.revision,
        time_ms: meta.time_ms,
        forgot: meta.forgot,
        rows: meta.rows,
        bytes: meta.bytes,
        digest: meta.digest,
        sessions,
    })
}
