//! Commands on several keys. Keys of one slot are served in one step; keys of several slots one by one, as
//! Redis Cluster's clients would send them. Only `MSETNX` makes no sense then.

use bytes::Bytes;
use shardbearer_core::kv::{Command, Condition, Expiry};

use super::{DENY_OOM, Keys, READ_FAST, Spec, WRITE, WRITE_FAST, data};
use crate::gateway::resp::failure::Failure;
use crate::gateway::resp::plan::{Plan, Shape};

pub(super) const TABLE: &[Spec] = &[
    data("mget", -2, READ_FAST, Keys::ALL, mget),
    data("mset", -3, DENY_OOM, Keys::PAIRS, mset),
    data("msetnx", -3, DENY_OOM, Keys::PAIRS, msetnx).outside_transactions(),
    data("del", -2, WRITE, Keys::ALL, del),
    data("unlink", -2, WRITE_FAST, Keys::ALL, del),
    data("exists", -2, READ_FAST, Keys::ALL, exists),
    data("touch", -2, READ_FAST, Keys::ALL, exists),
];

fn mget(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let keys = args[1..].iter().cloned();
    Plan::many(keys.map(|key| Command::Get { key }).collect(), Shape::Values)
}

fn pairs(args: &[Bytes], command: &str) -> Result<Vec<Command>, Failure> {
    let (pairs, rest) = args[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::arity(command));
    }
    let put = |[key, value]: &[Bytes; 2]| Command::Put {
        key: key.clone(),
        value: value.clone(),
        condition: Condition::Always,
        expiry: Expiry::Never,
        previous: false,
    };
    Ok(pairs.iter().map(put).collect())
}

fn mset(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    Plan::many(pairs(args, "mset")?, Shape::Done)
}

/// Guards first: a key named twice is set twice, as in Redis.
fn msetnx(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let puts = pairs(args, "msetnx")?;
    let keys = puts.iter().filter_map(Command::key).cloned();
    let guards = keys.map(|key| Command::Check { key, condition: Condition::Absent });
    let commands = guards.collect::<Vec<_>>().into_iter().chain(puts).collect();
    Plan::together(commands, Shape::AllOrNone)
}

fn del(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let delete =
        |key: &Bytes| Command::Delete { key: key.clone(), condition: Condition::Always, previous: false };
    Plan::many(args[1..].iter().map(delete).collect(), Shape::Removed)
}

fn exists(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let inspect = |key: &Bytes| Command::Inspect { key: key.clone() };
    Plan::many(args[1..].iter().map(inspect).collect(), Shape::Existing)
}
