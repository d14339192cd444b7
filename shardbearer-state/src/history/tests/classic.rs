//! Small histories that everybody in the field knows, right and wrong, each wrong one with the operations that
//! prove it.

use shardbearer_core::kv::Condition;

use super::*;

#[test]
fn one_after_the_other() {
    right(vec![]);
    right(vec![read(1, (0, 1), "")]);
    right(vec![
        write(1, (0, 1), "a"),
        read(2, (2, 3), "a"),
        call(1, (4, 5), delete(), Answer::APPLIED),
        read(2, (6, 7), ""),
    ]);
    wrong(vec![read(1, (0, 1), "a")], &[1]);
}

#[test]
fn the_figures_of_herlihy_and_wing() {
    // A read that overlaps a write may see either, and of two reads in a row the second not less.
    right(vec![write(1, (0, 10), "a"), read(2, (1, 2), ""), read(3, (3, 4), "a"), read(2, (5, 6), "a")]);
    wrong(vec![write(1, (0, 10), "a"), read(2, (1, 2), "a"), read(3, (3, 4), "")], &[2, 3]);
    // Two writes at once: all agree on which was last.
    right(vec![
        write(1, (0, 10), "a"),
        write(2, (0, 10), "b"),
        read(3, (11, 12), "a"),
        read(4, (13, 14), "a"),
    ]);
    wrong(
        vec![write(1, (0, 10), "a"), write(2, (0, 10), "b"), read(3, (11, 12), "a"), read(4, (13, 14), "b")],
        &[3, 4],
    );
    // A write that reaches beyond everything may come in anywhere, but once.
    right(vec![write(1, (0, 1), "a"), write(2, (2, 20), "b"), read(3, (3, 4), "a"), read(3, (5, 6), "b")]);
    wrong(
        vec![
            write(1, (0, 1), "a"),
            write(2, (2, 20), "b"),
            read(3, (3, 4), "b"),
            write(1, (5, 6), "c"),
            read(3, (7, 8), "b"),
        ],
        &[1, 3, 4, 5],
    );
    // Touching at one point in time counts as overlapping.
    right(vec![write(1, (0, 5), "a"), read(2, (5, 6), "")]);
}

#[test]
fn a_stale_read() {
    let text = wrong(
        vec![
            write(1, (0, 1), "a"),
            read(3, (1, 2), "a"),
            write(1, (3, 4), "b"),
            write(2, (0, 9), "z"),
            read(2, (5, 6), "a"),
        ],
        &[3, 5],
    );
    assert_eq!(
        text,
        [
            r#"key "k": no order explains these 2 operations, whatever was there before:"#,
            r#"  line 3      client 1        0.000000 .. 1.000000     ms  put "k" "b" -> ok"#,
            r#"  line 5      client 2        2.000000 .. 3.000000     ms  get "k" -> "a""#,
            r#"  "a" was written by line 1, client 1"#,
            r#"  no help, whether or not they happened at any time after their start:"#,
            r#"  line 4      client 2       -3.000000 .. 6.000000     ms  put "k" "z" -> ok"#,
        ]
    );
}

#[test]
fn a_lost_update() {
    // Both read 1 and set 2 on that condition: one of them must fail.
    let cas = || put_if("2", Condition::Value("1".into()));
    wrong(
        vec![
            write(1, (0, 1), "1"),
            call(1, (2, 5), cas(), Answer::APPLIED),
            call(2, (2, 5), cas(), Answer::APPLIED),
        ],
        &[2, 3],
    );
    let failed = Answer::failed(Before::Present(Seen { value: Some("2".into()), revision: None }));
    right(vec![
        write(1, (0, 1), "1"),
        call(1, (2, 5), cas(), Answer::APPLIED),
        call(2, (2, 5), cas(), failed),
    ]);
    // An acknowledged write that is gone.
    wrong(vec![write(1, (0, 1), "1"), read(1, (2, 3), "")], &[1, 2]);
}

