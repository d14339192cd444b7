//! Images of an order's data: read from a consistent view in chunks, received aside into a file ([`super::received`]),
//! installed from there.
//!
//! An image is a sequence of blocks `length (4) · crc32 (4) · body`. The first body is the header (version, position,
//! engine's note), the last the trailer (row count and a blake3 digest of all bodies before it),
//! those between hold rows. A file without its trailer is no image.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::engine::{Applied, SnapshotReader};
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::log::LogPos;
use shardbearer_core::storage::{KeyRange, Space, StorageError, View};

const VERSION: u8 = 1;
const HEADER: u8 = b'H';
const ROWS: u8 = b'R';
const TRAILER: u8 = b'T';

/// Bytes of rows after which a block ends.
const BLOCK_BYTES: usize = 1 << 20;

/// Bytes of an image that are handed out at once. A block may be far longer, where a row is: a session's, say.
const CHUNK_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// Longest block that is believed: a row of the largest value and then some.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// Reads an image from a view.
pub struct ImageReader {
    view: Box<dyn View>,
    applied: Applied,
    spaces: std::vec::IntoIter<Space>,
    current: Option<Space>,
    next_key: Vec<u8>,
    rows: u64,
    digest: blake3::Hasher,
    stage: Stage,
    /// Of the last block, what was not handed out yet.
    rest: Bytes,
}

enum Stage {
    Header,
    Rows,
    Done,
}

impl ImageReader {
    /// An image of these spaces.
    pub fn new(view: Box<dyn View>, spaces: Vec<Space>, applied: Applied) -> Self {
        let mut spaces = spaces.into_iter();
        let current = spaces.next();
        ImageReader {
            view,
            applied,
            spaces,
            current,
            next_key: Vec::new(),
            rows: 0,
            digest: blake3::Hasher::new(),
            stage: Stage::Header,
            rest: Bytes::new(),
        }
    }

    fn block(&mut self, body: &[u8]) -> Bytes {
        if body.first() != Some(&TRAILER) {
            self.digest.update(body);
        }
        let mut out = BytesMut::with_capacity(8 + body.len());
        out.put_u32(body.len() as u32); // at most a block and one row
        out.put_u32(crc32fast::hash(body));
        out.put_slice(body);
        out.freeze()
    }

    fn rows_block(&mut self) -> Result<Option<BytesMut>, StorageError> {
        let mut body = BytesMut::new();
        while let Some(space) = self.current {
            let range = KeyRange { start: self.next_key.clone(), end: None };
            for row in self.view.scan(space, &range) {
                let (key, value) = row?;
                if body.is_empty() {
                    body.put_u8(ROWS);
                    put_space(&mut body, space);
                }
                body.put_u32(key.len() as u32);
                body.put_u32(value.len() as u32); // keys and values are far below 4 GiB
                body.put_slice(&key);
                body.put_slice(&value);
                self.rows += 1;
                if body.len() >= BLOCK_BYTES {
                    self.next_key = [&key, &[0][..]].concat();
                    return Ok(Some(body));
                }
            }
            // A block holds rows of one space only.
            self.current = self.spaces.next();
            self.next_key.clear();
            if !body.is_empty() {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    fn next_block(&mut self) -> Result<Option<Bytes>, StorageError> {
        let body = match self.stage {
            Stage::Header => {
                self.stage = Stage::Rows;
                let mut body = BytesMut::new();
                body.put_u8(HEADER);
                body.put_u8(VERSION);
                body.put_u64(self.applied.position.term);
                body.put_u64(self.applied.position.index);
                body.put_slice(&self.applied.note);
                body
            }
            Stage::Rows => match self.rows_block()? {
                Some(body) => body,
                None => {
                    self.stage = Stage::Done;
                    let mut body = BytesMut::new();
                    body.put_u8(TRAILER);
                    body.put_u64(self.rows);
                    body.put_slice(self.digest.finalize().as_bytes());
                    body
                }
            },
            Stage::Done => return Ok(None),
        };
        Ok(Some(self.block(&body)))
    }
}

impl SnapshotReader for ImageReader {
    fn applied(&self) -> Applied {
        self.applied.clone()
    }

    fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        if self.rest.is_empty() {
            let Some(block) = self.next_block()? else { return Ok(None) };
            self.rest = block;
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(CHUNK_BYTES_MAX))))
    }
}

fn put_space(out: &mut BytesMut, space: Space) {
    match space {
        Space::Order(order) => {
            out.put_u8(0);
            out.put_u64(order.0);
        }
        Space::Shard { order, shard, generation } => {
            out.put_u8(1);
            out.put_u64(order.0);
            out.put_u64(shard.0);
            out.put_u64(generation);
        }
    }
}

