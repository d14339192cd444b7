//! Membership: golden stories of what the scherald decides, a table of what no change may do, and whatever happens the
//! two agree and come to rest.

use std::fmt::Write as _;

use proptest::prelude::*;
use shardbearer_core::ids::ClusterId;
use shardbearer_core::topology::Radiant;

use super::ask::{Action, ask};
use super::plan::{Facts, Kind, Progress, Seen, next};
use super::*;
use crate::placement::{Founding, Slots, found};

mod capacity;
mod chains;
mod explore;

/// A cluster, and what its scherald sees.
struct World {
    topology: Topology,
    facts: Facts,
}

impl World {
    /// `founders` radiants a, b, ..., and spares after them.
    fn new(founders: usize, spares: usize, engine: &str, orders: usize) -> World {
        let letter = |i: usize| String::from(char::from(b'a' + u8::try_from(i).expect("few")));
        let named = |i: usize| Radiant { name: letter(i), ..Radiant::default() };
        let mut topology = found(Founding {
            cluster: ClusterId(7),
            founders: (0..founders).map(named).collect(),
            orders,
            replication: 3,
            engine: engine.into(),
            engines: Vec::new(),
            control_engine: "raft".into(),
            scheme: Slots::new(4).expect("within bounds"),
            draw: 0,
        });
        for i in founders..founders + spares {
            let id = RadiantId(i as u64 + 1);
            topology.radiants.push(Radiant { id, standing: Standing::Spare, ..named(i) });
        }
        let kinds = [("raft", Kind::Agree), ("chain", Kind::Elsewhere), ("fixed", Kind::Fixed)];
        let facts = Facts {
            seen: topology.radiants.iter().map(|radiant| (radiant.id, up())).collect(),
            kinds: kinds.map(|(name, kind)| (name.to_owned(), kind)).into(),
            suspicion_ms: 2_000,
            grace_ms: 30_000,
            ..Facts::default()
        };
        let mut world = World { topology, facts };
        world.work();
        world
    }

    /// Who is up takes over what is decided and catches up.
    fn work(&mut self) {
        for order in &self.topology.orders {
            let now = order.configuration();
            let up = |id: &RadiantId| self.facts.seen.get(id).is_some_and(|seen| seen.silent_ms == 0);
            if !now.members.first().is_some_and(up) {
                continue; // nobody gets anything without the head
            }
            let term = now.epoch.0;
            for seat in order.seats().filter(up).collect::<Vec<_>>() {
                let progress = Progress { term, applied: 1_000, complete: true };
                self.facts.progress.insert((order.id, seat), progress);
            }
        }
    }

    /// Carries out what is planned until nothing is, heralds included; what was done, a line each.
    fn rest(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..200 {
            self.work();
            let plan = next(&self.topology, &self.facts);
            let Some(step) = plan.step else {
                done.extend(plan.blockers.into_iter().map(|blocker| format!("blocked: {blocker}")));
                return done;
            };
            let (next, what) = carry_out(&self.topology, &step.change).expect("what is planned is allowed");
            done.push(format!("{}: {what} ({})", next.epoch, step.why));
            self.topology = next;
            self.heralds();
        }
        panic!("never at rest: {done:#?}");
    }

    /// Heralds with a majority carry out what is wanted.
    fn heralds(&mut self) {
        let up = |id: &RadiantId| self.facts.seen.get(id).is_some_and(|seen| seen.silent_ms == 0);
        let able = |order: &&Order| {
            self.facts.kinds.get(&order.engine) == Some(&Kind::Agree)
                && order.is_changing()
                && order.roster.learners.iter().all(up)
                && order.members.iter().filter(|id| up(id)).count() > order.members.len() / 2
        };
        let done: Vec<OrderId> = self.topology.orders.iter().filter(able).map(|order| order.id).collect();
        for order in done {
            let finish = MemberChange::Finish { order };
            self.topology = carry_out(&self.topology, &finish).expect("it was begun").0;
        }
    }

    fn see(&mut self, name: &str, seen: Seen) -> Vec<String> {
        self.facts.seen.insert(self.id(name), seen);
        self.rest()
    }

    fn id(&self, name: &str) -> RadiantId {
        self.topology.radiants.iter().find(|radiant| radiant.name == name).expect("known").id
    }
}

fn up() -> Seen {
    Seen { up_for_ms: 60_000, ..Seen::default() }
}

fn silent(silent_ms: u64) -> Seen {
    Seen { silent_ms, ..Seen::default() }
}

