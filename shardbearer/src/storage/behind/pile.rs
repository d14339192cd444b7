//! Layers on top of each other, so that what a view holds is neither changed nor copied.
//!
//! A change goes into the topmost layer if no view holds that, and otherwise into another one on top of it. Layers that no
//! view holds any more are melted into one again, the smaller into the larger. As a rule there is one, since views are short.

use std::sync::Arc;

use bytes::Bytes;
use shardbearer_core::storage::{Batch, Space};

use super::layer::Layer;

/// So many lie on the lowest one at most. Beyond that two are melted into a copy, although views hold them.
const OVER_MAX: usize = 8;

/// Layers; a clone is a view of them.
#[derive(Clone, Default)]
pub(super) struct Pile {
    lowest: Arc<Layer>,
    /// Each on top of the one before.
    over: Vec<Arc<Layer>>,
}

impl Pile {
    pub(super) fn is_empty(&self) -> bool {
        self.layers().all(|layer| layer.is_empty())
    }

    /// From the lowest to the topmost.
    pub(super) fn layers(&self) -> impl DoubleEndedIterator<Item = &Arc<Layer>> + Clone {
        std::iter::once(&self.lowest).chain(&self.over)
    }

    /// Takes a batch in; returns how many bytes it has, those that it replaces included.
    pub(super) fn take(&mut self, batch: Batch) -> usize {
        self.settle();
        let top = self.over.last_mut().unwrap_or(&mut self.lowest);
        if let Some(layer) = Arc::get_mut(top) {
            return layer.take(batch);
        }
        let mut layer = Layer::default();
        let bytes = layer.take(batch);
        self.over.push(Arc::new(layer));
        if self.over.len() > OVER_MAX {
            self.melt_the_smallest();
        }
        bytes
    }

    /// Melts neighbours that no view holds.
    fn settle(&mut self) {
        for at in (0..self.over.len()).rev() {
            let (under, above) = self.over.split_at_mut(at);
            let under = Arc::get_mut(under.last_mut().unwrap_or(&mut self.lowest));
            if let (Some(under), Some(above)) = (under, Arc::get_mut(&mut above[0])) {
                under.cover(std::mem::take(above));
                self.over.remove(at);
            }
        }
    }

    /// Melts the two neighbours with the fewest rows, which views may hold.
    fn melt_the_smallest(&mut self) {
        let rows: Vec<usize> = self.layers().map(|layer| layer.len()).collect();
        let fewest = (0..self.over.len()).min_by_key(|at| rows[*at] + rows[at + 1]);
        let Some(at) = fewest else { return };
        let above = self.over.remove(at);
        let under = at.checked_sub(1).map_or(&mut self.lowest, |under| &mut self.over[under]);
        Arc::make_mut(under).cover(Arc::unwrap_or_clone(above));
    }

    /// All of it as one layer.
    pub(super) fn melted(mut self) -> Arc<Layer> {
        for above in self.over {
            Arc::make_mut(&mut self.lowest).cover(Arc::unwrap_or_clone(above));
        }
        self.lowest
    }

    /// What is said of a row: `None` nothing, `Some(None)` removed.
    pub(super) fn look(&self, space: Space, key: &[u8]) -> Option<Option<Bytes>> {
        self.layers().rev().find_map(|layer| layer.look(space, key))
    }

    pub(super) fn forget(&mut self, space: Space) {
        for layer in std::iter::once(&mut self.lowest).chain(&mut self.over).filter(|layer| layer.has(space))
        {
            Arc::make_mut(layer).forget(space);
        }
    }

    /// The spaces in which a row is set.
    pub(super) fn spaces(&self) -> impl Iterator<Item = Space> + '_ {
        self.layers().flat_map(|layer| layer.spaces())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use shardbearer_core::ids::OrderId;

    use super::*;

    const SPACE: Space = Space::Order(OrderId(1));

    fn put(pile: &mut Pile, key: u8, value: Option<u32>) {
        let mut batch = Batch::default();
        batch.set(SPACE, vec![key].into(), value.map(|value| value.to_be_bytes().to_vec().into()));
        pile.take(batch);
    }

    #[test]
    fn what_no_view_holds_is_one_layer_and_what_one_holds_is_not_copied() {
        let mut pile = Pile::default();
        put(&mut pile, 1, Some(1));
        let lowest = Arc::as_ptr(&pile.lowest);
        let view = pile.clone();
        put(&mut pile, 1, Some(2));
        put(&mut pile, 2, Some(2));
        assert_eq!(Arc::as_ptr(&pile.lowest), lowest, "the very same");
        assert_eq!(pile.over.len(), 1, "both went into the layer on top");
        assert_eq!(view.look(SPACE, &[2]), None);
        drop(view);
        put(&mut pile, 3, Some(3));
        assert_eq!((pile.layers().count(), pile.lowest.len()), (1, 3));
    }

    #[test]
    fn however_many_views_there_are_each_stays_as_it_was() {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut pile, mut now) = (Pile::default(), BTreeMap::new());
        let mut views: Vec<(Pile, BTreeMap<u8, Option<u32>>)> = Vec::new();
        for step in 0..5_000 {
            match rng.random_range(0..10) {
                0..2 if views.len() < 20 => views.push((pile.clone(), now.clone())),
                2 if !views.is_empty() => drop(views.swap_remove(rng.random_range(0..views.len()))),
                _ => {
                    let (key, value) = (rng.random_range(0..20), rng.random_bool(0.8).then_some(step));
                    put(&mut pile, key, value);
                    now.insert(key, value);
                }
            }
            assert!(pile.over.len() <= OVER_MAX);
            let said = |pile: &Pile, key: u8| pile.look(SPACE, &[key]);
            let meant = |rows: &BTreeMap<u8, Option<u32>>, key: u8| {
                let value = rows.get(&key).copied();
                value.map(|value| value.map(|value: u32| Bytes::from(value.to_be_bytes().to_vec())))
            };
            let key = rng.random_range(0..20);
            assert_eq!(said(&pile, key), meant(&now, key));
            assert!(views.iter().all(|(view, then)| said(view, key) == meant(then, key)), "step {step}");
        }
        let melted = pile.clone().melted();
        assert!((0..20).all(|key| melted.look(SPACE, &[key]) == pile.look(SPACE, &[key])));
    }
}
