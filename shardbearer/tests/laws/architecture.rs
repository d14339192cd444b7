//! Who may know whom. The table of docs: crates depend only downwards, the pure machines know neither clock nor disk, one
//! folder knows openraft, and every file says what it is and stays short.

use std::path::{Path, PathBuf};

/// A crate and all it may depend on. To add a dependency is to change this table, on purpose.
struct Crate {
    name: &'static str,
    /// Of ours, in any section but dev-dependencies.
    ours: &'static [&'static str],
    /// Of others, in any section but dev-dependencies; `None`: any but the forbidden.
    others: Option<&'static [&'static str]>,
    /// Never, in no section.
    never: &'static [&'static str],
}

const ENGINES: &[&str] =
    &["openraft", "omnipaxos", "fjall", "sled", "axum", "shardbearer", "shardbearer-state"];

const CRATES: &[Crate] = &[
    Crate {
        name: "shardbearer-core",
        ours: &[],
        others: Some(&["async-trait", "bytes", "rand", "thiserror"]),
        never: &["tokio", "prost"],
    },
    Crate {
        name: "shardbearer-proto",
        ours: &["shardbearer-core"],
        others: Some(&["bytes", "prost", "protox", "thiserror", "tonic", "tonic-prost", "tonic-prost-build"]),
        never: &[],
    },
    Crate {
        name: "shardbearer-state",
        ours: &["shardbearer-core"],
        // JSON and base64 for the lines of a history, which tests and the CLI share; short replies that sessions remember.
        others: Some(&["base64", "bytes", "serde_json", "smallvec", "thiserror"]),
        never: &["tokio", "prost", "rand"],
    },
    Crate {
        name: "shardbearer-sim",
        ours: &["shardbearer-core", "shardbearer-state"],
        others: Some(&["async-trait", "bytes", "rand", "tokio"]),
        never: &["shardbearer", "shardbearer-client"],
    },
    Crate {
        name: "shardbearer-client",
        ours: &["shardbearer-core", "shardbearer-proto"],
        others: None,
        never: ENGINES,
    },
    Crate {
        name: "shardbearer",
        ours: &[
            "shardbearer-client",
            "shardbearer-core",
            "shardbearer-proto",
            "shardbearer-sim", // for one command and behind a feature, see below
            "shardbearer-state",
        ],
        others: None,
        never: &[],
    },
    Crate {
        name: "examples/own-engine",
        ours: &["shardbearer", "shardbearer-core"],
        others: Some(&["async-trait", "bytes"]),
        never: &[],
    },
    Crate {
        name: "examples/own-parts",
        ours: &["shardbearer-core"],
        others: Some(&["async-trait", "bytes", "tokio"]),
        never: &[],
    },
];

/// Lines that a file may have, this one included.
const LINES_MAX: usize = 400;

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let members = manifest("Cargo.toml")["workspace"]["members"].clone();
    let members: Vec<String> = members.try_into().expect("names of folders");
    let known: Vec<&str> = CRATES.iter().map(|one| one.name).collect();
    for member in &members {
        assert!(known.contains(&member.as_str()), "{member} is not in the table");
    }
    let wrong: Vec<String> = CRATES
        .iter()
        .flat_map(|one| forbidden(one, &manifest(&format!("{}/Cargo.toml", one.name))))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_dependency_upwards_is_found() {
    let state = CRATES.iter().find(|one| one.name == "shardbearer-state").expect("in the table");
    for (manifest, what) in [
        ("[dependencies]\nshardbearer-proto = { workspace = true }", "shardbearer-proto"),
        ("[dependencies]\nserde = \"1\"", "serde"),
        ("[build-dependencies]\nserde = \"1\"", "serde"),
        ("[target.'cfg(unix)'.dependencies]\nserde = \"1\"", "serde"),
        ("[dev-dependencies]\ntokio = \"1\"", "tokio"),
    ] {
        let found = forbidden(state, &manifest.parse().expect("a manifest"));
        assert_eq!(found, [format!("shardbearer-state must not depend on {what}")], "{manifest}");
    }
    let fine = "[dependencies]\nbytes = \"1\"\n[dev-dependencies]\nproptest = \"1\"";
    assert!(forbidden(state, &fine.parse().expect("a manifest")).is_empty());
}