/// Carries a story out: what happens is at the margin, what the scherald does about it is indented.
fn tell(script: &str) -> String {
    let mut world = World::new(3, 0, "raft", 1);
    let mut told = String::new();
    for line in script.lines().filter(|line| !line.starts_with("  ")) {
        told.push_str(line);
        told.push('\n');
        let words: Vec<&str> = line.split_whitespace().collect();
        let lines = match words.as_slice() {
            [] | ["#", ..] => continue,
            ["cluster", founders, spares, engine, orders] => {
                let number = |text: &str| text.parse().expect("a number");
                world = World::new(number(founders), number(spares), engine, number(orders));
                world.rest()
            }
            ["silent", name, ms] => world.see(name, silent(ms.parse().expect("milliseconds"))),
            ["stopping", name] => world.see(name, Seen { stopping: true, ..up() }),
            ["up", name] => world.see(name, up()),
            [act @ ("join" | "drain" | "undrain" | "leave"), name] => {
                let action = match *act {
                    "join" => Action::Join,
                    "drain" => Action::Drain,
                    "undrain" => Action::Undrain,
                    _ => Action::Leave,
                };
                asked(&mut world, name, action)
            }
            ["replace", name, by] => {
                let by = world.id(by);
                asked(&mut world, name, Action::Replace(by))
            }
            ["members"] => {
                let orders = world.topology.orders.iter().map(|order| {
                    let names = names(&world.topology, &order.members);
                    let behind = self::names(&world.topology, &order.roster.learners);
                    let behind = if behind.is_empty() { behind } else { format!("; behind: {behind}") };
                    let led = self::names(&world.topology, &[order.preferred_herald]);
                    format!("order {}: {names}, led by {led}{behind}", order.id)
                });
                orders.collect()
            }
            other => panic!("what is {other:?}?"),
        };
        for line in lines {
            writeln!(told, "  {line}").expect("memory does not fail");
        }
    }
    told
}

/// What is said beforehand, and what then happens.
fn asked(world: &mut World, name: &str, action: Action) -> Vec<String> {
    let answer = ask(&world.topology, &world.facts, world.id(name), action);
    let mut lines: Vec<String> = answer.blockers.iter().map(|why| format!("refused: {why}")).collect();
    lines.extend(answer.dangers.iter().map(|why| format!("unsafe: {why}")));
    let Some(change) = answer.change else { return lines };
    world.topology = carry_out(&world.topology, &change).expect("it was played through").0;
    let done = world.rest();
    let steps = done.iter().filter(|line| !line.starts_with("blocked")).count();
    assert_eq!(
        answer.steps.len(),
        steps,
        "what was said beforehand: {:#?}\nwhat happened: {done:#?}",
        answer.steps
    );
    lines.extend(done);
    lines
}

#[test]
fn golden_stories() {
    for script in [
        include_str!("scripts/chain_loses_and_takes_back"),
        include_str!("scripts/chain_is_stopped_and_started"),
        include_str!("scripts/chain_seats_are_spread"),
        include_str!("scripts/dead_radiant_replaced"),
        include_str!("scripts/drain_leave_join"),
        include_str!("scripts/what_cannot_be_done"),
    ] {
        let told = tell(script);
        assert_eq!(told, script, "this is what happens now:\n{told}");
    }
}

/// An order of two, which came of a drain right after somebody else had started again, does not survive the loss of one.
#[test]
fn a_seat_is_kept_while_somebody_may_soon_be_there_to_take_it() {
    for engine in ["raft", "chain"] {
        for (silent_ms, what) in [(0, "has just started"), (2_500, "was heard a moment ago")] {
            let mut world = World::new(3, 1, engine, 1);
            let (a, d) = (world.id("a"), world.id("d"));
            world.facts.seen.insert(d, silent(silent_ms));
            let drain =
                MemberChange::Stand { radiant: a, standing: Standing::Draining { to: RadiantId::NONE } };
            world.topology = carry_out(&world.topology, &drain).expect("allowed").0;
            let done = world.rest();
            let kept = "radiant a keeps its seat in order 1 until radiant d has been up for a while";
            assert!(done.iter().all(|line| line.starts_with("blocked: ")), "{engine}, {what}: {done:#?}");
            assert!(done.iter().any(|line| line.contains(kept)), "{engine}, {what}: {done:#?}");
            world.facts.seen.insert(d, up());
            world.rest();
            let size = |order: &Order| order.members.len() == 3 && !order.members.contains(&a);
            assert!(world.topology.orders.iter().all(size), "{engine}: {:?}", world.topology.orders);
        }
    }
}

