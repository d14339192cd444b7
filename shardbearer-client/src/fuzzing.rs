//! What must hold of whatever a radiant answers: see the `fuzzing` of the `shardbearer` crate. Not an interface: hidden from the
//! documentation, and free to change.

use shardbearer_core::kv::Command;
use shardbearer_proto::pb;

use crate::route::Routes;

/// Where calls would go after these maps came in, one after the other: an address, if one is known, for some keys of
/// each table.
pub fn addresses(maps: &[pb::MapResponse]) -> Vec<Option<String>> {
    let routes = maps
        .iter()
        .fold(Routes::default(), |routes, map| routes.with(map.clone()).unwrap_or_else(|_| routes.clone()));
    let tables = routes.topology.tables.iter().map(|table| table.name.as_str());
    let key = |number: u8| Command::Get { key: vec![number].into() };
    tables
        .flat_map(|table| (0..4).map(|number| routes.address(table, &key(number)).map(str::to_owned)))
        .collect()
}
