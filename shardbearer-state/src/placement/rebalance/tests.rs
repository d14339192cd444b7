//! Plans: even, few moves, the same for everybody, and at rest once carried out. Golden stories say what is said.

use std::fmt::Write;

use proptest::prelude::*;
use shardbearer_core::ids::Epoch;
use shardbearer_core::migration::{Migration, Phase};
use shardbearer_core::rebalancing::Policy;

use super::*;

/// So many orders, from 2 on, and shards given to them in turn.
fn sight(orders: u64, shards: u64) -> Sight {
    let orders: Vec<OrderSight> =
        (2..2 + orders).map(|id| OrderSight { id: OrderId(id), weight: 1, up: true }).collect();
    let shards = (1..=shards).map(|id| ShardSight {
        id: ShardId(id),
        order: orders[(id as usize - 1) % orders.len()].id,
        pin: OrderId::NONE,
        load: Load::default(),
    });
    Sight { shards: shards.collect(), orders }
}

fn count_of(sight: &Sight, order: OrderId) -> usize {
    sight.shards.iter().filter(|shard| shard.order == order).count()
}

/// Tells a story: what is changed and asked is at the margin, plans are indented and carried out.
fn tell(script: &str) -> String {
    let mut world = sight(1, 0);
    let mut told = String::new();
    for line in script.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(told, "{line}").expect("memory does not fail");
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let order = |world: &mut Sight, id: &str| {
            let id = OrderId(number(id));
            world.orders.iter().position(|order| order.id == id).expect("known")
        };
        match words.as_slice() {
            [] | ["#", ..] => {}
            ["cluster", orders, shards] => world = sight(number(orders), number(shards)),
            ["order", id] => world.orders.push(OrderSight { id: OrderId(number(id)), weight: 1, up: true }),
            ["weight", id, weight] => {
                let at = order(&mut world, id);
                world.orders[at].weight = number(weight) as u32;
            }
            ["down", id] => {
                let at = order(&mut world, id);
                world.orders[at].up = false;
            }
            ["up", id] => {
                let at = order(&mut world, id);
                world.orders[at].up = true;
            }
            ["pin", shard, to] => world.shards[number(shard) as usize - 1].pin = OrderId(number(to)),
            ["load", shard, bytes, reads, writes] => {
                let (bytes, reads, writes) = (number(bytes), number(reads), number(writes));
                world.shards[number(shard) as usize - 1].load = Load { rows: 1, bytes, reads, writes };
            }
            ["rebalance", mode] => {
                let plan = plan(&world, Mode::named(mode).expect("a mode"), 10);
                for made in &plan.moves {
                    let Move { shard, from, to, why, reason, .. } = made;
                    writeln!(told, "  {shard}: {from} -> {to}: {why}").expect("memory");
                    writeln!(told, "    {}", reason.predicted).expect("memory");
                    for other in &reason.alternatives {
                        writeln!(told, "    or {other}").expect("memory");
                    }
                }
                for blocker in &plan.blockers {
                    writeln!(told, "  blocked: {blocker}").expect("memory");
                }
                world = world.after(&plan.moves);
                let shares: Vec<String> = super::shares(&world, &[])
                    .iter()
                    .map(|share| format!("{}: {}", share.id, share.shards_before))
                    .collect();
                writeln!(told, "  shards by order: {}", shares.join(", ")).expect("memory");
            }
            other => panic!("what is {other:?}?"),
        }
    }
    told
}

#[test]
fn golden_stories() {
    for script in [include_str!("scripts/by_count"), include_str!("scripts/by_load")] {
        let told = tell(script);
        assert_eq!(told, script, "this is what happens now:\n{told}");
    }
}

