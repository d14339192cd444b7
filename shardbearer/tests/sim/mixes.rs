//! Which engines a cluster runs.

use shardbearer::engine::Engines;

/// Engines of a cluster.
#[derive(Debug)]
pub struct Mix {
    /// By which it is chosen.
    pub name: &'static str,
    /// Of the control order.
    pub control: &'static str,
    /// Of the data orders, in turn.
    pub data: &'static [&'static str],
}

/// The mixes, by which a seed chooses unless told. The default engine more often, as in life.
pub const MIXES: &[Mix] = &[
    Mix { name: "openraft", control: "openraft", data: &["openraft"] },
    Mix { name: "omnipaxos", control: "omnipaxos", data: &["omnipaxos"] },
    Mix { name: "mixed", control: "openraft", data: &["openraft", "omnipaxos", "chain"] },
    Mix { name: "openraft", control: "openraft", data: &["openraft"] },
    Mix { name: "chain", control: "openraft", data: &["chain"] },
    Mix { name: "turned", control: "omnipaxos", data: &["chain", "openraft", "omnipaxos"] },
];

/// All engines of the mixes.
pub const ENGINES: &[&str] = &["openraft", "omnipaxos", "chain"];

/// The mix of that name.
pub fn mix(name: &str) -> Option<&'static Mix> {
    MIXES.iter().find(|mix| mix.name == name)
}

/// The mix that `SIM_MIX` names.
pub fn mix_told() -> Option<&'static Mix> {
    let name = std::env::var("SIM_MIX").ok()?;
    Some(mix(&name).unwrap_or_else(|| panic!("SIM_MIX names no mix: {name}")))
}

impl Mix {
    /// How many of an order's members may fail while every order goes on, by what the engines say of themselves.
    pub fn tolerates(&self, engines: &Engines, members: usize) -> usize {
        let all = std::iter::once(self.control).chain(self.data.iter().copied());
        let tolerates = all.map(|name| {
            let factory = engines.find(name).expect("mixes name engines that there are");
            (factory.capabilities().tolerates)(members)
        });
        tolerates.min().unwrap_or(0)
    }
}
