//! Commands that concern the server: `COMMAND`, `CONFIG`, `INFO`, `TIME`.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Spec, all, find, local, subcommand_arity, unknown_subcommand};
use crate::gateway::resp::args;
use crate::gateway::resp::cluster;
use crate::gateway::resp::glob;
use crate::gateway::resp::reply::Writer;
use crate::gateway::resp::session::{Gateway, Session};

/// The Redis whose commands and replies these are.
pub const REDIS_VERSION: &str = "7.4.0";

pub(super) const TABLE: &[Spec] = &[
    local("command", -1, command),
    local("config", -2, config),
    local("time", 1, |session, _, writer| {
        let now_ms = session.gateway.world.wall_ms();
        writer.array(2);
        writer.bulk((now_ms / 1000).to_string().as_bytes());
        writer.bulk((now_ms % 1000 * 1000).to_string().as_bytes());
    }),
];

fn command(_: &mut Session, args: &[Bytes], writer: &mut Writer) {
    let Some(word) = args.get(1) else { return describe_all(writer) };
    let name = args::lower(word);
    match (name.as_str(), &args[2..]) {
        ("count", []) => writer.integer(all().count() as i64),
        ("list", []) => {
            writer.array(all().count());
            all().for_each(|spec| writer.bulk(spec.name.as_bytes()));
        }
        ("info", []) => describe_all(writer),
        ("info", names) => {
            writer.array(names.len());
            for name in names {
                match find(name) {
                    Some(spec) => describe(spec, writer),
                    None => writer.null_array(),
                }
            }
        }
        ("docs", []) => docs(all().collect(), writer),
        ("docs", names) => docs(names.iter().filter_map(|name| find(name)).collect(), writer),
        ("getkeys", words @ [_, ..]) => keys(words, writer),
        ("count" | "list" | "getkeys", _) => writer.failure(&subcommand_arity("command", &name)),
        _ => writer.failure(&unknown_subcommand("command", word)),
    }
}

fn describe_all(writer: &mut Writer) {
    writer.array(all().count());
    all().for_each(|spec| describe(spec, writer));
}

fn describe(spec: &Spec, writer: &mut Writer) {
    writer.array(10);
    writer.bulk(spec.name.as_bytes());
    writer.integer(i64::from(spec.arity));
    writer.set(spec.flags.len());
    spec.flags.iter().for_each(|flag| writer.simple(flag));
    for number in [spec.keys.first, spec.keys.last, spec.keys.step] {
        writer.integer(i64::from(number));
    }
    // Access categories, hints, key specifications, subcommands.
    writer.set(0);
    for _ in 0..3 {
        writer.array(0);
    }
}

fn docs(specs: Vec<&Spec>, writer: &mut Writer) {
    writer.map(specs.len());
    for spec in specs {
        writer.bulk(spec.name.as_bytes());
        writer.map(1);
        writer.bulk(b"group");
        writer.bulk(if spec.keys.first == 0 { b"server" } else { b"string" });
    }
}

fn keys(words: &[Bytes], writer: &mut Writer) {
    let failure = match find(&words[0]) {
        None => "ERR Invalid command specified",
        Some(spec) if !spec.takes(words.len()) => "ERR Invalid number of arguments specified for command",
        Some(spec) => {
            let keys: Vec<&Bytes> = spec.keys.of(words).collect();
            if !keys.is_empty() {
                writer.array(keys.len());
                return keys.into_iter().for_each(|key| writer.value(key));
            }
            "ERR The command has no key arguments"
        }
    };
    writer.failure(&failure.into());
}

