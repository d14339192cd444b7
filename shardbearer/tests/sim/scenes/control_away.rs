//! The data plane without the control order: an hour of virtual time in which nothing fails but what would change the
//! cluster, and that with a clear refusal.

use std::time::Duration;

use shardbearer_core::ids::OrderId;
use shardbearer_proto::pb::member_request::Action;
use shardbearer_proto::pb::rebalance_request::Kind;

use super::asks::at_rest;
use super::load::Habits;
use super::{Scene, play};
use crate::cluster::Shape;

const HOUR: Duration = Duration::from_secs(360);
const MINUTE: Duration = Duration::from_secs(60);

/// What every change is told meanwhile.
const REFUSAL: &str = "the control order has no herald: most of its members are down or cannot be reached";

/// Few questions, so that an hour takes seconds.
fn leisurely(doors: impl IntoIterator<Item = usize>) -> Habits {
    Habits { pause_ms: (2_000, 6_000), patience: Duration::from_secs(3), ..Habits::of(4, doors) }
}

/// A shape in which looks at what must hold do not take most of the time.
fn patient(shape: Shape) -> Shape {
    Shape { look: Duration::from_secs(10), ..shape }
}

/// Moves a shard, makes an order and drains a radiant: nothing of it is done, all of it clearly refused.
async fn changes_are_refused(scene: &Scene, at: usize) {
    let epoch = scene.topology(at).epoch;
    let (shard, to) = (shardbearer_core::ids::ShardId(1), OrderId(2));
    let refusals = [
        scene.plan(at, shard, to).await.map(drop),
        scene.ask_orders(at, Kind::Create(Default::default())).await.map(drop),
        scene.ask_member(at, Action::Drain, at).await,
    ];
    for refusal in refusals {
        let why = refusal.expect_err("there is nobody to decide it");
        assert!(why.contains(REFUSAL), "{why}");
    }
    assert_eq!(scene.topology(at).epoch, epoch);
}

/// Seats of the control order on radiants without any other are stopped. While they are, the order that has the
/// data loses its herald, and each of its members in turn is away for minutes.
#[test]
fn an_hour_without_those_who_have_only_seats_of_the_control_order() {
    let shape = patient(Shape { radiants: 6, founders: 3, orders: 1, orders_ever: 3, ..Shape::default() });
    play(1, &shape, async |scene| {
        let (control, data) = ([0, 1, 2], [3, 4, 5]);
        let order = scene.create(0, "openraft", &data).await;
        scene.ask_orders(0, Kind::Remove(2)).await.expect("it may go");
        let shards = shape.shards;
        scene
            .eventually("the data have moved", || {
                scene.all(|running| {
                    let topology = running.cluster.map.topology();
                    at_rest(&topology)
                        && topology.shards_of(order).len() == shards
                        && topology.orders.len() == 2
                })
            })
            .await;
        assert_eq!((scene.seats(OrderId::CONTROL), scene.seats(order)), (control.into(), data.into()));

        let load = scene.load("hour", &leisurely(data));
        scene.pass(MINUTE).await;
        for number in control {
            scene.machine(number).crash().await;
        }
        let epoch = scene.topology(3).epoch;
        let before = load.calls();
        changes_are_refused(&scene, 3).await;
        scene.pass(HOUR).await;
        changes_are_refused(&scene, 4).await;
        assert_eq!(scene.topology(5).epoch, epoch, "nobody decided anything");
        assert!(load.calls() > before + 200, "clients went on: {}", load.calls() - before);
        assert_eq!(load.failed(), [""; 0]);

        control.into_iter().for_each(|number| scene.machine(number).start());
        scene.eventually("the control order is back", || scene.herald(OrderId::CONTROL).is_some()).await;
        let second = scene.create(4, "openraft", &control).await;
        let shard = scene.topology(4).shards_of(order)[0];
        scene.eventually("the new order is led", || scene.herald(second).is_some()).await;
        scene.moved(5, shard, second).await;
        scene.pass(MINUTE).await;
        println!("{} calls, slowest {:?}", load.calls(), load.slowest());
        load.stop().await;
    });
}
