//! Commands on the whole table: for a client that knows the cluster on the shards led here, since it asks every
//! radiant; for any other on all shards.

use bytes::Bytes;
use rand::Rng;
use shardbearer_core::kv::{Command, Reply, Scan};
use shardbearer_core::storage::KeyRange;

use super::args;
use super::cluster;
use super::commands::{self, Whole};
use super::failure::Failure;
use super::glob;
use super::reply::Writer;
use super::scan::{self, page, successor};
use super::session::{Place, Session};
use crate::kv::{Call, Target};

/// Most bytes of keys that `KEYS` answers: they are all in memory at once.
const KEYS_BYTES_MAX: usize = 64 << 20;

/// Keys among which `RANDOMKEY` draws.
const DRAWN_FROM: u32 = 64;

/// Carries out a command and writes its reply.
pub async fn run(kind: Whole, session: &mut Session, args: &[Bytes], writer: &mut Writer) {
    let done = match kind {
        Whole::DbSize => rows(session).await.map(|rows| writer.count(rows)),
        Whole::Flush => flush(session, args).await.map(|()| writer.ok()),
        Whole::Keys => keys(session, &args[1]).await.map(|keys| {
            writer.array(keys.len());
            keys.iter().for_each(|key| writer.value(key));
        }),
        Whole::RandomKey => random(session).await.map(|key| writer.optional(key.as_ref())),
        Whole::Scan => scan::scan(session, args, writer).await,
        Whole::Cluster => cluster::run(session, args, writer).await,
        Whole::Info => {
            // The number of keys is asked of every shard; without an answer the line is left out.
            let sections = &args[1..];
            let rows = if commands::shows(sections, "keyspace") { rows(session).await.ok() } else { None };
            writer.text(&commands::info(&session.gateway, sections, rows));
            Ok(())
        }
    };
    if let Err(failure) = done {
        writer.failure(&failure);
    }
}

/// The same command for every shard that the session sees.
async fn each(session: &Session, command: Command) -> Result<Vec<Reply>, Failure> {
    let places = session.places()?;
    let mut calls = Vec::with_capacity(places.len());
    for Place { extent, .. } in places {
        calls.push(Call { target: Target::Shard(extent), ..Call::new(command.clone()) });
    }
    let results = session.gateway.execute(calls).await;
    let failures = results.iter().filter_map(|result| match result {
        Err(error) => Some(Failure::of_part(error)),
        Ok(Reply::Refused(refusal)) => Some(Failure::refusal(refusal)),
        Ok(_) => None,
    });
    // An unknown outcome among refusals is the one to tell.
    let failures: Vec<Failure> = failures.collect();
    match failures.iter().find(|failure| failure.is_unknown()).or(failures.first()) {
        Some(failure) => Err(failure.clone()),
        None => Ok(results.into_iter().flatten().collect()),
    }
}

async fn rows(session: &Session) -> Result<u64, Failure> {
    let replies = each(session, Command::Count).await?;
    let rows = replies.iter().map(|reply| if let Reply::Count { rows, .. } = reply { *rows } else { 0 });
    Ok(rows.sum())
}

/// `FLUSHALL [ASYNC | SYNC]`.
async fn flush(session: &Session, args: &[Bytes]) -> Result<(), Failure> {
    match &args[1..] {
        [] => {}
        [mode] if args::one_of(mode, &["ASYNC", "SYNC"]).is_some() => {}
        _ => return Err(Failure::SYNTAX),
    }
    each(session, Command::Clear).await.map(|_| ())
}

async fn keys(session: &Session, pattern: &[u8]) -> Result<Vec<Bytes>, Failure> {
    let range = KeyRange::prefix(glob::literal_prefix(pattern));
    let (first, end) = (Bytes::from(range.start), Bytes::from(range.end.unwrap_or_default()));
    let (mut keys, mut bytes) = (Vec::new(), 0);
    for place in session.places()? {
        let mut start = first.clone();
        loop {
            let scan = Scan { start: start.clone(), end: end.clone(), keys_only: true, ..Scan::default() };
            let call = Call { target: Target::Shard(place.extent), ..Call::new(Command::Scan(scan)) };
            let (rows, more) = page(session.gateway.execute_one(call).await)?;
            let last = rows.last().map(|row| successor(&row.key));
            let fitting = rows.into_iter().map(|row| row.key).filter(|key| glob::matches(pattern, key));
            for key in fitting {
                bytes += key.len();
                keys.push(key);
            }
            if bytes > KEYS_BYTES_MAX {
                return Err("ERR the answer would have more than 64 MiB of keys; use SCAN".into());
            }
            match last {
                Some(next) if more => start = next,
                Some(_) | None => break,
            }
        }
    }
    Ok(keys)
}

/// A key of a shard that was drawn, or of the next that has any. Not every key is equally likely.
async fn random(session: &Session) -> Result<Option<Bytes>, Failure> {
    let mut places = session.places()?;
    let mut rng = session.gateway.world.rng();
    if !places.is_empty() {
        let first = rng.random_range(0..places.len());
        places.rotate_left(first);
    }
    for place in places {
        let scan = Scan { limit: DRAWN_FROM, keys_only: true, ..Scan::default() };
        let call = Call { target: Target::Shard(place.extent), ..Call::new(Command::Scan(scan)) };
        let (mut rows, _) = page(session.gateway.execute_one(call).await)?;
        if !rows.is_empty() {
            let drawn = rng.random_range(0..rows.len());
            return Ok(Some(rows.swap_remove(drawn).key));
        }
    }
    Ok(None)
}
