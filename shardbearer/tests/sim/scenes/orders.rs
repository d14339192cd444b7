//! Orders come and go, and shards with them.

use std::time::Duration;

use shardbearer_core::ids::OrderId;
use shardbearer_core::storage::Space;
use shardbearer_proto::pb;
use shardbearer_proto::pb::member_request::Action;
use shardbearer_proto::pb::rebalance_request::Kind;
use shardbearer_sim::chaos;

use super::asks::at_rest;
use super::load::Habits;
use super::{Scene, play};
use crate::cluster::Shape;

/// One order at first and `more` later, on three radiants that do not wait long before they spread shards.
pub(super) fn growing(more: usize) -> Shape {
    Shape {
        radiants: 3,
        founders: 3,
        orders: 1,
        orders_ever: 1 + more,
        shards: 18,
        settings: |config| {
            config.consensus.heartbeat_ms = 300;
            config.consensus.election_timeout_ms = 1_500;
            config.rebalance.settle_ms = 100;
            config.rebalance.cool_down_ms = 100;
        },
        ..Shape::default()
    }
}

/// Waits until everybody knows that there are so many data orders, that all have a fair share of the shards, and that nothing
/// moves.
pub(super) async fn spread(scene: &Scene, orders: usize) {
    let fair = || {
        scene.all(|running| {
            let topology = running.cluster.map.topology();
            let data = topology.orders.iter().filter(|order| !order.id.is_control());
            let counts: Vec<usize> = data.map(|order| topology.shards_of(order.id).len()).collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            let even = least.zip(most).is_some_and(|(least, most)| most - least <= 1);
            let over = running.cluster.migrations.last().is_none_or(|last| last.phase.is_over());
            at_rest(&topology) && counts.len() == orders && even && over
        })
    };
    scene.eventually(&format!("shards are spread over {orders} orders"), fair).await;
}

/// Eight orders join one after the other, and then all of them leave.
async fn come_and_go(scene: &Scene) {
    scene.ask_orders(0, Kind::Mode("count".into())).await.expect("as it is told");
    let mut came = Vec::new();
    for number in 0..8 {
        came.push(joins(scene, number % 3).await);
        spread(scene, 2 + number).await;
    }
    for (number, order) in came.into_iter().enumerate() {
        leaves(scene, number % 3, order).await;
        spread(scene, 8 - number).await;
    }
}

/// An order joins. Whether a request was heard over a lossy net shows the configuration.
pub(super) async fn joins(scene: &Scene, at: usize) -> OrderId {
    let highest = || scene.topology(at).orders.iter().map(|order| order.id).max().expect("there is one");
    let before = highest();
    // Its answer may be lost; it is not asked for twice, which would make two.
    let asked = scene.ask_orders(at, Kind::Create(pb::NewOrder::default())).await;
    match asked {
        Ok(answer) => OrderId(answer.order),
        Err(_) => {
            scene.eventually("it was heard", || highest() > before).await;
            highest()
        }
    }
}

pub(super) async fn leaves(scene: &Scene, at: usize, order: OrderId) {
    while let Err(why) = scene.ask_orders(at, Kind::Remove(order.0)).await {
        let topology = scene.topology(at);
        if topology.order(order).is_none() || topology.policy.removing.contains(&order) {
            return;
        }
        assert!(!why.is_empty());
        scene.pass(Duration::from_millis(100)).await;
    }
}

#[test]
fn eight_orders_join_one_by_one_and_all_leave_under_ten_clients() {
    play(11, &growing(8), async |scene| {
        let load = scene.load("clients", &Habits { pause_ms: (50, 400), ..Habits::of(10, 0..3) });
        come_and_go(&scene).await;
        assert!(load.stop().await > 500);
    });
}

#[test]
fn eight_orders_join_one_by_one_and_all_leave_under_ten_clients_over_a_lossy_net() {
    let lossy = chaos::profile("net").expect("one of the profiles");
    play(12, &Shape { profile: lossy, ..growing(8) }, async |scene| {
        let load = scene.load("clients", &Habits { pause_ms: (50, 400), ..Habits::of(10, 0..3) });
        come_and_go(&scene).await;
        let (calls, failed) = load.end().await;
        println!("{calls} calls, {} failed", failed.len());
        assert!(calls > 500);
    });
}

