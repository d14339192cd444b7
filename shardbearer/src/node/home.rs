//! What a radiant keeps in its data directory beside its identity: the log of all its orders, their
//! data, images being received.
//!
//! | folder | holds |
//! |---|---|
//! | `log/` | the segmented log of all orders |
//! | `data/` | the storage engine |
//! | `images/` | snapshots on their way, by order |
//! | `log-begun` | a file that says that the log has segments |
//!
//! A radiant that has voted or acknowledged must never start with an empty log: it would vote again. So the folders
//! are made before it enters a cluster, and have to be there ever after; and once the log has its first segment, before
//! anything is written to it, a file beside it says so, so that an emptied folder is not taken for a new one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use shardbearer_core::ids::OrderId;

use super::NodeError;
use super::environment::{Environment, Stores};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::storage::ballast::free_bytes;
use crate::storage::log::{LogOptions, SegmentedLog};

/// The file that is there once the log has its first segment.
const LOG_BEGUN: &str = "log-begun";

/// Folders that are there, unopened.
pub(super) struct Folders {
    log: PathBuf,
    data: PathBuf,
    images: PathBuf,
}

/// Begins the name of a file that is there while all of an order is being dropped; its number ends it.
const FORGETTING: &str = "forgetting-";

/// Log and data of a radiant.
pub(super) struct Home {
    pub(super) stores: Stores,
    images: PathBuf,
    /// Orders of which not all is forgotten that was to be.
    forgetting: Mutex<BTreeSet<OrderId>>,
}

impl Home {
    /// Makes the folders of a radiant that is in no cluster yet; of one that is, insists that they are there.
    pub(super) fn create(config: &Config, has_cluster: bool) -> Result<Folders, NodeError> {
        let root = &config.radiant.data_dir;
        let folders = Folders { log: root.join("log"), data: root.join("data"), images: root.join("images") };
        for folder in [&folders.log, &folders.data] {
            if has_cluster && !folder.is_dir() {
                return Err(NodeError::Home(format!(
                    "{} is missing although this radiant belongs to a cluster: without it, it could break promises it made; \
                     do not put an older copy of the data directory back, which would not know what was promised since: start another \
                     radiant under another [radiant] name with an empty one, and `shardbearer radiant replace OLD NEW`",
                    folder.display()
                )));
            }
            make(folder)?;
        }
        make(&folders.images)?;
        remember_storage(root, &config.storage.engine)?;
        Ok(folders)
    }
}

fn make(folder: &Path) -> Result<(), NodeError> {
    std::fs::create_dir_all(folder)
        .map_err(|error| NodeError::Home(format!("cannot create {}: {error}", folder.display())))
}

