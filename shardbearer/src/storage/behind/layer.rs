//! Rows on top of others: what was changed, not yet written below.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::iter::Peekable;

use bytes::Bytes;
use shardbearer_core::storage::{Batch, KeyRange, Space, StorageError};

/// `None`: removed. Hashed: each write looks for a row here, and few scans come by, which put in order what they need.
type Rows = HashMap<Bytes, Option<Bytes>>;

/// Bytes that a row costs beside its key and value.
const ROW_BYTES: usize = 96;

/// Changes of rows.
#[derive(Clone, Default)]
pub(super) struct Layer {
    spaces: BTreeMap<Space, Rows>,
}

impl Layer {
    pub(super) fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// Takes a batch in; returns how many bytes it has, those that it replaces included.
    pub(super) fn take(&mut self, batch: Batch) -> usize {
        let mut bytes = 0;
        let mut rest = batch.into_rows().peekable();
        while let Some((space, key, value)) = rest.next() {
            let rows = self.spaces.entry(space).or_default();
            let mut put = |key: Bytes, value: Option<Bytes>| {
                bytes += ROW_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
                rows.insert(key, value);
            };
            put(key, value);
            while let Some((_, key, value)) = rest.next_if(|(next, _, _)| *next == space) {
                put(key, value);
            }
        }
        bytes
    }

    /// Takes in a later layer. Of the two, the rows of the one with fewer are moved.
    pub(super) fn cover(&mut self, later: Layer) {
        for (space, mut above) in later.spaces {
            let below = self.spaces.entry(space).or_default();
            if above.len() <= below.len() {
                below.extend(above);
            } else {
                std::mem::swap(below, &mut above);
                above.into_iter().for_each(|(key, value)| {
                    below.entry(key).or_insert(value);
                });
            }
        }
    }

    /// How many rows it says something of.
    pub(super) fn len(&self) -> usize {
        self.spaces.values().map(HashMap::len).sum()
    }

    /// Whether it says something of a row of that space.
    pub(super) fn has(&self, space: Space) -> bool {
        self.spaces.contains_key(&space)
    }

    /// What is said of a row: `None` nothing, `Some(None)` removed.
    pub(super) fn look(&self, space: Space, key: &[u8]) -> Option<Option<Bytes>> {
        self.spaces.get(&space)?.get(key).cloned()
    }

    /// The changes of one space within a range, ordered by key. Costs a look at each change of the space, however few are
    /// taken: pages of scans, looks for what expires and parts of images and of moving shards pay that, so that each
    /// write need not. To put in order costs only what is taken.
    pub(super) fn range<'a>(
        &'a self,
        space: Space,
        range: &KeyRange,
    ) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + use<'a> {
        let end = range.end.as_deref();
        let within = |key: &[u8]| *key >= *range.start && end.is_none_or(|end| key < end);
        let rows = self.spaces.get(&space).into_iter().flatten();
        let mut rows: BinaryHeap<_> = rows.filter(|(key, _)| within(key)).map(Reverse).collect();
        std::iter::from_fn(move || rows.pop().map(|Reverse((key, value))| (key.clone(), value.clone())))
    }

    pub(super) fn forget(&mut self, space: Space) {
        self.spaces.remove(&space);
    }

    /// The spaces in which a row is set.
    pub(super) fn spaces(&self) -> impl Iterator<Item = Space> + '_ {
        let set = self.spaces.iter().filter(|(_, rows)| rows.values().any(Option::is_some));
        set.map(|(space, _)| *space)
    }

    /// All of it, those of a space in no order.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Space, &Bytes, &Option<Bytes>)> + '_ {
        self.spaces.iter().flat_map(|(space, rows)| rows.iter().map(|(key, value)| (*space, key, value)))
    }

    /// All of it, to be written below.
    pub(super) fn to_batch(&self) -> Batch {
        let copies = |(key, value): (&Bytes, &Option<Bytes>)| (key.clone(), value.clone());
        self.spaces.iter().map(|(space, rows)| (*space, rows.iter().map(copies).collect())).collect()
    }
}

/// A row, or that it is removed, or why it cannot be read.
pub(super) type Change = Result<(Bytes, Option<Bytes>), StorageError>;

/// Two sequences in key order as one; where both have a row, that of `above` counts.
pub(super) struct Over<A: Iterator, B: Iterator> {
    above: Peekable<A>,
    below: Peekable<B>,
}

impl<A, B> Over<A, B>
where
    A: Iterator<Item = (Bytes, Option<Bytes>)>,
    B: Iterator<Item = Change>,
{
    pub(super) fn new(above: A, below: B) -> Self {
        Over { above: above.peekable(), below: below.peekable() }
    }
}

impl<A, B> Iterator for Over<A, B>
where
    A: Iterator<Item = (Bytes, Option<Bytes>)>,
    B: Iterator<Item = Change>,
{
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        let Some((key, _)) = self.above.peek() else { return self.below.next() };
        match self.below.peek() {
            Some(Err(_)) => return self.below.next(),
            Some(Ok((below, _))) if below < key => return self.below.next(),
            Some(Ok((below, _))) if below == key => drop(self.below.next()),
            Some(Ok(_)) | None => {}
        }
        self.above.next().map(Ok)
    }
}
