//! Random histories. Right by construction: always accepted. With one fault put in: where it must show, always found;
//! elsewhere, mostly. And small ones, right or wrong by chance, judged as by trying every order there is.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::store::{Draw, Fault, Store, draws, history};
use super::*;

/// A key that random draws leave alone.
const OWN_KEY: u8 = 25;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_happened_one_after_the_other_is_accepted_however_long_the_calls(
        draws in (0..8u64).prop_flat_map(|reach| draws(60, 3, reach)),
    ) {
        let report = check(&history(&draws, Fault::None), &Options::default(), |_| ());
        prop_assert!(report.passed(), "{:?}", report);
    }

    #[test]
    fn a_fault_that_must_show_is_found_among_all_that_is_right(
        draws in draws(40, 3, 6), at in 0..30usize, behind in 1..10usize,
    ) {
        for (kind, refused, fault) in [
            (Kind::Get, false, Fault::Invented(at)),
            (put("unique"), false, Fault::Dropped(at)),
            (Kind::Increment { by: 1 }, false, Fault::Doubled(at)),
            (put("unique"), true, Fault::Leaked(at)),
        ] {
            let mut draws = draws.clone();
            draws[at] = Draw::calm(OWN_KEY, kind, refused);
            draws[at + behind] = Draw::calm(OWN_KEY, Kind::Get, false);
            prop_assert!(check(&history(&draws, Fault::None), &Options::default(), |_| ()).passed());
            let report = check(&history(&draws, fault), &Options::default(), |_| ());
            prop_assert_eq!(report.violations_count, 1, "{:?}", fault);
            let Violation::NoOrder { keys, window, .. } = &report.violations[0] else {
                panic!("{report:?}")
            };
            prop_assert_eq!(keys, &vec![Bytes::from_static(b"z")]);
            prop_assert!(window.iter().all(|index| [at, at + behind].contains(index)), "{:?}", window);
        }
    }

    #[test]
    fn small_histories_are_judged_as_by_trying_every_order(
        draws in (1..8usize).prop_flat_map(|count| draws(count, 1, 4)),
        (lie, with) in (0..8usize, 0..7u8),
    ) {
        let draws: Vec<Draw> = draws.into_iter().map(Draw::plain).collect();
        let mut history = history(&draws, Fault::None);
        if let Some(Action::One(Step { answer: Some(answer), kind, .. })) =
            history.get_mut(lie).map(|operation| &mut operation.action)
        {
            twist(kind, answer, with);
        }
        let report = check(&history, &Options::default(), |_| ());
        prop_assert_eq!(report.passed(), some_order(&history, &mut Vec::new()), "{:#?}", history);
    }
}

/// Tells something else, which may still be right.
fn twist(kind: &Kind, answer: &mut Answer, with: u8) {
    match kind {
        Kind::Get => *answer = Answer::found((with < 6).then(|| with.to_string().into())),
        Kind::Put { .. } | Kind::Delete { .. } | Kind::Check { .. } => {
            answer.applied ^= with.is_multiple_of(2)
        }
        Kind::Increment { .. } => answer.number = answer.number.map(|number| number + i64::from(with) - 3),
        Kind::Append { .. } => answer.length = answer.length.map(|length| length + u64::from(with % 3)),
    }
}

/// Whether any order explains a history of one key without revisions and expiries: tries them all.
fn some_order(history: &[Operation], order: &mut Vec<usize>) -> bool {
    let open = |index: &usize| !order.contains(index) && history[*index].outcome != Outcome::Refused;
    let rest: Vec<usize> = (0..history.len()).filter(open).collect();
    if !explains(history, order) {
        return false;
    }
    if rest.iter().all(|index| history[*index].outcome == Outcome::Unknown) {
        return true;
    }
    let end = |index: usize| match history[index].outcome {
        Outcome::Ok => history[index].end_ns.expect("answered"),
        Outcome::Refused | Outcome::Unknown => u64::MAX,
    };
    rest.iter().any(|next| {
        let in_time = rest.iter().all(|other| history[*next].start_ns <= end(*other));
        order.push(*next);
        let found = in_time && some_order(history, order);
        order.pop();
        found
    })
}

/// Whether a store that did this in this order would have told the clients what they were told.
fn explains(history: &[Operation], order: &[usize]) -> bool {
    let mut store = Store::default();
    order.iter().all(|index| {
        let step = &history[*index].action.steps()[0];
        let mut now = store.step(0, step);
        let Some(told) = &step.answer else { return true };
        now.revision = None;
        if let Before::Present(seen) = &mut now.before {
            seen.revision = None;
        }
        if told.before == Before::Untold {
            now.before = Before::Untold;
        }
        now == *told
    })
}

/// Of random faults in random histories with overlapping calls, how many in a hundred are found.
fn found_of_a_hundred(fault: fn(usize) -> Fault, fits: fn(&Draw) -> bool) -> u32 {
    let mut runner = TestRunner::deterministic();
    let (mut tried, mut found) = (0, 0);
    while tried < 200 {
        let tree = (draws(60, 2, 2), 0..40usize).new_tree(&mut runner).expect("no filter to reject it");
        let (draws, at) = tree.current();
        let Some(at) = (at..50).find(|at| draws[*at].answered() && fits(&draws[*at])) else { continue };
        tried += 1;
        found += u32::from(!check(&history(&draws, fault(at)), &Options::default(), |_| ()).passed());
    }
    found / 2
}

#[test]
fn most_random_faults_are_found() {
    let write = |draw: &Draw| matches!(draw.kind(), Kind::Put { condition: Condition::Always, .. });
    let count = |draw: &Draw| matches!(draw.kind(), Kind::Increment { by } if *by != 0);
    let none = |_: usize| Fault::None;
    assert_eq!(found_of_a_hundred(none, write), 0, "the same histories without a fault");
    let shares = [
        found_of_a_hundred(Fault::Invented, |draw| *draw.kind() == Kind::Get),
        found_of_a_hundred(Fault::Dropped, write),
        found_of_a_hundred(Fault::Doubled, count),
    ];
    // What was never written shows always; a write or a count that nobody looked at before the next leaves no trace.
    let enough = shares.iter().zip([100, 50, 55]).all(|(share, least)| *share >= least);
    assert!(enough, "{shares:?}");
}

#[test]
fn a_generator_whose_calls_end_before_they_happen_is_caught() {
    // The double of the generator: calls are moved away from their point, so that its histories are not right any more.
    let mut runner = TestRunner::deterministic();
    let rejected = (0..50).filter(|_| {
        let draws = draws(60, 2, 1).new_tree(&mut runner).expect("no filter to reject it").current();
        let mut broken = history(&draws, Fault::None);
        for operation in broken.iter_mut().step_by(3) {
            operation.start_ns += 20_000_000;
            operation.end_ns = operation.end_ns.map(|end_ns| end_ns + 20_000_000);
        }
        !check(&broken, &Options::default(), |_| ()).passed()
    });
    assert_eq!(rejected.count(), 50);
}
