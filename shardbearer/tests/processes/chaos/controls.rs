//! Positive controls: the same runs on clusters that break a promise, of which the oracle has to say so.

use std::time::Duration;

use super::super::defective::Defect;
use super::plan::{Fault, Plan};
use super::run;

/// Each of the faults comes once, and then they come on for so long.
fn plan(engine: &'static str, faults: &[Fault], seconds: u64) -> Plan {
    let mut plan = Plan::of(engine, &[]);
    (plan.faults, plan.time) = (faults.to_vec(), Duration::from_secs(seconds));
    plan
}

/// Where disks only pretend to sync, writes are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_is_caught() {
    let plan = Plan { lies: true, ..plan("openraft", &[Fault::PowerAll], 0) };
    let (tally, report) = run(&plan).await;
    assert!(tally.faults.contains_key(Fault::PowerAll.name()), "no power was cut: {tally}");
    assert!(!report.passed(), "no write is missed, though nothing was synced");
}

/// A herald that answers reads without asking whether it still is one: its answers are old once others lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_ask_nobody_are_caught() {
    let plan = Plan { defect: Some(Defect::Hasty), ..plan("openraft", &[Fault::Isolate, Fault::Pause], 10) };
    let (tally, report) = run(&plan).await;
    assert!(!report.passed(), "no old answer among {} operations: {tally}", report.operations);
}

/// Requests without their ids: what a client asks for again, for want of an answer, is done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_done_twice_are_caught() {
    let plan = plan("openraft", &[Fault::Kill, Fault::Pause], 15);
    // Of the smart client, since the others do not ask again.
    let plan = Plan { defect: Some(Defect::Forgetful), resp: 4, native: 12, ..plan };
    let (tally, report) = run(&plan).await;
    assert!(!report.passed(), "nothing done twice among {} operations: {tally}", report.operations);
}
