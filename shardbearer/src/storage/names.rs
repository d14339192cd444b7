//! The names under which spaces are stored.

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::storage::Space;

/// `o2` or `o2-s5-g1`.
pub(super) fn name(space: Space) -> String {
    match space {
        Space::Order(order) => format!("o{order}"),
        Space::Shard { order, shard, generation } => format!("o{order}-s{shard}-g{generation}"),
    }
}

/// The inverse of [`name`].
pub(super) fn parse(name: &str) -> Option<Space> {
    let mut parts = name.split('-');
    let order = OrderId(parts.next()?.strip_prefix('o')?.parse().ok()?);
    let Some(shard) = parts.next() else { return Some(Space::Order(order)) };
    let shard = ShardId(shard.strip_prefix('s')?.parse().ok()?);
    let generation = parts.next()?.strip_prefix('g')?.parse().ok()?;
    parts.next().is_none().then_some(Space::Shard { order, shard, generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let shard = Space::Shard { order: OrderId(2), shard: ShardId(5), generation: 1 };
        for space in [Space::Order(OrderId(7)), shard] {
            assert_eq!(parse(&name(space)), Some(space));
        }
        assert_eq!(parse("o2-s5"), None);
        assert_eq!(parse("x"), None);
    }
}
