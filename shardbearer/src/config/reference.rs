//! Every key with its default and its reason: what `docs/config.md` is made of, and what unknown keys are compared with.

/// One key.
pub struct Key {
    /// The section, as in `[section]`.
    pub section: &'static str,
    /// The key in it.
    pub name: &'static str,
    /// Its default, as TOML.
    pub default: &'static str,
    /// What it means and why the default is what it is.
    pub meaning: &'static str,
}

const fn key(section: &'static str, name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { section, name, default, meaning }
}

/// All keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key(
        "radiant",
        "name",
        "\"radiant\"",
        "Unique in the cluster; people see it. Stored in the data directory, which refuses to start under another name.",
    ),
    key(
        "radiant",
        "data_dir",
        "\"data\"",
        "Everything the radiant keeps, relative to the working directory. One process at a time.",
    ),
    key(
        "listen",
        "grpc",
        "\"127.0.0.1:7400\"",
        "For native clients, peers and administration. Cannot be switched off, because the radiants speak through it.",
    ),
    key("listen", "resp", "\"127.0.0.1:6400\"", "For Redis clients; `\"off\"` switches the door off."),
    key(
        "listen",
        "http",
        "\"127.0.0.1:7480\"",
        "For REST, `/metrics` and health; `\"off\"` switches the door off.",
    ),
    key(
        "listen",
        "allow_insecure",
        "false",
        "Doors have neither TLS nor authentication yet, so that one beyond loopback refuses to start unless this is set: whoever reaches it can read and write everything.",
    ),
    key(
        "advertise",
        "grpc",
        "\"\"",
        "`host:port` at which others reach the gRPC door; empty: the address it listens on. Has to be set where that is `0.0.0.0` or `[::]`.",
    ),
    key("advertise", "resp", "\"\"", "Likewise for Redis clients that follow `MOVED`."),
    key("advertise", "http", "\"\"", "Likewise for people."),
    key(
        "bootstrap",
        "neighbors",
        "[]",
        "gRPC addresses of some other radiants, at least one that is reached by all in the end. Its own address does no harm, so that all files may list the same.",
    ),
    key(
        "bootstrap",
        "expect",
        "1",
        "How many radiants found the cluster together. Has to be set, and be the same everywhere, where there are neighbors. A radiant that meets a cluster joins it as a spare, whatever this says.",
    ),
    key(
        "bootstrap",
        "orders",
        "0",
        "Data orders at the founding; 0: one per founder, so that each leads one.",
    ),
    key(
        "bootstrap",
        "replication",
        "3",
        "Members of each data order: 3 survive the loss of one, 5 of two. Cut down to the number of founders.",
    ),
    key(
        "bootstrap",
        "shards",
        "64",
        "Shards of the table `default`, fixed at its founding. Many enough to be spread evenly over a growing cluster, few enough to cost nothing.",
    ),
    key(
        "bootstrap",
        "window_ms",
        "10000",
        "How long all may be quiet before the log says what the founding waits for.",
    ),
    key(
        "consensus",
        "engine",
        "\"openraft\"",
        "The replication protocol of the orders founded by this cluster: `openraft`, `omnipaxos`, `chain` (stops until a member that is silent is left out, see suspicion_ms; its control order runs openraft) or `solo` (one radiant).",
    ),
    key(
        "consensus",
        "engines",
        "[]",
        "Protocols of the data orders founded by this cluster, given to them in turn, so that one cluster can run several; empty: `engine` for all.",
    ),
    key("consensus", "heartbeat_ms", "100", "How often a herald shows that it lives."),
    key(
        "consensus",
        "election_timeout_ms",
        "500",
        "After so long without a sign of the herald its members are free to vote, and stand for election after another twentieth to half of it at random: a herald that dies is replaced after 1.05 to 1.5 times this. At least four heartbeats, and the same on all radiants. Longer: fewer elections on slow disks and networks; shorter: shorter pauses when a herald dies.",
    ),
    key(
        "membership",
        "suspicion_ms",
        "1500",
        "Silence after which a member of a `chain` is left out of it by the control order, so that the others go on; it is taken back once it has caught up. At least one and a half times election_timeout_ms, so that no short pause counts as a failure.",
    ),
    key(
        "membership",
        "down_grace_ms",
        "30000",
        "Silence after which a radiant's seats are given to one that has fewer, if there is one that has none of that order. Longer than a restart takes, because filling a new replica is work.",
    ),
    key(
        "rebalance",
        "settle_ms",
        "5000",
        "For so long nothing may have changed about orders, weights, pins and who leads before shards are moved automatically, so that a series of changes is one plan. Read by the radiant that leads the control order; so are the next two.",
    ),
    key(
        "rebalance",
        "cool_down_ms",
        "60000",
        "Between two automatic plans by count, and between two automatic moves by load, whose effect has to be measured first: shards do not go to and fro.",
    ),
    key(
        "rebalance",
        "gain_min_percent",
        "10",
        "What a move by load has to take off the fuller of its two orders at least, in percent of what an order has on average; 1 to 100. Less would follow noise.",
    ),
    key(
        "storage",
        "engine",
        "\"fjall\"",
        "Where applied data live: `fjall` (log-structured, one keyspace per shard), `sled` (B+ tree), `memory` (an image on disk at each compaction; all data must fit in memory).",
    ),
    key(
        "storage",
        "cache_mib",
        "128",
        "Memory for rows written last to the data store, and for blocks read from it.",
    ),
    key(
        "storage",
        "log_segment_mib",
        "64",
        "Size of a log file; each is prepared in full before it is used, because a growing file makes every fsync slower.",
    ),
    key(
        "storage",
        "log_cache_mib",
        "64",
        "Memory for the latest log entries, so that members that are a little behind cost no reads.",
    ),
    key(
        "storage",
        "reserve_mib",
        "256",
        "Free disk space below which the orders of this radiant refuse writes that add data; deletes and reads go on. A quarter of it, and 64 MiB at most, is set aside for what was taken before.",
    ),
    key(
        "storage",
        "audit_seconds",
        "86400",
        "Every so many seconds, and within ten minutes of a start, all records are read and held against the sums that writes keep up to date, beside what goes on; `status` names shards that are not as they were written. 0: never. Not with `sled`, whose commits would wait.",
    ),
    key(
        "limits",
        "value_bytes_max",
        "1048576",
        "Longest value in bytes, at most 8388608. Large values make others wait.",
    ),
    key(
        "limits",
        "resp_connections_max",
        "10000",
        "Redis connections at the same time; each costs some KiB.",
    ),
    key(
        "telemetry",
        "log",
        "\"info,openraft=error\"",
        "What is logged to standard error: `error`, `warn`, `info`, `debug`, `trace`, or filters such as `info,shardbearer::order=debug`.",
    ),
    key("telemetry", "format", "\"text\"", "`text` for people, `json` for programs."),
];

