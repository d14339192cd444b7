//! Links that stay half cut: the others elect once, and then nobody disturbs them, though somebody hears half of what is said.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::harness::{Cluster, http_get};
use super::gaps::Pulse;
use super::links::State;
use super::plan::{FOUNDERS, Fault, Plan};
use super::stage::Stage;

/// How long a cut stays once keys are written again: many election timeouts. And the same where somebody asks for long runs.
const CUT: Duration = Duration::from_secs(4);
const LONG_CUT: Duration = Duration::from_secs(10);
/// Elections of one order in that time. One may come late.
const ELECTIONS_MAX: u64 = 1;

/// A cut: its name, which ways it takes from radiant `one`, and whose doors are no good then.
type Cut =
    (&'static str, fn(from: usize, to: usize, one: usize) -> bool, fn(other: usize, one: usize) -> bool);

const CUTS: [Cut; 3] = [
    ("heard by nobody", |from, _, one| from == one, |other, one| other == one),
    ("hears nobody", |_, to, one| to == one, |other, one| other == one),
    // Only the one between the others reaches everybody.
    (
        "between two that do not reach each other",
        |from, to, one| from != one && to != one,
        |other, one| other != one,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_elected_again_and_again_while_links_are_half_cut() {
    calm("openraft", &CUTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_with_omnipaxos() {
    // Between two that do not reach each other its lead goes to and fro, about once in a second.
    calm("omnipaxos", &CUTS[..2]).await;
}

async fn calm(engine: &'static str, cuts: &[Cut]) {
    // A ballot of omnipaxos is told as a term with the radiant in its lowest bits.
    let shift = if engine == "omnipaxos" { 16 } else { 0 };
    let plan = Plan { faults: vec![Fault::OneWay, Fault::Bridge], ..Plan::of(engine, &[]) };
    let stage = Stage::started(&plan).await;
    let pulse = Pulse::start(&stage.cluster);
    let (time, hit) = if plan.long { (LONG_CUT, FOUNDERS) } else { (CUT, 1) };
    for (name, cut, is_bad) in cuts {
        // Each leads an order.
        for one in 0..hit {
            // No lead is still to go back to somebody.
            stage.cluster.led_as_preferred().await;
            pulse.avoided.lock().extend((0..FOUNDERS).filter(|other| is_bad(*other, one)));
            let held = stage.held();
            stage.links(State::Silent, |from, to| cut(from, to, one));
            pulse.beats(3).await;
            let before = terms(&stage.cluster).await;
            tokio::time::sleep(time).await;
            let after = terms(&stage.cluster).await;
            pulse.beats(3).await;
            assert!(stage.held() > held, "nothing was held back");
            let grew = |(order, term): (&u64, &u64)| {
                (*order, (term >> shift).saturating_sub(before[order] >> shift))
            };
            let grown: BTreeMap<u64, u64> = after.iter().map(grew).collect();
            println!("{engine}, r{} {name} for {time:?}: terms grew by {grown:?}", one + 1);
            assert!(
                grown.values().all(|grown| *grown <= ELECTIONS_MAX),
                "{engine}, r{} {name}: {grown:?} elections by order",
                one + 1
            );
            stage.heal(&pulse);
            pulse.beats(3).await;
        }
    }
    pulse.end().await;
}

/// The highest term of each order that anybody knows.
async fn terms(cluster: &Cluster) -> BTreeMap<u64, u64> {
    let mut highest = BTreeMap::new();
    for radiant in &cluster.radiants {
        // Each is alive: it is their links that are cut.
        let (code, body) = http_get(&radiant.http, "/v1/status").await.expect("it answers");
        assert_eq!(code, 200, "{body}");
        let status: serde_json::Value = serde_json::from_str(&body).unwrap();
        for order in status["orders"].as_array().into_iter().flatten() {
            let number = |name: &str| order[name].as_u64().unwrap();
            let term = highest.entry(number("id")).or_default();
            *term = number("term").max(*term);
        }
    }
    highest
}