/// Orders come and go in a loop; shards that are pinned stay, and are read as often as when nothing moves.
#[test]
fn shards_that_do_not_move_are_read_as_fast_while_orders_come_and_go() {
    play(13, &growing(4), async |scene| {
        scene.ask_orders(0, Kind::Mode("count".into())).await.expect("as it is told");
        let home = OrderId(2);
        let pinned = scene.topology(0).shards_of(home).into_iter().step_by(3).collect::<Vec<_>>();
        for shard in &pinned {
            let pin = pb::Pin { shard: shard.0, order: home.0 };
            scene.ask_orders(0, Kind::Pin(pin)).await.expect("it is there already");
        }
        let staying = |tag: &bytes::Bytes| {
            pinned.contains(&scene.running(0).door.locate("default", tag).expect("there is a table").0)
        };
        let keys: Vec<_> = scene.tags(home, 1).into_iter().filter(staying).collect();
        let habits = Habits { keys, pause_ms: (20, 20), reads_only: true, ..Habits::of(5, 0..3) };
        let began = scene.cluster.universe.now_ms();
        let load = scene.load("meanwhile", &habits);
        for number in 0..4 {
            let order = joins(&scene, number % 3).await;
            spread(&scene, 2).await;
            leaves(&scene, number % 3, order).await;
            spread(&scene, 1).await;
        }
        let (slowest, calls) = (load.slowest(), load.stop().await);
        let lasted = scene.cluster.universe.now_ms() - began;
        let calm = scene.load("calm", &habits);
        scene.pass(Duration::from_millis(lasted)).await;
        let expected = calm.stop().await;
        println!(
            "{calls} reads in {lasted} ms, {expected} where nothing moves; the slowest took {slowest:?}"
        );
        assert!(calls * 10 >= expected * 9, "{calls} instead of {expected}");
        assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    });
}

/// Ten operators at once have orders come, and then go: everything that was agreed to is so, and shards are even.
#[test]
fn ten_operators_at_once_have_orders_come_and_go() {
    play(14, &growing(10), async |scene| {
        scene.ask_orders(0, Kind::Mode("count".into())).await.expect("as it is told");
        let create = |at: usize| scene.ask_orders(at % 3, Kind::Create(pb::NewOrder::default()));
        let created = tokio::join!(
            create(0),
            create(1),
            create(2),
            create(3),
            create(4),
            create(5),
            create(6),
            create(7),
            create(8),
            create(9),
        );
        let (a, b, c, d, e, f, g, h, i, j) = created;
        let all = [a, b, c, d, e, f, g, h, i, j];
        let mut agreed: Vec<u64> = all.iter().filter_map(|one| Some(one.as_ref().ok()?.order)).collect();
        agreed.sort_unstable();
        assert!(!agreed.is_empty(), "{all:?}");
        agreed.dedup();
        assert_eq!(agreed, (3..3 + agreed.len() as u64).collect::<Vec<_>>(), "each has a number of its own");
        spread(&scene, 1 + agreed.len()).await;
        let topology = scene.topology(0);
        let orders: Vec<u64> = topology.orders.iter().map(|order| order.id.0).filter(|id| *id > 2).collect();
        assert_eq!(orders, agreed);
        let remove = |at: usize| scene.ask_orders(at % 3, Kind::Remove(agreed[at % agreed.len()]));
        let removed = tokio::join!(
            remove(0),
            remove(1),
            remove(2),
            remove(3),
            remove(4),
            remove(5),
            remove(6),
            remove(7),
            remove(8),
            remove(9),
        );
        let (a, b, c, d, e, f, g, h, i, j) = removed;
        for answer in [a, b, c, d, e, f, g, h, i, j].into_iter().filter_map(Result::err) {
            assert!(!answer.is_empty());
        }
        for order in agreed {
            leaves(&scene, 0, OrderId(order)).await;
        }
        spread(&scene, 1).await;
    });
}

/// After many moves the disks hold what they held before: one copy for each replica.
#[test]
fn after_many_moves_the_disks_hold_one_copy_for_each_replica() {
    let shape = Shape { radiants: 4, founders: 4, ..Shape::default() };
    play(15, &shape, async |scene| {
        let shard = scene.topology(0).shards_of(OrderId(2))[0];
        scene.rows(shard, 10 << 10, 30).await;
        let stored = || {
            let disks = scene.cluster.machines.iter().map(|machine| &machine.disk);
            let spaces =
                disks.flat_map(|disk| scene.cluster.data_orders().flat_map(|order| disk.rows_of(order)));
            let rows = spaces.filter(|(space, _)| matches!(space, Space::Shard { .. }));
            rows.map(|(_, rows)| rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>())
                .sum::<usize>()
        };
        let copies = |bytes: usize| bytes as f64 / (30.0 * f64::from(10 << 10));
        scene.eventually("all replicas have it", || copies(stored()) >= 3.0).await;
        let before = stored();
        for turn in 0..20 {
            scene.moved(turn % 4, shard, OrderId(2 + (turn as u64 + 1) % 3)).await;
        }
        scene.eventually("what the sources had is gone", || stored() <= before + before / 50).await;
        assert!((3.0..3.2).contains(&copies(stored())), "{} copies", copies(stored()));
    });
}

/// What is asked for right after something else was decided is decided on top of that, and not refused for it.
#[test]
fn one_request_right_after_another_is_decided_too() {
    let shape = Shape { radiants: 4, founders: 4, ..Shape::default() };
    play(16, &shape, async |scene| {
        for turn in 0..20 {
            let action = if turn % 2 == 0 { Action::Drain } else { Action::Undrain };
            let asked = scene.ask_member(turn % 3, action, 3).await;
            assert_eq!(asked, Ok(()), "{action:?}, {turn}");
        }
    });
}
