//! The data directory before any data: whose it is, who may use it, and what bootstrap remembers in it.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | locked by the process that uses the directory; its pid, for people |
//! | `identity` | the radiant's name and the directory's incarnation; written once |
//! | `bootstrap-vote` | what was promised and accepted in founding |
//! | `cluster` | the cluster, this radiant's id in it, the last known configuration |

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::FlockOperation;
use shardbearer_core::bootstrap::Vote;
use shardbearer_core::ids::{ClusterId, Incarnation, RadiantId};
use shardbearer_core::world::World;
use shardbearer_proto::convert::bootstrap as convert;
use thiserror::Error;

use super::files;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const VOTE: &str = "bootstrap-vote";
const CLUSTER: &str = "cluster";

/// Why a data directory cannot be used. Each is a sentence that says what to do.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// There is something else of that name.
    #[error("data directory {path} is no directory; set [radiant] data_dir to one", path = .path.display())]
    NotDirectory {
        /// The configured path.
        path: PathBuf,
    },
    /// The operating system does not let us.
    #[error("cannot {doing} {path}: {why}; let the radiant's user write there, or set another [radiant] data_dir", path = .path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// A verb.
        doing: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// Two processes must not share a directory.
    #[error("data directory {path} is in use by another process ({holder}); stop that one, or set another [radiant] data_dir", path = .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Which process, as far as known.
        holder: String,
    },
    /// The directory is another radiant's.
    #[error("data directory {path} belongs to radiant \"{stored}\", but [radiant] name is \"{configured}\"; set the name to \"{stored}\", or give \"{configured}\" an empty data directory", path = .path.display())]
    OtherName {
        /// The directory.
        path: PathBuf,
        /// Its radiant.
        stored: String,
        /// Who wants it.
        configured: String,
    },
    /// The directory is another cluster's.
    #[error("data directory {path} belongs to cluster {stored}, not to {given}; use an empty data directory to enter another cluster", path = .path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Its cluster.
        stored: ClusterId,
        /// What it should become.
        given: ClusterId,
    },
    /// A file is not what was written.
    #[error("{path} is damaged at offset {offset}: {why}; do not put an older copy back, which would not know what this radiant has promised since: start another radiant under another [radiant] name with an empty data directory, and `shardbearer radiant replace OLD NEW`", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// The disk failed.
    #[error("cannot {doing} {path}: {error}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// A verb.
        doing: &'static str,
        /// As the operating system says.
        error: std::io::Error,
    },
}

/// A data directory that this process alone uses, until dropped.
#[derive(Debug)]
pub struct Identity {
    directory: PathBuf,
    name: String,
    incarnation: Incarnation,
    _lock: File,
}

/// The content of the file `cluster`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCluster {
    /// The cluster.
    pub cluster: ClusterId,
    /// This radiant in it.
    pub radiant: RadiantId,
    /// The last known configuration, encoded.
    pub topology: Bytes,
}

impl Identity {
    /// Opens the directory, or makes it a new radiant's if it is empty or absent.
    pub fn open(data_dir: &Path, name: &str, world: &World) -> Result<Identity, IdentityError> {
        let directory = data_dir.to_path_buf();
        create(&directory)?;
        let lock = lock(&directory)?;
        settle(&directory)?;
        let incarnation = match files::read(&directory, IDENTITY)? {
            Some(body) => {
                let damaged = damaged(&directory, IDENTITY);
                let (stored, incarnation) = convert::identity_from_bytes(body).map_err(damaged)?;
                if stored != name {
                    let configured = name.to_owned();
                    return Err(IdentityError::OtherName { path: directory, stored, configured });
                }
                incarnation
            }
            None => {
                // Without its identity a used directory would pass for a new radiant's, and forget its vote.
                if let Some(left) = [VOTE, CLUSTER].iter().find(|file| directory.join(file).exists()) {
                    let why = format!("it is missing, but there is a file \"{left}\"");
                    return Err(IdentityError::Damaged { path: directory.join(IDENTITY), offset: 0, why });
                }
                let incarnation = Incarnation(world.id());
                files::write(&directory, IDENTITY, &convert::identity_to_bytes(name, incarnation))?;
                incarnation
            }
        };
        Ok(Identity { directory, name: name.to_owned(), incarnation, _lock: lock })
    }

