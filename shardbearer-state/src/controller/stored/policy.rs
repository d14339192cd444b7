//! How the policy of a configuration is stored: maps as counted lists, strictly ascending.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::rebalancing::{Mode, Policy};

use super::{long, many, put_count};

pub(super) fn put(out: &mut BytesMut, policy: &Policy) {
    out.put_u8(number(policy.mode));
    out.put_u8(policy.running.map_or(0, number));
    out.put_u8(policy.paused.into());
    put_count(out, policy.pins.len());
    for (shard, order) in &policy.pins {
        out.put_u64(shard.0);
        out.put_u64(order.0);
    }
    put_count(out, policy.weights.len());
    for (order, weight) in &policy.weights {
        out.put_u64(order.0);
        out.put_u32(*weight);
    }
    put_count(out, policy.removing.len());
    policy.removing.iter().for_each(|order| out.put_u64(order.0));
    out.put_u64(policy.highest_removed.0);
}

/// The inverse of [`put`].
pub(super) fn take(rest: &mut Bytes) -> Option<Policy> {
    let mode = mode(rest.try_get_u8().ok()?)?;
    let running = match rest.try_get_u8().ok()? {
        0 => None,
        running => Some(self::mode(running)?),
    };
    let paused = match rest.try_get_u8().ok()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let pins = many(rest, |rest| Some((long(rest)?.into(), long(rest)?.into())))?;
    let weights = many(rest, |rest| Some((long(rest)?.into(), rest.try_get_u32().ok()?)))?;
    let removing = many(rest, |rest| Some(long(rest)?.into()))?;
    let ascending = pins.is_sorted_by(|a, b| a.0 < b.0)
        && weights.is_sorted_by(|a: &(_, u32), b| a.0 < b.0)
        && removing.is_sorted_by(|a, b| a < b);
    ascending.then_some(Policy {
        mode,
        running,
        paused,
        pins: pins.into_iter().collect(),
        weights: weights.into_iter().collect(),
        removing: removing.into_iter().collect(),
        highest_removed: long(rest)?.into(),
    })
}

fn number(mode: Mode) -> u8 {
    match mode {
        Mode::Off => 1,
        Mode::Manual => 2,
        Mode::Count => 3,
        Mode::Load => 4,
    }
}

fn mode(number: u8) -> Option<Mode> {
    [Mode::Off, Mode::Manual, Mode::Count, Mode::Load].into_iter().find(|mode| self::number(*mode) == number)
}
