//! What members were asked for and what they answered, and whether one log could have answered so: one that takes each
//! write, and shows each read all that it holds, at some moment between the question and the answer.
//!
//! The data of the kit are the entries of the log in order, so a read sees a beginning of them, and where each write
//! stands is known. Nothing has to be searched then: a history is linearizable if everything that was asked for after an
//! answer comes behind what that answer had shown, which is a comparison of pairs. Keys and values, of which less
//! is seen, have the oracle of `shardbearer_state::history`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::RadiantId;
use tokio::task::JoinHandle;

use super::super::{Broken, ensure, ensure_eq};
use super::group::Group;

/// Everything that was asked for. Members are asked in the background, as many at a time as there are questions.
#[derive(Default)]
pub struct History(Mutex<State>);

#[derive(Default)]
struct State {
    /// Counts questions and answers, in the order in which they happened.
    now: u64,
    writes: Vec<Write>,
    reads: Vec<Read>,
    /// The longest beginning of the log that a read saw.
    seen: Vec<Bytes>,
    /// A read saw what is no beginning of it, and no longer one either.
    fork: Option<String>,
}

struct Write {
    of: RadiantId,
    proposal: Bytes,
    asked: u64,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Acknowledged(u64),
    Refused,
    Unknown,
}

struct Read {
    of: RadiantId,
    asked: u64,
    answered: u64,
    /// So many entries.
    saw: usize,
}

/// What an answer has shown: that the log has so many entries.
struct Shown {
    at: u64,
    entries: usize,
    words: String,
}

