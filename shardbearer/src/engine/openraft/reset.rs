//! How an order that lost its majority begins anew from one member, while it is not open here.
//!
//! Everything in the member's log is applied, committed or not: an entry of which this member does not know that it was
//! committed may have been, and acknowledged. Then one more entry is applied that nobody ever sent: it makes this
//! member the only one. The log is cut behind it, so whoever joins later is brought up by an image and never hears of the members that
//! were before; among those, a newcomer with half a log could have elected itself.

use std::io;

use bytes::Bytes;
use openraft::impls::EmptyNode;
use shardbearer_core::engine::{Committed, EngineContext};
use shardbearer_core::log::{LogPos, LogWrite};

use super::log::OrderLog;
use super::machine::{failed, to_apply};
use super::types::{LeaderId, Membership, StoredMembership, Vote, log_id};
use super::wire;

/// Makes this member the only one, and `first` the proposal of that entry. Repeated after a crash, it adds another such entry:
/// nobody has seen the first.
pub(super) async fn begin_anew(
    context: &EngineContext,
    term: u64,
    first: Option<Bytes>,
) -> Result<(), io::Error> {
    let EngineContext { order, me, ref log, ref applier, .. } = *context;
    let message_bytes_max = context.limits.message_bytes_max;
    let log = OrderLog { order, store: log.clone(), message_bytes_max };
    let bounds = log.store.bounds(order);
    let mut applied = applier.applied().position;
    if applied.index < bounds.purged.index {
        return Err(io::Error::other(format!(
            "the data end at entry {}, and the log begins after entry {}: what is between is lost",
            applied.index, bounds.purged.index
        )));
    }
    while applied.index < bounds.last.index {
        let entries = log.read(applied.index, bounds.last.index, message_bytes_max)?;
        let entries: Vec<Committed> = entries.into_iter().map(|entry| to_apply(entry, false)).collect();
        applied = match entries.last() {
            Some(last) => last.position,
            None => return Err(io::Error::other(format!("entry {} is missing", applied.index + 1))),
        };
        applier.apply(entries).await.map_err(failed)?;
    }
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "log: the vote is of an unknown version");
    let vote = bounds.hard.map(|hard| wire::decode_vote(hard).ok_or_else(unreadable)).transpose()?;
    let before = applied.term.max(bounds.last.term).max(vote.map_or(0, |vote| vote.leader_id.term));
    let position = LogPos { term: term.max(before + 1), index: applied.index + 1 };
    let alone =
        Membership::new(vec![[me.0].into()], std::collections::BTreeMap::from([(me.0, EmptyNode::new())]));
    let alone = alone.map_err(|error| io::Error::other(error.to_string()))?;
    let note = wire::encode_stored_membership(&StoredMembership::new(log_id(position), alone));
    let entry = Committed { position, proposal: first, wanted: false, note: Some(note) };
    applier.apply(vec![entry]).await.map_err(failed)?;
    applier.persist().await.map_err(failed)?;
    let vote = Vote { leader_id: LeaderId { term: position.term, voted_for: me.0 }, committed: false };
    // The data have all of it, durably: the log may go.
    log.write_through(vec![LogWrite::Purge { upto: position }, LogWrite::Hard(wire::encode_vote(&vote))])
        .await
}
