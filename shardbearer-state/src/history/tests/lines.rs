//! Lines of JSON: what is written is read back the same, and what is wrong is named.

use proptest::prelude::*;

use super::store::{Fault, draws, history};
use super::*;
use crate::history::json::{line, parse};

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(draws in draws(40, 3, 3)) {
        let history = history(&draws, Fault::None);
        let text: String = history.iter().map(|operation| line(operation) + "\n").collect();
        prop_assert_eq!(parse(&text), Ok(history));
    }

    #[test]
    fn anything_is_an_operation_or_a_complaint(text in ".{0,200}", cut in 0..200usize) {
        let _ = parse(&text);
        let whole = line(&write(1, (0, 1), &text));
        let cut = (0..=cut.min(whole.len() - 1)).rev().find(|at| whole.is_char_boundary(*at)).expect("0 is one");
        prop_assert!(cut == 0 || parse(&whole[..cut]).is_err());
    }
}

#[test]
fn batches_and_scans_and_bytes_that_are_no_text() {
    let answer = |before| Some(Answer { before, ..Answer::APPLIED });
    let seen = Seen { value: Some(Bytes::from_static(b"\xff\0")), revision: Some(3) };
    let steps = vec![
        Step {
            key: "a".into(),
            kind: Kind::Check { condition: Condition::Value(b"\xfe"[..].into()) },
            answer: None,
        },
        Step { key: "b".into(), kind: Kind::Get, answer: answer(Before::Present(seen.clone())) },
        Step { key: "c".into(), kind: delete(), answer: answer(Before::Absent) },
        Step { key: "d".into(), kind: delete(), answer: answer(Before::Present(Seen::default())) },
    ];
    let actions = [
        Action::Batch { steps, all_or_nothing: true, applied: Some(true) },
        Action::Scan(Scan {
            start: "a".into(),
            end: Bytes::new(),
            complete: false,
            rows: vec![Row { key: b"\xf0"[..].into(), seen }],
        }),
    ];
    let history: Vec<Operation> =
        actions.into_iter().map(|action| Operation { action, ..write(7, (1, 2), "") }).collect();
    let history = numbered(history);
    let text: String = history.iter().map(|operation| line(operation) + "\n\n").collect();
    let read = parse(&text).expect("as it was written").into_iter();
    let renumbered: Vec<Operation> =
        read.zip(1..).map(|(operation, line)| Operation { line, ..operation }).collect();
    assert_eq!(renumbered, history);
}

#[test]
fn short_forms() {
    let text = r#"{"client":1,"op":"put","key":"k","value":"v","start_ns":1,"end_ns":2,"outcome":"ok"}

{"client":1,"op":"delete","key":"k","start_ns":3,"end_ns":4,"outcome":"ok","result":{"existed":true}}
{"client":2,"op":"increment","key":"k","start_ns":5,"outcome":"unknown","end_ns":null}"#;
    let history = parse(text).expect("right");
    let answers: Vec<_> =
        history.iter().map(|one| (one.line, one.action.steps()[0].answer.clone())).collect();
    let existed = Answer { before: Before::Present(Seen::default()), ..Answer::APPLIED };
    assert_eq!(answers, [(1, Some(Answer::APPLIED)), (3, Some(existed)), (4, None)]);
    assert_eq!(history[2].action.steps()[0].kind, Kind::Increment { by: 1 });
}

#[test]
fn what_is_wrong_is_named() {
    let times = r#""client":1,"start_ns":5,"end_ns":6,"outcome":"ok""#;
    for (fields, complaint) in [
        (r#""op":"get","key":"k""#.to_owned() + "," + times, "\"result\" is missing: a get"),
        (r#""op":"got","key":"k""#.to_owned() + "," + times, "not \"got\""),
        (r#""op":"put","key":"k""#.to_owned() + "," + times, "\"value\" is missing"),
        (r#""op":"put","value":"k""#.to_owned() + "," + times, "\"key\" is missing"),
        (r#""op":"put","key":1,"value":"k""#.to_owned() + "," + times, "\"key\" must be text, not 1"),
        (r#""op":"delete","key":"k","revison":3"#.to_owned() + "," + times, "unknown field \"revison\""),
        (r#""op":"delete","key":"k","by":3"#.to_owned() + "," + times, "unknown field \"by\""),
        (
            r#""op":"delete","key":"k","condition":"gone""#.to_owned() + "," + times,
            "\"condition\" is \"absent\"",
        ),
        (r#""op":"delete","key_base64":"%""#.to_owned() + "," + times, "\"key_base64\" is no base64"),
        (r#""op":"delete","key_base64":"aw==","key":"k""#.to_owned() + "," + times, "exclude each other"),
        (r#""op":"delete","key":"k","key":"k""#.to_owned() + "," + times, "the field \"key\" comes twice"),
        (
            r#""op":"delete","key":"k","condition":{"value":"a","val\u0075e":"b"}"#.to_owned() + "," + times,
            "the field \"value\" comes twice",
        ),
        (r#""op":"batch","steps":[]"#.to_owned() + "," + times, "\"steps\" is empty"),
        (r#""op":"scan""#.to_owned() + "," + times, "a scan has rows"),
        (
            r#""op":"get","key":"k","client":1,"start_ns":-1,"outcome":"unknown""#.into(),
            "a whole number from 0 on, not -1",
        ),
        (r#""op":"get","key":"k","client":1,"start_ns":5,"end_ns":4,"outcome":"unknown""#.into(), "before"),
        (r#""op":"get","key":"k","client":1,"start_ns":5,"outcome":"maybe""#.into(), "not \"maybe\""),
        (
            r#""op":"put","key":"k","value":"v","client":1,"start_ns":5,"outcome":"ok""#.into(),
            "\"end_ns\" is missing",
        ),
        (
            r#""op":"get","key":"k","client":1,"start_ns":5,"outcome":"unknown","result":{"value":"x"}"#
                .into(),
            "with the outcome ok alone",
        ),
    ] {
        let text = format!("\n{{{fields}}}");
        let error = parse(&text).expect_err(&text);
        assert!(error.line == 2 && error.why.contains(complaint), "{text}: {error}");
    }
    assert!(parse("[1]").expect_err("a list").why.contains("must be an object"));
    assert!(parse("{").expect_err("half").why.contains("no JSON"));
}
