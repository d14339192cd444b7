//! Tests of the bootstrap machine, from the small to the large: every interleaving of the agreement (`explore`), golden traces of scenarios (`script`), members at new addresses
//! (`moved`), and every interleaving of few whole machines (`whole`), and seeded walks of them over a bad network (`walk`). `net` is the network that the last two share with
//! the scripts.

mod explore;
mod moved;
mod net;
mod script;
mod walk;
mod whole;

use bytes::Bytes;
use shardbearer_core::bootstrap::Founder;
use shardbearer_core::ids::{ClusterId, Incarnation};
use shardbearer_core::topology::Doors;

/// A radiant as tests have them: incarnation 1 is "n1" at "n1:1".
fn founder(name: &str, incarnation: u128) -> Founder {
    let doors = Doors { grpc: format!("{name}:1"), ..Doors::default() };
    Founder { name: name.to_owned(), incarnation: Incarnation(incarnation), doors }
}

/// A configuration in words, so that traces can be read.
fn found(_: ClusterId, members: &[Founder]) -> Bytes {
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    Bytes::from(names.join("+"))
}
