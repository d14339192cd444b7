//! The laws of engines, for each that is built in.

use std::sync::Arc;

use shardbearer::engine::omnipaxos::OmnipaxosFactory;
use shardbearer::engine::openraft::OpenraftFactory;
use shardbearer_sim::conformance::engine::{Subject, check};

#[test]
fn openraft_keeps_the_laws_of_engines() {
    check(&Subject::new(Arc::new(OpenraftFactory)));
}

#[test]
fn omnipaxos_keeps_the_laws_of_engines() {
    check(&Subject::new(Arc::new(OmnipaxosFactory)));
}
