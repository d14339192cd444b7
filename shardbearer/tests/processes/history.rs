//! What clients did and were told, and whether the data agree with it.
//!
//! Every key is put at most once, so that one reading at the end is enough: an acknowledged put is there, a refused
//! one is not, of an unknown one either is right. A counter lies between what was acknowledged and that plus what is
//! unknown. A command that was acknowledged happened once, so that no two of them were told the same number.

use std::collections::{BTreeMap, BTreeSet};

/// What a client knows of a command it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    Refused,
    Unknown,
}

/// A counter as its clients saw it.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    pub unknown: i64,
    /// The value after each acknowledged increment.
    pub told: Vec<i64>,
}

/// All that was done.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Value and outcome by key.
    pub puts: BTreeMap<String, (String, Outcome)>,
    pub counters: BTreeMap<String, Counter>,
}

impl History {
    pub fn put(&mut self, key: &str, value: &str, outcome: Outcome) {
        let earlier = self.puts.insert(key.to_owned(), (value.to_owned(), outcome));
        assert!(earlier.is_none(), "{key} is put twice, of which this checker knows nothing");
    }

    pub fn increment(&mut self, key: &str, outcome: Outcome, told: i64) {
        let counter = self.counters.entry(key.to_owned()).or_default();
        match outcome {
            Outcome::Acknowledged => counter.told.push(told),
            Outcome::Unknown => counter.unknown += 1,
            Outcome::Refused => {}
        }
    }

    /// All keys there may be.
    pub fn keys(&self) -> Vec<String> {
        self.puts.keys().chain(self.counters.keys()).cloned().collect()
    }

    /// How many commands were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let puts = self.puts.values().filter(|(_, outcome)| *outcome == Outcome::Acknowledged).count();
        puts + self.counters.values().map(|counter| counter.told.len()).sum::<usize>()
    }

    /// What of the data cannot be, in words. `found` has the keys there are.
    pub fn violations(&self, found: &BTreeMap<String, String>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, (value, outcome)) in &self.puts {
            match (found.get(key), outcome) {
                (None, Outcome::Acknowledged) => wrong.push(format!("{key} is lost")),
                (Some(_), Outcome::Refused) => wrong.push(format!("{key} was refused and is there")),
                (Some(other), _) if other != value => {
                    wrong.push(format!("{key} holds {other:?}, not {value:?}"))
                }
                (Some(_), Outcome::Acknowledged | Outcome::Unknown)
                | (None, Outcome::Refused | Outcome::Unknown) => {}
            }
        }
        for (key, counter) in &self.counters {
            let value: i64 = found.get(key).map_or(Ok(0), |value| value.parse()).unwrap_or(-1);
            let least = i64::try_from(counter.told.len()).unwrap_or(i64::MAX);
            let most = least + counter.unknown;
            if !(least..=most).contains(&value) {
                wrong.push(format!("{key} is {value}, not {least} to {most}"));
            }
            if counter.told.iter().collect::<BTreeSet<_>>().len() != counter.told.len() {
                wrong.push(format!("{key} told two clients the same number"));
            }
            if counter.told.iter().any(|told| *told > value) {
                wrong.push(format!("{key} is {value} and was more"));
            }
        }
        wrong
    }
}

/// A checker that has never complained proves nothing: each way to doctor a history is reported.
#[test]
fn a_doctored_history_is_reported() {
    let mut history = History::default();
    history.put("done", "1", Outcome::Acknowledged);
    history.put("refused", "2", Outcome::Refused);
    history.put("unknown", "3", Outcome::Unknown);
    for told in [1, 3] {
        history.increment("count", Outcome::Acknowledged, told);
    }
    history.increment("count", Outcome::Unknown, 0);
    let found = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let good: &[(&str, &str)] = &[("done", "1"), ("count", "3")];
    assert_eq!(history.violations(&found(good)), [""; 0]);
    assert_eq!(history.violations(&found(&[good, &[("unknown", "3")]].concat())), [""; 0]);

    let check = |pairs: &[(&str, &str)], says: &str| {
        assert_eq!(history.violations(&found(&[good, pairs].concat())), [says]);
    };
    assert_eq!(history.violations(&found(&good[1..])), ["done is lost"]);
    check(&[("done", "3")], "done holds \"3\", not \"1\"");
    check(&[("unknown", "4")], "unknown holds \"4\", not \"3\"");
    check(&[("refused", "2")], "refused was refused and is there");
    check(&[("count", "4")], "count is 4, not 2 to 3");
    check(&[("count", "2")], "count is 2 and was more");
    let mut twice = history.clone();
    twice.increment("count", Outcome::Acknowledged, 3);
    assert_eq!(twice.violations(&found(good)), ["count told two clients the same number"]);
}