#[test]
fn a_dirty_read_of_a_refused_write() {
    let text =
        wrong(vec![write(1, (0, 1), "a"), refused(1, (2, 3), put("b")), read(2, (4, 5), "b")], &[1, 3]);
    assert!(text.iter().any(|line| line == r#"  "b" was refused to line 2, client 1"#), "{text:?}");
    right(vec![write(1, (0, 1), "a"), refused(1, (2, 3), put("b")), read(2, (4, 5), "a")]);
}

#[test]
fn an_unknown_write_may_come_late_once_or_never() {
    let write_a = || unknown(1, (0, 1), put("a"));
    right(vec![write_a(), read(2, (2, 3), "")]);
    right(vec![write_a(), read(2, (2, 3), ""), read(2, (50, 51), "a")]);
    right(vec![write_a(), read(2, (2, 3), "a"), write(2, (4, 5), "b"), read(2, (6, 7), "b")]);
    wrong(vec![write_a(), read(2, (2, 3), "a"), write(2, (4, 5), "b"), read(2, (6, 7), "a")], &[2, 3, 4]);
    wrong(vec![read(2, (2, 3), "a"), unknown(1, (4, 5), put("a"))], &[1]);
}

#[test]
fn an_increment_applied_twice_or_not_at_all() {
    right(vec![count(1, (0, 5), 1, 2), count(2, (0, 5), 1, 1), read(3, (6, 7), "2")]);
    wrong(vec![count(1, (0, 1), 1, 1), count(2, (2, 3), 1, 2), read(3, (4, 5), "3")], &[2, 3]);
    wrong(vec![count(1, (0, 1), 1, 1), count(2, (2, 3), 1, 1)], &[1, 2]);
    // Retried by the client until it was answered, without saying what it became: the end tells.
    let silent = |times| call(1, times, Kind::Increment { by: 1 }, Answer::APPLIED);
    right(vec![silent((0, 1)), silent((2, 3)), read(3, (4, 5), "2")]);
    // Two cannot make three even if all is left open; to see that they make no less, both are needed.
    wrong(vec![silent((0, 1)), silent((2, 3)), read(3, (4, 5), "3")], &[3]);
    wrong(vec![silent((0, 1)), silent((2, 3)), read(3, (4, 5), "1")], &[1, 2, 3]);
    // Acknowledged, and a part of the unknown.
    let lost = |times, by| unknown(2, times, Kind::Increment { by });
    for (end, may) in [("2", true), ("3", true), ("7", true), ("8", true), ("1", false), ("9", false)] {
        let history =
            vec![silent((0, 1)), lost((0, 1), 1), lost((0, 1), 5), silent((2, 3)), read(3, (4, 5), end)];
        assert_eq!(judge(history).passed(), may, "{end}");
    }
}

#[test]
fn a_key_that_rises_again_after_its_expiry() {
    let start = || call(1, (0, 2), put_for("a", 10), Answer::APPLIED);
    right(vec![start(), read(2, (3, 4), "a"), read(2, (11, 12), "")]);
    right(vec![start(), read(2, (3, 4), "a"), read(2, (100, 101), "a")]);
    right(vec![start(), read(2, (5, 10), "")]);
    wrong(vec![start(), read(2, (5, 9), "")], &[1, 2]);
    wrong(vec![start(), read(2, (11, 12), ""), read(2, (13, 14), "a")], &[2, 3]);
    // A value that outlives the expiry because a read that is still going on sees it cannot have gone before.
    wrong(vec![start(), read(2, (8, 9), "a"), read(3, (5, 7), "")], &[1, 3]);
    let early = numbered(vec![start(), read(2, (5, 9), "")]);
    let slack = Options { slack_ns: 1_000_000, ..Options::default() };
    assert!(check(&early, &slack, |_| ()).passed());
    // What keeps the expiry, and what ends it.
    let keep = Kind::Put { value: "b".into(), condition: Condition::Present, lifetime: Lifetime::Keep };
    right(vec![start(), call(1, (3, 4), keep, Answer::APPLIED), read(2, (11, 12), "")]);
    right(vec![
        start(),
        call(1, (11, 12), put_if("b", Condition::Absent), Answer::APPLIED),
        read(2, (13, 14), "b"),
    ]);
    wrong(vec![start(), write(1, (3, 4), "b"), read(2, (11, 12), "")], &[2, 3]);
}

#[test]
fn a_key_that_outlives_its_expiry() {
    let start = || call(1, (0, 2), put_for("a", 10), Answer::APPLIED);
    let late = Options { late_ns: Some(3_000_000), ..Options::default() };
    let passes = |calls| check(&numbered(calls), &late, |_| ()).passed();
    // Written at 2 at the latest, for 10, and 3 late.
    assert!(passes(vec![start(), read(2, (15, 20), "a")]));
    assert!(passes(vec![start(), read(2, (14, 99), "a")]), "it began in time");
    assert!(!passes(vec![start(), read(2, (16, 20), "a")]));
    assert!(passes(vec![start(), read(2, (16, 20), "")]));
    let keep = || Kind::Put { value: "b".into(), condition: Condition::Present, lifetime: Lifetime::Keep };
    assert!(!passes(vec![start(), call(1, (3, 4), keep(), Answer::APPLIED), read(2, (16, 17), "b")]));
    assert!(passes(vec![start(), write(1, (3, 4), "b"), read(2, (99, 100), "b")]), "for ever");
    assert!(passes(vec![
        start(),
        call(1, (5, 9), put_for("a", 10), Answer::APPLIED),
        read(2, (22, 23), "a")
    ]));
    // Nobody knows when it was written.
    let open = unknown(1, (0, 2), put_for("a", 10));
    assert!(passes(vec![open, read(2, (99, 100), "a")]));
    // A condition sees what is there, and it is not.
    let present = || put_if("c", Condition::Present);
    assert!(!passes(vec![start(), call(1, (16, 17), present(), Answer::APPLIED)]));
    assert!(passes(vec![start(), call(1, (16, 17), present(), Answer::failed(Before::Absent))]));
    let add = || {
        call(1, (16, 17), Kind::Append { value: "d".into() }, Answer { length: Some(1), ..Answer::APPLIED })
    };
    assert!(passes(vec![start(), add(), read(2, (18, 19), "d")]));
}

#[test]
fn an_aborted_condition_that_is_visible() {
    let failed = || Answer::failed(Before::Untold);
    let absent = || put_if("b", Condition::Absent);
    wrong(vec![write(1, (0, 1), "a"), call(2, (2, 3), absent(), failed()), read(1, (4, 5), "b")], &[1, 3]);
    right(vec![write(1, (0, 1), "a"), call(2, (2, 3), absent(), failed()), read(1, (4, 5), "a")]);
    // One that fails although it holds, and one that succeeds although it does not.
    wrong(vec![call(2, (2, 3), absent(), failed())], &[1]);
    wrong(vec![write(1, (0, 1), "a"), call(2, (2, 3), absent(), Answer::APPLIED)], &[1, 2]);
    let not = || put_if("c", Condition::NotValue("a".into()));
    wrong(vec![write(1, (0, 1), "a"), call(2, (2, 3), not(), Answer::APPLIED)], &[1, 2]);
    wrong(vec![write(1, (0, 1), "b"), call(2, (2, 3), not(), failed())], &[1, 2]);
}

#[test]
fn revisions_grow() {
    let at = |times, value, revision| call(1, times, put(value), revised(revision));
    right(vec![at((0, 1), "a", 3), read_at(2, (2, 3), "a", 3), at((4, 5), "b", 7)]);
    wrong(vec![at((0, 1), "a", 3), at((2, 3), "b", 3)], &[1, 2]);
    wrong(vec![at((0, 1), "a", 3), at((2, 3), "b", 2)], &[1, 2]);
    wrong(vec![at((0, 1), "a", 3), read_at(2, (2, 3), "a", 4)], &[1, 2]);
    // Also over a delete, and over a write that told nothing.
    let gone = || call(1, (2, 3), delete(), Answer::APPLIED);
    wrong(vec![at((0, 1), "a", 3), gone(), at((4, 5), "b", 2)], &[1, 3]);
    right(vec![at((0, 1), "a", 3), write(1, (2, 3), "b"), read_at(2, (4, 5), "b", 9), at((6, 7), "c", 10)]);
    wrong(vec![at((0, 1), "a", 3), write(1, (2, 3), "b"), read_at(2, (4, 5), "b", 3)], &[1, 3]);
    // A condition on a revision.
    let guarded = |revision| put_if("x", Condition::Revision(revision));
    right(vec![at((0, 1), "a", 3), call(1, (2, 3), guarded(3), revised(4))]);
    wrong(vec![at((0, 1), "a", 3), call(1, (2, 3), guarded(2), revised(4))], &[1, 2]);
    wrong(vec![at((0, 1), "a", 3), call(1, (2, 3), guarded(3), Answer::failed(Before::Untold))], &[1, 2]);
    right(vec![call(1, (0, 1), guarded(0), revised(1))]);
}

#[test]
fn appends_tell_their_length() {
    let append = |client, times, tail: &'static str, length| {
        let answer = Answer { length: Some(length), ..Answer::APPLIED };
        call(client, times, Kind::Append { value: tail.into() }, answer)
    };
    right(vec![append(1, (0, 5), "ab", 3), append(2, (0, 5), "c", 1), read(1, (6, 7), "cab")]);
    wrong(vec![append(1, (0, 1), "ab", 2), append(2, (2, 3), "c", 3), read(1, (4, 5), "cab")], &[3]);
}

fn batch(
    client: u64,
    times: (u64, u64),
    steps: Vec<(&str, Kind, Option<Answer>)>,
    applied: bool,
) -> Operation {
    let step = |(key, kind, answer): (&str, Kind, Option<Answer>)| Step {
        key: Bytes::copy_from_slice(key.as_bytes()),
        kind,
        answer,
    };
    let steps = steps.into_iter().map(step).collect();
    let action = Action::Batch { steps, all_or_nothing: true, applied: Some(applied) };
    Operation { action, ..write(client, times, "") }
}

#[test]
fn batches_are_seen_whole() {
    let both = |times, value: &'static str| {
        batch(1, times, vec![("a", put(value), None), ("b", put(value), None)], true)
    };
    let see = |times, a: &str, b: &str| {
        let found = |value: &str| Some(Answer::found(Some(Bytes::copy_from_slice(value.as_bytes()))));
        batch(2, times, vec![("a", Kind::Get, found(a)), ("b", Kind::Get, found(b))], true)
    };
    right(vec![both((0, 1), "1"), both((2, 9), "2"), see((3, 4), "1", "1"), see((5, 6), "2", "2")]);
    wrong(vec![both((0, 1), "1"), both((2, 9), "2"), see((3, 4), "1", "2")], &[1, 3]);
    // Two single reads may see the halves of different batches only in their order.
    let one = |key, times, value| on(key, read(3, times, value));
    right(vec![both((0, 1), "1"), both((2, 9), "2"), one("a", (3, 4), "1"), one("b", (5, 6), "2")]);
    wrong(
        vec![both((0, 1), "1"), both((2, 9), "2"), one("a", (3, 4), "2"), one("b", (5, 6), "1")],
        &[1, 3, 4],
    );
    // One failure undoes all, and it has to be one.
    let failing = |applied| {
        batch(1, (2, 3), vec![("a", put("2"), None), ("b", put_if("2", Condition::Absent), None)], applied)
    };
    right(vec![both((0, 1), "1"), failing(false), one("a", (4, 5), "1")]);
    wrong(vec![both((0, 1), "1"), failing(false), one("a", (4, 5), "2")], &[1, 3]);
    wrong(vec![both((0, 1), "1"), failing(true)], &[1, 2]);
    wrong(vec![failing(false)], &[1]);
    // A guard that fails undoes all, whatever the mode.
    let mut guarded = batch(
        1,
        (2, 3),
        vec![("b", Kind::Check { condition: Condition::Absent }, None), ("a", put("2"), None)],
        false,
    );
    if let Action::Batch { all_or_nothing, .. } = &mut guarded.action {
        *all_or_nothing = false;
    }
    right(vec![both((0, 1), "1"), guarded.clone(), one("a", (4, 5), "1")]);
    wrong(vec![guarded], &[1]);
}

