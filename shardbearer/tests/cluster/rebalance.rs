//! Orders come, are emptied and go, and shards follow while clients write; operators say how, and are told why.

use shardbearer::gateway::Overview;
use shardbearer_core::ids::OrderId;
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;
use shardbearer_proto::pb::rebalance_request::Kind;

use super::harness::*;
use super::moves::Writers;

const RADIANTS: usize = 3;
const SHARDS: usize = 12;

/// Three radiants that do not wait long before they spread shards.
async fn quick() -> (tempfile::TempDir, Vec<Radiant>) {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(RADIANTS);
    let starting: Vec<Starting> = (0..RADIANTS)
        .map(|i| {
            let mut config = config(folder.path(), &format!("r{i}"), ports[i], &ports, RADIANTS as u32);
            config.bootstrap.shards = SHARDS;
            config.rebalance.settle_ms = 300;
            config.rebalance.cool_down_ms = 300;
            start(config)
        })
        .collect();
    let mut radiants = Vec::new();
    for radiant in starting {
        radiants.push(radiant.open().await);
    }
    for radiant in &radiants {
        eventually("all orders are led", || radiant.running.cluster.status().health == "ok").await;
    }
    (folder, radiants)
}

async fn ask(radiant: &Radiant, kind: Kind, dry_run: bool) -> pb::RebalanceResponse {
    let request = pb::RebalanceRequest { kind: Some(kind), dry_run, ..pb::RebalanceRequest::default() };
    radiant.running.cluster.rebalance(request).await.expect("answered")
}

/// Asks for something that is not refused.
async fn decide(radiant: &Radiant, kind: Kind) -> pb::RebalanceResponse {
    let answer = ask(radiant, kind, false).await;
    assert!(answer.done && answer.refused.is_empty(), "{answer:?}");
    answer
}

/// To and from an order that is without a herald at this very moment nothing moves yet, which is said.
fn moves_and_blockers(answer: &pb::RebalanceResponse) -> usize {
    answer.moves.len() + answer.blockers.len()
}

/// How many shards each data order has, ascending by order.
fn counts(topology: &Topology) -> Vec<usize> {
    let data = topology.orders.iter().filter(|order| !order.id.is_control());
    data.map(|order| topology.shards_of(order.id).len()).collect()
}

/// Waits until all radiants know that shards are spread so, and nothing moves.
async fn spread(radiants: &[Radiant], expected: &[usize]) {
    for radiant in radiants {
        let cluster = &radiant.running.cluster;
        eventually(&format!("shards are spread as {expected:?}"), || {
            let at_rest = cluster.migrations.last().is_none_or(|last| last.phase.is_over());
            at_rest && counts(&cluster.map.topology()) == expected
        })
        .await;
    }
}

