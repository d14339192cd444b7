//! Where applied state and the log live on disk.
//!
//! [`open`] makes a [`StorageEngine`] by name; [`log`] is the one log of all orders of a radiant.

mod background;
pub mod ballast;
pub mod behind;
pub mod fjall;
mod keyspaces;
pub mod log;
pub mod memory;
mod memtables;
mod names;
pub mod opener;
mod settle;
pub mod sled;
mod writeback;

use std::path::Path;
use std::sync::Arc;

use shardbearer_core::storage::{StorageEngine, StorageError};

/// Names of the engines, the default first.
pub const ENGINES: [&str; 3] = ["fjall", "sled", "memory"];

/// Opens the engine called `kind` in a folder of its own, which is created if need be.
pub fn open(kind: &str, dir: &Path, cache_bytes: u64) -> Result<Arc<dyn StorageEngine>, StorageError> {
    open_with_reserve(kind, dir, cache_bytes, 0)
}

/// The same, with room set aside beside the folder for a disk that is filled by somebody else, if `reserve` bytes of it are
/// to be kept free ([`ballast`]).
pub fn open_with_reserve(
    kind: &str,
    dir: &Path,
    cache_bytes: u64,
    reserve: u64,
) -> Result<Arc<dyn StorageEngine>, StorageError> {
    let sheltered = |below: Arc<dyn StorageEngine>| -> Result<Arc<dyn StorageEngine>, StorageError> {
        match dir.parent() {
            Some(beside) if reserve > 0 => Ok(Arc::new(ballast::Sheltered::new(below, beside, reserve)?)),
            Some(_) | None => Ok(below),
        }
    };
    match kind {
        "fjall" => {
            // One half for the rows written last, the other for blocks that are read from disk.
            let below = sheltered(Arc::new(fjall::Fjall::open(dir, cache_bytes / 2)?))?;
            Ok(Arc::new(behind::Behind::new(below, cache_bytes / 2)?))
        }
        "sled" => sheltered(Arc::new(sled::Sled::open(dir, cache_bytes)?)),
        "memory" => Ok(Arc::new(memory::Memory::open(dir)?)),
        other => Err(StorageError::Io(format!(
            "there is no storage engine {other:?}; choose one of {}",
            ENGINES.join(", ")
        ))),
    }
}
