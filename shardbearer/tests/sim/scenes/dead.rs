//! Orders that are dead, each with one seat on a radiant of its own: what waits for them, and what does not.

use std::collections::BTreeMap;
use std::time::Duration;

use shardbearer::gateway::Overview as _;
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::migration::Phase;
use shardbearer_core::storage::Space;
use shardbearer_proto::pb::move_request;
use shardbearer_proto::pb::rebalance_request::Kind;

use super::load::Habits;
use super::{Scene, is_well, play};
use crate::cluster::Shape;

/// A move is over so soon after all who take part in it have been started again.
const SOON: Duration = Duration::from_secs(10);

/// Four orders on four radiants. Three of these have seats of the control order too.
pub(super) fn islands() -> Shape {
    Shape {
        radiants: 4,
        founders: 4,
        orders: 4,
        orders_ever: 4,
        settings: |config| {
            config.bootstrap.replication = 1;
            config.rebalance.settle_ms = 300;
            config.rebalance.cool_down_ms = 300;
        },
        ..Shape::default()
    }
}

/// The radiant that has the only seat of an order.
pub(super) fn home(scene: &Scene, order: OrderId) -> usize {
    scene.seats(order)[0]
}

/// Keys of two orders, at the doors of these radiants.
fn on(scene: &Scene, orders: [OrderId; 2], doors: [usize; 2]) -> Habits {
    let keys = orders.into_iter().flat_map(|order| scene.tags(order, 2)).collect();
    Habits { keys, patience: Duration::from_secs(2), ..Habits::of(6, doors) }
}

/// Two of four orders die, and the majority of the control order with them: exactly their keys wait, those of the others are
/// answered within two seconds. When they are back, all are.
#[test]
fn exactly_the_keys_of_dead_orders_wait() {
    play(3, &islands(), async |scene| {
        let orders = [2, 3, 4, 5].map(OrderId);
        let homes = orders.map(|order| home(&scene, order));
        let living = on(&scene, [orders[2], orders[3]], [homes[2], homes[3]]);
        let dying = Habits { sessions: false, ..on(&scene, [orders[0], orders[1]], [homes[2], homes[3]]) };
        let everybody = scene
            .load("before", &Habits { keys: [&living.keys[..], &dying.keys].concat(), ..living.clone() });
        scene.pass(Duration::from_secs(3)).await;
        assert!(everybody.stop().await > 200);

        scene.machine(homes[0]).crash().await;
        scene.machine(homes[1]).crash().await;
        let (served, stalled) = (scene.load("living", &living), scene.load("dying", &dying));
        scene.pass(Duration::from_secs(20)).await;
        let (answered, failed) = stalled.end().await;
        assert_eq!(answered, 0, "dead orders answer nothing");
        assert!(failed.len() >= 30, "they were asked: {}", failed.len());
        let slowest = served.slowest();
        assert!(served.stop().await > 2_000 && slowest < Duration::from_secs(2), "{slowest:?}");

        scene.machine(homes[0]).start();
        scene.machine(homes[1]).start();
        scene.eventually("all is well", || scene.all(is_well)).await;
        let back = scene.load("after", &dying);
        scene.pass(Duration::from_secs(3)).await;
        assert!(back.stop().await > 200);
    });
}

/// A shard whose order is dead is to move: that is not over while it is, and is soon after. The same where the order that
/// is to have it is dead; then the shard is served all the time.
#[test]
fn a_move_is_not_over_while_its_source_or_its_destination_is_dead_and_is_after() {
    const LONG: Duration = Duration::from_secs(20);
    play(4, &islands(), async |scene| {
        let (from, to) = (OrderId(2), OrderId(3));
        let shard = scene.topology(0).shards_of(from)[0];
        scene.rows(shard, 10 << 10, 20).await;
        for (turn, (source, destination)) in [(from, to), (to, from)].into_iter().enumerate() {
            let dead = if turn == 0 { home(&scene, source) } else { home(&scene, destination) };
            let at = (dead + 1) % 4;
            let doors = [at, (dead + 2) % 4];
            let load = (turn == 1).then(|| scene.load("meanwhile", &on(&scene, [source; 2], doors)));
            scene.machine(dead).crash().await;
            let id = scene.plan(at, shard, destination).await.expect("it may be planned");
            scene.pass(LONG).await;
            assert_eq!(scene.ended(at, id), None, "turn {turn}: half of it is dead");
            assert!(scene.topology(at).shards_of(source).contains(&shard), "turn {turn}");
            if let Some(load) = load {
                assert!(load.stop().await > 1_000, "it was served");
            }
            scene.machine(dead).start();
            let over = || scene.ended(at, id) == Some(Phase::Collected);
            scene.within(LONG, "the move is over", over).await;
        }
    });
}

