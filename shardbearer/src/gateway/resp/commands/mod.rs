//! Every command: its name, its arguments, where its keys are, and what carries it out.
//!
//! One file per family; each has its part of the table. `COMMAND` shows the same table to clients.

mod client;
mod connection;
mod expiry;
mod many;
mod numbers;
mod server;
mod strings;

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;

use super::failure::Failure;
use super::plan::Plan;
use super::reply::Writer;
use super::session::Session;

pub use self::server::{info, shows};

/// A command as the table knows it.
#[derive(Debug)]
pub struct Spec {
    /// In small letters.
    pub name: &'static str,
    /// Words of the command with its name; if negative, at least so many.
    pub arity: i32,
    /// As `COMMAND` shows them.
    pub flags: &'static [&'static str],
    /// Where its keys are.
    pub keys: Keys,
    /// Whether it may be queued by `MULTI`.
    pub queues: bool,
    /// What carries it out.
    pub run: Run,
}

/// Which arguments are keys. All 0 if none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Position of the first.
    pub first: i32,
    /// Position of the last; if negative, counted from the end.
    pub last: i32,
    /// From one to the next.
    pub step: i32,
}

/// Turns arguments into calls. The time is the wall clock in Unix milliseconds.
pub type Translate = fn(&[Bytes], u64) -> Result<Plan, Failure>;

/// What carries a command out.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// The door, by way of a plan: everything that concerns keys.
    Data(Translate),
    /// This connection alone; asks nobody.
    Local(fn(&mut Session, &[Bytes], &mut Writer)),
    /// Something that concerns whole shards or the cluster.
    Whole(Whole),
    /// Something that changes what becomes of other commands.
    Control(Control),
}

/// Commands that concern whole shards or the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// `DBSIZE`.
    DbSize,
    /// `FLUSHDB` and `FLUSHALL`.
    Flush,
    /// `KEYS`.
    Keys,
    /// `RANDOMKEY`.
    RandomKey,
    /// `SCAN`.
    Scan,
    /// `CLUSTER`.
    Cluster,
    /// `INFO`.
    Info,
}

/// Commands that change what becomes of other commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `MULTI`.
    Multi,
    /// `EXEC`.
    Exec,
    /// `DISCARD`.
    Discard,
    /// `WATCH`.
    Watch,
    /// `UNWATCH`.
    Unwatch,
    /// `RESET`.
    Reset,
    /// `QUIT`.
    Quit,
}

impl Keys {
    /// None.
    pub const NONE: Keys = Keys { first: 0, last: 0, step: 0 };
    /// The first argument.
    pub const FIRST: Keys = Keys { first: 1, last: 1, step: 1 };
    /// All arguments.
    pub const ALL: Keys = Keys { first: 1, last: -1, step: 1 };
    /// Every other argument.
    pub const PAIRS: Keys = Keys { first: 1, last: -1, step: 2 };

    /// The keys among the words of a command.
    pub fn of(self, words: &[Bytes]) -> impl Iterator<Item = &Bytes> {
        let (first, step) = (self.first.max(0) as usize, self.step.max(1) as usize);
        let end = match self.last {
            0 => 0,
            last if last < 0 => words.len().saturating_sub((-last - 1) as usize),
            last => words.len().min(last as usize + 1),
        };
        words.get(first..end).unwrap_or_default().iter().step_by(step)
    }
}

impl Spec {
    /// Whether the command may have so many words.
    pub fn takes(&self, words: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { words >= least } else { words == least }
    }

    /// Whether it only reads.
    pub fn is_read(&self) -> bool {
        self.flags.contains(&"readonly")
    }

    const fn outside_transactions(self) -> Spec {
        Spec { queues: false, ..self }
    }
}

const READ: &[&str] = &["readonly"];
const READ_FAST: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write"];
const WRITE_FAST: &[&str] = &["write", "fast"];
const DENY_OOM: &[&str] = &["write", "denyoom"];
const ANY_TIME: &[&str] = &["noscript", "loading", "stale", "fast"];

const fn data(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    keys: Keys,
    run: Translate,
) -> Spec {
    Spec { name, arity, flags, keys, queues: true, run: Run::Data(run) }
}

const fn local(name: &'static str, arity: i32, run: fn(&mut Session, &[Bytes], &mut Writer)) -> Spec {
    Spec { name, arity, flags: ANY_TIME, keys: Keys::NONE, queues: true, run: Run::Local(run) }
}

const fn whole(name: &'static str, arity: i32, flags: &'static [&'static str], run: Whole) -> Spec {
    Spec { name, arity, flags, keys: Keys::NONE, queues: false, run: Run::Whole(run) }
}

const fn control(name: &'static str, arity: i32, run: Control) -> Spec {
    Spec { name, arity, flags: ANY_TIME, keys: Keys::NONE, queues: true, run: Run::Control(run) }
}

const OTHERS: &[Spec] = &[
    whole("dbsize", 1, READ_FAST, Whole::DbSize),
    whole("flushdb", -1, WRITE, Whole::Flush),
    whole("flushall", -1, WRITE, Whole::Flush),
    whole("keys", 2, READ, Whole::Keys),
    whole("randomkey", 1, READ, Whole::RandomKey),
    whole("scan", -2, READ, Whole::Scan),
    whole("cluster", -2, &["stale"], Whole::Cluster),
    whole("info", -1, &["loading", "stale"], Whole::Info),
    control("multi", 1, Control::Multi),
    control("exec", 1, Control::Exec),
    control("discard", 1, Control::Discard),
    Spec { keys: Keys::ALL, ..control("watch", -2, Control::Watch) },
    control("unwatch", 1, Control::Unwatch),
    control("reset", 1, Control::Reset),
    control("quit", -1, Control::Quit),
];

/// All commands, by family.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    let families = [
        strings::TABLE,
        numbers::TABLE,
        many::TABLE,
        expiry::TABLE,
        connection::TABLE,
        client::TABLE,
        server::TABLE,
        OTHERS,
    ];
    families.into_iter().flatten()
}

/// The command with this name, in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Spec>> =
        LazyLock::new(|| all().map(|spec| (spec.name.as_bytes(), spec)).collect());
    // No command has a longer name, so that looking one up needs no memory.
    let mut lower = [0; 16];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

/// Why a name is not that of a command.
pub fn unknown(words: &[Bytes]) -> Failure {
    /// As much of what was sent as Redis repeats.
    const SHOWN_BYTES_MAX: usize = 128;
    let shown = |word: &Bytes| String::from_utf8_lossy(&word[..word.len().min(SHOWN_BYTES_MAX)]).into_owned();
    let mut arguments = String::new();
    for word in words.iter().skip(1) {
        if arguments.len() >= SHOWN_BYTES_MAX {
            break;
        }
        arguments.push_str(&format!("'{}' ", shown(word)));
    }
    let name = words.first().map(shown).unwrap_or_default();
    format!("ERR unknown command '{name}', with args beginning with: {arguments}").into()
}

/// Why a word is not a subcommand.
pub fn unknown_subcommand(command: &str, word: &[u8]) -> Failure {
    let word = String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned();
    format!("ERR unknown subcommand '{word}'. Try {} HELP.", command.to_ascii_uppercase()).into()
}

/// A subcommand was called with too few or too many arguments.
pub fn subcommand_arity(command: &str, subcommand: &str) -> Failure {
    Failure::arity(&format!("{command}|{subcommand}"))
}

#[cfg(test)]
mod tests;
