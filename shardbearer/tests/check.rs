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
    assert!(out.starts_with("linearizable: 3 operations (0 refused, 0 unknown) on 1 key, "), "{out}");
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
    let hard = ["check", "-", "--states-max", "1"];
    let (code, out, error) = check(RIGHT, &hard);
    assert_eq!(code, Some(3));
    assert!(out.contains("not proven either way: gave up after 2 situations"), "{out}");
    assert!(
        out.contains("\nnot proven either way in 1 place, and no violation elsewhere: 3 operations"),
        "{out}"
    );
    assert!(!out.contains("not linearizable") && error.contains("not proven either way"), "{out}{error}");
    let json = |input: &str, code: i32| -> Value {
        let (found, out, _) = check(input, &[&["--output", "json"], &hard[..]].concat());
        assert_eq!(found, Some(code), "{out}");
        serde_json::from_str(&out).unwrap()
    };
    let document = json(RIGHT, 3);
    assert_eq!((&document["linearizable"], &document["violations_count"]), (&Value::Null, &0.into()));
    assert_eq!(
        (&document["verdict"], &document["gave_up_count"]),
        (&"not proven either way".into(), &1.into())
    );
    assert_eq!(document["gave_up"][0]["kind"], "gave_up");
    // What is wrong elsewhere is wrong all the same.
    let wrong = r#"{"client":3,"op":"get","key":"other","start_ns":1,"end_ns":2,"outcome":"ok","result":{"value":"x"}}"#;
    let document = json(&[RIGHT, wrong].concat(), 1);
    assert_eq!((&document["linearizable"], &document["violations_count"]), (&false.into(), &1.into()));
    assert_eq!(document["gave_up_count"], 1);
}

/// A time that nobody keeps would be a promise that is not kept.
#[test]
fn a_timeout_is_refused_where_it_bounds_nothing() {
    for command in [&["check", "-"][..], &["conformance", "--engine", "solo"]] {
        let (code, out, error) = check(RIGHT, &[&["--timeout", "1s"], command].concat());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{error}");
        assert!(error.contains("--timeout is for operations on a cluster"), "{error}");
    }
}

#[test]
fn an_engine_that_is_not_there_is_wrong_usage() {
    let (code, _, error) = check("", &["conformance", "--engine", "nope"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("\"nope\"") && error.contains("chain, omnipaxos, openraft, solo"), "{error}");
}

#[test]
fn a_broken_file_is_no_verdict() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [RIGHT, "{\"client\":1}\n"].concat()).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, _, error) = check("", &["check", path]);
    assert_eq!(code, Some(2));
    assert!(error.contains("line 4: \"start_ns\" is missing"), "{error}");
    let twice = r#"{"client":1,"op":"get","key":"k","start_ns":1,"key":"l","end_ns":2,"outcome":"unknown"}"#;
    let (code, _, error) = check(&[RIGHT, twice].concat(), &["check", "-"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("line 4: the field \"key\" comes twice"), "{error}");
    let (code, _, error) = check("", &["check", "/nonexistent"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("cannot read /nonexistent"), "{error}");
    assert_eq!(check("", &["check"]).0, Some(2));
}