fn weight(order: OrderId, weight: u32) -> Kind {
    Kind::Weight(pb::Weight { order: order.0, weight })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_follow_orders_that_come_are_emptied_and_go_under_writers() {
    let (_folder, radiants) = quick().await;
    spread(&radiants, &[4, 4, 4]).await;
    let writers = Writers::start_on(&radiants, 8, "spread-");
    let predicted = decide(&radiants[0], Kind::Mode("count".into())).await;
    assert!(predicted.moves.is_empty(), "what is even stays: {predicted:?}");

    let dry = ask(&radiants[1], Kind::Create(pb::NewOrder::default()), true).await;
    assert_eq!((dry.done, dry.order, moves_and_blockers(&dry)), (false, 5, 3), "{dry:?}");
    let created = decide(&radiants[1], Kind::Create(pb::NewOrder::default())).await;
    assert_eq!(moves_and_blockers(&created), 3, "{created:?}");
    if dry.blockers.is_empty() && created.blockers.is_empty() {
        assert_eq!(created.moves, dry.moves, "what was said is what is done");
    }
    spread(&radiants, &[3, 3, 3, 3]).await;
    let moved = radiants[0].running.cluster.map.topology().shards_of(OrderId(5))[0].0;
    let explained = radiants[2].running.cluster.explain(pb::ExplainRequest { shard: moved }).await;
    let moves = explained.expect("answered").moves;
    let [only] = moves.as_slice() else { panic!("moved once: {moves:?}") };
    let reason = only.reason.clone().unwrap_or_default();
    assert_eq!((only.who.as_str(), only.to), ("rebalance by count", 5), "{only:?}");
    assert!(only.why.contains("its share is 3") && !reason.alternatives.is_empty(), "{only:?}");
    assert!(only.effect.starts_with(&reason.predicted), "{:?}, and {:?}", reason.predicted, only.effect);

    let emptied = OrderId(2);
    decide(&radiants[2], weight(emptied, 0)).await;
    spread(&radiants, &[0, 4, 4, 4]).await;
    let removed = decide(&radiants[0], Kind::Remove(3)).await;
    assert_eq!(moves_and_blockers(&removed), 4, "{removed:?}");
    decide(&radiants[0], weight(emptied, 1)).await;
    spread(&radiants, &[4, 4, 4]).await;
    for radiant in &radiants {
        let cluster = &radiant.running.cluster;
        assert!(cluster.map.topology().order(OrderId(3)).is_none(), "it is gone");
        eventually("its seats are closed", || cluster.orders.find(OrderId(3)).is_none()).await;
    }

    let written = writers.stop().await;
    for (i, count) in written.iter().enumerate() {
        assert!(*count > 20, "writer {i} wrote meanwhile: {written:?}");
        let value = radiants[(i + 1) % RADIANTS].get(&format!("spread-{i}")).await;
        assert_eq!(value, Some(count.to_string()), "key {i}");
    }
    // Ids of orders are not given twice.
    let next = ask(&radiants[1], Kind::Create(pb::NewOrder::default()), true).await;
    assert_eq!(next.order, 6);
    for radiant in radiants {
        radiant.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_hand_nothing_moves_unless_asked_and_pins_hold() {
    let (_folder, radiants) = quick().await;
    spread(&radiants, &[4, 4, 4]).await;
    let first = &radiants[0];
    let [home, other] = [OrderId(2), OrderId(3)];
    let shard = first.running.cluster.map.topology().shards_of(home)[0].0;
    let pinned = decide(first, Kind::Pin(pb::Pin { shard, order: other.0 })).await;
    assert_eq!(pinned.moves.len(), 1, "{pinned:?}");

    decide(first, Kind::Mode("off".into())).await;
    let refused = ask(first, Kind::Run(String::new()), false).await;
    assert!(refused.refused.contains("rebalancing is off"), "{refused:?}");
    decide(first, Kind::Mode("manual".into())).await;
    decide(first, Kind::Pause(true)).await;
    decide(first, Kind::Run("load".into())).await;
    let status = || radiants[1].running.cluster.status().rebalance.expect("it is told");
    eventually("it waits", || status().paused && status().running == "load").await;
    assert_eq!(counts(&first.running.cluster.map.topology()), [4, 4, 4], "it is paused");
    decide(first, Kind::Pause(false)).await;
    let of = |order| first.running.cluster.map.topology().shards_of(order);
    eventually("the shard is where it is pinned to", || of(other).iter().any(|one| one.0 == shard)).await;
    eventually("the run is over", || status().running.is_empty()).await;

    // What a pin says, nobody undoes by mistake.
    let plan = pb::move_request::Plan { shard, to: home.0 };
    let kind = Some(pb::move_request::Kind::Plan(plan));
    let moved = first.running.cluster.migrate(pb::MoveRequest { kind, ..pb::MoveRequest::default() }).await;
    let refused = moved.expect("answered").refused;
    assert!(refused.contains("is pinned to order 3; unpin it first"), "{refused}");
    let refused = ask(first, Kind::Remove(other.0), false).await.refused;
    assert!(refused.contains("is pinned to order 3"), "{refused}");

    // By load: two busy shards of one order are parted, although that has no shard too many.
    decide(first, Kind::Pin(pb::Pin { shard, order: 0 })).await;
    let busy = |wanted: OrderId| {
        let owner = |tag: &String| first.running.door.locate("default", tag.as_bytes()).expect("a table");
        let tags = (0..500).map(|i| format!("{{busy-{i}}}")).filter(|tag| owner(tag).1 == wanted);
        let mut tags: Vec<_> = tags.map(|tag| (owner(&tag).0, tag)).collect();
        tags.sort_unstable();
        tags.dedup_by_key(|(shard, _)| *shard);
        tags
    };
    let (one, two) = (busy(home)[0].clone(), busy(home)[1].clone());
    let writers = [&one, &two].map(|(_, tag)| Writers::start_on(&radiants, 4, tag));
    decide(first, Kind::Mode("load".into())).await;
    let owners = || {
        let topology = first.running.cluster.map.topology();
        let shards = topology.tables.iter().flat_map(|table| &table.shards);
        let owners = shards.filter(|shard| [one.0, two.0].contains(&shard.id)).map(|shard| shard.order);
        owners.collect::<Vec<_>>()
    };
    eventually("they are parted", || owners()[0] != owners()[1]).await;
    let known = &first.running.cluster.migrations;
    eventually("what that changed is measured", || {
        known
            .last()
            .is_some_and(|last| last.who == "rebalance by load" && last.effect.contains("; afterwards: "))
    })
    .await;
    for writers in writers {
        writers.stop().await;
    }

    // What would leave no copy to spare is refused, unless somebody insists.
    let leave = pb::MemberRequest {
        action: pb::member_request::Action::Leave.into(),
        radiant: "r2".into(),
        ..pb::MemberRequest::default()
    };
    let refused = first.running.cluster.member(leave).await.expect("answered");
    assert!(!refused.done && !refused.steps.is_empty(), "{refused:?}");
    assert!(refused.dangers[0].contains("could not lose any member"), "{refused:?}");
    for radiant in radiants {
        radiant.stop().await;
    }
}