fn worlds() -> impl Strategy<Value = Sight> {
    let order = (0..4_u32, prop::bool::weighted(0.9));
    let load = (0..1_000_000_u64, 0..1_000_u64, 0..1_000_u64);
    let shard = (0..8_usize, prop::option::weighted(0.1, 2..9_u64), load);
    (prop::collection::vec(order, 1..7), prop::collection::vec(shard, 0..50)).prop_map(|(orders, shards)| {
        let orders = (2..).zip(orders).map(|(id, (weight, up))| OrderSight { id: OrderId(id), weight, up });
        let orders: Vec<OrderSight> = orders.collect();
        let shards = (1..).zip(shards).map(|(id, (owner, pin, (bytes, reads, writes)))| ShardSight {
            id: ShardId(id),
            order: orders[owner % orders.len()].id,
            pin: pin.map_or(OrderId::NONE, OrderId),
            load: Load { rows: 1, bytes, reads, writes },
        });
        Sight { shards: shards.collect(), orders }
    })
}

/// What is farthest from its share, and the sum of squares of it.
fn unevenness(sight: &Sight) -> u128 {
    let weights: u64 = sight.orders.iter().map(|order| u64::from(order.weight)).sum();
    let shares = shares(sight, &[]);
    let total: u64 = shares.iter().map(|share| share.load_before).sum();
    let over = |share: &Share| {
        let due = total * u64::from(share.weight) / weights.max(1);
        u128::from(share.load_before.abs_diff(due))
    };
    shares.iter().map(|share| over(share).pow(2)).sum()
}

proptest! {
    /// By count: every shard that may be elsewhere is where it should be, shares hold within one, nothing moves twice,
    /// and what was carried out is at rest.
    #[test]
    fn by_count_is_even_and_at_rest(mut world in worlds()) {
        world.orders.iter_mut().for_each(|order| order.up = true);
        let plan = plan(&world, Mode::Count, 10);
        prop_assert_eq!(&super::plan(&world, Mode::Count, 10), &plan, "the same sight, the same plan");
        if world.orders.iter().all(|order| order.weight == 0) {
            prop_assert!(plan.moves.is_empty());
            return Ok(());
        }
        prop_assert!(plan.blockers.is_empty(), "{:?}", plan.blockers);
        let after = world.after(&plan.moves);
        let rest = super::plan(&after, Mode::Count, 10);
        prop_assert!(rest.moves.is_empty(), "it is not at rest: {:?}", rest.moves);
        for shard in &after.shards {
            match after.pin(shard) {
                Some(pin) => prop_assert_eq!(shard.order, pin),
                None => prop_assert!(after.order(shard.order).is_some_and(|order| order.weight > 0)),
            }
        }
        // Of two orders without pins, none has more than its share by more than one.
        let free: Vec<&OrderSight> = after.orders.iter().filter(|order| {
            order.weight > 0 && !after.shards.iter().any(|shard| after.pin(shard) == Some(order.id))
        }).collect();
        for (a, b) in free.iter().flat_map(|a| free.iter().map(move |b| (a, b))) {
            let [of_a, of_b] = [a, b].map(|order| count_of(&after, order.id) as f64 / f64::from(order.weight));
            let grain = 1.0 / f64::from(a.weight) + 1.0 / f64::from(b.weight);
            prop_assert!((of_a - of_b).abs() <= grain + 1e-9, "{a:?} has {of_a}, {b:?} has {of_b}");
        }
        // As few as can be: what an order gives, it does not also get, but for pins.
        let moved = |by: fn(&Move) -> OrderId, order| plan.moves.iter().any(|made| by(made) == order && !made.forced);
        for order in &world.orders {
            prop_assert!(!(moved(|made| made.from, order.id) && moved(|made| made.to, order.id)), "{order:?}");
        }
    }

    /// By load: under a steady load it gets better with every move that is not forced, and comes to rest.
    #[test]
    fn by_load_gets_better_and_comes_to_rest(mut world in worlds(), gain in 1..30_u32) {
        world.orders.iter_mut().for_each(|order| order.up = true);
        prop_assume!(world.orders.iter().any(|order| order.weight > 0));
        let forced: Vec<Move> =
            plan(&world, Mode::Load, gain).moves.into_iter().filter(|made| made.forced).collect();
        world = world.after(&forced);
        for _ in 0..400 {
            let plan = plan(&world, Mode::Load, gain);
            prop_assert_eq!(&super::plan(&world, Mode::Load, gain), &plan);
            let Some(first) = plan.moves.first() else { return Ok(()) };
            prop_assert!(!first.forced, "{first:?}");
            let after = world.after(std::slice::from_ref(first));
            prop_assert!(unevenness(&after) < unevenness(&world), "{first:?}");
            world = after;
        }
        prop_assert!(false, "never at rest");
    }

    /// Loads that waver by less than the gain do not move what was at rest.
    #[test]
    fn by_load_does_not_follow_noise(noise in prop::collection::vec(0..40_u64, 40)) {
        let mut world = sight(4, 40);
        for (shard, noise) in world.shards.iter_mut().zip(&noise) {
            shard.load = Load { rows: 1, bytes: 10 << 20, reads: 1_000 + noise, writes: 1_000 - noise };
        }
        prop_assert!(plan(&world, Mode::Load, 10).moves.is_empty());
    }

    /// Nothing is moved from or to an order that nobody leads, and no shard to where it is.
    #[test]
    fn nothing_moves_where_nobody_leads(world in worlds(), by_load in any::<bool>()) {
        let mode = if by_load { Mode::Load } else { Mode::Count };
        for made in plan(&world, mode, 10).moves {
            prop_assert!(made.from != made.to);
            for id in [made.from, made.to] {
                prop_assert!(world.order(id).is_some_and(|order| order.up), "{made:?}");
            }
        }
    }
}

