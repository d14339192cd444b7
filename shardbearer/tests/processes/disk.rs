//! The other side of `powercut.c`: what a disk holds after a power cut, worked out from the journal of a process's
//! file operations.
//!
//! The strict reading of POSIX, which is harsher than any file system in use: bytes and lengths are durable once
//! their file was fsynced, names once their folder was. An fsync makes durable what was done before it began, and
//! only when it ended. After one that failed no later one helps what was written before it. What was done later is gone, or, with [`Loss::Torn`], there by halves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What a power cut does to that which was not fsynced.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// All of it is gone.
    All,
    /// A random part of the writes is there, some of them cut off; names and lengths are gone.
    Torn(u64),
    /// Nothing: what the process saw itself.
    Nothing,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Zeros(u64, u64),
    Length(u64),
}

/// A file or a folder.
#[derive(Default)]
struct Object {
    /// What is durable of a file.
    bytes: Vec<u8>,
    /// What is not, oldest first, each with its place in the journal.
    pending: Vec<(usize, Change)>,
    /// What is durable of a folder: names, with the incarnation of an inode that each meant.
    names: BTreeMap<String, Name>,
}

#[derive(Clone, Copy)]
struct Name {
    inode: u64,
    life: u64,
    folder: bool,
}

/// The files of a radiant as they were when it started, and then as its journal says.
pub struct Disk {
    root: u64,
    objects: HashMap<(u64, u64), Object>,
    /// How many files had this inode before.
    lives: HashMap<u64, u64>,
    /// How many records were followed. It goes on from process to process: what one of them wrote comes before an fsync of
    /// the next.
    place: usize,
    /// Fsyncs that have not ended: where they began, and what they found in a folder.
    syncing: HashMap<u64, (usize, Option<BTreeMap<String, Name>>)>,
}

impl Disk {
    /// Reads a data directory. What is there is durable: the last power cut made it.
    pub fn read(root: &Path) -> Disk {
        std::fs::create_dir_all(root).unwrap();
        let mut disk = Disk {
            root: inode(root),
            objects: HashMap::new(),
            lives: HashMap::new(),
            place: 0,
            syncing: HashMap::new(),
        };
        disk.read_folder(root);
        disk
    }

    fn read_folder(&mut self, path: &Path) {
        let mut names = BTreeMap::new();
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = Name { inode: inode(&path), life: 0, folder: path.is_dir() };
            names.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), name);
            if name.folder {
                self.read_folder(&path);
            } else {
                let object = Object { bytes: std::fs::read(&path).unwrap(), ..Object::default() };
                self.objects.insert((name.inode, 0), object);
            }
        }
        self.objects.insert((inode(path), 0), Object { names, ..Object::default() });
    }

    /// Follows a journal to its end; a last record that the kill cut off did not happen.
    pub fn follow(&mut self, journal: &Path) {
        let raw = std::fs::read(journal).unwrap();
        let mut rest = raw.as_slice();
        while let Some((kind, object, number, data)) = record(&mut rest) {
            self.place += 1;
            let place = self.place;
            let life = self.life(object);
            let target = self.objects.entry((object, life)).or_default();
            match kind {
                1 => {
                    *self.lives.entry(object).or_default() += 1;
                }
                2 => target.pending.push((place, Change::Write(number, data.to_vec()))),
                3 => {
                    let zeros = u64::from_ne_bytes(data.try_into().unwrap());
                    target.pending.push((place, Change::Zeros(number, zeros)));
                }
                4 => target.pending.push((place, Change::Length(number))),
                5 => {
                    self.syncing.insert(number, (place, None));
                }
                6 => {
                    let (began, names) = self.syncing.remove(&number).expect("it began");
                    if let Some(names) = names {
                        target.names = names;
                    } else {
                        let later = target.pending.partition_point(|(place, _)| *place < began);
                        for (_, change) in target.pending.drain(..later) {
                            change.apply(&mut target.bytes);
                        }
                    }
                }
                7 => {
                    let names = self.listing(data);
                    self.syncing.insert(number, (place, Some(names)));
                }
                // Its pages count as clean now: read, but never written.
                8 => target.pending.clear(),
                other => panic!("an unknown kind of record: {other}"),
            }
        }
    }

    fn life(&self, inode: u64) -> u64 {
        self.lives.get(&inode).copied().unwrap_or(0)
    }

    fn listing(&self, mut data: &[u8]) -> BTreeMap<String, Name> {
        let mut names = BTreeMap::new();
        while !data.is_empty() {
            let kind = take(&mut data, 1)[0];
            let inode = number(&mut data);
            let length = number(&mut data);
            let text = take(&mut data, usize::try_from(length).unwrap());
            let name = Name { inode, life: self.life(inode), folder: kind == b'd' };
            names.insert(String::from_utf8(text.to_vec()).unwrap(), name);
        }
        names
    }

    /// Makes a data directory what it is after the cut.
    pub fn restore(mut self, root: &Path, loss: Loss) {
        let mut dice = StdRng::seed_from_u64(if let Loss::Torn(seed) = loss { seed } else { 0 });
        std::fs::remove_dir_all(root).unwrap();
        self.restore_folder((self.root, 0), root, loss, &mut dice);
    }

    fn restore_folder(&mut self, id: (u64, u64), path: &Path, loss: Loss, dice: &mut StdRng) {
        std::fs::create_dir(path).unwrap();
        let names = self.objects.get(&id).map(|object| object.names.clone()).unwrap_or_default();
        for (text, name) in names {
            let (id, path) = ((name.inode, name.life), path.join(text));
            if name.folder {
                self.restore_folder(id, &path, loss, dice);
            } else {
                let object = self.objects.remove(&id).unwrap_or_default();
                write_sparse(&path, &object.after(loss, dice));
            }
        }
    }

    /// The names of files whose content is not what the journal says: then something passed by the journal.
    pub fn differences(mut self, root: &Path) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut folders = vec![root.to_owned()];
        let mut seen = HashSet::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let id = (inode(&path), self.life(inode(&path)));
                let object = self.objects.remove(&id).unwrap_or_default();
                let expected = object.after(Loss::Nothing, &mut StdRng::seed_from_u64(0));
                if !seen.insert(id) || expected != std::fs::read(&path).unwrap() {
                    wrong.push(path.display().to_string());
                }
            }
        }
        wrong
    }
}

