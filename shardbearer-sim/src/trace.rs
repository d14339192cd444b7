//! What happened in a run: a running hash over everything, the last events in words, and how often the rare things
//! occurred.
//!
//! Two runs of one seed must have the same hash. Where they do not, `SIM_TRACE=FILE` writes all events of a run,
//! and a `diff` of two such files shows the first that differs.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::sync::Mutex;

use crate::lock;

/// Events that a failure shows.
const TAIL: usize = 400;

/// Polls after which a run is taken for one that never ends: a hundred times those of the longest.
const POLLS_MAX: u64 = 200_000_000;

/// The record of one run.
pub struct Trace {
    inner: Mutex<Inner>,
}

struct Inner {
    hash: DefaultHasher,
    polls: u64,
    tail: VecDeque<String>,
    covered: BTreeMap<&'static str, u64>,
    broken: Vec<String>,
    file: Option<std::io::BufWriter<std::fs::File>>,
}

impl Default for Trace {
    fn default() -> Self {
        let file = std::env::var_os("SIM_TRACE").and_then(|path| std::fs::File::create(path).ok());
        let inner = Inner {
            // Its keys are fixed, unlike those of a `HashMap`.
            hash: DefaultHasher::new(),
            polls: 0,
            tail: VecDeque::new(),
            covered: BTreeMap::new(),
            broken: Vec::new(),
            file: file.map(std::io::BufWriter::new),
        };
        Trace { inner: Mutex::new(inner) }
    }
}

impl Trace {
    /// A task was given the thread.
    pub fn poll(&self, at_ms: u64, life: &str, task: &str) {
        let mut inner = lock(&self.inner);
        (at_ms, life, task).hash(&mut inner.hash);
        inner.polls += 1;
        assert!(inner.polls < POLLS_MAX, "the run does not end: {life} {task} at {at_ms} ms");
        if let Some(file) = &mut inner.file {
            // A diagnosis aid: what cannot be written is missing there and nowhere else.
            let _ = writeln!(file, "{at_ms} {life} poll {task}");
        }
    }

    /// Something happened that people want to read about.
    pub fn event(&self, at_ms: u64, what: fmt::Arguments<'_>) {
        let line = format!("{at_ms:>7} {what}");
        let mut inner = lock(&self.inner);
        line.hash(&mut inner.hash);
        if let Some(file) = &mut inner.file {
            let _ = writeln!(file, "{line}");
        }
        if inner.tail.len() == TAIL {
            inner.tail.pop_front();
        }
        inner.tail.push_back(line);
    }

    /// Bytes went somewhere.
    pub fn bytes(&self, at_ms: u64, what: &str, bytes: &[u8]) {
        let mut inner = lock(&self.inner);
        (at_ms, what, bytes).hash(&mut inner.hash);
        if inner.file.is_some() {
            let mut digest = DefaultHasher::new();
            bytes.hash(&mut digest);
            let (digest, length) = (digest.finish(), bytes.len());
            if let Some(file) = &mut inner.file {
                let _ = writeln!(file, "{at_ms} {what} {length} bytes {digest:016x}");
            }
        }
    }

    /// Something rare happened that runs are meant to reach.
    pub fn cover(&self, what: &'static str) {
        *lock(&self.inner).covered.entry(what).or_default() += 1;
    }

    /// An invariant is broken.
    pub fn broken(&self, what: String) {
        lock(&self.inner).broken.push(what);
    }

    /// The first broken invariant, if any.
    pub fn first_broken(&self) -> Option<String> {
        lock(&self.inner).broken.first().cloned()
    }

    /// The hash so far.
    pub fn digest(&self) -> u64 {
        lock(&self.inner).hash.finish()
    }

    /// How often what was reached.
    pub fn covered(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.inner).covered.clone()
    }

    /// The last events.
    pub fn tail(&self) -> String {
        let inner = lock(&self.inner);
        inner.tail.iter().map(|line| format!("{line}\n")).collect()
    }
}
