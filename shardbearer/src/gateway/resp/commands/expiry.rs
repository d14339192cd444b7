//! Commands on a key's type and on the time at which it expires.

use bytes::Bytes;
use shardbearer_core::kv::{Command, ExpireWhen};

use super::{Keys, READ_FAST, Spec, WRITE_FAST, data};
use crate::gateway::resp::args::{self, Unit};
use crate::gateway::resp::failure::Failure;
use crate::gateway::resp::plan::{Plan, Shape};

pub(super) const TABLE: &[Spec] = &[
    data("type", 2, READ_FAST, Keys::FIRST, kind),
    data("expire", -3, WRITE_FAST, Keys::FIRST, |args, now| expire(args, Unit::Seconds, now, "expire")),
    data("pexpire", -3, WRITE_FAST, Keys::FIRST, |args, now| {
        expire(args, Unit::Milliseconds, now, "pexpire")
    }),
    data("expireat", -3, WRITE_FAST, Keys::FIRST, |args, _| expire(args, Unit::Seconds, 0, "expireat")),
    data("pexpireat", -3, WRITE_FAST, Keys::FIRST, |args, _| {
        expire(args, Unit::Milliseconds, 0, "pexpireat")
    }),
    data("ttl", 2, READ_FAST, Keys::FIRST, |args, _| Ok(left(args, true, false))),
    data("pttl", 2, READ_FAST, Keys::FIRST, |args, _| Ok(left(args, false, false))),
    data("expiretime", 2, READ_FAST, Keys::FIRST, |args, _| Ok(left(args, true, true))),
    data("pexpiretime", 2, READ_FAST, Keys::FIRST, |args, _| Ok(left(args, false, true))),
    data("persist", 2, WRITE_FAST, Keys::FIRST, persist),
];

fn kind(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    Ok(Plan::one(Command::Inspect { key: args[1].clone() }, Shape::Type))
}

fn expire(args: &[Bytes], unit: Unit, from_ms: u64, command: &str) -> Result<Plan, Failure> {
    let when = when(&args[3..])?;
    let number = args::integer(&args[2])?;
    let at_ms = args::moment(number, unit, from_ms).ok_or_else(|| Failure::expire_time(command))?;
    let expire = Command::Expire { key: args[1].clone(), at_ms: Some(at_ms), when };
    Ok(Plan::one(expire, Shape::Changed))
}

fn when(options: &[Bytes]) -> Result<ExpireWhen, Failure> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for option in options {
        match args::one_of(option, &["NX", "XX", "GT", "LT"]) {
            Some("NX") => nx = true,
            Some("XX") => xx = true,
            Some("GT") => gt = true,
            Some(_) => lt = true,
            None => {
                let option = String::from_utf8_lossy(option);
                return Err(format!("ERR Unsupported option {option}").into());
            }
        }
    }
    match (nx, xx, gt, lt) {
        (true, ..) if xx || gt || lt => {
            Err("ERR NX and XX, GT or LT options at the same time are not compatible".into())
        }
        (_, _, true, true) => Err("ERR GT and LT options at the same time are not compatible".into()),
        (true, ..) => Ok(ExpireWhen::HasNone),
        // No expiry is infinitely late, so nothing is later than that: GT implies XX.
        (_, _, true, _) => Ok(ExpireWhen::Later),
        // Without an expiry LT alone holds, for none is infinitely late; XX takes that out.
        (_, true, _, true) => Ok(ExpireWhen::HasOneAndEarlier),
        (_, _, _, true) => Ok(ExpireWhen::Earlier),
        (_, true, ..) => Ok(ExpireWhen::HasOne),
        _ => Ok(ExpireWhen::Always),
    }
}

fn left(args: &[Bytes], seconds: bool, absolute: bool) -> Plan {
    Plan::one(Command::Inspect { key: args[1].clone() }, Shape::Expiry { seconds, absolute })
}

fn persist(args: &[Bytes], _: u64) -> Result<Plan, Failure> {
    let expire = Command::Expire { key: args[1].clone(), at_ms: None, when: ExpireWhen::Always };
    Ok(Plan::one(expire, Shape::Changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_together_as_redis_lets_them() {
        let check = |options: &str, expect: Result<ExpireWhen, &str>| {
            let words: Vec<Bytes> = options.split_whitespace().map(|word| word.to_owned().into()).collect();
            let found = when(&words);
            assert_eq!(found.as_ref().map_err(|failure| failure.text()), expect.as_ref().map_err(|why| *why));
        };
        let nx = Err("ERR NX and XX, GT or LT options at the same time are not compatible");
        let both = Err("ERR GT and LT options at the same time are not compatible");
        check("", Ok(ExpireWhen::Always));
        check("nx", Ok(ExpireWhen::HasNone));
        check("XX", Ok(ExpireWhen::HasOne));
        check("GT", Ok(ExpireWhen::Later));
        check("LT", Ok(ExpireWhen::Earlier));
        check("XX GT", Ok(ExpireWhen::Later));
        check("LT XX", Ok(ExpireWhen::HasOneAndEarlier));
        check("XX XX", Ok(ExpireWhen::HasOne));
        check("NX XX", nx);
        check("GT NX", nx);
        check("NX LT", nx);
        check("NX GT LT", nx);
        check("GT LT", both);
        check("XX LT GT", both);
        check("XY", Err("ERR Unsupported option XY"));
    }
}
