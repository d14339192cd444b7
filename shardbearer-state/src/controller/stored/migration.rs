//! How the last migration is stored.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::Epoch;
use shardbearer_core::migration::{Migration, Phase, Report, Split};

use super::{VERSION, VERSION_WITHOUT_POLICY, long, many, put_count, put_text, text, versioned};

/// Of a split. Written only of one, see [`super::VERSION_WITH_RESETS`].
const VERSION_WITH_SPLIT: u8 = 5;

/// A migration as a row.
pub(in crate::controller) fn encode(migration: &Migration) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(if migration.split.is_some() { VERSION_WITH_SPLIT } else { VERSION });
    if let Some(Split { parent, at }) = migration.split {
        out.put_u64(parent.0);
        out.put_u16(at);
        out.put_u16(migration.until);
    }
    let report = &migration.report;
    for number in [migration.id.0, migration.shard.0, migration.from.0, migration.to.0, migration.ended.0] {
        out.put_u64(number);
    }
    for number in [migration.started_ms, migration.changed_ms, migration.version] {
        out.put_u64(number);
    }
    for number in [report.rows, report.bytes, report.bytes_total, report.rate, report.rounds] {
        out.put_u64(number);
    }
    out.put_u8(match migration.phase {
        Phase::Planned => 1,
        Phase::Copying => 2,
        Phase::Frozen => 3,
        Phase::Serving => 4,
        Phase::Collected => 5,
        Phase::Returning => 6,
        Phase::Returned => 7,
    });
    for flag in [migration.paused, migration.released, migration.discarded] {
        out.put_u8(flag.into());
    }
    for text in [&migration.who, &migration.why, &migration.called_off, &report.blocker] {
        put_text(&mut out, text);
    }
    put_text(&mut out, &migration.effect);
    put_text(&mut out, &migration.reason.predicted);
    put_count(&mut out, migration.reason.alternatives.len());
    migration.reason.alternatives.iter().for_each(|text| put_text(&mut out, text));
    out.put_slice(&report.cursor);
    out.freeze()
}

/// The inverse of [`encode`].
pub(in crate::controller) fn decode(row: &Bytes) -> Option<Migration> {
    let (version, mut rest) = match row.first()? {
        &VERSION_WITH_SPLIT => (VERSION_WITH_SPLIT, row.slice(1..)),
        _ => versioned(row)?,
    };
    let (split, until) = match version {
        VERSION_WITH_SPLIT => {
            let parent = long(&mut rest)?.into();
            let split = Split { parent, at: rest.try_get_u16().ok()? };
            (Some(split), rest.try_get_u16().ok()?)
        }
        _ => (None, 0),
    };
    let mut migration = Migration {
        split,
        until,
        id: long(&mut rest)?.into(),
        shard: long(&mut rest)?.into(),
        from: long(&mut rest)?.into(),
        to: long(&mut rest)?.into(),
        ended: Epoch(long(&mut rest)?),
        started_ms: long(&mut rest)?,
        changed_ms: long(&mut rest)?,
        version: long(&mut rest)?,
        ..Migration::default()
    };
    migration.report = Report {
        rows: long(&mut rest)?,
        bytes: long(&mut rest)?,
        bytes_total: long(&mut rest)?,
        rate: long(&mut rest)?,
        rounds: long(&mut rest)?,
        ..Report::default()
    };
    migration.phase = match rest.try_get_u8().ok()? {
        1 => Phase::Planned,
        2 => Phase::Copying,
        3 => Phase::Frozen,
        4 => Phase::Serving,
        5 => Phase::Collected,
        6 => Phase::Returning,
        7 => Phase::Returned,
        _ => return None,
    };
    let mut flag = || Some(rest.try_get_u8().ok()? != 0);
    (migration.paused, migration.released, migration.discarded) = (flag()?, flag()?, flag()?);
    migration.who = text(&mut rest)?;
    migration.why = text(&mut rest)?;
    migration.called_off = text(&mut rest)?;
    migration.report.blocker = text(&mut rest)?;
    if version != VERSION_WITHOUT_POLICY {
        migration.effect = text(&mut rest)?;
        migration.reason.predicted = text(&mut rest)?;
        migration.reason.alternatives = many(&mut rest, text)?;
    }
    migration.report.cursor = rest.to_vec();
    Some(migration)
}
