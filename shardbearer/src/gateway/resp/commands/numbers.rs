//! Commands that count.

use bytes::Bytes;
use shardbearer_core::kv::Command;

use super::{DENY_OOM, Keys, Spec, data};
use crate::gateway::resp::args;
use crate::gateway::resp::failure::Failure;
use crate::gateway::resp::plan::{Plan, Shape};

pub(super) const TABLE: &[Spec] = &[
    data("incr", 2, DENY_OOM, Keys::FIRST, incr),
    data("decr", 2, DENY_OOM, Keys::FIRST, decr),
    data("incrby", 3, DENY_OOM, Keys::FIRST, incrby),
    data("decrby", 3, DENY_OOM, Keys::FIRST, decrby),
    data("incrbyfloat", 3, DENY_OOM, Keys::FIRST, incrbyfloat),
];

fn increment(args: &[Bytes], by: i64) -> Plan {
    Plan::one(Command::Increment { key: args[1].clone(), by }, Shape::Plain)
}

fn incr(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    Ok(increment(args, 1))
}

fn decr(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    Ok(increment(args, -1))
}

fn incrby(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    Ok(increment(args, args::integer(&args[2])?))
}

fn decrby(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let by = args::integer(&args[2])?;
    let by = by.checked_neg().ok_or(Failure::from("ERR decrement would overflow"))?;
    Ok(increment(args, by))
}

fn incrbyfloat(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let by = args::float(&args[2])?;
    if !by.is_finite() {
        return Err(Failure::NOT_FINITE);
    }
    Ok(Plan::one(Command::IncrementFloat { key: args[1].clone(), by }, Shape::Float))
}
