//! What a sweep must have reached, and how often: a branch that no seed reached is not tested.

use std::collections::BTreeMap;

/// Faults, and branches that only faults reach. `Trace::cover` counts them.
const KNOWN: &[&str] = &[
    "all damaged at once",
    "answer to a client lost",
    "applied batches lost",
    "bit turned in the data",
    "bit turned in a hard state",
    "bit turned in the log",
    "chain formed anew",
    "clock jump",
    "clock that drifts",
    "clog",
    "crash",
    "crash at a point",
    "crash during the founding",
    "cut between two",
    "damaged byte met",
    "damaged disk",
    "data write failed",
    "ended for its disk",
    "failing data",
    "failing disk",
    "full disk",
    "herald changed",
    "image installed",
    "image taken",
    "isolation",
    "lead handed over",
    "learner taken into its chain",
    "log compacted",
    "log torn between unsynced writes",
    "log truncated",
    "long outage",
    "message cut off",
    "message doubled",
    "message late",
    "message lost",
    "message overtook another",
    "no room",
    "no room for the data",
    "no room for the log",
    "one-way cut",
    "orderly stop",
    "pause",
    "proposal of unknown outcome",
    "proposal refused",
    "proposal sent again",
    "read answered by another than the herald",
    "read failed",
    "read that had to ask",
    "read under a lease",
    "restart in the midst of a fault",
    "retry answered from the table",
    "retry of a client answered",
    "slow data",
    "slow disk",
    "start refused for a damaged hard state",
    "start refused for a damaged log",
    "step-down with pending reads",
    "sync failed",
    "turned bit met in the data",
    "turned bit met in the log",
    "two damaged at once",
    "unknown outcome",
    "unreadable disk",
    "unsynced log writes lost",
    "way clogged alone",
    "work waited for slow data",
];

/// What an operator must have been agreed to, and what comes of it.
pub const OPERATED: &[&str] = &[
    "another arrived where one had left",
    "move called off",
    "move paused or resumed",
    "move undone",
    "radiant drained",
    "radiant replaced",
    "radiant told to leave",
    "radiant undrained",
    "shard moved by the operator",
    "shard split by the operator",
    "spare let in",
];

/// How often what was reached, by the name of the mix of engines.
pub type ByMix = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// With all mixes together.
pub fn sum(by_mix: &ByMix) -> BTreeMap<&'static str, u64> {
    let mut sum = BTreeMap::new();
    for (what, count) in by_mix.values().flatten() {
        *sum.entry(*what).or_default() += count;
    }
    sum
}

/// A line for each thing that was reached: all together, and with each mix.
pub fn table(by_mix: &ByMix) -> String {
    let mut lines: String = by_mix.keys().map(|mix| format!("{mix:>11}")).collect();
    lines = format!("{:>11}{lines}\n", "all");
    for (what, all) in sum(by_mix) {
        let of = by_mix.values().map(|reached| reached.get(what).copied().unwrap_or(0));
        let each: String = of.map(|count| format!("{count:>11}")).collect();
        lines += &format!("{all:>11}{each}  {what}\n");
    }
    lines
}

/// Of how many seeds on the average each is reached at least once: 100 times in 5 000.
const SEEDS_EACH: u64 = 50;

/// The same with each mix of engines.
const SEEDS_EACH_OF_A_MIX: u64 = 2_000;

/// What only chains do, and the mixes that have none.
const OF_CHAINS: [&str; 3] =
    ["chain formed anew", "learner taken into its chain", "read answered by another than the herald"];
const WITHOUT_CHAINS: [&str; 2] = ["openraft", "omnipaxos"];

/// What was reached too seldom, by all mixes together or by one, with how often it was and should have been.
pub fn too_rare(by_mix: &ByMix, seeds: u64) -> Vec<String> {
    let all = rarer(&sum(by_mix), seeds / SEEDS_EACH);
    let of_each = by_mix.iter().flat_map(|(mix, covered)| {
        let rare = rarer(covered, seeds / SEEDS_EACH_OF_A_MIX);
        let possible = |what: &String| {
            !WITHOUT_CHAINS.contains(mix) || !OF_CHAINS.iter().any(|known| what.starts_with(known))
        };
        rare.into_iter().filter(possible).map(move |what| format!("{mix}: {what}"))
    });
    all.into_iter().chain(of_each).collect()
}

fn rarer(covered: &BTreeMap<&'static str, u64>, floor: u64) -> Vec<String> {
    let count = |what: &&str| covered.get(*what).copied().unwrap_or(0);
    let rare = KNOWN.iter().filter(|what| count(what) < floor);
    rare.map(|what| format!("{what} ({} of {floor})", count(what))).collect()
}

#[test]
fn what_was_never_reached_is_named() {
    let once: BTreeMap<_, _> = KNOWN.iter().skip(1).map(|what| (*what, 1)).collect();
    let missing = format!("{} (0 of 1)", KNOWN[0]);
    let one = ByMix::from([("one", once.clone())]);
    assert_eq!(too_rare(&one, 99), std::slice::from_ref(&missing));
    assert!(too_rare(&one, 49).is_empty(), "too few seeds to expect anything");
    let often = KNOWN.iter().map(|what| (*what, 99)).collect();
    let two = ByMix::from([("one", once), ("other", often)]);
    assert_eq!(too_rare(&two, 2_500), [format!("one: {missing}")]);
}
