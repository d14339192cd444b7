//! What is drawn for the kit gets somewhere: laws that only ever see refused migrations prove little.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand::rngs::StdRng;
use shardbearer_core::control::{Change, ControlReply};
use shardbearer_core::kv::{Command, Migrated, Reply, Standing, Step};
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::Stored;
use shardbearer_state::controller::{self, ControlMachine};
use shardbearer_state::shard::ShardMachine;

/// As many as the kit draws.
const SEEDS: u64 = 40;
const STEPS: u64 = 60;

/// Applies what is drawn and shows each command, its reply, and the rows after it.
fn play<M: StateMachine>(
    new: impl Fn() -> M,
    draw: impl Fn(&mut StdRng, u64) -> M::Command,
    mut look: impl FnMut(M::Command, M::Reply, &Stored),
) where
    M::Command: Clone,
{
    for seed in 0..SEEDS {
        let (mut rng, mut machine, mut rows) = (StdRng::seed_from_u64(seed), new(), Stored::default());
        for step in 0..STEPS {
            let command = draw(&mut rng, step);
            let mut work = Workspace::new(&rows);
            let reply = machine.apply(LogPos { term: 1, index: step + 1 }, command.clone(), &mut work);
            let batch = work.finish().expect("memory does not fail");
            rows.commit(batch);
            for space in machine.take_dropped() {
                rows.0.remove(&space);
            }
            look(command, reply, &rows);
        }
    }
}

#[test]
fn steps_of_migrations_take_shards_everywhere() {
    let mut reached = BTreeSet::new();
    play(
        || ShardMachine::new(super::DATA),
        super::entry,
        |entry, replies, _| {
            for (item, reply) in entry.items.into_iter().zip(replies) {
                let (Command::Migrate(migrate), Reply::Migrated(migrated)) = (item.command, reply) else {
                    continue;
                };
                let at = match (migrate.step, migrated) {
                    (_, Migrated::Differs { .. }) => "differs",
                    (Step::Activate { .. }, Migrated::Part(part))
                        if (part.standing, part.migration) == (Standing::Serving, migrate.migration) =>
                    {
                        "activated"
                    }
                    (Step::Watch { .. }, Migrated::Part(part)) if part.at != 0 => "weighed",
                    (Step::Collect { .. }, Migrated::Part(part)) if part.pruning => "cut",
                    (_, Migrated::Part(part)) => match part.standing {
                        Standing::Leaving => "leaving",
                        Standing::Frozen => "frozen",
                        Standing::Arriving => "arriving",
                        Standing::Verified => "verified",
                        Standing::Gone => "gone",
                        Standing::Absent | Standing::Serving => continue,
                    },
                    (_, Migrated::Image { .. } | Migrated::Changes { .. }) => continue,
                };
                reached.insert(at);
            }
        },
    );
    let all = ["activated", "arriving", "cut", "differs", "frozen", "gone", "leaving", "verified", "weighed"];
    assert_eq!(reached, BTreeSet::from(all));
}

#[test]
fn decisions_about_migrations_come_through_and_are_called_off() {
    let mut phases = BTreeSet::new();
    let mut begun_anew = 0;
    play(
        || ControlMachine,
        super::control,
        |command, reply, rows| {
            let done = matches!(reply, ControlReply::Changed { .. });
            match command.change {
                Change::Migration(_) if done => {
                    let last = controller::migration(rows).expect("its own rows are readable");
                    phases.extend(last.map(|last| last.phase));
                }
                Change::Anew(_) => begun_anew += usize::from(done),
                _ => {}
            }
        },
    );
    let names: Vec<&str> = phases.iter().map(|phase| phase.name()).collect();
    assert_eq!(names.len(), 7, "reached only {names:?}");
    assert!(begun_anew > 0, "nothing began anew");
}