fn scan(times: (u64, u64), complete: bool, rows: &[(&str, &str)]) -> Operation {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let row = |(key, value): &(&str, &str)| Row {
        key: bytes(key),
        seen: Seen { value: Some(bytes(value)), revision: None },
    };
    let rows = rows.iter().map(row).collect();
    let action = Action::Scan(Scan { start: "a".into(), end: "m".into(), complete, rows });
    Operation { action, ..write(9, times, "") }
}

#[test]
fn scans_neither_double_nor_miss() {
    let written = || {
        vec![on("b", write(1, (0, 1), "1")), on("d", write(1, (0, 1), "1")), on("z", write(1, (0, 1), "1"))]
    };
    let with = |more: Vec<Operation>| [written(), more].concat();
    right(with(vec![scan((2, 9), true, &[("b", "1"), ("d", "1")])]));
    wrong(with(vec![scan((2, 9), true, &[("b", "1")])]), &[2, 4]);
    wrong(with(vec![scan((2, 9), true, &[("b", "1"), ("c", "1"), ("d", "1")])]), &[4]);
    // The first page of several says nothing of what comes after its last row.
    right(with(vec![scan((2, 9), false, &[("b", "1")])]));
    right(with(vec![scan((2, 9), false, &[])]));
    wrong(with(vec![scan((2, 9), false, &[("d", "1")])]), &[1, 4]);
    // A key that comes or goes meanwhile may be there or not.
    let gone = || on("b", call(1, (3, 4), delete(), Answer::APPLIED));
    right(with(vec![gone(), scan((2, 9), true, &[("d", "1")])]));
    right(with(vec![gone(), scan((2, 9), true, &[("b", "1"), ("d", "1")])]));
    wrong(with(vec![gone(), scan((5, 9), true, &[("b", "1"), ("d", "1")])]), &[4, 5]);
    let rows = [("b", "1"), ("b", "1"), ("d", "1"), ("z", "1")];
    let report = judge(with(vec![scan((2, 9), true, &rows)]));
    let keys: Vec<&Bytes> = report
        .violations
        .iter()
        .map(|violation| match violation {
            Violation::BadRow { key, scan: 3, .. } => key,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(keys, ["b", "z"], "twice, and out of range");
}

#[test]
fn a_search_without_end_gives_up_and_does_not_pass() {
    // Twenty writes at once and a read that nothing explains: all orders would have to be tried.
    let mut history: Vec<Operation> = (0..20).map(|n| write(n, (0, 100), &n.to_string())).collect();
    history.push(read(99, (101, 102), "x"));
    let options = Options { states_max: 1_000, ..Options::default() };
    let report = check(&numbered(history), &options, |_| ());
    assert!(!report.passed());
    let lines = report.violations[0].lines();
    assert!(lines[0].starts_with(r#"key "k": not proven either way: gave up after 100"#), "{lines:?}");
    assert_eq!((report.violations_count, report.gave_up_count), (1, 1));
}

#[test]
fn only_the_first_violations_are_explained() {
    let history = (0..5).map(|n| on(&n.to_string(), read(1, (0, 1), "x"))).collect();
    let options = Options { explained_max: 2, ..Options::default() };
    let report = check(&numbered(history), &options, |_| ());
    assert_eq!((report.violations_count, report.violations.len(), report.keys), (5, 2, 5));
}
