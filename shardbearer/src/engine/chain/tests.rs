//! The chain without disk and network: golden traces, random walks, and every way in which little can happen.

use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::protocol::{Configuration, Message};
use shardbearer_sim::protocol::explore::{Budget, explore};
use shardbearer_sim::protocol::script::check;
use shardbearer_sim::protocol::walk::{ROUGH, walk};
use shardbearer_sim::protocol::{Event, Net};

use super::wire::{self, Say};
use super::Chain;

const ONE: RadiantId = RadiantId(1);
const TWO: RadiantId = RadiantId(2);
const THREE: RadiantId = RadiantId(3);
const ALL: &[RadiantId] = &[ONE, TWO, THREE];

fn configuration(epoch: u64, previous: u64, members: &[RadiantId]) -> Configuration {
    Configuration { epoch: Epoch(epoch), previous: Epoch(previous), members: members.to_vec() }
}

#[test]
fn whatever_is_lost_or_crashes_a_chain_comes_back_with_everything() {
    for seed in 0..300 {
        let mut net = Net::<Chain>::founded(3);
        if let Err(broken) = walk(&mut net, seed, 600, ROUGH, ALL) {
            panic!("seed {seed}: {broken}");
        }
        assert!(seed != 0 || net.history.len() > 3, "the walk leads nowhere");
    }
}