fn take_space(rest: &mut Bytes) -> Option<Space> {
    Some(match rest.try_get_u8().ok()? {
        0 => Space::Order(OrderId(rest.try_get_u64().ok()?)),
        1 => Space::Shard {
            order: OrderId(rest.try_get_u64().ok()?),
            shard: ShardId(rest.try_get_u64().ok()?),
            generation: rest.try_get_u64().ok()?,
        },
        _ => return None,
    })
}

/// Opens a complete image.
pub fn open(place: &str) -> Result<Image, StorageError> {
    open_file(Path::new(place))
}

pub(super) fn open_file(path: &Path) -> Result<Image, StorageError> {
    let file = File::open(path).map_err(|error| at(path, &error))?;
    read(BufReader::with_capacity(1 << 20, file), path)
}

/// Begins to read an image; `path` is what errors name.
pub(super) fn read<R: Read>(file: R, path: &Path) -> Result<Image<R>, StorageError> {
    let mut image = Image {
        file,
        path: path.to_owned(),
        offset: 0,
        applied: Applied::default(),
        block: Bytes::new(),
        space: None,
        rows: 0,
        digest: blake3::Hasher::new(),
        ended: false,
    };
    let mut header = image.read_block()?;
    let fields = (header.try_get_u8(), header.try_get_u8(), header.try_get_u64(), header.try_get_u64());
    let (Ok(HEADER), Ok(VERSION), Ok(term), Ok(index)) = fields else {
        return Err(image.damaged("this is no image of a version known here"));
    };
    image.applied = Applied { position: LogPos { term, index }, note: header };
    Ok(image)
}

/// A complete image being read: an iterator over its rows that fails on the first damage.
pub struct Image<R = BufReader<File>> {
    file: R,
    path: PathBuf,
    offset: u64,
    applied: Applied,
    block: Bytes,
    space: Option<Space>,
    rows: u64,
    digest: blake3::Hasher,
    ended: bool,
}

impl<R: Read> Image<R> {
    /// What it is of.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    fn damaged(&self, what: &str) -> StorageError {
        StorageError::Corrupt(format!("{} at byte {}: {what}", self.path.display(), self.offset))
    }

    fn read_block(&mut self) -> Result<Bytes, StorageError> {
        let mut head = [0; 8];
        self.file.read_exact(&mut head).map_err(|_| self.damaged("the image is cut off"))?;
        let mut fields = &head[..];
        let (length, checksum) = (fields.get_u32() as usize, fields.get_u32());
        if length > BLOCK_BYTES_MAX {
            return Err(self.damaged("a block has an impossible length"));
        }
        // Grows with what is there: a length alone is no reason to set memory aside.
        let mut body = Vec::with_capacity(length.min(2 * BLOCK_BYTES));
        let read = Read::by_ref(&mut self.file).take(length as u64).read_to_end(&mut body);
        if !matches!(read, Ok(read) if read == length) {
            return Err(self.damaged("the image is cut off"));
        }
        if crc32fast::hash(&body) != checksum {
            return Err(self.damaged("a block's checksum is wrong"));
        }
        self.offset += 8 + length as u64;
        if body.first() != Some(&TRAILER) {
            self.digest.update(&body);
        }
        Ok(body.into())
    }

    fn step(&mut self) -> Result<Option<(Space, Bytes, Bytes)>, StorageError> {
        while self.block.is_empty() {
            let mut block = self.read_block()?;
            match block.try_get_u8() {
                Ok(ROWS) => {
                    self.space = Some(take_space(&mut block).ok_or_else(|| self.damaged("unknown space"))?);
                    self.block = block;
                }
                Ok(TRAILER) => {
                    let rows = block.try_get_u64().map_err(|_| self.damaged("short trailer"))?;
                    let digest = self.digest.finalize();
                    if rows != self.rows || block.as_ref() != digest.as_bytes() {
                        return Err(self.damaged("the image's digest is wrong"));
                    }
                    return Ok(None);
                }
                Ok(_) | Err(_) => return Err(self.damaged("unknown block")),
            }
        }
        let space = self.space.ok_or_else(|| self.damaged("rows without a space"))?;
        let block = &mut self.block;
        let lengths = (block.try_get_u32(), block.try_get_u32());
        let (Ok(key), Ok(value)) = lengths else { return Err(self.damaged("a row is cut off")) };
        let (key, value) = (key as usize, value as usize);
        if self.block.len() < key.saturating_add(value) {
            return Err(self.damaged("a row is cut off"));
        }
        self.rows += 1;
        let key = self.block.split_to(key);
        Ok(Some((space, key, self.block.split_to(value))))
    }
}

impl<R: Read> Iterator for Image<R> {
    type Item = Result<(Space, Bytes, Bytes), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}

pub(super) fn at(path: &Path, error: &io::Error) -> StorageError {
    StorageError::Io(format!("{}: {error}", path.display()))
}