#[test]
fn files_know_only_what_they_may() {
    let wrong: Vec<String> = sources().flat_map(|(path, text)| violations(&path, &text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_that_knows_too_much_is_found() {
    for (path, text) in [
        ("shardbearer-state/src/shard/mod.rs", "//! x\nuse std::time::Instant;"),
        ("shardbearer-state/src/shard/mod.rs", "//! x\nfn f() { std::fs::read(\"x\"); }"),
        ("shardbearer-state/src/shard/mod.rs", "//! x\nuse tokio::spawn;"),
        ("shardbearer-state/src/shard/mod.rs", "//! x\nasync fn f() {}"),
        ("shardbearer/src/order/mod.rs", "//! x\nuse openraft::Raft;"),
        ("shardbearer/src/order/mod.rs", "//! x\nuse omnipaxos::OmniPaxos;"),
        ("shardbearer/src/order/mod.rs", "//! x\nuse shardbearer_sim::conformance;"),
        ("shardbearer/src/order/mod.rs", "//! x\nfn f() { tokio::spawn(g()); }"),
        ("shardbearer/src/cli/node.rs", "//! x\nfn f() {\n    tokio::spawn(g());\n}"),
        ("shardbearer-client/src/link.rs", "//! x\nfn f() {\n    tokio::spawn(g());\n}"),
        ("shardbearer/src/order/mod.rs", "//! x\nfn f() { select! { () = g() => {} } }"),
        ("shardbearer/src/order/mod.rs", "use bytes::Bytes;"),
        ("shardbearer/src/order/mod.rs", ""),
        ("shardbearer/src/order/mod.rs", &format!("//! x\n{}", "\n".repeat(LINES_MAX))),
    ] {
        assert_eq!(violations(path, text).len(), 1, "{path}: {text:.60}");
    }
    for (path, text) in [
        (
            "shardbearer-state/src/shard/mod.rs",
            "//! Knows no tokio::spawn.\n#[cfg(test)]\nmod tests {\n use std::fs; }",
        ),
        ("shardbearer-state/src/shard/tests/script.rs", "//! x\nuse std::fs;"),
        ("shardbearer/src/engine/openraft/mod.rs", "//! x\nuse openraft::Raft;"),
        ("shardbearer-client/src/link.rs", "//! x\nfn f() {\n    let task = tokio::spawn(g());\n}"),
        ("shardbearer/src/order/mod.rs", "//! x\nfn f() { select! { biased; () = g() => {} } }"),
    ] {
        assert!(violations(path, text).is_empty(), "{path}: {text:.60}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn manifest(path: &str) -> toml::Table {
    let text = std::fs::read_to_string(root().join(path)).expect("the manifest is there");
    text.parse().expect("a manifest is TOML")
}

/// The dependencies of a crate that the table does not allow.
fn forbidden(one: &Crate, manifest: &toml::Table) -> Vec<String> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flatten().filter_map(|(_, table)| table.as_table());
    let mut wrong = Vec::new();
    for table in tables.chain([manifest]) {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(names) = table.get(section).and_then(toml::Value::as_table) else { continue };
            let tests_only = section == "dev-dependencies";
            for name in names.keys().map(String::as_str) {
                let listed = match name.starts_with("shardbearer") {
                    true => one.ours.contains(&name),
                    false => one.others.is_none_or(|others| others.contains(&name)),
                };
                if one.never.contains(&name) || !(listed || tests_only) {
                    wrong.push(format!("{} must not depend on {name}", one.name));
                }
            }
        }
    }
    wrong
}

/// Every Rust file of ours, by its path from the root, with its text.
pub fn sources() -> impl Iterator<Item = (String, String)> {
    let mut folders: Vec<PathBuf> = CRATES.iter().map(|one| root().join(one.name)).collect();
    folders.push(root().join("examples"));
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("readable").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 100, "only {} files found", files.len());
    files.into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).expect("source is text");
        let path = path.strip_prefix(root()).expect("below the root");
        (path.to_string_lossy().into_owned(), text)
    })
}

/// What is wrong with a file.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if !text.starts_with("//!") {
        wrong.push(format!("{path} does not begin with //! and what it is"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        wrong.push(format!("{path} has {lines} lines; split it by concept"));
    }
    let code = code(text);
    let mut banned = |words: &[&str], why: &str| {
        for word in words.iter().filter(|word| code.contains(**word)) {
            wrong.push(format!("{path} has `{word}`: {why}"));
        }
    };
    let test = path.contains("/tests") || path.ends_with("testing.rs");
    if path.starts_with("shardbearer-state/src") && !test {
        let words = [
            "tokio::",
            "std::time",
            "std::fs",
            "std::net",
            "std::thread",
            "std::env",
            "async fn",
            "HashMap",
            "HashSet",
        ];
        banned(&words, "machines decide; they neither act nor ask");
    }
    if path.starts_with("shardbearer-core/src") {
        banned(&["tokio::", "prost::", "std::fs", "std::net"], "the vocabulary does nothing");
    }
    let tool = ["cli/", "bench/", "main.rs"].iter().any(|name| path.contains(&format!("/src/{name}")));
    if path.starts_with("shardbearer/src/") && !test && !tool {
        banned(&["tokio::spawn(", "task::spawn("], "World::spawn gives a task a name and an end");
        let fair = code.split("select! {").skip(1).any(|rest| !rest.trim_start().starts_with("biased;"));
        if fair {
            banned(&["select! {"], "begin it with `biased;`, the alternative draws lots");
        }
    }
    let alone = code.lines().any(|line| line.trim_start().starts_with("tokio::spawn("));
    if (tool || path.starts_with("shardbearer-client/src/")) && !test && alone {
        banned(&["tokio::spawn("], "who does not keep the handle cannot end the task");
    }
    if path.starts_with("shardbearer/src/") && !test && !path.ends_with("/cli/conformance.rs") {
        banned(&["shardbearer_sim"], "what serves knows no test");
    }
    // Inside `engine/mod.rs` the word is the module of that name.
    if !path.starts_with("shardbearer/src/engine/") && !test {
        banned(
            &["openraft::", "use openraft;", "omnipaxos::", "use omnipaxos;"],
            "only its folder in engine/ may name it, so that its API can move",
        );
    }
    wrong
}

/// The text without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = body.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<&str>>().join("\n")
}
