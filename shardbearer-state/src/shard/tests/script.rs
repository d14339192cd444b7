//! Golden traces: `scripts/shard/*.txt`, one scenario a file. The first line says what must hold and what tries to
//! break it. Blocks of commands are followed by `---` and a line per answer. Set `UPDATE_SCRIPTS=1` to write what
//! is answered now, and read the difference before you commit it.
//!
//! A line is an entry of one item, a line of several separated by ` ; ` an entry of several. `""` is the empty value and
//! `x*5000` a long one. Commands of the store are parsed in [`super::words`]; besides there are:
//!
//! | command | does |
//! |---|---|
//! | `at 5000` | sets the herald's clock, and this radiant's, in milliseconds |
//! | `shard 2` | sends what follows to another shard |
//! | `s1 7 from 5 retry put k v` | the seventh request of session 1, which still waits for the fifth; `from` and `retry` may be missing |
//! | `read get k`, `read scan`, `read count` | asks outside the log |
//! | `fill 4 x 1000000` | four sessions never seen before with so many bytes of remembered reply each |
//! | `restart` | loads everything from the rows |
//! | `meta`, `spaces` | shows the shard's record, and the spaces with how many rows they have |

use std::path::Path;

use super::words::{self, command, session};
use super::*;

#[test]
fn golden_traces_of_all_scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/shard");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 12, "only {} scripts in {}", paths.len(), folder.display());
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("a script is text");
        let actual = Play::new().script(&script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, actual).expect("the script can be written");
        } else if actual != script {
            let differs = script.lines().zip(actual.lines()).position(|(one, other)| one != other);
            panic!(
                "{} differs from line {:?} on. It is now:\n{actual}",
                path.display(),
                differs.map(|at| at + 1)
            );
        }
    }
}

/// A script while it is carried out.
struct Play {
    replica: Replica,
    shard: ShardId,
    now_ms: u64,
    filled: u128,
}

impl Play {
    fn new() -> Play {
        Play { replica: Replica::new(), shard: SHARD, now_ms: 0, filled: 1_000 }
    }

    /// Carries out a script; returns it with the answers.
    fn script(&mut self, script: &str) -> String {
        let mut actual = String::new();
        for block in script.trim_end().split("\n\n") {
            let commands = block.split("\n---").next().unwrap_or_default();
            let mut answers = Vec::new();
            for line in commands.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
                answers.extend(self.line(line));
            }
            if !actual.is_empty() {
                actual.push('\n');
            }
            actual += &format!("{commands}\n");
            if !answers.is_empty() {
                actual += &format!("---\n{}\n", answers.join("\n"));
            }
        }
        actual
    }

    fn line(&mut self, line: &str) -> Vec<String> {
        let all: Vec<&str> = line.split_whitespace().collect();
        match all.as_slice() {
            ["at", ms] => self.now_ms = ms.parse().expect("a number"),
            ["shard", id] => self.shard = ShardId(id.parse().expect("a number")),
            ["restart"] => self.replica.restart(),
            ["meta"] => return vec![self.meta()],
            ["spaces"] => return self.spaces(),
            ["fill", count, "x", bytes] => {
                let (count, bytes) = (count.parse().expect("a number"), bytes.parse().expect("a number"));
                return vec![self.fill(count, bytes)];
            }
            ["read", rest @ ..] => {
                return vec![match self.replica.query(self.shard, &command(rest), self.now_ms) {
                    QueryOutcome::Reply(reply) => words::answer(&reply),
                    QueryOutcome::NeedsSweep => "needs a sweep first".into(),
                }];
            }
            _ => {
                let items = line.split(" ; ").map(|item| self.item(item)).collect();
                let replies = self.replica.apply(Entry { time_ms: self.now_ms, items });
                return replies.iter().map(words::answer).collect();
            }
        }
        Vec::new()
    }

    fn item(&self, text: &str) -> Item {
        let all: Vec<&str> = text.split_whitespace().collect();
        let (id, rest) = session(&all);
        Item { shard: self.shard, id, until: 0, command: command(rest) }
    }

    fn meta(&self) -> String {
        let Some(meta) = self.replica.meta(self.shard) else { return "no record".into() };
        format!(
            "{} since epoch {}, generation {}, revision {}, {} rows of {} bytes, time {}{}",
            if meta.standing.serves() { "serving" } else { "not serving" },
            meta.epoch,
            meta.generation,
            meta.revision,
            meta.rows,
            meta.bytes,
            meta.time_ms,
            if meta.forgot { ", forgot sessions" } else { "" },
        )
    }

    fn spaces(&self) -> Vec<String> {
        let known = self.replica.machine.spaces();
        let stored = self.replica.stored.0.iter().filter(|(_, rows)| !rows.is_empty());
        stored
            .map(|(space, rows)| {
                assert!(known.contains(space), "{space:?} is not part of the state, and was not dropped");
                format!("{space:?}: {} rows", rows.len())
            })
            .collect()
    }

    fn fill(&mut self, count: u32, bytes: usize) -> String {
        let big = Bytes::from(vec![b'x'; bytes]);
        let put = |previous| Command::Put {
            key: Bytes::from_static(b"big"),
            value: big.clone(),
            condition: Default::default(),
            expiry: Default::default(),
            previous,
        };
        self.replica.apply(Entry { time_ms: self.now_ms, items: vec![Item::of(self.shard, put(false))] });
        let mut refused = 0;
        for _ in 0..count {
            self.filled += 1;
            let id = words::request(self.filled, 1, 1, false);
            let items = vec![Item { shard: self.shard, id: Some(id), until: 0, command: put(true) }];
            let replies = self.replica.apply(Entry { time_ms: self.now_ms, items });
            refused += replies.iter().filter(|reply| matches!(reply, Reply::Refused(_))).count();
        }
        format!("{refused} of {count} sessions refused")
    }
}
