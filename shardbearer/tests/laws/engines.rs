//! The laws of engines, for each that is built in. `SHARDBEARER_SEEDS=20` tries that many weathers instead of one.

use std::sync::Arc;

use shardbearer::engine::chain::ChainFactory;
use shardbearer::engine::omnipaxos::OmnipaxosFactory;
use shardbearer::engine::openraft::OpenraftFactory;
use shardbearer_core::engine::EngineFactory;
use shardbearer_sim::conformance::engine::{LAWS, Law, Needs, Subject, card, check, violation};

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

/// The laws of lists, for the chain. Those of elections are not for an engine that waits for its members.
#[test]
fn chain_keeps_the_laws_of_engines_that_are_told_their_members() {
    let subject = Subject::new(Arc::new(ChainFactory));
    let lists: Vec<&Law> = LAWS.iter().filter(|law| law.needs == Needs::DecidedElsewhere).collect();
    assert!(lists.len() >= 3);
    for law in lists {
        let found = violation(law, &subject).expect("the chain claims it");
        found.unwrap_or_else(|broken| panic!("{}: {broken}", law.name));
    }
}

#[test]
fn cards_say_what_was_measured() {
    let cards = [
        (card::measure(&Subject::new(Arc::new(OpenraftFactory))), card::Means::Lease, true),
        (card::measure(&Subject::new(Arc::new(OmnipaxosFactory))), card::Means::ReadIndex, false),
    ];
    for (card, means, members_change) in cards {
        let card = card.expect("it can be measured");
        assert_eq!((card.linearizable_reads, card.membership_change), (means, members_change), "{card}");
        // To two members and back, on at least two disks, within a few election timeouts.
        assert!((4.0..12.0).contains(&card.messages_per_write), "{card}");
        assert!((2.0..6.0).contains(&card.syncs_per_write), "{card}");
        assert!((200..5_000).contains(&card.failover_ms), "{card}");
        let json: serde_json::Value = serde_json::from_str(&card.json()).expect("JSON");
        assert_eq!(json["engine"], card.engine);
        assert_eq!(json["linearizable_reads"], means.name());
        assert_eq!(json["survives"][4], 2);
    }
}