/// Data written by one storage engine are nothing to another, and an order without its data would start from nothing.
fn remember_storage(root: &Path, engine: &str) -> Result<(), NodeError> {
    let file = root.join("storage");
    let fail = |error: std::io::Error| NodeError::Home(format!("cannot use {}: {error}", file.display()));
    match std::fs::read_to_string(&file) {
        Ok(stored) if stored.trim() == engine => Ok(()),
        Ok(stored) => Err(NodeError::Home(format!(
            "the data in {} were written by storage engine \"{}\", but [storage] engine is \"{engine}\"; set it back, \
             or give the radiant an empty data directory and another name",
            root.display(),
            stored.trim()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let handle = std::fs::File::create(&file).map_err(fail)?;
            std::io::Write::write_all(&mut &handle, format!("{engine}\n").as_bytes()).map_err(fail)?;
            handle.sync_all().map_err(fail)?;
            std::fs::File::open(root).and_then(|root| root.sync_all()).map_err(fail)
        }
        Err(error) => Err(fail(error)),
    }
}

/// Opens the log; refuses to begin another one in a folder that has lost its segments.
pub(super) fn open_log(folder: &Path, options: LogOptions) -> Result<Arc<SegmentedLog>, String> {
    let root = folder.parent().unwrap_or(Path::new("."));
    let begun = root.join(LOG_BEGUN);
    let fail = |error: std::io::Error| format!("cannot use {}: {error}", begun.display());
    let known = begun.try_exists().map_err(fail)?;
    if known && !has_segments(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))? {
        return Err(format!(
            "the log in {} is empty although this radiant has written one: without it, it could break promises it \
             made; do not put an older copy of the data directory back, which would not know what was promised since: \
             start another radiant under another [radiant] name with an empty one, and `shardbearer radiant replace \
             OLD NEW`",
            folder.display()
        ));
    }
    // One segment in use and one ready; said where that much is not there, since the system says only that it is full.
    let needed = 2 * options.segment_bytes;
    let opened = SegmentedLog::open(folder, options).map_err(|error| match free_bytes(folder) {
        Some(free) if free < needed => format!(
            "{error}; {} MiB are free, and the log of each radiant takes about {} (two of [storage] log_segment_mib)",
            free >> 20,
            needed >> 20
        ),
        Some(_) | None => error.to_string(),
    });
    let log = opened?;
    if !known {
        std::fs::File::create(&begun).and_then(|file| file.sync_all()).map_err(fail)?;
        std::fs::File::open(root).and_then(|root| root.sync_all()).map_err(fail)?;
    }
    Ok(log)
}

fn has_segments(folder: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        if entry?.path().extension().is_some_and(|suffix| suffix == "log") {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Folders {
    /// Opens and verifies log and data. Blocks for as long as reading the log takes, on a thread that may.
    pub(super) async fn open(
        self,
        environment: Arc<dyn Environment>,
        config: &Config,
    ) -> Result<Home, NodeError> {
        let (world, config) = (environment.world(), config.clone());
        let opened = world.block(move || {
            let stores = environment.open(&config, &self.log, &self.data)?;
            let home = Home { stores, images: self.images, forgetting: Mutex::default() };
            home.finish_forgetting()?;
            Ok::<_, String>(home)
        });
        let opened = opened.await.ok_or_else(|| NodeError::Home("opening log and data failed".into()))?;
        opened.map_err(NodeError::Home)
    }
}

impl Home {
    /// Where images of an order are received.
    pub(super) fn images_of(&self, order: OrderId) -> PathBuf {
        self.images.join(format!("o{order}"))
    }

    /// Drops log, data and images of an order: all of it, or, if that is interrupted, the rest at the next start. Blocks for the
    /// disk.
    ///
    /// It may have to be taken up again by who has a seat in the order once more, and would find a log without its data.
    /// So a file says that it was begun, from before the first step until all of it is durable.
    pub(super) fn forget(&self, order: OrderId) -> Result<(), String> {
        self.forgetting.lock().insert(order);
        let begun = self.root().join(format!("{FORGETTING}{order}"));
        let fail = |error: std::io::Error| format!("cannot use {}: {error}", begun.display());
        let settled = || std::fs::File::open(self.root()).and_then(|root| root.sync_all());
        std::fs::File::create(&begun)
            .and_then(|file| file.sync_all())
            .and_then(|()| settled())
            .map_err(fail)?;
        self.drop_all(order)?;
        std::fs::remove_file(&begun).and_then(|()| settled()).map_err(fail)?;
        self.forgetting.lock().remove(&order);
        Ok(())
    }

    /// The orders of which that failed half-way. Until it is done nothing of them may begin anew: the next start would drop that.
    pub(super) fn half_forgotten(&self) -> BTreeSet<OrderId> {
        self.forgetting.lock().clone()
    }

    /// What was being forgotten when the radiant ended is forgotten now, before anybody looks for it.
    fn finish_forgetting(&self) -> Result<(), String> {
        let fail = |error: std::io::Error| format!("cannot read {}: {error}", self.root().display());
        for entry in std::fs::read_dir(self.root()).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let order = name.to_str().and_then(|name| name.strip_prefix(FORGETTING)?.parse().ok());
            if let Some(order) = order.map(OrderId) {
                tracing::info!(%order, "what was left here of it is dropped");
                self.forget(order)?;
            }
        }
        Ok(())
    }

    /// The data directory.
    fn root(&self) -> &Path {
        self.images.parent().unwrap_or(Path::new("."))
    }

    fn drop_all(&self, order: OrderId) -> Result<(), String> {
        let Stores { log, storage, .. } = &self.stores;
        let spaces = storage.spaces().map_err(|error| error.to_string())?;
        for space in spaces.into_iter().filter(|space| space.order() == order) {
            storage.drop_space(space).map_err(|error| error.to_string())?;
        }
        let images = self.images_of(order);
        if images.is_dir() {
            std::fs::remove_dir_all(&images).map_err(|error| format!("{}: {error}", images.display()))?;
        }
        log.remove(order).map_err(|error| error.to_string())
    }

    /// Writes what waits and stops the log's writer.
    pub(super) fn close(&self) {
        (self.stores.close)();
    }
}

/// Measures how much disk the radiant uses, until the world ends.
pub(super) async fn measure(cluster: Arc<Cluster>, home: Arc<Home>) {
    const EVERY: Duration = Duration::from_secs(5);
    loop {
        let measured = home.clone();
        let bytes = cluster
            .world
            .block(move || measured.stores.log.disk_bytes() + measured.stores.storage.disk_bytes());
        if let Some(bytes) = bytes.await {
            cluster.data_bytes.store(bytes, Ordering::Relaxed);
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use shardbearer_core::log::LogWrite;

    use super::*;
    use crate::storage;

    #[test]
    fn what_was_being_forgotten_is_forgotten_at_the_next_start() {
        let root = tempfile::tempdir().expect("a folder");
        let images = root.path().join("images");
        let home = || {
            let folder = root.path().join("log");
            std::fs::create_dir_all(&folder).expect("a folder");
            let log = open_log(&folder, LogOptions { segment_bytes: 1 << 16, ..LogOptions::default() });
            let log = log.expect("opens");
            let storage = storage::open("memory", &root.path().join("data"), 1 << 20).expect("opens");
            let closing = log.clone();
            let stores = Stores { log, storage, close: Box::new(move || closing.close()) };
            Home { stores, images: images.clone(), forgetting: Mutex::default() }
        };
        let (gone, stays) = (OrderId(2), OrderId(3));
        let first = home();
        for order in [gone, stays] {
            let (done, durable) = std::sync::mpsc::channel();
            let report = Box::new(move |outcome| drop(done.send(outcome)));
            first.stores.log.write(order, vec![LogWrite::Hard("vote".into())], report).expect("taken");
            durable.recv().expect("told").expect("durable");
        }
        // As a kill right after the data had gone leaves it.
        std::fs::write(root.path().join("forgetting-2"), "").expect("written");
        first.close();
        drop(first);
        let next = home();
        assert_eq!(next.half_forgotten(), [].into());
        next.finish_forgetting().expect("dropped");
        assert_eq!(next.stores.log.orders(), [stays]);
        assert!(!root.path().join("forgetting-2").exists());
        assert_eq!(next.half_forgotten(), [].into());
        // Something is where the file should be.
        std::fs::create_dir(root.path().join("forgetting-3")).expect("a folder");
        next.forget(stays).expect_err("it cannot be begun");
        assert_eq!(next.half_forgotten(), [stays].into());
        assert_eq!(next.stores.log.orders(), [stays]);
        std::fs::remove_dir(root.path().join("forgetting-3")).expect("removable");
        next.close();
        drop(next);
        assert_eq!(home().stores.log.orders(), [stays], "durably");
    }

    #[test]
    fn a_log_that_lost_its_segments_is_not_begun_anew() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("log");
        std::fs::create_dir(&folder).expect("a folder");
        let open = || {
            let options = LogOptions { segment_bytes: 1 << 16, ..LogOptions::default() };
            open_log(&folder, options).map(|log| log.close())
        };
        open().expect("a new log");
        open().expect("the same again");
        for entry in std::fs::read_dir(&folder).expect("there") {
            std::fs::remove_file(entry.expect("there").path()).expect("removable");
        }
        let why = open().expect_err("it has lost its segments");
        assert!(why.contains("could break promises") && why.contains("another [radiant] name"), "{why}");
        open().expect_err("nothing was begun meanwhile");
    }
}
