//! The configurations that were.

use shardbearer_core::control::EpochRecord;
use shardbearer_core::ids::Epoch;
use shardbearer_core::storage::{StorageError, View};
use shardbearer_core::topology::Topology;

use super::{SPACE, stored, unreadable};
use crate::keys;

/// A part of the history that fits into a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub records: Vec<EpochRecord>,
    /// Whether there are later ones.
    pub more: bool,
}

/// The configuration of an epoch; `None` if there was no such epoch.
pub fn topology_at(view: &dyn View, epoch: Epoch) -> Result<Option<Topology>, StorageError> {
    Ok(epoch_at(view, epoch)?.map(|(_, topology)| topology))
}

/// An epoch's record and configuration; `None` if there was no such epoch.
pub fn epoch_at(view: &dyn View, epoch: Epoch) -> Result<Option<(EpochRecord, Topology)>, StorageError> {
    let Some(row) = view.get(SPACE, &keys::epoch(epoch))? else { return Ok(None) };
    stored::decode_epoch(&row).map(Some).ok_or_else(unreadable)
}

/// Every epoch's record, oldest first.
pub fn epochs(view: &dyn View) -> Result<Vec<EpochRecord>, StorageError> {
    Ok(epochs_from(view, Epoch::NONE, usize::MAX, usize::MAX)?.records)
}

/// The records of an epoch and those after it: at most so many, and as many as have about so many bytes, but one at least.
pub fn epochs_from(view: &dyn View, from: Epoch, limit: usize, bytes: usize) -> Result<Page, StorageError> {
    let mut range = keys::epochs();
    range.start = keys::epoch(from).to_vec();
    let (mut page, mut held) = (Page::default(), 0_usize);
    for row in view.scan(SPACE, &range) {
        let (record, _) = stored::decode_epoch(&row?.1).ok_or_else(unreadable)?;
        /// The numbers, and what frames a record.
        const FIXED: usize = 40;
        held = held.saturating_add(FIXED + record.who.len() + record.why.len() + record.what.len());
        if !page.records.is_empty() && (page.records.len() >= limit || held > bytes) {
            page.more = true;
            break;
        }
        page.records.push(record);
    }
    Ok(page)
}
