//! What a client asked, when, and what it was told.

use bytes::Bytes;
use shardbearer_core::kv::Condition;

/// One call of one client.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// By what name reports call it: the line of the file it was read from, or any number of the recorder's.
    pub line: u64,
    /// Who called. For people; a client may have several calls in flight.
    pub client: u64,
    /// When the call began, in nanoseconds of a clock that all clients share and that never goes back.
    pub start_ns: u64,
    /// When it ended; `None` if it never did, which only an unknown outcome may say.
    pub end_ns: Option<u64>,
    /// What was asked.
    pub action: Action,
    /// How it went.
    pub outcome: Outcome,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; what was answered stands with the steps. A failed condition is an answer.
    Ok,
    /// Provably not happened and never going to.
    Refused,
    /// No answer, or one that leaves it open: it may happen once at any time after its start, or never.
    Unknown,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Of one key.
    One(Step),
    /// Of several keys in one step, in order, none seen half done.
    Batch {
        /// What is done to which key.
        steps: Vec<Step>,
        /// Whether one failure undoes all; a failed [`Kind::Check`] always does.
        all_or_nothing: bool,
        /// Whether the answer said that it took effect.
        applied: Option<bool>,
    },
    /// Rows of a range. Each row is a read of its own, some time during the scan; a scan is no snapshot.
    Scan(Scan),
}

/// What is done to one key, and what was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The key.
    pub key: Bytes,
    /// What is done.
    pub kind: Kind,
    /// What was told; `None` where nothing was.
    pub answer: Option<Answer>,
}

/// What is done to a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Reads it.
    Get,
    /// Sets it.
    Put {
        /// The new value.
        value: Bytes,
        /// What must hold of the key.
        condition: Condition,
        /// How long it lives.
        lifetime: Lifetime,
    },
    /// Removes it.
    Delete {
        /// What must hold of the key.
        condition: Condition,
    },
    /// Adds to a decimal integer; absent counts as 0. Keeps the expiry.
    Increment {
        /// What to add.
        by: i64,
    },
    /// Appends to the value; absent counts as empty. Keeps the expiry.
    Append {
        /// What to append.
        value: Bytes,
    },
    /// A guard: changes nothing, and in a batch undoes everything if it does not hold.
    Check {
        /// What must hold of the key.
        condition: Condition,
    },
}

/// How long a put lets the key live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody changes it.
    Forever,
    /// As long as it was to live before.
    Keep,
    /// So long, counted from no earlier than the call's start.
    Milliseconds(u64),
}

/// What a client was told of one step. Whatever it was not told constrains nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the step took effect; a read always does.
    pub applied: bool,
    /// What was there before.
    pub before: Before,
    /// The number after an increment.
    pub number: Option<i64>,
    /// The length after an append, in bytes.
    pub length: Option<u64>,
    /// The key's revision after a write. Revisions strictly grow per key.
    pub revision: Option<u64>,
}

/// What was there before a step, as far as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing was told.
    Untold,
    /// No such key.
    Absent,
    /// The key was there.
    Present(Seen),
}

/// What was seen of a key that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its value.
    pub value: Option<Bytes>,
    /// Its revision.
    pub revision: Option<u64>,
}

/// A scan and its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// First key of the range.
    pub start: Bytes,
    /// First key behind the range; empty means to the end.
    pub end: Bytes,
    /// Whether the rows are all there were, and not the first few of them.
    pub complete: bool,
    /// What was found.
    pub rows: Vec<Row>,
}

/// A row of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// What was seen of it.
    pub seen: Seen,
}

impl Answer {
    /// The step took effect, and that is all that was told.
    pub const APPLIED: Answer =
        Answer { applied: true, before: Before::Untold, number: None, length: None, revision: None };

    /// A read that found this.
    pub fn found(value: Option<Bytes>) -> Answer {
        let present = |value| Before::Present(Seen { value: Some(value), revision: None });
        Answer { before: value.map_or(Before::Absent, present), ..Answer::APPLIED }
    }

    /// A condition that did not hold, of a key that was like this.
    pub fn failed(before: Before) -> Answer {
        Answer { applied: false, before, ..Answer::APPLIED }
    }
}

impl Kind {
    /// Whether it can change the key.
    pub fn is_write(&self) -> bool {
        match self {
            Kind::Get | Kind::Check { .. } => false,
            Kind::Put { .. } | Kind::Delete { .. } | Kind::Increment { .. } | Kind::Append { .. } => true,
        }
    }
}

impl Action {
    /// The steps on keys that are named; a scan names none.
    pub fn steps(&self) -> &[Step] {
        match self {
            Action::One(step) => std::slice::from_ref(step),
            Action::Batch { steps, .. } => steps,
            Action::Scan(_) => &[],
        }
    }
}
