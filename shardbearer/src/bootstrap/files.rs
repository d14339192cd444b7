//! Small files that are replaced as a whole and must survive a power cut: a readable first line with
//! kind and version, length, checksum, body.
//!
//! A file is written beside its place, synced, renamed, and the directory synced; so there is always
//! the old one or the new one. Anything else that is read is damage, and is said with its offset.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::IdentityError;

/// The version of all these files.
const VERSION: &str = "1";

/// Replaces the file durably.
pub(super) fn write(directory: &Path, name: &str, body: &[u8]) -> Result<(), IdentityError> {
    let path = directory.join(name);
    let fail = |doing| move |error| refused(&path, doing, error);
    let beside = directory.join(format!("{name}.new"));
    let mut file = File::create(&beside).map_err(fail.clone()("create"))?;
    file.write_all(&framed(name, body)).map_err(fail.clone()("write"))?;
    file.sync_all().map_err(fail.clone()("sync"))?;
    fs::rename(&beside, directory.join(name)).map_err(fail.clone()("replace"))?;
    sync_directory(directory).map_err(fail("sync the directory of"))
}

/// Reads the body; `None` if there is no such file.
pub(super) fn read(directory: &Path, name: &str) -> Result<Option<Bytes>, IdentityError> {
    let path = directory.join(name);
    let raw = match fs::read(&path) {
        Ok(raw) => Bytes::from(raw),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(&path, "read", error)),
    };
    unframed(name, &raw).map(Some).map_err(|(offset, why)| IdentityError::Damaged { path, offset, why })
}

/// Makes created, renamed and removed names in the directory durable.
pub(super) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What an error of the operating system means to the operator.
pub(super) fn refused(path: &Path, doing: &'static str, error: std::io::Error) -> IdentityError {
    let path = PathBuf::from(path);
    match error.kind() {
        ErrorKind::PermissionDenied => IdentityError::Denied { path, doing, why: "permission is denied" },
        ErrorKind::ReadOnlyFilesystem => {
            IdentityError::Denied { path, doing, why: "the file system is read-only" }
        }
        _ => IdentityError::Io { path, doing, error },
    }
}

fn framed(name: &str, body: &[u8]) -> Vec<u8> {
    let mut raw = header(name, VERSION).into_bytes();
    raw.extend((body.len() as u64).to_le_bytes());
    raw.extend(crc32fast::hash(body).to_le_bytes());
    raw.extend(body);
    raw
}

/// The body, or the offset and nature of the damage.
fn unframed(name: &str, raw: &Bytes) -> Result<Bytes, (u64, String)> {
    let header = header(name, VERSION);
    if !raw.starts_with(header.as_bytes()) {
        let line = raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        return Err((0, format!("it should begin with {:?}, not with {line:?}", header.trim_end())));
    }
    let mut at = header.len();
    let (Some(length), Some(sum)) = (raw.get(at..at + 8), raw.get(at + 8..at + 12)) else {
        return Err((raw.len() as u64, "it is cut off".into()));
    };
    let length = u64::from_le_bytes(length.try_into().expect("a slice of eight bytes"));
    let sum = u32::from_le_bytes(sum.try_into().expect("a slice of four bytes"));
    at += 12;
    let body = raw.slice(at..);
    if body.len() as u64 != length {
        return Err((at as u64, format!("{} bytes follow where there should be {length}", body.len())));
    }
    if crc32fast::hash(&body) != sum {
        return Err((at as u64, "its checksum is wrong".into()));
    }
    Ok(body)
}

fn header(name: &str, version: &str) -> String {
    format!("shardbearer {name} {version}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_replaced_as_a_whole() {
        let directory = tempfile::tempdir().expect("a folder");
        assert_eq!(read(directory.path(), "vote").expect("no file is fine"), None);
        for body in [&b"one"[..], b"", b"another"] {
            write(directory.path(), "vote", body).expect("writable");
            assert_eq!(read(directory.path(), "vote").expect("sound").as_deref(), Some(body));
        }
        assert!(!directory.path().join("vote.new").exists());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let sound = framed("vote", b"promise");
        for at in 0..sound.len() {
            let mut raw = sound.clone();
            raw[at] ^= 0x10;
            assert!(unframed("vote", &raw.into()).is_err(), "byte {at} flipped");
            assert!(unframed("vote", &Bytes::copy_from_slice(&sound[..at])).is_err(), "cut at {at}");
        }
        assert!(unframed("identity", &sound.into()).is_err(), "a file of another kind");
    }
}
