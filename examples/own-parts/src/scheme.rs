//! Shards that are ranges of keys: neighbours stay together, and popular beginnings make one shard large.

use shardbearer_core::placement::ShardingScheme;

/// Cuts the keys by their first byte into this many ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstByte(u8);

impl FirstByte {
    /// So many ranges; `None` for none.
    pub fn new(shards: u8) -> Option<FirstByte> {
        (shards > 0).then_some(FirstByte(shards))
    }

    /// The scheme that these words describe. Other words for the same, such as `first-byte:04`, are none: radiants compare words.
    pub fn parse(words: &str) -> Option<FirstByte> {
        let scheme = FirstByte::new(words.strip_prefix("first-byte:")?.parse().ok()?)?;
        (scheme.describe() == words).then_some(scheme)
    }
}

impl ShardingScheme for FirstByte {
    fn shards(&self) -> usize {
        self.0.into()
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        let first = key.first().copied().unwrap_or(0);
        usize::from(first) * self.shards() / 256
    }

    fn describe(&self) -> String {
        format!("first-byte:{}", self.0)
    }
}