/// The order that is to have a shard dies at any moment of the move, which is called off: others move without it, and when it
/// is back it drops what it has, and can be given that shard.
#[test]
fn a_move_that_is_called_off_while_its_destination_is_dead_lets_others_go_on() {
    play(7, &islands(), async |scene| {
        let [from, dying, to] = [2, 3, 4].map(OrderId);
        let [shard, another] = scene.topology(0).shards_of(from)[..2] else { panic!("it has many") };
        scene.rows(shard, 20 << 10, 20).await;
        let down = home(&scene, dying);
        let at = (0..4).find(|number| ![from, dying].map(|order| home(&scene, order)).contains(number));
        let at = at.expect("four radiants, two orders");
        let load = scene.load("meanwhile", &on(&scene, [to; 2], [at, home(&scene, from)]));
        let (mut called_off, mut left) = (0, 0);
        for turn in 0..10 {
            let id = scene.plan(at, shard, dying).await.expect("nothing else moves");
            scene.pass(Duration::from_millis(20 + 30 * turn)).await;
            scene.machine(down).crash().await;
            scene.pass(Duration::from_secs(3)).await;
            let words = format!("order {dying}, which takes the shard, has no herald");
            let seen = scene.running(at).cluster.status().migration.expect("it was planned");
            let cancelled = scene.ask_move(at, move_request::Kind::Cancel(id)).await.is_ok();
            if cancelled {
                assert!(scene.ended(at, id).is_some() || seen.report.expect("told").blocker.contains(&words));
                let over = || scene.ended(at, id) == Some(Phase::Returned);
                scene.within(Duration::from_secs(10), "it is called off", over).await;
                let disk = &scene.machine(down).disk;
                let spaces = disk.rows_of(dying).into_keys();
                left += usize::from(spaces.into_iter().any(|space| is_of(space, shard)));
                let (owner, next) = match scene.topology(at).shards_of(from).contains(&another) {
                    true => (from, to),
                    false => (to, from),
                };
                scene.moved(at, another, next).await;
                assert!(scene.topology(at).shards_of(from).contains(&shard), "of order {owner} as well");
                called_off += 1;
            }
            scene.machine(down).start();
            scene.within(SOON, "it is over", || scene.ended(at, id).is_some()).await;
            scene.eventually("all is well", || scene.all(is_well)).await;
            if cancelled {
                scene.moved(at, shard, dying).await;
            }
            scene.moved(at, shard, from).await;
        }
        println!("{called_off} of 10 called off, {left} of them had left something");
        assert!(called_off >= 1 && left >= 1, "{called_off} called off, {left} had left something");
        assert!(load.stop().await > 1_000, "clients went on");
    });
}

/// Either order of a move dies at any moment of it and stays dead: the move is over without it, other shards move, and when it
/// is back it does what it has missed.
#[test]
fn a_dead_order_is_waited_for_half_a_minute_and_then_others_go_on() {
    play(8, &islands(), async |scene| {
        let [pair, others] = [[2, 3], [4, 5]].map(|orders: [u64; 2]| orders.map(OrderId));
        let [shard, another] = [pair, others].map(|[first, _]| scene.topology(0).shards_of(first)[0]);
        scene.rows(shard, 20 << 10, 20).await;
        let keys = scene.tags(pair[0], 4);
        let load = scene
            .load("writers", &Habits { keys, sessions: false, pause_ms: (50, 200), ..Habits::of(3, 0..4) });
        let mut ends = BTreeMap::<_, u32>::new();
        for turn in 0..8_u64 {
            let at = home(&scene, others[0]);
            let owns = |orders: [OrderId; 2], shard| {
                usize::from(!scene.topology(at).shards_of(orders[0]).contains(&shard))
            };
            let source = owns(pair, shard);
            let id = scene.plan(at, shard, pair[1 - source]).await.expect("nothing else moves");
            scene.pass(Duration::from_millis(10 + 40 * (turn / 2))).await;
            let down = home(&scene, pair[turn as usize % 2]);
            scene.machine(down).crash().await;
            // What belongs to a dead order for good, and was not given to it yet, is the one thing to wait for.
            let given = || {
                let last = scene.running(at).cluster.migrations.last();
                last.is_some_and(|last| last.id.0 == id && last.phase == Phase::Serving)
                    && pair[turn as usize % 2] == pair[1 - source]
            };
            let over = || scene.ended(at, id).is_some() || given();
            scene.within(Duration::from_secs(45), "it is over without the dead", over).await;
            let ended = scene.ended(at, id);
            if ended.is_some() {
                scene.moved(at, another, others[1 - owns(others, another)]).await;
            }
            scene.machine(down).start();
            scene.within(SOON, "it is over", || scene.ended(at, id).is_some()).await;
            scene.eventually("all is well", || scene.all(is_well)).await;
            let [source, destination] = [pair[source], pair[1 - source]];
            let ended = ended.or_else(|| scene.ended(at, id)).expect("seen");
            let former = if ended == Phase::Collected { source } else { destination };
            let dead = if former == pair[turn as usize % 2] { "and who gave it up was dead" } else { "" };
            *ends.entry((format!("{ended:?}"), dead)).or_default() += 1;
            let disk = &scene.machine(home(&scene, former)).disk;
            let left = || disk.rows_of(former).into_keys().any(|space| is_of(space, shard));
            scene.eventually("the other has nothing of it", || !left()).await;
        }
        println!("{ends:?}");
        let without = |wanted| ends.keys().any(|(ended, who)| ended == wanted && !who.is_empty());
        assert!(without("Returned") && without("Collected"), "{ends:?}");
        let (calls, _) = load.end().await;
        assert!(calls > 300, "{calls}");
    });
}

