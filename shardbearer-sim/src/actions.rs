//! Commands and replies as actions and answers of the oracle.

use shardbearer_core::kv::{Command, Expiry, Record, Reply, Scan};
use shardbearer_state::history::{Action, Answer, Before, Kind, Lifetime, Row, Scan as Pages, Seen, Step};

/// What a command asks for, with what the reply says of it. Expiries are counted from `now_ms`, in the clock of the
/// store. `None` if the oracle does not know such a command.
pub fn action(command: &Command, reply: Option<&Reply>, now_ms: u64) -> Option<Action> {
    match command {
        Command::Batch { commands, all_or_nothing } => {
            let (applied, replies) = match reply {
                Some(Reply::Batch { applied, replies }) => (Some(*applied), replies.as_slice()),
                // A guard did not hold.
                Some(Reply::ConditionFailed { .. }) => (Some(false), [].as_slice()),
                Some(_) | None => (None, [].as_slice()),
            };
            // What did not take effect answers nothing.
            let replies = if applied == Some(true) { replies } else { &[] };
            let step = |(at, command)| step(command, replies.get(at), now_ms);
            let steps: Option<Vec<Step>> = commands.iter().enumerate().map(step).collect();
            Some(Action::Batch { steps: steps?, all_or_nothing: *all_or_nothing, applied })
        }
        Command::Scan(scan) => Some(Action::Scan(pages(scan, reply))),
        _ => step(command, reply, now_ms).map(Action::One),
    }
}

fn step(command: &Command, reply: Option<&Reply>, now_ms: u64) -> Option<Step> {
    let kind = match command {
        Command::Get { .. } => Kind::Get,
        Command::Put { value, condition, expiry, .. } => {
            let lifetime = match expiry {
                Expiry::Never => Lifetime::Forever,
                Expiry::Keep => Lifetime::Keep,
                Expiry::At(at_ms) => Lifetime::Milliseconds(at_ms.saturating_sub(now_ms)),
            };
            Kind::Put { value: value.clone(), condition: condition.clone(), lifetime }
        }
        Command::Delete { condition, .. } => Kind::Delete { condition: condition.clone() },
        Command::Increment { by, .. } => Kind::Increment { by: *by },
        Command::Append { value, .. } => Kind::Append { value: value.clone() },
        Command::Check { condition, .. } => Kind::Check { condition: condition.clone() },
        _ => return None,
    };
    Some(Step { key: command.key()?.clone(), kind, answer: reply.and_then(|reply| answer(command, reply)) })
}

/// What a reply tells; `None` if it tells nothing.
fn answer(command: &Command, reply: &Reply) -> Option<Answer> {
    let told = match command {
        Command::Put { previous, .. } | Command::Delete { previous, .. } => *previous,
        _ => false,
    };
    let previous = |record: &Option<Record>| if told { before(record) } else { Before::Untold };
    Some(match reply {
        Reply::Record(record) => Answer { before: before(record), ..Answer::APPLIED },
        Reply::Written { revision, previous: replaced } => {
            Answer { before: previous(replaced), revision: Some(*revision), ..Answer::APPLIED }
        }
        Reply::Deleted { existed: false, .. } => Answer { before: Before::Absent, ..Answer::APPLIED },
        Reply::Deleted { previous: Some(removed), .. } => {
            Answer { before: before(&Some(removed.clone())), ..Answer::APPLIED }
        }
        Reply::Deleted { .. } => Answer { before: Before::Present(Seen::default()), ..Answer::APPLIED },
        Reply::ConditionFailed { current } => Answer::failed(before(current)),
        Reply::Number { value, revision } => {
            Answer { number: Some(*value), revision: Some(*revision), ..Answer::APPLIED }
        }
        Reply::Length { length, revision } => {
            Answer { length: Some(*length), revision: Some(*revision), ..Answer::APPLIED }
        }
        _ => return None,
    })
}

fn before(record: &Option<Record>) -> Before {
    record.as_ref().map_or(Before::Absent, |record| Before::Present(seen(record)))
}

fn seen(record: &Record) -> Seen {
    Seen { value: Some(record.value.clone()), revision: Some(record.revision) }
}

fn pages(scan: &Scan, reply: Option<&Reply>) -> Pages {
    let (rows, complete) = match reply {
        Some(Reply::Page { rows, more }) => (rows.as_slice(), !more),
        Some(_) | None => ([].as_slice(), false),
    };
    let rows = rows.iter().map(|row| Row { key: row.key.clone(), seen: seen(&row.record) }).collect();
    Pages { start: scan.start.clone(), end: scan.end.clone(), complete, rows }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shardbearer_core::kv::Condition;

    use super::*;

    fn record(value: &'static str) -> Record {
        Record { value: value.into(), revision: 7, expires_at_ms: None }
    }

    fn put(previous: bool) -> Command {
        let key = Bytes::from_static(b"k");
        Command::Put {
            key,
            value: "v".into(),
            condition: Condition::Always,
            expiry: Expiry::At(1_500),
            previous,
        }
    }

    fn told(command: &Command, reply: &Reply) -> Option<Answer> {
        match action(command, Some(reply), 1_000) {
            Some(Action::One(step)) => step.answer,
            other => panic!("not one step: {other:?}"),
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_told() {
        let written = Reply::Written { revision: 3, previous: None };
        let answer = told(&put(false), &written).expect("an answer");
        assert_eq!((answer.before, answer.revision), (Before::Untold, Some(3)));
        assert_eq!(told(&put(true), &written).expect("an answer").before, Before::Absent);
    }

    #[test]
    fn expiries_are_lengths_of_time() {
        let Some(Action::One(step)) = action(&put(false), None, 1_000) else { panic!("one step") };
        let Kind::Put { lifetime, .. } = step.kind else { panic!("a put") };
        assert_eq!((lifetime, step.answer), (Lifetime::Milliseconds(500), None));
    }

    #[test]
    fn a_batch_that_did_not_take_effect_answers_nothing_of_its_steps() {
        let batch = Command::Batch { commands: vec![put(false), put(false)], all_or_nothing: true };
        let replies =
            vec![Reply::Written { revision: 1, previous: None }, Reply::ConditionFailed { current: None }];
        for applied in [false, true] {
            let reply = Reply::Batch { applied, replies: replies.clone() };
            let Some(Action::Batch { steps, applied: told, .. }) = action(&batch, Some(&reply), 0) else {
                panic!("a batch")
            };
            assert_eq!(told, Some(applied));
            assert!(steps.iter().all(|step| step.answer.is_some() == applied));
        }
    }

    #[test]
    fn a_page_with_more_behind_it_says_nothing_of_the_rest() {
        let rows = vec![shardbearer_core::kv::Row { key: "k".into(), record: record("v") }];
        let page = Reply::Page { rows, more: true };
        let Some(Action::Scan(pages)) = action(&Command::Scan(Scan::default()), Some(&page), 0) else {
            panic!("a scan")
        };
        assert!(!pages.complete);
        assert_eq!(pages.rows[0].seen, seen(&record("v")));
    }
}
