//! A shard does not go where there is no room for it: it stays where it was, somebody is told why, and others may move.

use std::time::Duration;

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::migration::Phase;
use shardbearer_proto::pb::move_request::{Kind, Plan};
use tokio::time::Instant;

use super::harness::*;
use super::moves::{ask, over, owner};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_stays_where_it_is_if_the_destination_has_no_room() {
    let (_folder, radiants) = cluster_with(4, |config| {
        if config.radiant.name == "r3" {
            // More than any disk has: nothing is to be filled for this.
            config.storage.reserve_mib = 1_000_000_000;
        }
    })
    .await;
    let (first, full) = (&radiants[0].running, radiants[3].running.cluster.me);
    let topology = first.cluster.map.topology();
    let has_room = |order| topology.order(order).is_some_and(|order| !order.seats().any(|seat| seat == full));
    let key_in = |room: bool| {
        let mut keys = (0..1_000).map(|number| format!("key-{number}"));
        keys.find(|key| has_room(owner(first, key).1) == room).expect("an order of either kind was founded")
    };
    let (key, other) = (key_in(true), key_in(false));
    let ((shard, from), (_, to)) = (owner(first, &key), owner(first, &other));
    radiants[0].put(&key, "a value").await.expect("there is room");
    let start = Instant::now();
    while !matches!(radiants[0].put(&other, "x").await, Err(RequestError::Refused(Refused::DiskFull(_)))) {
        assert!(start.elapsed() < PATIENCE, "the destination's herald does not hear that a disk is full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let plan = || Kind::Plan(Plan { shard: shard.0, to: to.0 });
    let begun = ask(first, plan()).await.expect("nothing else moves");
    assert_eq!(over(first, begun.id).await, Phase::Returned);
    let record = first.cluster.migrations.last().expect("it is over");
    assert!(record.called_off.contains("reserve_mib"), "{}", record.called_off);
    assert_eq!(record.report.rows, 0, "none has arrived");
    radiants[1].put(&key, "another").await.expect("its order serves it");
    assert_eq!((radiants[2].get(&key).await.as_deref(), owner(first, &key).1), (Some("another"), from));
    ask(first, plan()).await.expect("nothing is in the way of another move");
    for radiant in radiants {
        radiant.stop().await;
    }
}
