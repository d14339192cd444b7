//! Who decides: scheralds that compete, are cut off in the middle of a change, and what they decided before.

use std::time::Duration;

use shardbearer_core::control::Change;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::membership::{MemberChange, Standing};
use shardbearer_core::migration::Phase;
use shardbearer_proto::pb::member_request::Action;
use shardbearer_sim::chaos::Act;

use super::asks::at_rest;
use super::load::Habits;
use super::{Scene, play};
use crate::cluster::Shape;

/// Four radiants at once make what follows the same epoch, each something else: one of them does, round after round, and
/// clients notice nothing.
#[test]
fn of_four_would_be_controllers_one_makes_the_next_epoch() {
    play(7, &Shape::default(), async |scene| {
        let load = scene.load("clients", &Habits::of(5, 0..5));
        for round in 0..3 {
            let on = scene.topology(0).epoch;
            let drain = |number: usize| {
                let change = MemberChange::Stand {
                    radiant: scene.id(number),
                    standing: Standing::Draining { to: RadiantId::NONE },
                };
                scene.propose((number + round) % 5, Change::Members { on, change })
            };
            let answers = tokio::join!(drain(0), drain(1), drain(2), drain(3));
            let answers = [answers.0, answers.1, answers.2, answers.3];
            let won: Vec<usize> = (0..4).filter(|number| answers[*number].is_ok()).collect();
            let [winner] = won[..] else { panic!("round {round}: {answers:?}") };
            assert_eq!(answers[winner], Ok(shardbearer_core::ids::Epoch(on.0 + 1)));
            let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
            assert!(refused.into_iter().all(|why| why.contains("epoch")), "{answers:?}");
            let name = &scene.machine(winner).name;
            let history = scene.history(4).await;
            let made = history[on.0 as usize].record.clone().expect("it was made");
            assert_eq!((made.epoch, made.what), (on.0 + 1, format!("radiant {name} is draining")));
            settles(&scene, &format!("{name} has no seat"), |topology| {
                topology.orders_of(scene.id(winner)).next().is_none()
            })
            .await;
            let draining = |standing| matches!(standing, Standing::Draining { .. });
            let standings =
                scene.topology(0).radiants.iter().map(|radiant| radiant.standing).collect::<Vec<_>>();
            assert_eq!(standings.into_iter().filter(|standing| draining(*standing)).count(), 1);
            scene.ask_member(4, Action::Undrain, winner).await.expect("it takes seats again");
            scene.calm(4).await;
        }
        assert!(load.stop().await > 2_000);
    });
}

async fn settles(scene: &Scene, what: &str, holds: impl Fn(&shardbearer_core::topology::Topology) -> bool) {
    let settled = || {
        scene.all(|running| {
            let topology = running.cluster.map.topology();
            at_rest(&topology) && holds(&topology)
        })
    };
    scene.eventually(what, settled).await;
}

/// Again and again the scherald is cut off while a shard moves: its successor completes that move and nothing else, what the
/// old one is asked for meanwhile never happens, and it disturbs nobody when it is healed.
async fn a_cut_off_scherald(scene: Scene, rounds: usize, clients: usize) {
    let load = scene.load("clients", &Habits::of(clients, 0..5));
    let shard = scene.topology(0).shards_of(OrderId(2))[0];
    scene.rows(shard, 20 << 10, 240).await;
    for round in 0..rounds {
        let old = scene.herald(OrderId::CONTROL).expect("all is well");
        let at = (old + 1 + round % 4) % 5;
        let owner = if scene.topology(at).shards_of(OrderId(2)).contains(&shard) { 2 } else { 3 };
        let id = scene.plan(at, shard, OrderId(5 - owner)).await.expect("nothing else moves");
        scene.pass(Duration::from_millis(50 * round as u64)).await;
        assert_eq!(scene.ended(at, id), None, "round {round}: it is under way");
        scene.cluster.perform(Act::Isolate(old, true)).await;
        let other = scene.topology(at).shards_of(OrderId(4))[0];
        let asked = scene.plan(old, other, OrderId(2)).await;
        asked.expect_err("whoever is alone decides nothing");
        let over = || scene.ended(at, id) == Some(Phase::Collected);
        scene.eventually("the successor completes the move", over).await;
        let successor = scene.herald(OrderId::CONTROL).expect("it completed the move");
        assert_ne!(successor, old);
        let epoch = scene.topology(successor).epoch;
        scene.cluster.perform(Act::Isolate(old, false)).await;
        scene.eventually("the old one follows", || scene.topology(old).epoch >= epoch).await;
        scene.pass(Duration::from_secs(3)).await;
        let last = scene.running(successor).cluster.migrations.last().expect("there was one");
        assert_eq!(last.id.0, id, "round {round}: nothing else moved");
        let made = scene.history(successor).await.split_off(id as usize);
        let who: Vec<String> = made.iter().filter_map(|epoch| Some(epoch.record.clone()?.what)).collect();
        assert!(
            who.len() == 1 && who[0].contains(&format!("shard {shard} belongs to order {}", 5 - owner)),
            "{who:?}"
        );
        assert!(scene.all(|running| running.cluster.map.epoch() == epoch), "round {round}");
    }
    let (calls, failed) = load.end().await;
    println!("{calls} calls, {} failed", failed.len());
    assert!(calls >= 200 * clients as u64, "clients went on: {calls}");
}

#[test]
fn a_successor_completes_what_a_cut_off_scherald_began() {
    play(8, &Shape::default(), async |scene| a_cut_off_scherald(scene, 3, 0).await);
}

#[test]
fn a_successor_completes_what_a_cut_off_scherald_began_under_clients() {
    play(9, &Shape::default(), async |scene| a_cut_off_scherald(scene, 5, 5).await);
}

/// While each radiant in turn is down, everything that ever was in force is told in the same words by all others, an epoch
/// is made, and the one that missed it catches up.
#[test]
fn every_old_epoch_is_told_the_same_while_each_radiant_in_turn_is_down() {
    play(10, &Shape::default(), async |scene| {
        for number in 0..5 {
            let before = scene.history(number).await;
            assert_eq!(before.len() as u64, scene.topology(number).epoch.0);
            scene.machine(number).crash().await;
            for at in (0..5).filter(|at| *at != number) {
                assert_eq!(scene.history(at).await, before, "r{at} while r{number} is down");
            }
            let at = (number + 1) % 5;
            let shard = scene.topology(at).shards_of(OrderId(2 + number as u64 % 2))[0];
            scene.moved(at, shard, OrderId(3 - number as u64 % 2)).await;
            scene.machine(number).start();
            let epoch = scene.topology(at).epoch;
            scene
                .eventually("it catches up", || scene.all(|running| running.cluster.map.epoch() >= epoch))
                .await;
            assert_eq!(scene.history(number).await[..before.len()], before);
        }
    });
}