impl Object {
    fn after(self, loss: Loss, dice: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.bytes;
        for (_, change) in self.pending {
            match loss {
                Loss::All => {}
                Loss::Nothing => change.apply(&mut bytes),
                Loss::Torn(_) => {
                    if let Some(change) = change.torn(bytes.len() as u64, dice) {
                        change.apply(&mut bytes);
                    }
                }
            }
        }
        bytes
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        let place = |offset: u64, length: u64| (offset as usize, (offset + length) as usize);
        match self {
            Change::Write(offset, data) => {
                let (from, to) = place(offset, data.len() as u64);
                bytes.resize(bytes.len().max(to), 0);
                bytes[from..to].copy_from_slice(&data);
            }
            Change::Zeros(offset, length) => {
                let (from, to) = place(offset, length);
                bytes.resize(bytes.len().max(to), 0);
                bytes[from..to].fill(0);
            }
            Change::Length(length) => bytes.resize(length as usize, 0),
        }
    }

    /// What of it may be on disk although nobody asked for that; within the file's durable length.
    fn torn(self, length: u64, dice: &mut StdRng) -> Option<Change> {
        match self {
            Change::Write(offset, mut data) if offset < length && dice.random_bool(0.5) => {
                let there = data.len().min((length - offset) as usize);
                data.truncate(if dice.random_bool(0.5) { there } else { dice.random_range(0..=there) });
                Some(Change::Write(offset, data))
            }
            Change::Write(..) | Change::Zeros(..) | Change::Length(_) => None,
        }
    }
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// fjall's journals are long and mostly empty.
fn write_sparse(path: &Path, bytes: &[u8]) {
    const PART: usize = 1 << 16;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    let zeros = [0; PART];
    for (index, part) in bytes.chunks(PART).enumerate() {
        if *part != zeros[..part.len()] {
            file.write_all_at(part, (index * PART) as u64).unwrap();
        }
    }
}

/// Kind, object, number, data of the next record.
fn record<'a>(rest: &mut &'a [u8]) -> Option<(u8, u64, u64, &'a [u8])> {
    const HEAD: usize = 25;
    let length = usize::try_from(u64::from_ne_bytes(rest.get(17..HEAD)?.try_into().ok()?)).ok()?;
    if rest.len() < HEAD + length {
        return None;
    }
    let kind = take(rest, 1)[0];
    let (object, number, _) = (number(rest), number(rest), number(rest));
    Some((kind, object, number, take(rest, length)))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

fn number(rest: &mut &[u8]) -> u64 {
    u64::from_ne_bytes(take(rest, 8).try_into().unwrap())
}

#[test]
fn an_fsync_makes_durable_what_an_earlier_process_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (root, journal) = (folder.path().join("data"), folder.path().join("journal"));
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), "old").unwrap();
    let object = inode(&root.join("file"));
    let record = |kind: u8, number: u64, data: &[u8]| {
        let words = [object, number, data.len() as u64];
        [&[kind][..], &words.map(u64::to_ne_bytes).concat(), data].concat()
    };
    let mut disk = Disk::read(&root);
    let lives = [
        // Killed with an fsync under way, whose number comes again.
        [record(2, 0, b"n"), record(2, 1, b"e"), record(5, 1, b"")].concat(),
        [record(5, 1, b""), record(6, 1, b""), record(2, 2, b"w")].concat(),
    ];
    for life in lives {
        std::fs::write(&journal, life).unwrap();
        disk.follow(&journal);
    }
    disk.restore(&root, Loss::All);
    assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), "ned", "all but what no fsync followed");
}
