//! Values that are still needed: a value that a read not yet placed has seen, and that nothing left to place can write
//! again, must not be overwritten. Without this a search that chose wrongly among many writes at once would notice only
//! at that read, after trying all orders of everything between.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::model::{Before, Kind, Seen};
use super::search::{Effect, Item, Touch};

/// A value of a register.
type Place<'s> = (usize, &'s Bytes);

/// Who reads and who writes which value.
#[derive(Default)]
pub(super) struct Needs<'s> {
    /// Reads that must happen, by their number among those that must.
    reads: BTreeMap<Place<'s>, Vec<usize>>,
    /// Writes that must happen, likewise.
    writes: BTreeMap<Place<'s>, Vec<usize>>,
    /// Values that an optional item may write, and registers whose values cannot be told beforehand.
    optional: BTreeMap<Place<'s>, ()>,
    computed: BTreeMap<usize, ()>,
}

impl<'s> Needs<'s> {
    pub fn of<'a>(
        must: impl Iterator<Item = &'s Item<'a>>,
        may: impl Iterator<Item = &'s Item<'a>>,
    ) -> Needs<'s>
    where
        'a: 's,
    {
        let mut needs = Needs::default();
        for (number, item) in must.enumerate() {
            for touch in touches(&item.effect) {
                match written(touch) {
                    Written::Nothing => {}
                    Written::Value(value) => {
                        needs.writes.entry((touch.slot, value)).or_default().push(number);
                    }
                    Written::Computed => {
                        needs.computed.insert(touch.slot, ());
                    }
                }
            }
            if let Effect::One(touch) = &item.effect
                && let Some(Before::Present(Seen { value: Some(value), .. })) =
                    touch.answer.as_ref().map(|answer| &answer.before)
            {
                needs.reads.entry((touch.slot, value)).or_default().push(number);
            }
        }
        for touch in may.flat_map(|item| touches(&item.effect)) {
            match written(touch) {
                Written::Nothing => {}
                Written::Value(value) => {
                    needs.optional.insert((touch.slot, value), ());
                }
                Written::Computed => {
                    needs.computed.insert(touch.slot, ());
                }
            }
        }
        needs
    }

    /// Whether some read still needs this value and nothing can write it again.
    pub fn lost(&self, slot: usize, value: &Bytes, placed: impl Fn(usize) -> bool) -> bool {
        let open = |map: &BTreeMap<Place<'s>, Vec<usize>>| {
            map.get(&(slot, value)).is_some_and(|numbers| numbers.iter().rev().any(|number| !placed(*number)))
        };
        open(&self.reads)
            && !self.computed.contains_key(&slot)
            && !self.optional.contains_key(&(slot, value))
            && !open(&self.writes)
    }
}

enum Written<'s> {
    Nothing,
    Value(&'s Bytes),
    Computed,
}

fn touches<'s, 'a>(effect: &'s Effect<'a>) -> &'s [Touch<'a>] {
    match effect {
        Effect::One(touch) => std::slice::from_ref(touch),
        Effect::Batch { touches, .. } => touches,
    }
}

fn written<'s>(touch: &'s Touch<'_>) -> Written<'s> {
    match touch.kind {
        Kind::Get | Kind::Check { .. } | Kind::Delete { .. } => Written::Nothing,
        Kind::Put { value, .. } => Written::Value(value),
        Kind::Increment { .. } | Kind::Append { .. } => Written::Computed,
    }
}
