//! `SCAN`: pages of keys, shard by shard, with cursors that are plain numbers.
//!
//! A cursor is the position of a shard and a token. The token stands for the key from which that shard is to be
//! read on, remembered here; token 0 is the shard's beginning. Only so many are remembered: with a token that
//! was forgotten (or given out by another radiant) the shard is read from its beginning again. So a key that
//! is there during the whole scan is returned at least once, and some perhaps twice, as Redis has it.
//!
//! The scan of a client that goes from radiant to radiant covers some orders here. Which, is decided when it begins and
//! remembered with its tokens, so that a herald that changes meanwhile takes no shard out of it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::ids::OrderId;
use shardbearer_core::kv::{Command, Reply, Row, Scan};
use shardbearer_core::limits;
use shardbearer_core::world::World;

use super::args;
use super::failure::Failure;
use super::glob;
use super::reply::Writer;
use super::session::Session;
use crate::kv::{Call, Target};

/// Tokens remembered: more scans at once than anybody runs, at the size of a key each.
const TOKENS_MAX: usize = 8_192;

/// The low bits of a cursor. The position, below 16384, is in the bits above, so that a cursor is positive.
const TOKEN_BITS: u32 = 48;

/// Shards visited by one command, so that it ends soon when they are all empty.
const SHARDS_AT_ONCE: usize = 16;

/// Where scans go on.
#[derive(Debug)]
pub struct Cursors {
    tokens: Mutex<Tokens>,
    most: usize,
}

#[derive(Debug)]
struct Tokens {
    // Drawn at random: a token given out by another radiant must not be taken for one given out here.
    rng: StdRng,
    starts: HashMap<u64, (usize, Start)>,
    oldest_first: VecDeque<u64>,
}

/// Where a scan goes on within a shard, and what it covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Start {
    key: Bytes,
    /// `None`: all orders, or as of now.
    orders: Option<Arc<BTreeSet<OrderId>>>,
}

impl Cursors {
    /// Remembers nothing yet.
    pub fn new(world: &World) -> Cursors {
        Cursors::with_room(world, TOKENS_MAX)
    }

    fn with_room(world: &World, most: usize) -> Cursors {
        let tokens = Tokens { rng: world.rng(), starts: HashMap::new(), oldest_first: VecDeque::new() };
        Cursors { tokens: Mutex::new(tokens), most }
    }

    /// A cursor to read the shard at this position from there on.
    fn keep(&self, position: usize, start: Start) -> u64 {
        let mut tokens = self.tokens.lock();
        while tokens.oldest_first.len() >= self.most {
            if let Some(token) = tokens.oldest_first.pop_front() {
                tokens.starts.remove(&token);
            }
        }
        let token = loop {
            let token = tokens.rng.random_range(1..1 << TOKEN_BITS);
            if !tokens.starts.contains_key(&token) {
                break token;
            }
        };
        tokens.starts.insert(token, (position, start));
        tokens.oldest_first.push_back(token);
        beginning(position) | token
    }

    /// The shard's position and from where it is wanted.
    fn find(&self, cursor: u64) -> (usize, Start) {
        let position = usize::try_from(cursor >> TOKEN_BITS).unwrap_or(usize::MAX);
        let token = cursor & ((1 << TOKEN_BITS) - 1);
        let tokens = self.tokens.lock();
        let start = tokens.starts.get(&token).filter(|(of, _)| *of == position);
        (position, start.map(|(_, start)| start.clone()).unwrap_or_default())
    }
}

/// The cursor of a shard's beginning. Of the first shard it is 0, where every scan begins.
fn beginning(position: usize) -> u64 {
    (position as u64) << TOKEN_BITS
}

struct Options {
    pattern: Option<Bytes>,
    count: usize,
    strings: bool,
}

