//! The data plane without the control order: for an hour of virtual time nothing fails but what would change the cluster,
//! and that with a clear refusal.

use std::time::Duration;

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::migration::Phase;
use shardbearer_proto::pb::member_request::Action;
use shardbearer_proto::pb::{move_request, rebalance_request};

use super::asks::at_rest;
use super::load::Habits;
use super::{Scene, play};
use crate::cluster::Shape;

const MINUTE: Duration = Duration::from_secs(60);

/// What every change is told meanwhile.
const REFUSAL: &str = "the control order has no herald: most of its members are down or cannot be reached";

/// Few questions, so that an hour takes seconds.
fn leisurely(doors: impl IntoIterator<Item = usize>) -> Habits {
    Habits { pause_ms: (2_000, 6_000), ..Habits::of(4, doors) }
}

/// A shape in which an hour takes seconds: heralds are heard less often than they usually are, and looks at what must hold
/// are rarer.
fn patient(shape: Shape) -> Shape {
    Shape {
        look: Duration::from_secs(10),
        settings: |config| {
            config.consensus.heartbeat_ms = 500;
            config.consensus.election_timeout_ms = 2_500;
        },
        ..shape
    }
}

/// Asks for a move, for an order, and for a radiant to be drained: nothing of it is done, all of it clearly refused.
async fn changes_are_refused(scene: &Scene, at: usize) {
    let epoch = scene.topology(at).epoch;
    let refusals = [
        scene.plan(at, ShardId(1), OrderId(3)).await.map(drop),
        scene.ask_orders(at, rebalance_request::Kind::Create(Default::default())).await.map(drop),
        scene.ask_member(at, Action::Drain, at).await,
    ];
    for refusal in refusals {
        let why = refusal.expect_err("there is nobody to decide it");
        assert!(why.contains(REFUSAL), "{why}");
    }
    assert_eq!(scene.topology(at).epoch, epoch);
}

/// The seats of the control order, on radiants without any other, are stopped. Meanwhile the order that has the data
/// loses its herald for minutes, and then all its members at once.
#[test]
fn an_hour_without_the_radiants_that_have_only_seats_of_the_control_order() {
    let shape = patient(Shape { radiants: 6, founders: 3, orders: 1, orders_ever: 3, ..Shape::default() });
    play(1, &shape, async |scene| {
        let (control, data) = ([0, 1, 2], [3, 4, 5]);
        let order = scene.create(0, "openraft", &data).await;
        scene.ask_orders(0, rebalance_request::Kind::Remove(2)).await.expect("it may go");
        let moved = scene.eventually("the data have moved", || {
            scene.all(|running| {
                let topology = running.cluster.map.topology();
                let shards = topology.shards_of(order).len();
                at_rest(&topology) && shards == shape.shards && topology.orders.len() == 2
            })
        });
        moved.await;
        assert_eq!((scene.seats(OrderId::CONTROL), scene.seats(order)), (control.into(), data.into()));

        let herald = scene.herald(order).expect("all is well");
        let load = scene.load("before", &leisurely(data.into_iter().filter(|number| *number != herald)));
        scene.pass(MINUTE).await;
        for number in control {
            scene.machine(number).crash().await;
        }
        let (epoch, before) = (scene.topology(3).epoch, load.calls());
        changes_are_refused(&scene, 3).await;
        scene.pass(10 * MINUTE).await;
        scene.machine(herald).crash().await;
        scene.pass(10 * MINUTE).await;
        scene.machine(herald).start();
        scene.pass(10 * MINUTE).await;
        let mut calls = load.calls() - before;
        println!("half an hour: {calls} calls, the slowest took {:?}", load.slowest());
        load.stop().await;

        for number in data {
            scene.machine(number).crash().await;
        }
        data.into_iter().for_each(|number| scene.machine(number).start());
        scene.eventually("the order serves again", || scene.herald(order).is_some()).await;
        let load = scene.load("after", &leisurely(data));
        scene.pass(30 * MINUTE).await;
        changes_are_refused(&scene, 4).await;
        assert_eq!(scene.topology(5).epoch, epoch, "nobody decided anything");
        calls += load.calls();
        println!("the second half: {} calls, the slowest took {:?}", load.calls(), load.slowest());
        assert!(calls > 3_000, "clients went on: {calls}");

        control.into_iter().for_each(|number| scene.machine(number).start());
        scene.eventually("the control order is back", || scene.herald(OrderId::CONTROL).is_some()).await;
        let second = scene.create(4, "openraft", &control).await;
        let shard = scene.topology(4).shards_of(order)[0];
        scene.eventually("the new order is led", || scene.herald(second).is_some()).await;
        scene.moved(5, shard, second).await;
        load.stop().await;
    });
}

/// The control order's seats are on radiants that have others too, and it is cut off from everybody, itself included,
/// while a shard moves: that stays where it is, is served all the time, and goes on moving afterwards.
#[test]
fn the_control_order_is_cut_off_for_long_in_the_middle_of_a_move() {
    let shape = patient(Shape {
        radiants: 3,
        founders: 3,
        orders: 2,
        orders_ever: 2,
        mix: &crate::mixes::MIXES[4],
        ..Shape::default()
    });
    play(2, &shape, async |scene| {
        let load = scene.load("hour", &leisurely(0..3));
        let shard = scene.topology(0).shards_of(OrderId(2))[0];
        scene.rows(shard, 40 << 10, 100).await;
        let id = scene.plan(0, shard, OrderId(3)).await.expect("nothing else moves");
        scene.ask_move(1, move_request::Kind::Pause(id)).await.expect("it copies still");
        let known = |id| scene.all(|running| running.cluster.map.epoch().0 >= id);
        scene.eventually("everybody knows of it", || known(id)).await;
        scene.cut_control(true);
        let (epoch, before) = (scene.topology(0).epoch, load.calls());
        scene.eventually("the scherald has stepped down", || scene.herald(OrderId::CONTROL).is_none()).await;
        changes_are_refused(&scene, 0).await;
        scene.pass(10 * MINUTE).await;
        changes_are_refused(&scene, 1).await;
        let why = scene.ask_move(2, move_request::Kind::Resume(id)).await.expect_err("nobody decides");
        assert!(why.contains(REFUSAL), "{why}");
        assert_eq!((scene.ended(2, id), scene.topology(2).epoch), (None, epoch), "nobody decided anything");
        assert_eq!(scene.topology(0).shards_of(OrderId(2))[0], shard);
        let calls = load.calls() - before;
        println!("{calls} calls, the slowest took {:?}", load.slowest());
        assert!(calls > 500, "clients went on: {calls}");

        scene.cut_control(false);
        scene.eventually("the control order is back", || scene.herald(OrderId::CONTROL).is_some()).await;
        scene.ask_move(2, move_request::Kind::Resume(id)).await.expect("it is paused");
        scene.eventually("the move is over", || scene.ended(0, id) == Some(Phase::Collected)).await;
        load.stop().await;
    });
}
