//! The agreement itself: what a founder promises and accepts, and how a candidate counts. Nothing
//! about time, addresses or discovery; this is what `tests/explore.rs` walks exhaustively.
//!
//! Lamport, *Paxos Made Simple* (2001), section 2, for one value. The quorum of an attempt is its
//! whole list in both phases; `docs/adr/0003-founding.md` says why a majority would be wrong here.

use std::collections::BTreeSet;

use shardbearer_core::bootstrap::{Accepted, Ballot, Founding, Vote};
use shardbearer_core::ids::Incarnation;

/// Promises to take part in nothing below `ballot`. `Ok` says whether the vote changed and must be
/// stored; `Err` names the later attempt that has the promise.
pub(super) fn promise(vote: &mut Vote, ballot: Ballot) -> Result<bool, Ballot> {
    if ballot < vote.promised {
        return Err(vote.promised);
    }
    let changed = ballot > vote.promised;
    vote.promised = ballot;
    Ok(changed)
}

/// Accepts a founding, unless a later attempt has the promise. Results as of [`promise`].
pub(super) fn accept(vote: &mut Vote, accepted: &Accepted) -> Result<bool, Ballot> {
    if accepted.ballot < vote.promised {
        return Err(vote.promised);
    }
    if vote.accepted.as_ref().is_some_and(|before| before.ballot == accepted.ballot) {
        return Ok(false); // a repeated message; one ballot proposes one founding
    }
    vote.promised = accepted.ballot;
    vote.accepted = Some(accepted.clone());
    Ok(true)
}

/// A candidate's count of one attempt. Lost with a crash, which is as if all answers were lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    /// Its number.
    pub ballot: Ballot,
    list: BTreeSet<Incarnation>,
    /// How many of the list make a quorum: all of them. A field for the sake of the broken double only.
    pub(super) needed: usize,
    promised: BTreeSet<Incarnation>,
    best: Option<Accepted>,
    proposal: Option<Accepted>,
    accepted: BTreeSet<Incarnation>,
}

impl Attempt {
    /// An attempt with these founders.
    pub fn new(ballot: Ballot, list: impl IntoIterator<Item = Incarnation>) -> Attempt {
        let list: BTreeSet<Incarnation> = list.into_iter().collect();
        Attempt {
            ballot,
            needed: list.len(),
            list,
            promised: BTreeSet::new(),
            best: None,
            proposal: None,
            accepted: BTreeSet::new(),
        }
    }

    /// A founder promised. True when that completes the quorum: time to [`Self::propose`].
    pub fn promised(&mut self, from: Incarnation, ballot: Ballot, accepted: Option<Accepted>) -> bool {
        if ballot != self.ballot || self.proposal.is_some() || !self.list.contains(&from) {
            return false;
        }
        let best = self.best.as_ref().map(|best| best.ballot).unwrap_or_default();
        if let Some(accepted) = accepted.filter(|accepted| accepted.ballot > best) {
            self.best = Some(accepted);
        }
        self.promised.insert(from) && self.promised.len() >= self.needed
    }

    /// Fixes what is proposed: what a founder accepted last, else what `found` makes up.
    pub fn propose(&mut self, found: impl FnOnce() -> Founding) -> Accepted {
        let founding = self.best.take().map(|best| best.founding).unwrap_or_else(found);
        let proposal = Accepted { ballot: self.ballot, founding };
        self.proposal = Some(proposal.clone());
        proposal
    }

    /// A founder accepted. The founding, when that makes it chosen.
    pub fn accepted(&mut self, from: Incarnation, ballot: Ballot) -> Option<Founding> {
        if ballot != self.ballot || !self.list.contains(&from) {
            return None;
        }
        let proposal = self.proposal.as_ref()?;
        self.accepted.insert(from);
        (self.accepted.len() >= self.needed).then(|| proposal.founding.clone())
    }

    /// What is proposed, once all promised.
    pub fn proposal(&self) -> Option<&Accepted> {
        self.proposal.as_ref()
    }

    /// Of whom the present phase still lacks an answer.
    pub fn missing(&self) -> impl Iterator<Item = Incarnation> {
        let answered = if self.proposal.is_some() { &self.accepted } else { &self.promised };
        self.list.difference(answered).copied()
    }
}
