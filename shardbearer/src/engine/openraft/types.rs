//! openraft's types as this project uses them, and positions in both countings: openraft's first index is 0, the
//! log's is 1, because 0 means "none" everywhere else.

use std::fmt;

use bytes::Bytes;
use openraft::impls::EmptyNode;
use openraft::impls::leader_id_std;
use shardbearer_core::log::LogPos;

openraft::declare_raft_types!(
    /// Plain Raft: at most one leader per term; a node is its number; proposals and replies are bytes.
    pub Types:
        D = Proposal,
        R = Answer,
        NodeId = u64,
        Node = EmptyNode,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = super::runtime::Seeded,
);

pub type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub type Committed = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub type LogId = openraft::LogId<Committed>;
pub type Vote = openraft::impls::Vote<LeaderId>;
pub type Membership = openraft::Membership<u64, EmptyNode>;
pub type StoredMembership = openraft::StoredMembership<Committed, u64, EmptyNode>;
pub type Payload = openraft::EntryPayload<Proposal, u64, EmptyNode>;
pub type Entry = openraft::Entry<Committed, Payload>;
pub type SnapshotMeta = openraft::storage::SnapshotMeta<Committed, u64, EmptyNode>;
pub type Snapshot = openraft::storage::Snapshot<Committed, u64, EmptyNode, super::machine::Image>;

/// What is proposed.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

/// What a proposal is answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A log id as a position.
pub fn position(id: &LogId) -> LogPos {
    LogPos { term: id.leader_id.term, index: id.index + 1 }
}

/// A position as a log id; `None` for "before the first entry".
pub fn log_id(position: LogPos) -> Option<LogId> {
    let index = position.index.checked_sub(1)?;
    Some(log_id_of(position.term, index))
}

/// The id of the entry with openraft's `index` of a term.
pub fn log_id_of(term: u64, index: u64) -> LogId {
    use openraft::vote::RaftLeaderId;
    // Who led in the term is not part of a committed id.
    LogId::new(LeaderId::new(term, 0).to_committed(), index)
}
