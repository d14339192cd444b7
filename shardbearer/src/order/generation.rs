//! Orders that began anew: an order which lost its majority for good goes on from one member, as its next generation.
//!
//! A generation is named by the epoch in which the control order decided it; the first one is 0. Of the control order itself it is
//! the epoch that its survivor begins with, who notes beforehand what that is to be ([`Beginning`]). Three things keep
//! generations apart:
//! - **Frames** of an order that began anew say of which generation they are, and a radiant passes them on only to an engine of the
//!   same. So a member from before has no voice in what came after, whatever it remembers.
//! - **A row** beside the data says to which generation log and data belong. Only the survivor takes its own over into the
//!   next; everybody else drops what is of an earlier one before the seat is opened.
//! - **Terms** of a generation are above those of all before it, so that whoever compares terms, of leads or of positions, prefers
//!   the newest generation without knowing that there are any.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::storage::{Batch, Durability, Space, StorageEngine, StorageError, View};
use shardbearer_core::transport::{CallError, Channel, Frame, Transport};

use super::applier::{seal, unseal};

/// Where the generation of an order's log and data is noted. Like all keys from `ff` on, no part of the state.
pub(super) const ROW: &[u8] = b"\xffgeneration";

/// Where the survivor of the control order notes what it is about to begin.
pub(super) const BEGINNING: &[u8] = b"\xffbeginning";

/// Terms of one generation; more than there are elections in the life of a cluster.
const TERMS: u32 = 32;

/// The first term of a generation.
pub fn first_term(generation: Epoch) -> u64 {
    generation.0 << TERMS
}

/// The generation that what is kept here of an order belongs to.
pub fn of(view: &dyn View, order: OrderId) -> Result<Epoch, StorageError> {
    let Some(row) = view.get(Space::Order(order), ROW)? else { return Ok(Epoch(0)) };
    let mut body = unseal(&row, "generation")?;
    let generation = body.try_get_u64();
    generation.map(Epoch).map_err(|_| StorageError::Corrupt("the generation is unreadable".into()))
}

/// Notes, durably, that what is kept here of an order belongs to a generation. Blocks for the disk.
pub fn note(storage: &dyn StorageEngine, order: OrderId, generation: Epoch) -> Result<(), StorageError> {
    let mut batch = Batch::default();
    batch.put(Space::Order(order), Bytes::from_static(ROW), seal(&generation.0.to_be_bytes()));
    storage.commit(batch, Durability::Synced)
}

/// What a survivor was told to begin, before anything of it is done; so that it is finished after a crash, or dropped if
/// something else was begun elsewhere meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The generation that ends.
    pub from: Epoch,
    /// The one that begins.
    pub generation: Epoch,
    /// What is decided first in it.
    pub first: Bytes,
}

impl Beginning {
    /// What is to be begun from the generation that is kept here, if anything is.
    pub fn of(view: &dyn View, order: OrderId) -> Result<Option<Beginning>, StorageError> {
        let kept = of(view, order)?;
        let Some(row) = view.get(Space::Order(order), BEGINNING)? else { return Ok(None) };
        let mut body = unseal(&row, "beginning of a generation")?;
        let unreadable = |_| StorageError::Corrupt("the beginning of a generation is unreadable".into());
        let from = body.try_get_u64().map(Epoch).map_err(unreadable)?;
        let generation = body.try_get_u64().map(Epoch).map_err(unreadable)?;
        Ok(Some(Beginning { from, generation, first: body }).filter(|beginning| beginning.from == kept))
    }

    /// Notes it, durably. Blocks for the disk.
    pub fn note(&self, storage: &dyn StorageEngine, order: OrderId) -> Result<(), StorageError> {
        let mut body = BytesMut::new();
        body.put_u64(self.from.0);
        body.put_u64(self.generation.0);
        body.put_slice(&self.first);
        let mut batch = Batch::default();
        batch.put(Space::Order(order), Bytes::from_static(BEGINNING), seal(&body));
        storage.commit(batch, Durability::Synced)
    }
}

/// The way to the other members of a generation.
pub fn transport(order: OrderId, generation: Epoch, below: Arc<dyn Transport>) -> Arc<dyn Transport> {
    match generation {
        Epoch(0) => below,
        generation => Arc::new(Addressed { channel: Channel::Anew(order, generation), below }),
    }
}

/// Says on every frame of which generation it is.
struct Addressed {
    channel: Channel,
    below: Arc<dyn Transport>,
}

#[async_trait]
impl Transport for Addressed {
    fn send(&self, to: RadiantId, frame: Frame) {
        self.below.send(to, Frame { channel: self.channel, ..frame });
    }

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        self.below.call(to, Frame { channel: self.channel, ..frame }, deadline).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;

    #[test]
    fn a_generation_is_noted_per_order_and_its_terms_are_above_all_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Memory::open(folder.path()).expect("a folder");
        assert_eq!(of(storage.view().as_ref(), OrderId(2)), Ok(Epoch(0)));
        note(&storage, OrderId(2), Epoch(9)).expect("noted");
        assert_eq!(of(storage.view().as_ref(), OrderId(2)), Ok(Epoch(9)));
        assert_eq!(of(storage.view().as_ref(), OrderId(3)), Ok(Epoch(0)));
        assert!(first_term(Epoch(9)) > first_term(Epoch(8)) + u64::from(u32::MAX));
    }

    #[test]
    fn what_is_begun_is_known_until_it_has_begun() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Memory::open(folder.path()).expect("a folder");
        let order = OrderId::CONTROL;
        let noted = || Beginning::of(storage.view().as_ref(), order);
        assert_eq!(noted(), Ok(None));
        let first = Bytes::from_static(b"what comes first");
        let beginning = Beginning { from: Epoch(0), generation: Epoch(2_001), first };
        beginning.note(&storage, order).expect("noted");
        assert_eq!(noted(), Ok(Some(beginning)));
        note(&storage, order, Epoch(2_001)).expect("noted");
        assert_eq!(noted(), Ok(None));
    }
}
