//! A migration as JSON and in a sentence.

use indicatif::HumanBytes;
use serde::{Deserialize, Serialize};
use shardbearer_proto::pb;

/// A shard on its way from one order to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The epoch that began it.
    pub id: u64,
    /// The shard.
    pub shard: u64,
    /// The shard that it is split off; absent if it moves.
    #[serde(default)]
    pub parent: Option<u64>,
    /// The first slot of a shard that is split off.
    #[serde(default)]
    pub at: Option<u32>,
    /// The order that gives it.
    pub from: u64,
    /// The order that takes it.
    pub to: u64,
    /// "planned", "copying", "frozen", "serving", "collected", "returning" or "returned".
    pub phase: String,
    /// Whether nothing remains to be done.
    pub over: bool,
    /// Whether the copying waits for the operator.
    pub paused: bool,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// What it should change.
    #[serde(default)]
    pub predicted: Option<String>,
    /// What else could have been done.
    #[serde(default)]
    pub alternatives: Vec<String>,
    /// What it really changed.
    #[serde(default)]
    pub effect: Option<String>,
    /// Why it is called off.
    pub called_off: Option<String>,
    /// Why it does not go on at the moment.
    pub blocker: Option<String>,
    /// Rows copied so far, changes included.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the shard.
    pub bytes_total: u64,
    /// Bytes a second.
    pub rate: u64,
    /// Rounds of changes so far.
    pub rounds: u64,
    /// The key copied last.
    pub cursor: String,
    /// How long the copying will take at this rate, in milliseconds.
    pub estimate_ms: Option<u64>,
    /// When it began, in Unix milliseconds.
    pub started_ms: u64,
    /// When it last changed, in Unix milliseconds.
    pub changed_ms: u64,
    /// The epoch that ended it.
    pub ended: Option<u64>,
}

impl From<pb::Migration> for Migration {
    fn from(migration: pb::Migration) -> Self {
        let report = migration.report.unwrap_or_default();
        let reason = migration.reason.unwrap_or_default();
        let over = matches!(migration.phase.as_str(), "collected" | "returned");
        let left = report.bytes_total.saturating_sub(report.bytes);
        let estimate_ms = left.saturating_mul(1_000).checked_div(report.rate);
        let copying = migration.phase == "copying" && !migration.paused;
        Migration {
            id: migration.id,
            shard: migration.shard,
            parent: migration.split.map(|split| split.parent),
            at: migration.split.map(|split| split.at),
            from: migration.from,
            to: migration.to,
            over,
            paused: migration.paused,
            who: migration.who,
            why: migration.why,
            predicted: Some(reason.predicted).filter(|text| !text.is_empty()),
            alternatives: reason.alternatives,
            effect: Some(migration.effect).filter(|text| !text.is_empty()),
            called_off: Some(migration.called_off).filter(|why| !why.is_empty()),
            blocker: Some(report.blocker).filter(|why| !why.is_empty() && !over),
            rows: report.rows,
            bytes: report.bytes,
            bytes_total: report.bytes_total,
            rate: report.rate,
            rounds: report.rounds,
            cursor: String::from_utf8_lossy(&report.cursor).into_owned(),
            estimate_ms: estimate_ms.filter(|_| copying),
            started_ms: migration.started_ms,
            changed_ms: migration.changed_ms,
            ended: super::known(migration.ended),
            phase: migration.phase,
        }
    }
}

impl Migration {
    /// All that matters, in a line.
    pub fn sentence(&self) -> String {
        let Migration { shard, from, to, phase, .. } = self;
        let split = self.parent.zip(self.at);
        let off =
            split.map_or_else(String::new, |(parent, at)| format!(", split off shard {parent} at slot {at}"));
        let mut text = format!("shard {shard}{off}, order {from} to {to}: {phase}");
        if self.paused {
            text.push_str(", paused");
        }
        if phase == "copying" {
            let percent = (self.bytes.saturating_mul(100)).checked_div(self.bytes_total).unwrap_or(0);
            let Migration { rows, bytes, bytes_total, rate, .. } = self;
            let [bytes, bytes_total, rate] = [bytes, bytes_total, rate].map(|count| HumanBytes(*count));
            text.push_str(&format!(
                ", {rows} rows, {bytes} of {bytes_total}, about {} %, {rate}/s",
                percent.min(100)
            ));
            if !self.cursor.is_empty() {
                text.push_str(&format!(", at key {}", short(&self.cursor)));
            }
            if let Some(estimate_ms) = self.estimate_ms {
                text.push_str(&format!(", {} s left", estimate_ms.div_ceil(1_000)));
            }
        }
        for why in self.called_off.iter().chain(&self.blocker) {
            text.push_str(&format!(" ({why})"));
        }
        text
    }
}

/// The beginning of a key, in quotes: keys may be long, and hold anything.
fn short(key: &str) -> String {
    const SHOWN: usize = 32;
    let shown: String = key.chars().take(SHOWN).collect();
    let more = if shown.len() < key.len() { "..." } else { "" };
    format!("{shown:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_told_in_a_line() {
        let report = pb::MigrationReport {
            rows: 5,
            bytes: 300,
            bytes_total: 1_000,
            rate: 100,
            cursor: b"user:\n1".to_vec().into(),
            blocker: "the source: no herald".into(),
            ..Default::default()
        };
        let migration = pb::Migration {
            id: 9,
            shard: 3,
            from: 2,
            to: 4,
            phase: "copying".into(),
            report: Some(report),
            ..Default::default()
        };
        let migration = Migration::from(migration);
        assert_eq!(
            migration.sentence(),
            "shard 3, order 2 to 4: copying, 5 rows, 300 B of 1000 B, about 30 %, 100 B/s, at key \"user:\\n1\", 7 s left \
             (the source: no herald)"
        );
        let split =
            Migration { parent: Some(1), at: Some(8_192), cursor: String::new(), ..migration.clone() };
        let told = split.sentence();
        assert!(
            told.starts_with("shard 3, split off shard 1 at slot 8192, order 2 to 4: copying, "),
            "{told}"
        );
        let long = Migration { cursor: "k".repeat(100), ..migration.clone() };
        assert!(
            long.sentence().contains(&format!("at key \"{}\"..., 7 s left", "k".repeat(32))),
            "{}",
            long.sentence()
        );
        let json = serde_json::to_value(&migration).expect("plain data");
        assert_eq!((&json["over"], &json["estimate_ms"]), (&false.into(), &7_000.into()));
        assert!(json["ended"].is_null() && json["called_off"].is_null());
    }
}
