//! Bytes as a source of choices: structured values for machines whose inputs are no bytes.

use bytes::Bytes;

/// The bytes not yet used. An empty source goes on with zeros.
pub(crate) struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// All of these.
    pub(crate) fn new(bytes: &'a [u8]) -> Source<'a> {
        Source { rest: bytes }
    }

    /// Whether all is used.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes not yet used.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Some of the bytes, fewer at the end.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// One of so many, from zero.
    pub(crate) fn below(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    /// Yes or no.
    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number: mostly small, so that numbers meet, now and then at the edge or any.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small % 16),
            medium @ 200..=229 => u64::from(medium) << self.below(56),
            230..=239 => u64::MAX - u64::from(self.below(4)),
            _ => {
                let mut whole = [0; 8];
                let given = self.take(8);
                whole[..given.len()].copy_from_slice(given);
                u64::from_be_bytes(whole)
            }
        }
    }

    /// Up to 255 bytes, their count in front.
    pub(crate) fn bytes(&mut self) -> Bytes {
        let count = self.byte();
        Bytes::copy_from_slice(self.take(count.into()))
    }

    /// A text of up to 255 bytes.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}