fn is_of(space: Space, wanted: ShardId) -> bool {
    matches!(space, Space::Shard { shard, .. } if shard == wanted)
}

/// Two orders are to go, and one of them is dead: the shards of the other get new owners all the same, and are served all the
/// time. What is dead goes when it is back.
#[test]
fn of_two_orders_that_are_to_go_one_is_dead_and_the_shards_of_the_other_are_served() {
    play(5, &islands(), async |scene| {
        let [staying, goes, dead] = [2, 3, 4].map(OrderId);
        let down = home(&scene, dead);
        let doors = [(down + 1) % 4, (down + 2) % 4];
        let at = doors[0];
        let load = scene.load("living", &on(&scene, [goes, staying], doors));
        let waiting = scene.topology(at).shards_of(dead);
        scene.machine(down).crash().await;
        // One whose death nobody has noticed would be tried first, and only one shard moves at a time.
        scene.eventually("its death is noticed", || !is_well(&scene.running(at))).await;
        for order in [dead, goes] {
            scene.ask_orders(at, Kind::Remove(order.0)).await.expect("it may go");
        }
        scene
            .within(Duration::from_secs(20), "the living one is gone", || {
                scene.topology(at).order(goes).is_none()
            })
            .await;
        assert_eq!(scene.topology(at).shards_of(dead), waiting, "nothing of the dead one has moved");
        assert!(load.stop().await > 500, "clients went on");
        scene.machine(down).start();
        scene.eventually("the other one is gone too", || scene.topology(at).order(dead).is_none()).await;
    });
}

/// A shard goes to and fro, and the order that has it or is to have it is killed and started at any moment: each move is
/// completed or taken back, nobody reads anything old, nothing is lost or applied twice.
#[test]
fn ownership_goes_to_and_fro_while_its_orders_restart() {
    play(6, &islands(), async |scene| {
        let orders = [2, 3].map(OrderId);
        let shard = scene.topology(0).shards_of(orders[0])[0];
        scene.rows(shard, 20 << 10, 10).await;
        let load = scene.load("writers", &Habits { keys: scene.tags(orders[0], 4), ..Habits::of(6, 0..4) });
        let (mut completed, mut returned) = (0, 0);
        for round in 0..12 {
            let at = (0..4).find(|number| !orders.map(|order| home(&scene, order)).contains(number));
            let at = at.expect("four radiants, two orders");
            let owner = usize::from(!scene.topology(at).shards_of(orders[0]).contains(&shard));
            let id = scene.plan(at, shard, orders[1 - owner]).await.expect("nothing else moves");
            let victim = home(&scene, orders[round % 2]);
            scene.pass(Duration::from_millis(37 * round as u64)).await;
            scene.machine(victim).crash().await;
            scene.pass(Duration::from_millis(500 * (round as u64 % 3))).await;
            scene.machine(victim).start();
            scene.within(SOON, "the move is over", || scene.ended(at, id).is_some()).await;
            match scene.ended(at, id) {
                Some(Phase::Collected) => completed += 1,
                _ => returned += 1,
            }
            scene.eventually("everybody serves", || scene.all(|_| true)).await;
        }
        let (calls, failed) = load.end().await;
        println!(
            "{completed} moves completed, {returned} taken back; {calls} calls, {} failed",
            failed.len()
        );
        assert!(completed >= 6 && calls > 300, "{completed} of 12, {calls} calls");
    });
}
