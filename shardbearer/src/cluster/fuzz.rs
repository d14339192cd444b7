//! What operators and other radiants may say to a radiant and free functions here make something of: understood, or refused in words.

use shardbearer_core::ids::{ClusterId, RadiantId};
use shardbearer_core::migration::Migration;
use shardbearer_core::rebalancing::RebalanceChange;
use shardbearer_core::storage::Stored;
use shardbearer_core::topology::{Radiant, Topology};
use shardbearer_proto::pb;
use shardbearer_state::controller::policy;
use shardbearer_state::membership::system::Told;
use shardbearer_state::placement::{Founding, Slots, found};

use super::{history, rebalance, reset, scherald, system};

/// Three radiants with two orders of data.
fn topology() -> Topology {
    let founder = |name: &str| Radiant { name: name.into(), ..Radiant::default() };
    found(Founding {
        cluster: ClusterId(7),
        founders: ["a", "b", "c"].map(founder).into(),
        orders: 2,
        replication: 3,
        engine: "openraft".into(),
        engines: Vec::new(),
        control_engine: "openraft".into(),
        scheme: Slots::new(4).expect("within bounds"),
        draw: 0,
    })
}

fn said<T>(understood: Result<T, String>) -> Option<T> {
    understood.inspect_err(|why| assert!(!why.trim().is_empty(), "a refusal without a word")).ok()
}

/// An operator's request about a radiant.
pub(crate) fn member(request: pb::MemberRequest) {
    said(scherald::action(&topology(), &request));
}

/// An operator's request about shards and orders, and what the configuration would be after it.
pub(crate) fn rebalance(request: pb::RebalanceRequest) {
    let topology = topology();
    let create = |order: pb::NewOrder| {
        let members = order.members.into_iter().map(Into::into).collect();
        Ok(RebalanceChange::Create { engine: order.engine, members })
    };
    let asked = said(rebalance::ask::asked(&topology, request.kind, create));
    if let Some(change) = asked.and_then(|asked| asked.change) {
        said(policy::carry_out(&topology, &change));
    }
}

/// An operator's request to begin anew without most members: nobody asks for it without a name and a reason.
pub(crate) fn reset(request: pb::ResetRequest) {
    let (who, why) = reset::who_and_why(&request);
    assert!(!who.is_empty() && !why.is_empty(), "a reset that nobody asked for");
}

/// A question for the past, to somebody who has none.
pub(crate) fn epochs(request: pb::EpochsRequest) {
    let page = history::page(&Stored::default(), &request).expect("nothing is readable");
    assert!(page.epochs.is_empty() && !page.more, "a past out of nothing");
}

/// What another radiant knows of the control order: what is newer is taken over, once.
pub(crate) fn log_end(end: pb::LogEndResponse) {
    let known = Told { topology: topology(), migration: None, silent: vec![RadiantId(3)], serves: false };
    let (mut told, version) = (known.clone(), known.topology.version());
    let learn = |told: &mut Told| system::learn(told, &end).map_err(|error| error.to_string());
    if said(learn(&mut told)).is_none() {
        return;
    }
    assert!(told.topology.version() >= version, "something older is taken over");
    let before = (told.topology.version(), told.migration.clone());
    learn(&mut told).expect("it was understood before");
    let newer = |migration: &Option<Migration>| {
        migration.as_ref().is_some_and(|one| before.1.as_ref().is_none_or(|known| one.is_newer_than(known)))
    };
    assert!(told.topology.version() == before.0 && !newer(&told.migration), "the same is news again");
}
