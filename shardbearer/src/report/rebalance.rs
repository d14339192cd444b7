//! Rebalancing as JSON: the policy, a plan, and what became of moves.

use serde::{Deserialize, Serialize};
use shardbearer_proto::pb;

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// "off", "manual", "count" or "load".
    pub mode: String,
    /// "count" or "load" while something that was asked for is carried out.
    pub running: Option<String>,
    /// Whether no move is begun.
    pub paused: bool,
    /// Moves that a plan made now would have.
    pub moves_left: u64,
}

/// The answer to a request: what it leads to, and whether it was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it is decided; moves go on by themselves.
    pub done: bool,
    /// The epoch in force.
    pub epoch: u64,
    /// Why it is not done.
    pub refused: Option<String>,
    /// The order that was or would be created.
    pub order: Option<u64>,
    /// "off", "manual", "count" or "load", as it is or would be.
    pub mode: String,
    /// What moves, in this order.
    pub moves: Vec<Move>,
    /// All data orders before and after.
    pub shares: Vec<Share>,
    /// What should be moved and cannot be now.
    pub blockers: Vec<String>,
    /// Why it is unsafe.
    pub dangers: Vec<String>,
}

/// One move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The shard.
    pub shard: u64,
    /// Its owner.
    pub from: u64,
    /// Its owner to be.
    pub to: u64,
    /// Why.
    pub why: String,
    /// What it should change.
    pub predicted: String,
    /// What else could be done.
    pub alternatives: Vec<String>,
    /// Rows of the shard.
    pub rows: u64,
    /// Bytes of the shard.
    pub bytes: u64,
}

/// An order before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The order.
    pub id: u64,
    /// Its share relative to the others.
    pub weight: u32,
    /// Shards now.
    pub shards_before: u64,
    /// Shards after all moves.
    pub shards_after: u64,
    /// Load now, in millionths of all.
    pub load_before: u64,
    /// Load after all moves.
    pub load_after: u64,
}

impl From<pb::RebalanceStatus> for Standing {
    fn from(status: pb::RebalanceStatus) -> Self {
        let pb::RebalanceStatus { mode, running, paused, moves_left } = status;
        Standing { mode, running: said(running), paused, moves_left }
    }
}

impl From<pb::RebalanceResponse> for Answer {
    fn from(answer: pb::RebalanceResponse) -> Self {
        Answer {
            done: answer.done,
            epoch: answer.epoch,
            refused: said(answer.refused),
            order: super::known(answer.order),
            mode: answer.policy.unwrap_or_default().mode,
            moves: answer.moves.into_iter().map(Into::into).collect(),
            shares: answer.shares.into_iter().map(Into::into).collect(),
            blockers: answer.blockers,
            dangers: answer.dangers,
        }
    }
}

impl From<pb::PlannedMove> for Move {
    fn from(made: pb::PlannedMove) -> Self {
        let pb::PlannedMove { shard, from, to, why, reason, rows, bytes } = made;
        let pb::MoveReason { predicted, alternatives } = reason.unwrap_or_default();
        Move { shard, from, to, why, predicted, alternatives, rows, bytes }
    }
}

impl From<pb::OrderShare> for Share {
    fn from(share: pb::OrderShare) -> Self {
        let pb::OrderShare { order, weight, shards_before, shards_after, load_before, load_after } = share;
        Share { id: order, weight, shards_before, shards_after, load_before, load_after }
    }
}

fn said(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