/// `docs/config.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Configuration of a radiant\n\n\
         <!-- Made from shardbearer/src/config/reference.rs by `shardbearer check-config --reference`; a test compares. -->\n\n\
         `shardbearer node --config radiant.toml` reads a TOML file; no key has to be set. A variable such as\n\
         `SHARDBEARER_STORAGE_CACHE_MIB=512` goes before the file, and `--set storage.cache_mib=512` before both. Unknown keys are\n\
         errors. `shardbearer check-config radiant.toml` checks a file without starting anything.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            out.push_str(&format!("\n## `[{section}]`\n\n| key | default | meaning |\n|---|---|---|\n"));
        }
        out.push_str(&format!("| `{}` | `{}` | {} |\n", key.name, key.default, key.meaning));
    }
    out
}

/// The known key that looks most like `name`, if any does.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.len() / 2).max(2);
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits that turn one word into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse};

    #[test]
    fn the_reference_has_every_key_with_its_true_default() {
        let mut text = String::new();
        let mut section = "";
        for key in KEYS {
            if key.section != section {
                section = key.section;
                text.push_str(&format!("[{section}]\n"));
            }
            text.push_str(&format!("{} = {}\n", key.name, key.default));
        }
        assert_eq!(parse(&text).expect("the defaults are valid"), Config::default());
        let defaults = toml::Table::try_from(Config::default()).expect("plain data");
        let there: usize =
            defaults.values().map(|section| section.as_table().map_or(0, toml::Table::len)).sum();
        assert_eq!(there, KEYS.len(), "a key is missing in the reference, or is there twice");
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
        let stored = std::fs::read_to_string(path).expect("docs/config.md");
        assert_eq!(stored, markdown(), "run scripts/fix.sh");
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("neighbours", known()), Some("neighbors"));
        assert_eq!(nearest("heartbeat", known()), Some("heartbeat_ms"));
        assert_eq!(nearest("quux", known()), None);
    }
}