fn config(session: &mut Session, args: &[Bytes], writer: &mut Writer) {
    let name = args::lower(&args[1]);
    match (name.as_str(), &args[2..]) {
        ("get", patterns @ [_, ..]) => {
            let settings = settings(&session.gateway);
            let lower: Vec<String> = patterns.iter().map(|pattern| args::lower(pattern)).collect();
            let wanted = |name: &str| lower.iter().any(|p| glob::matches(p.as_bytes(), name.as_bytes()));
            let found: Vec<_> = settings.iter().filter(|(name, _)| wanted(name)).collect();
            writer.map(found.len());
            for (name, value) in found {
                writer.bulk(name.as_bytes());
                writer.bulk(value.as_bytes());
            }
        }
        ("set", [_, _, ..]) => writer.failure(
            &"ERR CONFIG SET is not supported: settings are in shardbearer's configuration file".into(),
        ),
        ("resetstat", []) => writer.ok(),
        ("rewrite", []) => writer.failure(&"ERR The server is running without a config file".into()),
        ("get" | "set" | "resetstat" | "rewrite", _) => writer.failure(&subcommand_arity("config", &name)),
        _ => writer.failure(&unknown_subcommand("config", &args[1])),
    }
}

/// What tools ask for, in the terms of Redis: every write is in a log that is synced before it is answered.
fn settings(gateway: &Gateway) -> Vec<(&'static str, String)> {
    vec![
        ("appendfsync", "always".into()),
        ("appendonly", "yes".into()),
        ("bind", String::new()),
        ("cluster-enabled", "yes".into()),
        ("databases", "1".into()),
        ("maxclients", gateway.options.connections_max.to_string()),
        ("maxmemory", "0".into()),
        ("maxmemory-policy", "noeviction".into()),
        ("proto-max-bulk-len", gateway.options.command_bytes_max.to_string()),
        ("save", String::new()),
        ("tcp-keepalive", "0".into()),
        ("timeout", "0".into()),
    ]
}

/// The text of `INFO` with the sections asked for. `rows` is how many keys there are, if that was found out.
pub fn info(gateway: &Gateway, sections: &[Bytes], rows: Option<u64>) -> String {
    let mut text = String::new();
    for (name, section) in [
        ("Server", server as fn(&Gateway, Option<u64>) -> String),
        ("Clients", clients),
        ("Memory", |_, _| "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n".into()),
        ("Persistence", persistence),
        ("Stats", stats),
        ("Replication", |_, _| "role:master\r\nconnected_slaves:0\r\n".into()),
        ("Cluster", |_, _| "cluster_enabled:1\r\n".into()),
        ("Keyspace", keyspace),
    ] {
        if shows(sections, name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "# {name}\r\n{}", section(gateway, rows));
        }
    }
    text
}

/// Whether `INFO` with these words shows a section.
pub fn shows(words: &[Bytes], section: &str) -> bool {
    words.is_empty()
        || words.iter().any(|word| args::one_of(word, &[section, "all", "default", "everything"]).is_some())
}

fn server(gateway: &Gateway, _: Option<u64>) -> String {
    let seconds = gateway.now_ms().saturating_sub(gateway.started_ms) / 1000;
    let run_id = cluster::my_node_id(gateway).unwrap_or_else(|| "0".repeat(40));
    format!(
        "redis_version:{REDIS_VERSION}\r\nshardbearer_version:{}\r\nredis_mode:cluster\r\nos:{} {}\r\n\
         arch_bits:{}\r\nprocess_id:{}\r\nrun_id:{run_id}\r\nuptime_in_seconds:{seconds}\r\n\
         uptime_in_days:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        usize::BITS,
        std::process::id(),
        seconds / 86_400,
    )
}

fn clients(gateway: &Gateway, _: Option<u64>) -> String {
    format!(
        "connected_clients:{}\r\nmaxclients:{}\r\nblocked_clients:0\r\n",
        gateway.clients.count(),
        gateway.options.connections_max
    )
}

fn persistence(gateway: &Gateway, _: Option<u64>) -> String {
    format!("loading:{}\r\naof_enabled:1\r\n", u8::from(gateway.inside().is_err()))
}

fn stats(gateway: &Gateway, _: Option<u64>) -> String {
    format!(
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\nrejected_connections:{}\r\n",
        gateway.clients.accepted(),
        gateway.commands.load(Ordering::Relaxed),
        gateway.clients.refused()
    )
}

fn keyspace(_: &Gateway, rows: Option<u64>) -> String {
    match rows {
        // The expiries are not counted; clients read the number of keys.
        Some(rows) if rows > 0 => format!("db0:keys={rows},expires=0,avg_ttl=0\r\n"),
        Some(_) | None => String::new(),
    }
}