#[test]
fn a_plan_is_begun_when_things_have_settled_and_goes_on_without_a_break() {
    let rest = Rest { settle_ms: 5_000, cool_down_ms: 60_000 };
    let policy = Policy { mode: Mode::Count, ..Policy::default() };
    let orders = vec![(OrderId(2), true)];
    let over = |id: u64, phase| Migration { id: Epoch(id), shard: ShardId(7), phase, ..Migration::default() };
    let mut pace = Pace::default();
    pace.see(1_000, &policy, orders.clone(), None);
    assert!(!pace.may_begin(5_999, Mode::Count, rest, true), "it has not settled");
    assert!(!pace.may_begin(6_000, Mode::Manual, rest, true), "not by itself");
    assert!(pace.may_begin(6_000, Mode::Count, rest, true));
    pace.see(7_000, &policy, orders.clone(), Some(&over(4, Phase::Collected)));
    assert!(pace.may_begin(7_000, Mode::Count, rest, true), "a plan goes on");
    assert!(!pace.may_begin(7_000, Mode::Count, rest, false), "it is done");
    assert!(!pace.may_begin(66_999, Mode::Count, rest, true), "the next one has to wait");
    assert!(pace.may_begin(67_000, Mode::Count, rest, true));
    // What is asked for changes: it waits again.
    let heavier = Policy { weights: [(OrderId(2), 3)].into(), ..policy.clone() };
    pace.see(68_000, &heavier, orders.clone(), Some(&over(4, Phase::Collected)));
    assert!(!pace.may_begin(68_000, Mode::Count, rest, true));
    // By load every move waits for the effect of the last.
    pace.see(80_000, &heavier, orders.clone(), Some(&over(5, Phase::Collected)));
    assert!(!pace.may_begin(139_999, Mode::Load, rest, true));
    assert!(pace.may_begin(140_000, Mode::Load, rest, true));
    // A shard whose moves fail is left alone, longer each time.
    assert!(!pace.avoids(140_000, ShardId(7)));
    pace.see(140_000, &heavier, orders.clone(), Some(&over(6, Phase::Returned)));
    assert!(pace.avoids(169_999, ShardId(7)) && !pace.avoids(170_000, ShardId(7)));
    pace.see(170_000, &heavier, orders, Some(&over(8, Phase::Returned)));
    assert!(pace.avoids(229_999, ShardId(7)) && !pace.avoids(230_000, ShardId(7)));
}
