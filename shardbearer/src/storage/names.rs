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

/// Bytes of a [`prefix`].
pub(super) const PREFIX: usize = 25;

/// What the keys of a space begin with where it shares a place with others. None is the beginning of another.
pub(super) fn prefix(space: Space) -> [u8; PREFIX] {
    let (tag, parts) = match space {
        Space::Order(order) => (0, [order.0, 0, 0]),
        Space::Shard { order, shard, generation } => (1, [order.0, shard.0, generation]),
    };
    let mut out = [tag; PREFIX];
    for (place, part) in out[1..].chunks_mut(8).zip(parts) {
        place.copy_from_slice(&part.to_be_bytes());
    }
    out
}

/// The space whose [`prefix`] a key begins with.
pub(super) fn parse_prefix(key: &[u8]) -> Option<Space> {
    let (tag, numbers) = key.get(..PREFIX)?.split_first()?;
    let part = |at: usize| Some(u64::from_be_bytes(numbers.get(8 * at..8 * at + 8)?.try_into().ok()?));
    let (order, shard, generation) = (OrderId(part(0)?), ShardId(part(1)?), part(2)?);
    match tag {
        0 => (shard.0 == 0 && generation == 0).then_some(Space::Order(order)),
        1 => Some(Space::Shard { order, shard, generation }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let shard = Space::Shard { order: OrderId(2), shard: ShardId(5), generation: 1 };
        for space in [Space::Order(OrderId(7)), shard] {
            assert_eq!(parse(&name(space)), Some(space));
            let key = [&prefix(space)[..], b"key"].concat();
            assert_eq!((parse_prefix(&key), parse_prefix(&key[..PREFIX - 1])), (Some(space), None));
        }
        assert_eq!(parse_prefix(&[2; PREFIX]), None);
        assert_eq!(parse("o2-s5"), None);
        assert_eq!(parse("x"), None);
    }
}
