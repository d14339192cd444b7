//! Images of spaces on disk: a file per space and version, and a manifest that says which files count.
//!
//! ```text
//!   manifest      "shardbearer memory 1", a line "NAME VERSION" per space, "crc32 ........"
//!   NAME.VERSION  rows as length(4) key length(4) value, then ff ff ff ff, then crc32 of all before
//! ```
//!
//! Files are written and synced first, then the manifest is replaced in one step: whatever happens, it names whole files
//! of one moment. Files that it does not name are removed when the folder is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::storage::{Space, StorageError};

use super::super::names;
use super::{Spaces, Tree};

const MANIFEST: &str = "manifest";
const FIRST_LINE: &str = "shardbearer memory 1";
const END: u32 = u32::MAX;

/// The images in a folder.
pub(super) struct Images {
    dir: PathBuf,
    /// Which file holds a space, and how large it is.
    files: BTreeMap<Space, (u64, u64)>,
    next: u64,
}

impl Images {
    /// Opens a folder and loads what it holds.
    pub(super) fn open(dir: &Path) -> Result<(Images, Spaces), StorageError> {
        fs::create_dir_all(dir).map_err(|error| io("create", dir, &error))?;
        let mut images = Images { dir: dir.to_owned(), files: BTreeMap::new(), next: 1 };
        let mut spaces = Spaces::new_sync();
        for (space, version) in images.read_manifest()? {
            let path = images.path(space, version);
            let raw = fs::read(&path).map_err(|error| io("read", &path, &error))?;
            images.files.insert(space, (version, raw.len() as u64));
            images.next = images.next.max(version + 1);
            spaces.insert_mut(space, decode(&path, raw.into())?);
        }
        images.remove_strays()?;
        Ok((images, spaces))
    }

    /// Writes the changed spaces and makes them count, all at once.
    pub(super) fn write(&mut self, spaces: &Spaces, changed: &BTreeSet<Space>) -> Result<(), StorageError> {
        if changed.is_empty() {
            return Ok(());
        }
        let version = self.next;
        self.next += 1;
        let mut files = self.files.clone();
        for space in changed {
            if let Some(rows) = spaces.get(space) {
                files.insert(*space, (version, self.write_rows(*space, version, rows)?));
            }
        }
        self.replace(files)
    }

    /// Makes a space not count any more.
    pub(super) fn forget(&mut self, space: Space) -> Result<(), StorageError> {
        let mut files = self.files.clone();
        if files.remove(&space).is_none() {
            return Ok(());
        }
        self.replace(files)
    }

    /// Bytes of all files that count.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|(_, bytes)| bytes).sum()
    }

    fn path(&self, space: Space, version: u64) -> PathBuf {
        self.dir.join(format!("{}.{version}", names::name(space)))
    }

    fn write_rows(&self, space: Space, version: u64, rows: &Tree) -> Result<u64, StorageError> {
        let path = self.path(space, version);
        let fail = |error: std::io::Error| io("write", &path, &error);
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(fail)?);
        let mut digest = crc32fast::Hasher::new();
        let mut bytes = 0;
        let mut put = |part: &[u8]| {
            digest.update(part);
            bytes += part.len() as u64;
            out.write_all(part).map_err(fail)
        };
        for (key, value) in rows {
            for part in [key, value] {
                put(&u32::try_from(part.len()).expect("limits keep rows short").to_le_bytes())?;
                put(part)?;
            }
        }
        put(&END.to_le_bytes())?;
        out.write_all(&digest.finalize().to_le_bytes()).map_err(fail)?;
        let file = out.into_inner().map_err(|error| fail(error.into_error()))?;
        file.sync_all().map_err(fail)?;
        Ok(bytes + 4)
    }

    /// Replaces the manifest, durably, and removes the files that it no longer names.
    fn replace(&mut self, files: BTreeMap<Space, (u64, u64)>) -> Result<(), StorageError> {
        let mut text = format!("{FIRST_LINE}\n");
        for (space, (version, _)) in &files {
            text.push_str(&format!("{} {version}\n", names::name(*space)));
        }
        text.push_str(&format!("crc32 {:08x}\n", crc32fast::hash(text.as_bytes())));
        let (path, beside) = (self.dir.join(MANIFEST), self.dir.join("manifest.new"));
        let fail = |error: std::io::Error| io("write", &path, &error);
        let mut file = File::create(&beside).map_err(fail)?;
        file.write_all(text.as_bytes()).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        fs::rename(&beside, &path).map_err(fail)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(fail)?;
        let old = std::mem::replace(&mut self.files, files);
        for (space, (version, _)) in old {
            if self.files.get(&space).is_none_or(|(now, _)| *now != version) {
                // A file that stays is removed at the next opening.
                let _ = fs::remove_file(self.path(space, version));
            }
        }
        Ok(())
    }

    fn read_manifest(&self) -> Result<Vec<(Space, u64)>, StorageError> {
        let path = self.dir.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io("read", &path, &error)),
        };
        let damaged = || StorageError::Corrupt(format!("{} is damaged", path.display()));
        let at = text.rfind("crc32 ").ok_or_else(damaged)?;
        if text[at..] != format!("crc32 {:08x}\n", crc32fast::hash(&text.as_bytes()[..at])) {
            return Err(damaged());
        }
        let mut lines = text[..at].lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(damaged());
        }
        let entry = |line: &str| {
            let (name, version) = line.split_once(' ')?;
            Some((names::parse(name)?, version.parse().ok()?))
        };
        lines.map(|line| entry(line).ok_or_else(damaged)).collect()
    }

    fn remove_strays(&self) -> Result<(), StorageError> {
        let named: BTreeSet<PathBuf> =
            self.files.iter().map(|(space, (version, _))| self.path(*space, *version)).collect();
        let entries = fs::read_dir(&self.dir).map_err(|error| io("read", &self.dir, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| io("read", &self.dir, &error))?.path();
            if !named.contains(&path) && path.file_name().is_some_and(|name| name != MANIFEST) {
                fs::remove_file(&path).map_err(|error| io("remove", &path, &error))?;
            }
        }
        Ok(())
    }
}

