//! `shardbearer check` as a program: its exit codes, what it prints, and that it needs no cluster.

#![allow(clippy::unwrap_used)] // a test that fails says where

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

const RIGHT: &str = r#"{"client":1,"op":"put","key":"k","value":"a","start_ns":0,"end_ns":5,"outcome":"ok"}
{"client":2,"op":"get","key":"k","start_ns":2,"end_ns":3,"outcome":"ok","result":{"value":null}}
{"client":1,"op":"put","key":"k","value":"b","start_ns":6,"end_ns":7,"outcome":"ok"}
"#;
const STALE: &str =
    r#"{"client":2,"op":"get","key":"k","start_ns":8,"end_ns":9,"outcome":"ok","result":{"value":"a"}}"#;

/// Exit code, standard output and standard error.
fn check(input: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shardbearer"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends without reading its input is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_is_linearizable_passes() {
    let (code, out, error) = check(RIGHT, &["check", "-"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.starts_with("linearizable: 3 operations (0 refused, 0 unknown) on 1 keys"), "{out}");
}

#[test]
fn what_is_not_is_shown() {
    let wrong = [RIGHT, STALE].concat();
    let (code, out, error) = check(&wrong, &["check", "-"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(out.contains("no order explains these 2 operations"), "{out}");
    assert!(out.contains("  line 3 ") && out.contains("  line 4 "), "{out}");
    assert!(error.contains("not linearizable"), "{error}");
    let (code, out, _) = check(&wrong, &["--output", "json", "check", "-"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["linearizable"]), (Some(1), &false.into()));
    assert_eq!(document["violations"][0]["lines"], serde_json::json!([3, 4]));
}

#[test]
fn giving_up_is_no_pass() {
    let (code, out, _) = check(RIGHT, &["check", "-", "--states-max", "1"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("gave up after 2 situations"), "{out}");
}

#[test]
fn a_broken_file_is_no_verdict() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [RIGHT, "{\"client\":1}\n"].concat()).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, _, error) = check("", &["check", path]);
    assert_eq!(code, Some(2));
    assert!(error.contains("line 4: \"start_ns\" is missing"), "{error}");
    let (code, _, error) = check("", &["check", "/nonexistent"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("cannot read /nonexistent"), "{error}");
    assert_eq!(check("", &["check"]).0, Some(2));
}
