//! The binary's data and overview commands, as people and scripts use them, against a cluster of doubles.

#![allow(clippy::unwrap_used)] // a test that fails says where

#[path = "../../shardbearer-client/tests/double/mod.rs"]
mod double;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use double::{Cluster, Fault};
use serde_json::Value;
use shardbearer_client::pb;

/// Runs the binary against the cluster with this on standard input.
fn run_with(cluster: &Cluster, input: &[u8], args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shardbearer"))
        .env("SHARDBEARER_ENDPOINTS", cluster.addresses.join(","))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends without reading its input is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn run(cluster: &Cluster, args: &[&str]) -> Output {
    run_with(cluster, b"", args)
}

#[track_caller]
fn prints(cluster: &Cluster, args: &[&str], expected: &str) {
    let output = run(cluster, args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{args:?}");
}

/// Fails with this exit code, nothing on standard output, and a sentence that says this.
#[track_caller]
fn fails(cluster: &Cluster, args: &[&str], code: i32, says: &str) {
    let output = run(cluster, args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(error.contains(says), "{args:?} says {error:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_written_read_and_removed() {
    let cluster = Cluster::new(2).await;
    fails(&cluster, &["kv", "get", "k"], 1, "there is no key \"k\"");
    prints(&cluster, &["kv", "put", "k", "one"], "written at revision 1\n");
    prints(&cluster, &["kv", "get", "k"], "one");
    fails(&cluster, &["kv", "put", "k", "x", "--if-absent"], 1, "\"k\" holds \"one\" at revision 1");
    fails(&cluster, &["kv", "cas", "k", "zwei", "x"], 1, "nothing was written");
    prints(&cluster, &["kv", "cas", "k", "one", "two"], "written at revision 2\n");
    fails(&cluster, &["kv", "put", "k", "x", "--if-revision", "1"], 1, "revision 2");
    assert!(run_with(&cluster, b"from\0stdin\n", &["kv", "put", "s"]).status.success());
    prints(&cluster, &["kv", "get", "s"], "from\0stdin\n");
    prints(&cluster, &["kv", "incr", "n", "5"], "5\n");
    prints(&cluster, &["kv", "incr", "n", "-7"], "-2\n");
    prints(&cluster, &["kv", "append", "k", "!"], "4\n");
    prints(&cluster, &["kv", "count"], "3\n");
    prints(&cluster, &["kv", "count", "--prefix", "k"], "1\n");
    let scan = run(&cluster, &["--output", "json", "kv", "scan", "--start", "k", "--end", "o"]);
    let rows: Value = serde_json::from_slice(&scan.stdout).unwrap();
    assert_eq!(
        (&rows[0]["key"], &rows[0]["value"], &rows[1]["key"]),
        (&"k".into(), &"two!".into(), &"n".into())
    );
    prints(&cluster, &["kv", "delete", "k"], "deleted\n");
    for nothing in [["kv", "get", "k"].as_slice(), &["kv", "delete", "k"], &["kv", "cas", "k", "a", "b"]] {
        let output = run(&cluster, &[&["--output", "json"], nothing].concat());
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["outcome"], "refused", "{nothing:?}: {error}");
    }
    fails(&cluster, &["kv", "delete", "k"], 1, "there is no key");
    fails(&cluster, &["kv", "put", "k", "v", "--file", "f"], 2, "cannot be used with");
}

/// Values must be the lines' exact bytes, whatever connections do meanwhile, and the exported file must be that of
/// the import in key order. A key that comes twice has the value of its last line.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_comes_out_again_as_it_went_in() {
    let cluster = Cluster::new(2).await;
    cluster.fault(1, [Fault::CutAfter, Fault::CutBefore, Fault::Twice, Fault::CutAfter]);
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    // The numbers are distinct, and their order as text is another than that of the lines.
    let line = |n: u32| format!("{{\"id\": {},  \"x\":\"\u{e9}\"}}\n", n * 7_919 % 100_003);
    let lines: Vec<String> = (0..3_000).map(line).collect();
    let mut text = lines.concat();
    text.push_str(&lines[7].replace("x", "y"));
    std::fs::write(&input, &text).unwrap();
    let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());

    let import = run(&cluster, &["--output", "json", "kv", "import", input, "--key", "id", "--prefix", "u:"]);
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    let report: Value = serde_json::from_slice(&import.stdout).unwrap();
    assert_eq!((&report["rows"], &report["failed"]), (&3_001.into(), &0.into()));
    assert_eq!(cluster.store.lock().unwrap().effects, 3_001, "each line once");

    std::fs::write(output, "an older export").unwrap();
    assert!(run(&cluster, &["kv", "export", output, "--prefix", "u:"]).status.success());
    let mut expected = lines.clone();
    expected[7] = lines[7].replace("x", "y");
    expected.sort_by_key(|line| line.split([' ', ',']).nth(1).unwrap().to_owned());
    assert_eq!(std::fs::read_to_string(output).unwrap(), expected.concat());

    prints(&cluster, &["kv", "put", "u:9", "two\nlines"], "written at revision 3002\n");
    fails(&cluster, &["kv", "export", output, "--prefix", "u:"], 1, "\"u:9\" has a line break");
    assert_eq!(std::fs::read_to_string(output).unwrap(), expected.concat(), "not touched");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no half file is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_lines_are_named_and_the_rest_is_imported() {
    let cluster = Cluster::new(1).await;
    let text = b"{\"id\":1}\n{\"id\":\n{\"name\":2}\n{\"id\":3}\n";
    let import = run_with(&cluster, text, &["kv", "import", "-", "--key", "id"]);
    let error = String::from_utf8_lossy(&import.stderr);
    assert_eq!(import.status.code(), Some(1));
    assert!(error.contains("line 2: not a JSON object") && error.contains("line 3: the object has no field"));
    assert!(error.contains("2 lines were not imported"), "{error}");
    let keys: Vec<_> = cluster.store.lock().unwrap().values.keys().cloned().collect();
    assert_eq!(keys, ["1", "3"]);
    fails(&cluster, &["kv", "import", "/nonexistent", "--key", "id"], 1, "cannot read /nonexistent");
}

#[tokio::test(flavor = "multi_thread")]
async fn overviews_are_one_json_document_each() {
    let cluster = Cluster::new(1).await;
    let json = |args: &[&str]| -> Value {
        let output = run(&cluster, &[&["--output", "json"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(json(&["orders"])[0]["herald"], 1);
    assert_eq!(json(&["shards"])[0]["order"], 2);
    assert!(json(&["radiants"]).is_array());
    assert_eq!(json(&["epochs"])[0]["id"], 1);
    let status = json(&["status"]);
    assert_eq!((&status["health"], &status["orders"][0]["id"]), (&"ok".into(), &2.into()));
    assert!(json(&["timeline"])["events"].is_array());
    fails(&cluster, &["epochs", "diff", "1", "2"], 1, "there is no epoch 1");
    fails(&cluster, &["epochs", "--at", "1", "diff", "1", "2"], 1, "--at goes with");
    for args in [&["status"][..], &["orders"], &["shards"], &["radiants"], &["epochs"], &["kv", "scan"]] {
        assert!(run(&cluster, args).status.success(), "{args:?}");
    }
}

/// Who cannot reach the cluster is told where it was looked for; who is refused is told why; neither takes long.
#[tokio::test(flavor = "multi_thread")]
async fn errors_are_sentences() {
    let cluster = Cluster::new(1).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let args = ["--endpoints", &closed, "--timeout", "300ms", "status"];
    fails(&cluster, &args, 1, &format!("no radiant answers at {closed}"));
    fails(&cluster, &["--endpoints", "nonsense", "status"], 1, "write host:port");
    cluster.always(1, Some(Fault::Refuse(pb::request_error::Kind::DiskFull("3 MiB left".into()))));
    fails(&cluster, &["kv", "put", "k", "v"], 1, "disk nearly full: 3 MiB left");
    cluster.always(1, Some(Fault::Silent));
    fails(&cluster, &["--timeout", "300ms", "kv", "put", "k", "v"], 1, "whether it happened is unknown");
}

/// What is asked of something that is not there fails, instead of showing nothing; programs get errors as JSON.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_found_is_no_success() {
    let cluster = Cluster::new(1).await;
    fails(&cluster, &["shards", "--order", "9"], 1, "there is no order 9; there are 2");
    fails(&cluster, &["shards", "--table", "foo"], 1, "there is no table \"foo\"; there are default");
    fails(&cluster, &["check", "-"], 2, "there is nothing to check");
    fails(&cluster, &["--timeout", "90s", "status"], 2, "60 s at most");
    fails(&cluster, &["node", "--set", "bootstrap.shards=0"], 2, "between 1 and 16384");
    cluster.always(1, Some(Fault::Refuse(pb::request_error::Kind::DiskFull("3 MiB left".into()))));
    let output = run(&cluster, &["--output", "json", "kv", "put", "k", "v"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&error["error"], &error["outcome"]),
        (&"disk nearly full: 3 MiB left".into(), &"refused".into())
    );
}

/// The reason is said of a few lines and counted for the rest; lines of one key are told.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_does_not_repeat_itself() {
    let cluster = Cluster::new(1).await;
    let text = "{\"name\":1}\n".repeat(40) + "{\"id\":1}\n{\"id\":1}\n";
    let import = run_with(&cluster, text.as_bytes(), &["kv", "import", "-", "--key", "id"]);
    let error = String::from_utf8_lossy(&import.stderr);
    assert_eq!(error.matches("has no field").count(), 5, "{error}");
    assert!(error.contains("and 35 more lines for the same reason"), "{error}");
    assert!(error.contains("1 line had the key of an earlier line"), "{error}");
    assert!(error.contains("40 lines were not imported"), "{error}");
}
