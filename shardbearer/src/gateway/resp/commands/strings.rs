//! Commands that read or replace a whole value.

use bytes::Bytes;
use shardbearer_core::kv::{Command, Condition, ExpireWhen, Expiry};

use super::{DENY_OOM, Keys, READ, READ_FAST, Spec, WRITE_FAST, data};
use crate::gateway::resp::args::{self, Unit};
use crate::gateway::resp::failure::Failure;
use crate::gateway::resp::plan::{Plan, Shape};

pub(super) const TABLE: &[Spec] = &[
    data("get", 2, READ_FAST, Keys::FIRST, get),
    data("set", -3, DENY_OOM, Keys::FIRST, set),
    data("setnx", 3, DENY_OOM, Keys::FIRST, setnx),
    data("setex", 4, DENY_OOM, Keys::FIRST, setex),
    data("psetex", 4, DENY_OOM, Keys::FIRST, psetex),
    data("getset", 3, DENY_OOM, Keys::FIRST, getset),
    data("getdel", 2, WRITE_FAST, Keys::FIRST, getdel),
    data("getex", -2, WRITE_FAST, Keys::FIRST, getex),
    data("strlen", 2, READ_FAST, Keys::FIRST, strlen),
    data("append", 3, DENY_OOM, Keys::FIRST, append),
    data("getrange", 4, READ, Keys::FIRST, getrange),
    data("substr", 4, READ, Keys::FIRST, getrange),
    data("setrange", 4, DENY_OOM, Keys::FIRST, setrange),
];

fn get(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    Ok(Plan::one(Command::Get { key: args[1].clone() }, Shape::Value))
}

fn put(args: (&Bytes, &Bytes), condition: Condition, expiry: Expiry, previous: bool) -> Command {
    Command::Put { key: args.0.clone(), value: args.1.clone(), condition, expiry, previous }
}

/// `SET key value [NX | XX | IFEQ value | IFNE value] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`.
fn set(args: &[Bytes], now_ms: u64) -> Result<Plan, Failure> {
    let (mut condition, mut expiry, mut previous) = (None, None, false);
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        match args::one_of(option, &["NX", "XX", "IFEQ", "IFNE", "GET", "KEEPTTL"]) {
            Some("GET") => previous = true,
            Some("KEEPTTL") if expiry.is_none() => expiry = Some(Expiry::Keep),
            Some("NX") if condition.is_none() => condition = Some(Condition::Absent),
            Some("XX") if condition.is_none() => condition = Some(Condition::Present),
            Some("IFEQ") if condition.is_none() => {
                condition = Some(Condition::Value(options.next().ok_or(Failure::SYNTAX)?.clone()));
            }
            Some("IFNE") if condition.is_none() => {
                condition = Some(Condition::NotValue(options.next().ok_or(Failure::SYNTAX)?.clone()));
            }
            Some(_) => return Err(Failure::SYNTAX),
            None if expiry.is_none() => {
                let at_ms = args::expiry_option(option, options.next(), now_ms, "set")?;
                expiry = Some(Expiry::At(at_ms.ok_or(Failure::SYNTAX)?));
            }
            None => return Err(Failure::SYNTAX),
        }
    }
    let shape = if previous { Shape::Previous } else { Shape::Stored };
    let (condition, expiry) = (condition.unwrap_or_default(), expiry.unwrap_or_default());
    Ok(Plan::one(put((&args[1], &args[2]), condition, expiry, previous), shape))
}

fn setnx(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let put = put((&args[1], &args[2]), Condition::Absent, Expiry::Never, false);
    Ok(Plan::one(put, Shape::Changed))
}

fn setex(args: &[Bytes], now_ms: u64) -> Result<Plan, Failure> {
    expiring(args, Unit::Seconds, now_ms, "setex")
}

fn psetex(args: &[Bytes], now_ms: u64) -> Result<Plan, Failure> {
    expiring(args, Unit::Milliseconds, now_ms, "psetex")
}

fn expiring(args: &[Bytes], unit: Unit, now_ms: u64, command: &str) -> Result<Plan, Failure> {
    let expiry = Expiry::At(args::positive_moment(&args[2], unit, now_ms, command)?);
    Ok(Plan::one(put((&args[1], &args[3]), Condition::Always, expiry, false), Shape::Done))
}

fn getset(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let put = put((&args[1], &args[2]), Condition::Always, Expiry::Never, true);
    Ok(Plan::one(put, Shape::Previous))
}

fn getdel(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let delete = Command::Delete { key: args[1].clone(), condition: Condition::Always, previous: true };
    Ok(Plan::one(delete, Shape::Previous))
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`.
fn getex(args: &[Bytes], now_ms: u64) -> Result<Plan, Failure> {
    let key = &args[1];
    let get = Command::Get { key: key.clone() };
    let at_ms = match &args[2..] {
        [] => return Ok(Plan::one(get, Shape::Value)),
        [option] if args::is(option, "PERSIST") => None,
        [option, number] => {
            let at_ms = args::expiry_option(option, Some(number), now_ms, "getex")?;
            Some(at_ms.ok_or(Failure::SYNTAX)?)
        }
        _ => return Err(Failure::SYNTAX),
    };
    let expire = Command::Expire { key: key.clone(), at_ms, when: ExpireWhen::Always };
    Plan::together(vec![get, expire], Shape::Value)
}

fn strlen(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    Ok(Plan::one(Command::Inspect { key: args[1].clone() }, Shape::Length))
}

fn append(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let append = Command::Append { key: args[1].clone(), value: args[2].clone() };
    Ok(Plan::one(append, Shape::Plain))
}

fn getrange(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let (start, end) = (args::integer(&args[2])?, args::integer(&args[3])?);
    Ok(Plan::one(Command::Get { key: args[1].clone() }, Shape::Range { start, end }))
}

fn setrange(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let offset = args::integer(&args[2])?;
    let offset = u64::try_from(offset).map_err(|_| Failure::from("ERR offset is out of range"))?;
    if args[3].is_empty() {
        return Ok(Plan::one(Command::Inspect { key: args[1].clone() }, Shape::Length));
    }
    if offset.saturating_add(args[3].len() as u64) > shardbearer_core::limits::GROWN_VALUE_BYTES_MAX as u64 {
        return Err(Failure::TOO_LONG);
    }
    let set = Command::SetRange { key: args[1].clone(), offset, value: args[3].clone() };
    Ok(Plan::one(set, Shape::Plain))
}
