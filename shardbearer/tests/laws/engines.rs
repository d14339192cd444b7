//! The laws of engines, for each that is built in. `SHARDBEARER_SEEDS=20` tries that many weathers instead of one.

use std::sync::Arc;

use shardbearer::engine::omnipaxos::OmnipaxosFactory;
use shardbearer::engine::openraft::OpenraftFactory;
use shardbearer_core::engine::EngineFactory;
use shardbearer_sim::conformance::engine::{Subject, check};

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
