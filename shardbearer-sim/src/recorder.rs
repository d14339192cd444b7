//! Writes down what clients of a test ask and are told, for the oracle of `shardbearer_state::history`.
//!
//! A call is opened before its request leaves and closed when its answer is there. A call that is never closed, also
//! because its task was dropped or panicked, stays in the history as *unknown*: what was not answered may have happened.

use std::sync::{Arc, Mutex, PoisonError};

use shardbearer_state::history::{Action, Operation, Options, Outcome, Report, Violation, check, json};

/// A history in the making. Clones write to the same one, from any thread.
#[derive(Clone)]
pub struct Recorder {
    now_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    history: Arc<Mutex<Vec<Operation>>>,
}

/// A call that was begun.
#[must_use = "an operation that is never ended is recorded as unknown"]
pub struct Call {
    recorder: Recorder,
    index: usize,
}

impl Recorder {
    /// Writes down times of this clock, which must never go back and be the same for all clients: that of the
    /// test's world, say.
    pub fn new(now_ns: impl Fn() -> u64 + Send + Sync + 'static) -> Recorder {
        Recorder { now_ns: Arc::new(now_ns), history: Arc::default() }
    }

    /// A client is about to ask for this. The steps carry no answers yet.
    pub fn begin(&self, client: u64, action: Action) -> Call {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that lines are in the order of their starts.
        let start_ns = (self.now_ns)();
        let line = history.len() as u64 + 1;
        history.push(Operation { line, client, start_ns, end_ns: None, action, outcome: Outcome::Unknown });
        Call { recorder: self.clone(), index: history.len() - 1 }
    }

    /// All so far, in the order of their starts.
    pub fn history(&self) -> Vec<Operation> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All so far as lines of JSON, for `shardbearer check`.
    pub fn lines(&self) -> String {
        self.history().iter().map(|operation| json::line(operation) + "\n").collect()
    }

    /// Asserts that what was written down is linearizable, and returns the report with its counts.
    ///
    /// # Panics
    /// With the operations that contradict each other if it is not, and if the oracle gave up.
    #[track_caller]
    pub fn assert_linearizable(&self, options: &Options) -> Report {
        let report = check(&self.history(), options, |_| ());
        let lines: Vec<String> = report.violations.iter().flat_map(Violation::lines).collect();
        assert!(report.passed(), "the history is not linearizable:\n{}", lines.join("\n"));
        report
    }
}

impl Call {
    /// It was answered: the same action with its answers.
    pub fn answered(self, action: Action) {
        self.end(Outcome::Ok, Some(action));
    }

    /// It provably did not happen and never will.
    pub fn refused(self) {
        self.end(Outcome::Refused, None);
    }

    /// It ended without telling whether it happened.
    pub fn unknown(self) {
        self.end(Outcome::Unknown, None);
    }

    fn end(self, outcome: Outcome, action: Option<Action>) {
        let mut history = self.recorder.history.lock().unwrap_or_else(PoisonError::into_inner);
        let end_ns = (self.recorder.now_ns)();
        let operation = &mut history[self.index];
        (operation.end_ns, operation.outcome) = (Some(end_ns), outcome);
        if let Some(action) = action {
            operation.action = action;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use shardbearer_core::kv::Condition;
    use shardbearer_state::history::{Answer, Kind, Lifetime, Step};

    use super::*;

    fn recorder() -> Recorder {
        let clock = AtomicU64::new(0);
        Recorder::new(move || clock.fetch_add(1, Ordering::SeqCst))
    }

    fn put(value: &'static str, answer: Option<Answer>) -> Action {
        let kind =
            Kind::Put { value: value.into(), condition: Condition::Always, lifetime: Lifetime::Forever };
        Action::One(Step { key: "k".into(), kind, answer })
    }

    fn get(found: Option<Option<&'static str>>) -> Action {
        let answer = found.map(|value| Answer::found(value.map(Bytes::from)));
        Action::One(Step { key: "k".into(), kind: Kind::Get, answer })
    }

    #[test]
    fn a_call_is_unknown_until_it_is_ended_and_its_lines_say_the_same() {
        let recorder = recorder();
        recorder.begin(1, put("a", None)).answered(put("a", Some(Answer::APPLIED)));
        drop(recorder.begin(1, put("b", None)));
        recorder.begin(2, put("c", None)).refused();
        recorder.begin(2, put("d", None)).unknown();
        recorder.begin(3, get(None)).answered(get(Some(Some("b"))));
        let history = recorder.history();
        let ends: Vec<_> = history.iter().map(|one| (one.outcome, one.start_ns, one.end_ns)).collect();
        assert_eq!(
            ends,
            [
                (Outcome::Ok, 0, Some(1)),
                (Outcome::Unknown, 2, None),
                (Outcome::Refused, 3, Some(4)),
                (Outcome::Unknown, 5, Some(6)),
                (Outcome::Ok, 7, Some(8)),
            ]
        );
        assert_eq!(json::parse(&recorder.lines()), Ok(history));
        let report = recorder.assert_linearizable(&Options::default());
        assert_eq!((report.operations, report.refused, report.unknown), (5, 1, 2));
    }

    #[test]
    #[should_panic(expected = "\"c\" was refused to line 1, client 2")]
    fn a_dirty_read_is_shown() {
        let recorder = recorder();
        recorder.begin(2, put("c", None)).refused();
        recorder.begin(3, get(None)).answered(get(Some(Some("c"))));
        recorder.assert_linearizable(&Options::default());
    }

    #[test]
    fn threads_share_one_history_and_one_store() {
        let (recorder, store) = (recorder(), Mutex::new(None));
        std::thread::scope(|scope| {
            for (client, value) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
                let (recorder, store) = (&recorder, &store);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let call = recorder.begin(client, put(value, None));
                        *store.lock().expect("nobody panics") = Some(value);
                        call.answered(put(value, Some(Answer::APPLIED)));
                        let call = recorder.begin(client, get(None));
                        let found = *store.lock().expect("nobody panics");
                        call.answered(get(Some(found)));
                    }
                });
            }
        });
        assert_eq!(recorder.assert_linearizable(&Options::default()).operations, 800);
    }
}
