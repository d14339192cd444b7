//! Whole radiants in a virtual world: the production assembly on a virtual network, virtual disks and virtual time.
//!
//! ```text
//!   SIM_SEED=7 cargo test -p shardbearer --test sim -- --nocapture one_seed     one run again
//!   scripts/sim.sh 1000                                                         many, in parallel
//! ```

mod clients;
mod cluster;
mod environment;
mod machine;
mod run;

use shardbearer_sim::chaos;

use self::run::{Scenario, run};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// The seed that `SIM_SEED` names, otherwise seed 0.
#[test]
fn one_seed() {
    let mut scenario = Scenario::of(number("SIM_SEED").unwrap_or(0));
    if let Ok(name) = std::env::var("SIM_PROFILE") {
        scenario.profile = chaos::profile(&name).unwrap_or_else(|| panic!("there is no profile {name}"));
    }
    match run(&scenario) {
        Ok(passed) => println!("{:?}\n{} operations", passed.covered, passed.operations),
        Err(broken) => panic!("{broken}"),
    }
}
