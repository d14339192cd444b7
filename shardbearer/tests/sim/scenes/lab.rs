//! Scenarios of the published lab on sharded services that the other scenes leave out, where it matters on every engine.

use std::time::Duration;

use shardbearer_core::ids::OrderId;
use shardbearer_core::migration::Phase;
use shardbearer_proto::pb::rebalance_request::Kind;
use shardbearer_sim::chaos::{self, Act};

use super::asks::at_rest;
use super::dead::{home, islands};
use super::load::Habits;
use super::orders::{growing, joins, leaves, spread};
use super::{Scene, is_well, play};
use crate::cluster::Shape;
use crate::mixes::mix;

/// All radiants stop at the same moment and start again.
async fn all_restart(scene: &Scene) {
    for machine in &scene.cluster.machines {
        machine.crash().await;
    }
    scene.cluster.machines.iter().for_each(crate::machine::Machine::start);
    scene.eventually("all is well", || scene.all(is_well)).await;
}

/// Ten writers while orders join and leave, one that had everything at first is emptied, and everything restarts in the midst of
/// it, three times. Logs are so short that whoever comes back gets images.
fn ten_writers(engines: &str, seed: u64) {
    let engines = mix(engines).expect("one of the mixes");
    play(seed, &Shape { mix: engines, shards: 9, ..growing(3) }, async |scene| {
        scene.ask_orders(0, Kind::Mode("count".into())).await.expect("as it is told");
        let habits =
            Habits { pause_ms: (50, 400), patience: Duration::from_secs(20), ..Habits::of(10, 0..3) };
        // Those who ask once are left without an answer where everything restarts.
        let load = scene.load("writers", &habits);
        let mut there = vec![OrderId(2)];
        for turn in 0..3 {
            there.push(joins(&scene, turn).await);
            scene.pass(Duration::from_millis(150 * turn as u64)).await;
            all_restart(&scene).await;
            spread(&scene, there.len()).await;
            leaves(&scene, (turn + 1) % 3, there.remove(0)).await;
            spread(&scene, there.len()).await;
        }
        let (calls, failed) = load.end().await;
        println!("{calls} calls, {} failed", failed.len());
        assert!(calls > 200 && failed.len() < 100, "{calls} calls, {} failed", failed.len());
    });
}

#[test]
fn ten_writers_while_orders_come_and_go_and_everything_restarts_with_openraft() {
    ten_writers("openraft", 31);
}

#[test]
fn ten_writers_while_orders_come_and_go_and_everything_restarts_with_omnipaxos() {
    ten_writers("omnipaxos", 32);
}

#[test]
fn ten_writers_while_orders_come_and_go_and_everything_restarts_with_chains() {
    ten_writers("chain", 33);
}

/// One client alone, who sees the effect of each of its requests before it sends the next, through six epochs and more.
#[test]
fn one_client_alone_sees_six_epochs_go_by_over_a_lossy_net() {
    let lossy = chaos::profile("net").expect("one of the profiles");
    play(34, &Shape { profile: lossy, ..growing(2) }, async |scene| {
        scene.ask_orders(0, Kind::Mode("count".into())).await.expect("as it is told");
        let before = scene.topology(0).epoch;
        let load = scene.load("client", &Habits { pause_ms: (0, 50), ..Habits::of(1, 0..3) });
        let [one, other] = [joins(&scene, 0).await, joins(&scene, 1).await];
        spread(&scene, 3).await;
        leaves(&scene, 2, one).await;
        leaves(&scene, 0, other).await;
        spread(&scene, 1).await;
        let (calls, failed) = load.end().await;
        let epochs = scene.topology(0).epoch.0 - before.0;
        println!("{calls} calls, {} failed, {epochs} epochs", failed.len());
        assert!(calls > 200 && epochs >= 6, "{calls} calls, {epochs} epochs");
    });
}

/// A shard is to move to an order that is dead, and the scherald that decided it is cut off: its successor completes exactly that
/// once the order is back, and the old one, healed, disturbs nothing.
#[test]
fn a_scherald_is_cut_off_while_an_order_is_dead() {
    play(35, &islands(), async |scene| {
        for round in 0..3 {
            // The order on the radiant that has no seat of the control order.
            let control = scene.seats(OrderId::CONTROL);
            let down = (0..4).find(|number| !control.contains(number)).expect("three of four have one");
            let dead = [2, 3, 4, 5].map(OrderId).into_iter().find(|order| home(&scene, *order) == down);
            let dead = dead.expect("each has one order");
            let old = scene.herald(OrderId::CONTROL).expect("all is well");
            let doors: Vec<usize> = control.iter().copied().filter(|number| *number != old).collect();
            let [source, other] = [doors[0], doors[1]].map(|door| {
                [2, 3, 4, 5]
                    .map(OrderId)
                    .into_iter()
                    .find(|order| home(&scene, *order) == door)
                    .expect("the same")
            });
            let keys = [source, other].into_iter().flat_map(|order| scene.tags(order, 2)).collect();
            let shard = scene.topology(0).shards_of(source)[0];
            let habits = Habits { keys, ..Habits::of(4, doors.clone()) };
            let load = scene.load("living", &habits);

            scene.machine(down).crash().await;
            let id = scene.plan(old, shard, dead).await.expect("nothing else moves");
            scene.pass(Duration::from_millis(200 * round)).await;
            scene.cluster.perform(Act::Isolate(old, true)).await;
            let led = || scene.herald(OrderId::CONTROL).is_some_and(|herald| herald != old);
            scene.eventually("there is a successor", led).await;
            scene.pass(Duration::from_secs(5)).await;
            assert_eq!(scene.ended(doors[0], id), None, "half of it is dead");
            scene.machine(down).start();
            let over = || scene.ended(doors[0], id) == Some(Phase::Collected);
            scene.eventually("the successor completes it", over).await;
            let heard = || scene.topology(doors[0]).shards_of(dead).contains(&shard);
            scene.eventually("who is asked has heard what is in force", heard).await;
            let epoch = scene.topology(doors[0]).epoch;
            scene.cluster.perform(Act::Isolate(old, false)).await;
            scene.eventually("all is well", || scene.all(is_well)).await;
            scene.pass(Duration::from_secs(3)).await;
            assert!(
                scene.all(|running| running.cluster.map.epoch() == epoch
                    && at_rest(&running.cluster.map.topology())),
                "round {round}: the old one changes nothing"
            );
            assert!(scene.topology(old).shards_of(dead).contains(&shard));
            assert!(load.stop().await > 200, "clients of the living went on");
            scene.moved(doors[0], shard, source).await;
        }
    });
}