#[test]
fn what_no_change_may_do() {
    use MemberChange::*;
    let (order, none) = (OrderId(2), RadiantId::NONE);
    let ids = |ids: &[u64]| ids.iter().copied().map(RadiantId).collect::<Vec<_>>();
    let mut world = World::new(3, 2, "raft", 1);
    world.topology.radiants[4].standing = Standing::Draining { to: none };
    let begin = |add, remove| Begin { order, add: RadiantId(add), remove: RadiantId(remove) };
    let list =
        |members: &[u64], learners: &[u64]| List { order, members: ids(members), learners: ids(learners) };
    let stand = |radiant, standing| Stand { radiant: RadiantId(radiant), standing };
    let refused = [
        (begin(0, 0), "nobody is named"),
        (begin(1, 0), "is a member of order 2 already"),
        (begin(9, 0), "there is no radiant 9"),
        (begin(5, 0), "is draining and takes no seats"),
        (begin(4, 5), "is no member"),
        (Begin { order: OrderId(7), add: RadiantId(4), remove: none }, "there is no order 7"),
        (Finish { order }, "not changing"),
        (Abandon { order }, "not changing"),
        (list(&[], &[1]), "would have no member"),
        (list(&[1, 1], &[]), "twice"),
        (list(&[1], &[1]), "twice"),
        (list(&[4, 1], &[]), "has to be a member now"),
        (list(&[1, 4], &[]), "has to catch up"),
        (list(&[1], &[5]), "takes no seats"),
        (list(&[1, 2, 3], &[]), "has this list already"),
        (stand(9, Standing::Active), "there is no radiant 9"),
        (stand(1, Standing::Active), "is active already"),
        (stand(1, Standing::Gone), "has seats still"),
        (stand(1, Standing::Leaving { to: RadiantId(1) }), "its own seats"),
        (stand(1, Standing::Leaving { to: RadiantId(5) }), "takes no seats"),
    ];
    for (change, expected) in refused {
        let why = carry_out(&world.topology, &change).expect_err(expected);
        assert!(why.contains(expected), "{change:?}: {why}");
    }
    // One at a time.
    let (changing, _) = carry_out(&world.topology, &begin(4, 3)).expect("a spare takes a seat");
    let why = carry_out(&changing, &begin(0, 2)).expect_err("one at a time");
    assert!(why.contains("one change at a time"), "{why}");
    // A newcomer that is wanted no more keeps its seat until the order is rid of it.
    let (abandoned, _) = carry_out(&changing, &Abandon { order }).expect("it was begun");
    let found = abandoned.order(order).expect("known");
    assert_eq!((found.wanted(), found.seats().count()), (ids(&[1, 2, 3]), 4));
    let (ended, _) = carry_out(&abandoned, &Finish { order }).expect("it was begun");
    assert_eq!(ended.order(order).expect("known").seats().collect::<Vec<_>>(), ids(&[1, 2, 3]));
    assert!(ended.is_spare(RadiantId(4)));
}

#[derive(Clone, Debug)]
enum Happening {
    Silent(u64, u64),
    Up(u64, bool),
    Stand(u64, Standing),
}

fn happening() -> impl Strategy<Value = Happening> {
    let standing = prop_oneof![
        Just(Standing::Active),
        Just(Standing::Draining { to: RadiantId::NONE }),
        Just(Standing::Leaving { to: RadiantId::NONE }),
        (1..7_u64).prop_map(|to| Standing::Leaving { to: RadiantId(to) }),
    ];
    prop_oneof![
        (1..7_u64, prop_oneof![Just(3_000_u64), Just(40_000)]).prop_map(|(id, ms)| Happening::Silent(id, ms)),
        (1..7_u64, any::<bool>()).prop_map(|(id, stopping)| Happening::Up(id, stopping)),
        (1..7_u64, standing).prop_map(|(id, standing)| Happening::Stand(id, standing)),
    ]
}

proptest! {
    /// Whatever happens: what is planned is allowed, it comes to rest, nobody gets a seat who takes none, a list is
    /// led by somebody who was a member before it, and a chain is never led by somebody who is not known to be complete.
    #[test]
    fn plans_are_lawful_and_come_to_rest(
        engine in prop_oneof![Just("raft"), Just("chain"), Just("fixed")],
        happenings in prop::collection::vec(happening(), 1..25),
    ) {
        let mut world = World::new(4, 2, engine, 3);
        for happening in happenings {
            match happening {
                Happening::Silent(id, silent_ms) => {
                    world.facts.seen.insert(RadiantId(id), silent(silent_ms));
                }
                Happening::Up(id, stopping) => {
                    world.facts.seen.insert(RadiantId(id), Seen { stopping, ..up() });
                }
                Happening::Stand(id, standing) => {
                    let change = MemberChange::Stand { radiant: RadiantId(id), standing };
                    if let Ok((next, _)) = carry_out(&world.topology, &change) {
                        world.topology = next;
                    }
                }
            }
            let before = world.topology.clone();
            let plan = next(&before, &world.facts);
            if let Some(step) = &plan.step {
                prop_assert_eq!(&next(&before, &world.facts), &plan, "the same sight, the same step");
                if let MemberChange::List { order, members, .. } = &step.change {
                    let head = world.facts.progress.get(&(*order, members[0])).copied().unwrap_or_default();
                    let epoch = before.order(*order).expect("known").configuration().epoch;
                    prop_assert!(head.complete && head.term == epoch.0, "{:?} leads blindly", step);
                }
            }
            world.rest();
            for order in &world.topology.orders {
                prop_assert!(!order.members.is_empty());
                prop_assert!(order.members.contains(&order.preferred_herald), "{order:?}");
                let mut seats: Vec<RadiantId> = order.seats().collect();
                seats.sort_unstable();
                let count = seats.len();
                seats.dedup();
                prop_assert_eq!(seats.len(), count, "a seat twice");
                for seat in seats {
                    prop_assert!(world.topology.radiant(seat).is_some_and(|known| known.standing != Standing::Gone));
                }
            }
        }
    }
}