fn decode(path: &Path, raw: Bytes) -> Result<Tree, StorageError> {
    let damaged = || StorageError::Corrupt(format!("{} is damaged", path.display()));
    let end = raw.len().checked_sub(4).ok_or_else(damaged)?;
    if raw.slice(end..).get_u32_le() != crc32fast::hash(&raw[..end]) {
        return Err(damaged());
    }
    let mut rest = raw.slice(..end);
    let mut rows = Tree::new_sync();
    let part = |rest: &mut Bytes| -> Result<Option<Bytes>, StorageError> {
        if rest.remaining() < 4 {
            return Err(damaged());
        }
        let length = rest.get_u32_le();
        if length == END {
            return Ok(None);
        }
        if rest.remaining() < length as usize {
            return Err(damaged());
        }
        Ok(Some(rest.split_to(length as usize)))
    };
    while let Some(key) = part(&mut rest)? {
        let value = part(&mut rest)?.ok_or_else(damaged)?;
        // A copy, so that one row does not keep the whole file in memory.
        rows.insert_mut(copied(&key), copied(&value));
    }
    Ok(rows)
}

fn copied(part: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(part.len());
    out.put_slice(part);
    out.freeze()
}

fn io(doing: &str, path: &Path, error: &std::io::Error) -> StorageError {
    StorageError::Io(format!("cannot {doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use shardbearer_core::ids::OrderId;
    use shardbearer_core::storage::{Batch, Durability, StorageEngine};

    use super::super::Memory;
    use super::*;

    #[test]
    fn every_flipped_byte_is_noticed_when_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut batch = Batch::default();
        batch.put(Space::Order(OrderId(3)), "key", "value");
        Memory::open(folder.path()).expect("empty").commit(batch, Durability::Synced).expect("written");
        for entry in fs::read_dir(folder.path()).expect("there") {
            let path = entry.expect("there").path();
            let sound = fs::read(&path).expect("readable");
            for at in 0..sound.len() {
                let mut raw = sound.clone();
                raw[at] ^= 1;
                fs::write(&path, &raw).expect("writable");
                assert!(Memory::open(folder.path()).is_err(), "{} byte {at}", path.display());
            }
            fs::write(&path, &sound).expect("writable");
        }
        let again = Memory::open(folder.path()).expect("sound");
        let value = again.view().get(Space::Order(OrderId(3)), b"key").expect("readable");
        assert_eq!(value.as_deref(), Some(&b"value"[..]));
    }

    #[test]
    fn what_could_not_be_written_is_written_by_the_next_sync() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = Memory::open(folder.path()).expect("empty");
        let synced = |order: u64| {
            let mut batch = Batch::default();
            batch.put(Space::Order(OrderId(order)), "key", "value");
            memory.commit(batch, Durability::Synced)
        };
        let obstacle = folder.path().join("manifest.new");
        fs::create_dir(&obstacle).expect("made");
        synced(3).expect_err("the manifest cannot be written");
        fs::remove_dir(&obstacle).expect("removed");
        synced(4).expect("nothing is in the way any more");
        drop(memory);
        let again = Memory::open(folder.path()).expect("sound");
        assert_eq!(again.spaces(), Ok(vec![Space::Order(OrderId(3)), Space::Order(OrderId(4))]));
    }
}