    /// The radiant's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory's incarnation.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What was promised and accepted in founding; nothing at first.
    pub fn vote(&self) -> Result<Vote, IdentityError> {
        let Some(body) = files::read(&self.directory, VOTE)? else { return Ok(Vote::default()) };
        convert::vote_from_bytes(body).map_err(damaged(&self.directory, VOTE))
    }

    /// Stores the vote durably. Blocks on the disk.
    pub fn store_vote(&self, vote: &Vote) -> Result<(), IdentityError> {
        files::write(&self.directory, VOTE, &convert::vote_to_bytes(vote))
    }

    /// The cluster that this radiant belongs to, if any.
    pub fn cluster(&self) -> Result<Option<StoredCluster>, IdentityError> {
        let Some(body) = files::read(&self.directory, CLUSTER)? else { return Ok(None) };
        let damaged = damaged(&self.directory, CLUSTER);
        let (cluster, radiant, topology) = convert::cluster_from_bytes(body).map_err(damaged)?;
        Ok(Some(StoredCluster { cluster, radiant, topology }))
    }

    /// Stores the cluster durably; never another one than before. Blocks on the disk.
    pub fn store_cluster(&self, stored: &StoredCluster) -> Result<(), IdentityError> {
        if let Some(before) = self.cluster()?.filter(|before| before.cluster != stored.cluster) {
            let (path, given) = (self.directory.clone(), stored.cluster);
            return Err(IdentityError::OtherCluster { path, stored: before.cluster, given });
        }
        let body = convert::cluster_to_bytes(stored.cluster, stored.radiant, stored.topology.clone());
        files::write(&self.directory, CLUSTER, &body)
    }

    /// What to say of a file whose frame is sound and whose content is not.
    pub(super) fn unreadable_cluster(&self, why: &str) -> IdentityError {
        IdentityError::Damaged { path: self.directory.join(CLUSTER), offset: 0, why: why.to_owned() }
    }
}

fn create(directory: &Path) -> Result<(), IdentityError> {
    let refused = |error| files::refused(directory, "create data directory", error);
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(IdentityError::NotDirectory { path: directory.to_path_buf() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // From the top down, each durable before there is anything in it.
            match parent(directory) {
                Some(parent) if !parent.is_dir() => create(parent)?,
                Some(_) | None => {}
            }
            fs::create_dir(directory).map_err(refused)?;
            parent(directory).map_or(Ok(()), files::sync_directory).map_err(refused)
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(IdentityError::NotDirectory { path: directory.to_path_buf() })
        }
        Err(error) => Err(files::refused(directory, "look into", error)),
    }
}

/// Makes durable what is there. Names may be in the system's memory only: the last process ended, or its disk failed,
/// between making one and the fsync. What is read from now on is counted on by others, so that no power cut may take it.
fn settle(directory: &Path) -> Result<(), IdentityError> {
    let refused = |path: &Path, error| files::refused(path, "sync the directory", error);
    files::sync_directory(directory).map_err(|error| refused(directory, error))?;
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let mut path = directory;
    while let Some(above) = parent(path).filter(|above| device(above) == device(directory)) {
        match files::sync_directory(above) {
            // Nor could this user have made anything there.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
            synced => synced.map_err(|error| refused(above, error))?,
        }
        path = above;
    }
    Ok(())
}

/// The folder that a path is in, if it names one.
fn parent(path: &Path) -> Option<&Path> {
    let here = path != Path::new(".");
    path.parent()
        .map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        .filter(|_| here)
}

fn lock(directory: &Path) -> Result<File, IdentityError> {
    let path = directory.join(LOCK);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(&path).map_err(|error| files::refused(&path, "open", error))?;
    if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(files::refused(&path, "lock", error.into()));
        }
        let mut pid = String::new();
        let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
        let holder = if known { format!("pid {}", pid.trim()) } else { "which one is not known".into() };
        return Err(IdentityError::InUse { path: directory.to_path_buf(), holder });
    }
    // For people only, so neither synced nor trusted.
    let pid = format!("{}\n", std::process::id());
    let written = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
    written.map_err(|error| files::refused(&path, "write", error))?;
    Ok(file)
}

fn damaged(directory: &Path, file: &str) -> impl FnOnce(convert::Malformed) -> IdentityError {
    let path = directory.join(file);
    |malformed| IdentityError::Damaged { path, offset: 0, why: malformed.0 }
}
