//! The laws of engines, for each that is built in. `SHARDBEARER_SEEDS=20` tries that many weathers instead of one.

use std::sync::Arc;

use shardbearer::engine::chain::ChainFactory;
use shardbearer::engine::omnipaxos::OmnipaxosFactory;
use shardbearer::engine::openraft::OpenraftFactory;
use shardbearer::engine::solo::SoloFactory;
use shardbearer_core::engine::EngineFactory;
use shardbearer_sim::conformance::engine::{LAWS, Subject, card, check};

fn check_engine(factory: Arc<dyn EngineFactory>) {
    let seeds = std::env::var("SHARDBEARER_SEEDS").map_or(1, |seeds| seeds.parse().expect("a number"));
    for seed in 1..=seeds {
        println!("seed {seed}");
        check(&Subject { seed, ..Subject::new(factory.clone()) });
    }
}

#[test]
fn openraft_keeps_the_laws_of_engines() {
    check_engine(Arc::new(OpenraftFactory));
}

#[test]
fn omnipaxos_keeps_the_laws_of_engines() {
    check_engine(Arc::new(OmnipaxosFactory));
}

#[test]
fn chain_keeps_the_laws_of_engines() {
    check_engine(Arc::new(ChainFactory));
}

#[test]
fn solo_keeps_the_laws_of_engines() {
    check_engine(Arc::new(SoloFactory));
}

#[test]
fn cards_say_what_was_measured() {
    // To two followers and back; news of commits ride along, and a write may share them with the next.
    let majority = |failures: usize| (3.0..12.0, 2.0..6.0, failures);
    let factories: [(Arc<dyn EngineFactory>, _, _); 4] = [
        (Arc::new(OpenraftFactory), card::Means::Lease, majority(2)),
        (Arc::new(OmnipaxosFactory), card::Means::ReadIndex, majority(2)),
        (Arc::new(ChainFactory), card::Means::ReadIndex, (4.0..12.0, 3.0..6.0, 0)),
        (Arc::new(SoloFactory), card::Means::Lease, (0.0..0.1, 1.0..2.0, 0)),
    ];
    for (factory, means, (messages, syncs, failures)) in factories {
        let card = card::measure(&Subject::new(factory.clone())).expect("it can be measured");
        println!("{card}\n");
        assert_eq!(card.linearizable_reads, means, "{card}");
        let change = match factory.capabilities() {
            claimed if claimed.reconfigure => card::MemberChange::Agreed,
            claimed if claimed.members_decided_elsewhere => card::MemberChange::Told,
            _ => card::MemberChange::None,
        };
        assert_eq!(card.membership_change, change, "{card}");
        assert!(messages.contains(&card.messages_per_write), "{card}");
        assert!(syncs.contains(&card.syncs_per_write), "{card}");
        // What was measured is what is claimed.
        let claimed = |count| match factory.refuses(count) {
            None => Some((factory.capabilities().tolerates)(count)),
            Some(_) => None,
        };
        assert_eq!(card.survives.to_vec(), (1..=card::SIZES).map(claimed).collect::<Vec<_>>(), "{card}");
        assert_eq!(card.survives[4].unwrap_or(0), failures, "{card}");
        let failover = card.failover_ms.is_some_and(|time| (200..5_000).contains(&time));
        assert_eq!(failover, failures > 0, "{card}");
        let json: serde_json::Value = serde_json::from_str(&card.json()).expect("JSON");
        assert_eq!(json["engine"], card.engine);
        assert_eq!(json["linearizable_reads"], means.name());
        assert_eq!(json["survives"][4].as_u64().unwrap_or(0), failures as u64);
        assert_eq!(json["failover_ms"].as_u64(), card.failover_ms);
    }
}

/// The document has every law, and names none that there is not.
#[test]
fn the_scenarios_in_the_docs_are_the_laws() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let section = text.split("### Scenarios of engines").nth(1).expect("there is such a section");
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut named: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    let mut laws: Vec<&str> = LAWS.iter().map(|law| law.name).collect();
    named.sort_unstable();
    laws.sort_unstable();
    assert_eq!(named, laws);
}