impl History {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }

    /// A moment; what is asked for from now on is later.
    pub fn moment(&self) -> u64 {
        self.state().tick()
    }

    /// Asks a member for a write that was not asked for before. Whether it acknowledges it.
    pub fn write(self: &Arc<Self>, group: &Group<'_>, of: RadiantId) -> JoinHandle<bool> {
        let (history, proposal) = (self.clone(), group.fresh());
        let proposed = group.propose(of, proposal.clone());
        tokio::spawn(async move {
            let number = history.state().ask(of, proposal);
            let end = match proposed.await {
                Ok(_) => End::Acknowledged(0),
                Err(RequestError::Refused(_)) => End::Refused,
                Err(RequestError::Unknown(_)) => End::Unknown,
            };
            history.state().answered(number, end);
            end != End::Refused && end != End::Unknown
        })
    }

    /// Asks a member for everything. Whether it answers.
    pub fn read(self: &Arc<Self>, group: &Group<'_>, of: RadiantId) -> JoinHandle<bool> {
        let (history, read) = (self.clone(), group.read(of));
        tokio::spawn(async move {
            let asked = history.state().tick();
            let answer = read.await;
            if let Ok(saw) = &answer {
                history.state().saw(of, asked, saw);
            }
            answer.is_ok()
        })
    }

    /// A write that one of these acknowledged though it was asked for it only after that moment.
    pub fn acknowledged_since(&self, moment: u64, by: &[RadiantId]) -> Option<(Bytes, RadiantId)> {
        let state = self.state();
        let since = |write: &&Write| write.asked > moment && matches!(write.end, End::Acknowledged(_));
        let write = state.writes.iter().filter(since).find(|write| by.contains(&write.of))?;
        Some((write.proposal.clone(), write.of))
    }

    /// How many reads that were asked for after a moment one of these answered.
    pub fn reads_since(&self, moment: u64, by: &[RadiantId]) -> usize {
        let state = self.state();
        state.reads.iter().filter(|read| read.asked > moment && by.contains(&read.of)).count()
    }

    /// Whether a log that came to be this could have answered so.
    pub fn judge(&self, log: &[Bytes]) -> Result<(), Broken> {
        let state = self.state();
        if let Some(why) = &state.fork {
            return Err(Broken(why.clone()));
        }
        ensure!(log.starts_with(&state.seen), "a read saw {:?}, of which the log is no sequel", state.seen);
        let mut places: BTreeMap<&Bytes, usize> = BTreeMap::new();
        for (place, proposal) in log.iter().enumerate() {
            ensure_eq!(places.insert(proposal, place), None, "{proposal:?} is in the log twice: before");
        }
        let mut shown = Vec::new();
        for Write { of, proposal, end, .. } in &state.writes {
            match (end, places.get(proposal)) {
                (End::Acknowledged(at), Some(place)) => {
                    let words = format!("{of} acknowledged {proposal:?}");
                    shown.push(Shown { at: *at, entries: place + 1, words });
                }
                (End::Acknowledged(_), None) => {
                    return Err(Broken(format!("{of} acknowledged {proposal:?}, which is lost")));
                }
                (End::Refused, Some(_)) => {
                    return Err(Broken(format!("{of} refused {proposal:?}, which is in the log")));
                }
                (End::Refused | End::Unknown, _) => {}
            }
        }
        for Read { of, answered, saw, .. } in &state.reads {
            let words = format!("a read on {of} saw {:?}", saw.checked_sub(1).and_then(|last| log.get(last)));
            shown.push(Shown { at: *answered, entries: *saw, words });
        }
        let before = |asked: u64| {
            let earlier = shown.iter().filter(|shown| shown.at < asked);
            earlier.max_by_key(|shown| shown.entries)
        };
        for Read { of, asked, saw, .. } in &state.reads {
            if let Some(Shown { entries, words, .. }) = before(*asked).filter(|shown| shown.entries > *saw) {
                return Err(Broken(format!(
                    "a read on {of} saw {saw} writes, and {entries} were there before it began: {words}"
                )));
            }
        }
        for Write { of, proposal, asked, .. } in &state.writes {
            let Some(place) = places.get(proposal) else { continue };
            if let Some(Shown { words, .. }) = before(*asked).filter(|shown| shown.entries > *place) {
                return Err(Broken(format!(
                    "{proposal:?} was asked of {of} after {words}, and stands before that"
                )));
            }
        }
        Ok(())
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn ask(&mut self, of: RadiantId, proposal: Bytes) -> usize {
        let asked = self.tick();
        self.writes.push(Write { of, proposal, asked, end: End::Unknown });
        self.writes.len() - 1
    }

    fn answered(&mut self, number: usize, end: End) {
        let now = self.tick();
        if let Some(write) = self.writes.get_mut(number) {
            write.end = if end == End::Acknowledged(0) { End::Acknowledged(now) } else { end };
        }
    }

    fn saw(&mut self, of: RadiantId, asked: u64, saw: &[Bytes]) {
        let answered = self.tick();
        if !saw.starts_with(&self.seen) && !self.seen.starts_with(saw) {
            self.fork.get_or_insert(format!("a read on {of} saw {saw:?}, and another {:?}", self.seen));
        } else if saw.len() > self.seen.len() {
            self.seen = saw.to_vec();
        }
        self.reads.push(Read { of, asked, answered, saw: saw.len() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RadiantId = RadiantId(1);
    const TWO: RadiantId = RadiantId(2);

    fn log(words: &str) -> Vec<Bytes> {
        words.chars().map(|word| Bytes::from(word.to_string())).collect()
    }

    /// `a` acknowledged, then `b` asked for; a read that began between the two.
    fn history(b: End, saw: &str) -> History {
        let history = History::default();
        {
            let mut state = history.state();
            let a = state.ask(ONE, Bytes::from_static(b"a"));
            state.answered(a, End::Acknowledged(0));
            let asked = state.tick();
            let other = state.ask(TWO, Bytes::from_static(b"b"));
            state.answered(other, b);
            state.saw(TWO, asked, &log(saw));
        }
        history
    }

    #[test]
    fn what_one_log_could_have_answered_is_fine() {
        for (b, saw, came_to_be) in [
            (End::Acknowledged(0), "a", "ab"),
            (End::Acknowledged(0), "ab", "ab"),
            (End::Unknown, "a", "a"),
            (End::Unknown, "a", "ab"),
            (End::Unknown, "ab", "abc"),
            (End::Refused, "a", "a"),
        ] {
            assert_eq!(history(b, saw).judge(&log(came_to_be)), Ok(()), "{saw} of {came_to_be}");
        }
    }

    #[test]
    fn what_no_log_could_have_answered_is_named() {
        for (b, saw, came_to_be, words) in [
            (End::Acknowledged(0), "", "ab", "saw 0 writes, and 1 were there before it began"),
            (End::Acknowledged(0), "a", "a", "which is lost"),
            (End::Acknowledged(0), "ba", "ba", "and stands before that"),
            (End::Unknown, "a", "ba", "no sequel"),
            (End::Unknown, "a", "aba", "twice"),
            (End::Refused, "a", "ab", "which is in the log"),
        ] {
            let judged = history(b, saw).judge(&log(came_to_be));
            let why = judged.expect_err("no log answers so").to_string();
            assert!(why.contains(words), "{saw} of {came_to_be}: {why}");
        }
    }

    #[test]
    fn reads_go_neither_back_nor_apart() {
        let goes_back = history(End::Unknown, "ab");
        let asked = goes_back.moment();
        goes_back.state().saw(ONE, asked, &log("a"));
        let why = goes_back.judge(&log("ab")).expect_err("it went back").to_string();
        assert!(why.contains("a read on 1 saw 1 writes, and 2 were there"), "{why}");
        let apart = history(End::Unknown, "ab");
        let asked = apart.moment();
        apart.state().saw(ONE, asked, &log("ac"));
        assert!(apart.judge(&log("ab")).is_err());
    }
}