fn options(args: &[Bytes]) -> Result<Options, Failure> {
    let mut options = Options { pattern: None, count: 10, strings: true };
    let (pairs, rest) = args.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::SYNTAX);
    }
    for [option, text] in pairs {
        match args::one_of(option, &["MATCH", "COUNT", "TYPE"]) {
            Some("MATCH") => options.pattern = Some(text.clone()),
            Some("COUNT") => {
                let count = usize::try_from(args::integer(text)?).ok().filter(|count| *count > 0);
                options.count = count.ok_or(Failure::SYNTAX)?.min(limits::PAGE_ROWS_MAX);
            }
            Some(_) => options.strings = args::is(text, "string"),
            None => return Err(Failure::SYNTAX),
        }
    }
    Ok(options)
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`.
pub async fn scan(session: &Session, args: &[Bytes], writer: &mut Writer) -> Result<(), Failure> {
    let cursor = std::str::from_utf8(&args[1]).ok().and_then(|text| text.parse().ok());
    let cursor: u64 = cursor.ok_or(Failure::from("ERR invalid cursor"))?;
    let options = options(&args[2..])?;
    let (from, Start { key: mut start, orders }) = session.gateway.cursors.find(cursor);
    let orders = if orders.is_some() { orders } else { session.covered()?.map(Arc::new) };
    let places = session.places_of(|order| orders.as_ref().is_none_or(|orders| orders.contains(&order)))?;
    let first = places.partition_point(|place| place.position < from);
    let mut ahead = places[first..].iter().peekable();
    if ahead.peek().is_none_or(|place| place.position != from) {
        // The shard of the cursor is no longer seen from here.
        start = Bytes::new();
    }
    let (mut keys, mut seen, mut visited, mut cursor) = (Vec::new(), 0, 0, 0);
    while let Some(place) = ahead.next() {
        let limit = u32::try_from(options.count - seen).unwrap_or(u32::MAX);
        let scan = Scan { start: start.clone(), limit, keys_only: true, ..Scan::default() };
        let call = Call { target: Target::Shard(place.extent), ..Call::new(Command::Scan(scan)) };
        let (rows, more) = page(session.gateway.execute_one(call).await)?;
        seen += rows.len();
        visited += 1;
        if more {
            let key = rows.last().map_or(start, |row| successor(&row.key));
            keys.extend(rows.into_iter().map(|row| row.key));
            cursor = session.gateway.cursors.keep(place.position, Start { key, orders });
            break;
        }
        keys.extend(rows.into_iter().map(|row| row.key));
        start = Bytes::new();
        if let Some(next) = ahead.peek()
            && (seen >= options.count || visited >= SHARDS_AT_ONCE)
        {
            cursor = match orders {
                None => beginning(next.position),
                Some(_) => session.gateway.cursors.keep(next.position, Start { key: Bytes::new(), orders }),
            };
            break;
        }
    }
    let pattern = options.pattern.as_deref();
    keys.retain(|key| options.strings && pattern.is_none_or(|pattern| glob::matches(pattern, key)));
    writer.array(2);
    writer.bulk(cursor.to_string().as_bytes());
    writer.array(keys.len());
    keys.iter().for_each(|key| writer.value(key));
    Ok(())
}

/// The rows of a page, and whether there are more.
pub fn page(result: crate::kv::CallResult) -> Result<(Vec<Row>, bool), Failure> {
    match result.map_err(|error| Failure::of(&error))? {
        Reply::Page { rows, more } => Ok((rows, more)),
        Reply::Refused(refusal) => Err(Failure::refusal(&refusal)),
        _ => Err("ERR a shard did not answer a scan with a page".into()),
    }
}

/// The first key after this one.
pub fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Real;

    #[test]
    fn forgotten_and_foreign_tokens_restart_their_shard() {
        let (world, _real) = Real::create();
        let cursors = Cursors::with_room(&world, 2);
        let start = |key: &'static str| Start { key: key.into(), orders: None };
        let first = cursors.keep(3, start("a"));
        let second = cursors.keep(3, start("b"));
        assert_eq!(cursors.find(first), (3, start("a")));
        assert_eq!(cursors.find(second), (3, start("b")));
        let third = cursors.keep(0, start("c"));
        assert_eq!(cursors.find(first), (3, start("")), "there was room for two");
        assert_eq!(cursors.find(third), (0, start("c")));
        let elsewhere = (5 << TOKEN_BITS) | (second & ((1 << TOKEN_BITS) - 1));
        assert_eq!(cursors.find(elsewhere), (5, start("")), "a token is good for its own shard");
        assert_eq!(cursors.find(0), (0, start("")));
        assert!([first, second, third].iter().all(|cursor| *cursor != 0 && *cursor < 1 << 62));
    }
}
