//! Radiants come and go, several at once.

use shardbearer_proto::pb::member_request::Action;

use super::asks::at_rest;
use super::load::Habits;
use super::play;
use crate::cluster::Shape;

/// Three join at the same moment, each asked of another radiant, and seats become even; then the three founders give all
/// theirs away at the same moment. No call of a client fails.
#[test]
fn three_join_at_once_and_then_three_others_give_everything_away_at_once() {
    let shape = Shape { radiants: 6, founders: 3, orders: 3, ..Shape::default() };
    play(9, &shape, async |scene| {
        let load = scene.load("clients", &Habits::of(6, 0..6));
        let joined = tokio::join!(
            scene.ask_member(0, Action::Join, 3),
            scene.ask_member(1, Action::Join, 4),
            scene.ask_member(2, Action::Join, 5)
        );
        assert_eq!(joined, (Ok(()), Ok(()), Ok(())));
        let seats = |number: usize| {
            let topology = scene.topology(0);
            let of = topology.orders_of(scene.id(number)).filter(|order| !order.id.is_control());
            of.count()
        };
        let even = || at_rest(&scene.topology(0)) && (0..6).all(|number| (1..=2).contains(&seats(number)));
        scene.eventually("nine seats are spread over six", even).await;

        let drained = tokio::join!(
            scene.ask_member(3, Action::Drain, 0),
            scene.ask_member(4, Action::Drain, 1),
            scene.ask_member(5, Action::Drain, 2)
        );
        assert_eq!(drained, (Ok(()), Ok(()), Ok(())));
        let given_away = || {
            let topology = scene.topology(3);
            at_rest(&topology) && (0..3).all(|number| topology.is_spare(scene.id(number)))
        };
        scene.eventually("the founders have no seat, of the control order neither", given_away).await;
        let calls = load.stop().await;
        assert!(calls > 500, "{calls}");
    });
}
