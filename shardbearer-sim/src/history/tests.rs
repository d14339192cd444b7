//! Histories as tables: what is allowed and what is not.

use super::*;

/// A line is `from to ask answer`, on one key; `-` as the end is "never".
fn history(lines: &[&str]) -> Vec<Operation> {
    lines.iter().map(|line| operation(line)).collect()
}

fn operation(line: &str) -> Operation {
    let words: Vec<&str> = line.split_whitespace().collect();
    let seen = |word: &str| -> Seen {
        let (value, revision) = word.split_once('@')?;
        Some((Bytes::copy_from_slice(value.as_bytes()), revision.parse().expect("a revision")))
    };
    let bytes = |word: &str| Bytes::copy_from_slice(word.as_bytes());
    let ask = match words[2].split_once(':') {
        None if words[2] == "read" => Ask::Read,
        None => Ask::Add,
        Some(("write", value)) => Ask::Write(bytes(value)),
        Some((condition, value)) => Ask::WriteIf(condition.parse().expect("a revision"), bytes(value)),
    };
    let answer = match words[3].split_once(':') {
        None if words[3] == "unknown" => Answer::Unknown,
        None => Answer::Refused,
        Some(("found", found)) => Answer::Found(seen(found)),
        Some(("failed", found)) => Answer::Failed(seen(found)),
        Some(("wrote", revision)) => Answer::Wrote(revision.parse().expect("a revision")),
        Some((_, counted)) => {
            let (value, revision) = counted.split_once('@').expect("a value and a revision");
            Answer::Counted(value.parse().expect("a value"), revision.parse().expect("a revision"))
        }
    };
    let to = words[1].parse().unwrap_or(u64::MAX);
    let from = words[0].parse().expect("a time");
    Operation { client: 0, key: Bytes::from_static(b"key"), ask, from, to, answer }
}

#[test]
fn histories_that_may_be_are_let_through() {
    for lines in [
        &["1 2 read found:none", "3 4 write:a wrote:1", "5 6 read found:a@1"][..],
        // Concurrent operations in either order.
        &["1 9 write:a wrote:5", "2 3 read found:none", "4 5 read found:a@5"],
        // An unknown write shows up late, or never.
        &["1 - write:a unknown", "2 3 read found:none", "4 5 read found:a@3"],
        &["1 - write:a unknown", "4 5 read found:none"],
        &["1 2 write:a wrote:1", "3 4 1:b wrote:2", "5 6 1:c failed:b@2", "7 8 write:d refused"],
        &["1 2 add counted:1@1", "3 - add unknown", "4 5 add counted:3@7", "6 7 read found:3@7"],
        &["1 2 add counted:1@1", "3 - add unknown", "4 5 read found:1@1"],
    ] {
        assert_eq!(Revisions.judge(&history(lines)), Ok(()), "{lines:?}");
    }
}

#[test]
fn histories_that_may_not_be_are_refused() {
    for (lines, what) in [
        (&["1 2 write:a wrote:1", "3 4 read found:none"][..], "a lost write"),
        (&["1 2 write:a wrote:1", "3 4 write:b wrote:2", "5 6 read found:a@1"], "a stale read"),
        (&["1 2 write:a wrote:2", "3 4 write:b wrote:1"], "writes against real time"),
        (&["1 2 read found:a@1"], "a value out of nothing"),
        (&["1 2 write:a refused", "3 4 read found:a@1"], "a refused write that happened"),
        (&["1 2 read found:a@1", "3 4 write:a wrote:1"], "a read from the future"),
        (
            &["1 - write:a unknown", "2 3 read found:a@1", "4 5 read found:a@2"],
            "a write that took effect twice",
        ),
        (&["1 2 write:a wrote:1", "3 4 write:b wrote:1"], "a revision made twice"),
        (&["1 2 write:a wrote:1", "3 4 write:b wrote:2", "5 6 1:c wrote:3"], "a condition that did not hold"),
        (&["1 2 write:a wrote:1", "3 4 1:b failed:a@1"], "a condition that did hold"),
        (
            &["1 2 write:a wrote:5", "3 - write:b unknown", "4 5 read found:b@4"],
            "an unknown write before its time",
        ),
        (&["1 2 add counted:1@1", "3 4 add counted:3@2"], "an increment that counted twice"),
        (&["1 2 add counted:1@1", "3 4 add counted:1@2"], "an increment that did not count"),
        (&["1 2 add counted:1@1", "3 4 read found:none"], "a lost increment"),
        (&["1 2 add refused", "3 4 read found:1@1"], "a refused increment that counted"),
    ] {
        assert!(Revisions.judge(&history(lines)).is_err(), "{what} was let through");
    }
}
