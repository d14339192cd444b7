//! Putting a received image in the place of an order's rows, and finishing that after a crash. All of it waits for the disk.
//!
//! ```text
//!   read once more ──▶ record of the install, synced ──▶ old rows dropped ──▶ rows of the image, by parts ──▶ position; record gone, synced
//! ```
//!
//! An image that turns out to be damaged before the record is refused, and nothing has happened. From the record to the last commit the rows
//! are of two states, and only the image says which they will be: one that is damaged then stops the replica for good.

use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use shardbearer_core::engine::{Applier, InstallError, ReceivedSnapshot};
use shardbearer_core::ids::OrderId;
use shardbearer_core::machine::StateMachine;
use shardbearer_core::storage::{Batch, Durability, KeyRange, Space, StorageEngine, StorageError};

use super::applier::{
    APPLIED, Applying, INSTALLING, MachineApplier, encode_applied, read_applied, seal, unseal,
};
use super::{generation, received, snapshot};

/// Finishes an install that a crash interrupted.
pub(super) fn finish(
    storage: &dyn StorageEngine,
    order: OrderId,
    snapshots: &Path,
) -> Result<(), StorageError> {
    let Some(row) = storage.view().get(Space::Order(order), INSTALLING)? else { return Ok(()) };
    let place = String::from_utf8(unseal(&row, "install record")?.to_vec())
        .map_err(|_| StorageError::Corrupt("the record of an install is unreadable".into()))?;
    load_image(storage, order, &here(snapshots, &place)?)
}

impl<M: StateMachine> MachineApplier<M> {
    pub(super) fn install_now(&self, received: &ReceivedSnapshot) -> Result<(), InstallError> {
        let mut state = self.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone().into());
        }
        if received.applied.position.index <= self.applied().position.index {
            received::discard(&received.place);
            return Ok(());
        }
        // Once more: it has waited, and from the record on there is no way back.
        if let Err(error) = received::verify(Path::new(&received.place)) {
            tracing::warn!("an image that waited is not installed, another will come: {error}");
            received::discard(&received.place);
            return Err(InstallError::Refused(error));
        }
        self.installs.fetch_add(1, Ordering::SeqCst);
        let installed = self.replace_rows(&mut state, &received.place);
        match &installed {
            Ok(()) => {
                self.installs.fetch_add(1, Ordering::SeqCst);
            }
            // Nothing is answered any more from what may be half of an image.
            Err(error) => state.failure = Some(error.clone()),
        }
        Ok(installed?)
    }

    fn replace_rows(&self, state: &mut Applying<M>, place: &str) -> Result<(), StorageError> {
        // From this commit on the old rows may go: whatever happens, the image replaces them.
        let mut marker = Batch::default();
        marker.put(Space::Order(self.order), Bytes::from_static(INSTALLING), seal(place.as_bytes()));
        self.storage.commit(marker, Durability::Synced)?;
        load_image(self.storage.as_ref(), self.order, place)?;
        let view = self.storage.view();
        state.machine.load(view.as_ref())?;
        *self.applied.lock() = read_applied(view.as_ref(), self.order)?;
        self.checks.clear();
        Ok(())
    }
}

/// The place of an image whose record may have been written when the data directory was elsewhere.
fn here(snapshots: &Path, place: &str) -> Result<String, StorageError> {
    let name = Path::new(place).file_name();
    let found = name.map(|name| snapshots.join(name)).and_then(|path| path.to_str().map(str::to_owned));
    found.ok_or_else(|| StorageError::Corrupt(format!("the record of an install names no file: {place:?}")))
}

/// Replaces an order's rows by an image; may be repeated from any point.
fn load_image(storage: &dyn StorageEngine, order: OrderId, place: &str) -> Result<(), StorageError> {
    const BYTES_AT_ONCE: usize = 4 << 20;
    let image = snapshot::open(place)?;
    // The shards' spaces first. The order's own keeps the marker, so it is emptied row by row.
    for space in storage.spaces()? {
        if space.order() == order && space != Space::Order(order) {
            storage.drop_space(space)?;
        }
    }
    let own = Space::Order(order);
    let mut batch = Batch::default();
    for row in storage.view().scan(own, &KeyRange::all()) {
        let (key, _) = row?;
        if ![INSTALLING, generation::ROW, generation::BEGINNING].contains(&key.as_ref()) {
            batch.delete(own, key);
        }
    }
    let applied = image.applied().clone();
    let mut bytes = 0;
    for row in image {
        let (space, key, value) = row?;
        if space.order() != order {
            return Err(StorageError::Corrupt(format!("{place} holds rows of another order")));
        }
        if space == own && key.first() == Some(&0xff) {
            continue; // the sender's own bookkeeping
        }
        bytes += key.len() + value.len();
        batch.put(space, key, value);
        if bytes > BYTES_AT_ONCE {
            storage.commit(std::mem::take(&mut batch), Durability::Buffered)?;
            bytes = 0;
        }
    }
    batch.put(own, Bytes::from_static(APPLIED), encode_applied(&applied));
    batch.delete(own, Bytes::from_static(INSTALLING));
    storage.commit(batch, Durability::Synced)?;
    received::discard(place);
    Ok(())
}
