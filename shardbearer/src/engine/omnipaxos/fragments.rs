//! Frames that are longer than a message to another member, in fragments. An entry may be several times as long as a message is
//! meant to be, and whoever has to catch up may need many entries at once, of which no part alone can be handed to the library.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

/// Bytes of a frame that is put together again: as many as the way to a member holds at a time.
const WHOLE_BYTES_MAX: usize = 64 << 20;

/// Fragments of a frame, so that many that hold nothing fill no memory. Far more than there are of the longest frame.
const FRAGMENTS_MAX: u32 = 1 << 16;

/// A part of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Of which frame: the sender's incarnation, and a number that grows within it.
    pub whole: (u64, u64),
    /// Which part, from 0.
    pub place: u32,
    /// How many there are.
    pub of: u32,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Cuts a frame into fragments of at most so many bytes each.
pub fn cut(whole: (u64, u64), frame: &Bytes, most: usize) -> impl Iterator<Item = Fragment> {
    let most = most.max(1);
    let of = frame.len().div_ceil(most) as u32; // of frames that fit into memory
    (0..of).map(move |place| {
        let begin = place as usize * most;
        Fragment { whole, place, of, bytes: frame.slice(begin..frame.len().min(begin + most)) }
    })
}

/// What has come of the last frame that another member sends in fragments. They may come late, twice and in any order; if one is lost the
/// frame is, and the link notices.
#[derive(Default)]
pub struct Gathering {
    whole: (u64, u64),
    /// How many fragments are waited for; zero once the frame is complete or given up.
    of: u32,
    bytes: usize,
    have: BTreeMap<u32, Bytes>,
}

impl Gathering {
    /// Takes a fragment. Returns the frame that is complete with it.
    pub fn take(&mut self, fragment: Fragment) -> Option<Bytes> {
        let Fragment { whole, place, of, bytes } = fragment;
        if whole > self.whole {
            *self = Gathering { whole, of, ..Gathering::default() };
        }
        if whole < self.whole
            || of != self.of
            || of > FRAGMENTS_MAX
            || place >= of
            || self.have.contains_key(&place)
        {
            return None;
        }
        self.bytes += bytes.len();
        self.have.insert(place, bytes);
        if self.bytes > WHOLE_BYTES_MAX {
            *self = Gathering { whole, ..Gathering::default() };
            return None;
        }
        if self.have.len() < of as usize {
            return None;
        }
        let mut frame = BytesMut::with_capacity(self.bytes);
        std::mem::take(&mut self.have).into_values().for_each(|bytes| frame.extend_from_slice(&bytes));
        self.of = 0;
        Some(frame.freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(length: usize) -> Bytes {
        (0..length).map(|at| at as u8).collect()
    }

    proptest! {
        /// In any order, each as often as it likes: the frame comes out once, as it was.
        #[test]
        fn a_frame_comes_once_as_it_was(
            length in 1..200_usize,
            most in 1..60_usize,
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let frame = bytes(length);
            let all: Vec<Fragment> = cut((1, 1), &frame, most).collect();
            prop_assert!(all.iter().all(|fragment| fragment.bytes.len() <= most));
            let mut gathering = Gathering::default();
            let chosen = order.iter().map(|index| index.get(&all)).chain(&all).chain(&all);
            let out: Vec<Bytes> = chosen.filter_map(|fragment| gathering.take(fragment.clone())).collect();
            prop_assert_eq!(out, [frame]);
        }
    }

    #[test]
    fn of_an_earlier_frame_nothing_is_taken_once_another_has_begun() {
        let mut gathering = Gathering::default();
        let mut old = cut((1, 9), &bytes(4), 2).collect::<Vec<_>>().into_iter();
        let new: Vec<Fragment> = cut((2, 1), &bytes(6), 2).collect();
        assert_eq!(gathering.take(old.next().expect("two")), None);
        assert_eq!(gathering.take(new[0].clone()), None);
        assert_eq!(gathering.take(old.next().expect("two")), None);
        assert_eq!(gathering.take(new[2].clone()), None);
        assert_eq!(gathering.take(new[1].clone()), Some(bytes(6)));
    }

    #[test]
    fn what_does_not_fit_together_is_dropped() {
        let mut gathering = Gathering::default();
        let fragment =
            |place, of, length| Fragment { whole: (1, 1), place, of, bytes: Bytes::from(vec![0; length]) };
        assert_eq!(gathering.take(fragment(0, 2, 1)), None);
        assert_eq!(gathering.take(fragment(1, 3, 1)), None, "of another number of parts");
        assert_eq!(gathering.take(fragment(2, 2, 1)), None, "behind the end");
        assert_eq!(gathering.take(fragment(1, 2, 1)).map(|frame| frame.len()), Some(2));
        let mut gathering = Gathering::default();
        assert_eq!(gathering.take(fragment(0, u32::MAX, 0)), None);
        assert!(gathering.have.is_empty(), "too many to be kept");
        let mut gathering = Gathering::default();
        let piece = WHOLE_BYTES_MAX / 4 + 1;
        for place in 0..4 {
            assert_eq!(gathering.take(fragment(place, 5, piece)), None);
        }
        assert!(gathering.have.is_empty(), "too much to be kept");
        assert_eq!(gathering.take(fragment(4, 5, 1)), None);
    }
}
