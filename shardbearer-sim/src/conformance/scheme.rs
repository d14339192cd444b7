//! The laws of [`ShardingScheme`]: total, stable, and described by words that say all of it.
//!
//! ```text
//! conformance::scheme::check(&Subject { scheme: &mine, parse: &|words| Mine::parse(words), even: true });
//! ```

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::placement::ShardingScheme;

use super::suite::{self, Law, suite};
use super::{Broken, ensure, ensure_eq};

/// Makes a scheme from the words that describe one.
pub type Parse<'a> = &'a dyn Fn(&str) -> Option<Box<dyn ShardingScheme>>;

/// A scheme under test.
pub struct Subject<'a> {
    /// The scheme.
    pub scheme: &'a dyn ShardingScheme,
    /// The inverse of [`ShardingScheme::describe`].
    pub parse: Parse<'a>,
    /// Whether it spreads any keys evenly, as a hash does and ranges do not.
    pub even: bool,
}

/// All laws.
pub fn laws<'a>() -> Vec<Law<Subject<'a>>> {
    suite! {
        |_| None =>
            there_are_shards_and_always_as_many
            every_key_has_a_shard
            a_key_has_the_same_shard_always
            the_description_says_everything
            nothing_else_is_described_by_other_words;
        |subject| (!subject.even).then_some("an even spread") =>
            keys_are_spread_evenly;
    }
}

/// Runs all laws; panics with what is broken.
///
/// # Panics
/// With everything that is broken, if anything is.
pub fn check(subject: &Subject<'_>) {
    suite::check(&laws(), subject);
}

/// Keys as people use them, and as nobody does.
fn keys() -> Vec<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut keys: Vec<Vec<u8>> = (0..2_000)
        .map(|_| {
            let length = rng.random_range(0..40);
            (0..length).map(|_| rng.random()).collect()
        })
        .collect();
    // Hash tags, and what only looks like one.
    let odd = ["", "{", "}", "{}", "}{", "{a}", "{{a}}", "x{a}y{b}", "a{", "{}{a}", "\0", "user:1", "é"];
    keys.extend(odd.iter().map(|key| key.as_bytes().to_vec()));
    keys.extend((0..=u8::MAX).map(|byte| vec![byte]));
    keys.extend([vec![0; 1 << 16], vec![u8::MAX; 1 << 16], b"{".repeat(1 << 12), b"}".repeat(1 << 12)]);
    keys
}

fn there_are_shards_and_always_as_many(subject: &Subject<'_>) -> Result<(), Broken> {
    let shards = subject.scheme.shards();
    ensure!(shards > 0, "a scheme without a shard");
    keys().iter().for_each(|key| {
        subject.scheme.shard_of(key);
    });
    ensure_eq!(subject.scheme.shards(), shards, "shards after it was asked");
    Ok(())
}

fn every_key_has_a_shard(subject: &Subject<'_>) -> Result<(), Broken> {
    let shards = subject.scheme.shards();
    for key in keys() {
        let shard = subject.scheme.shard_of(&key);
        ensure!(shard < shards, "{:?} is in shard {shard} of {shards}", Bytes(&key));
    }
    Ok(())
}

fn a_key_has_the_same_shard_always(subject: &Subject<'_>) -> Result<(), Broken> {
    let keys = keys();
    let first: Vec<usize> = keys.iter().map(|key| subject.scheme.shard_of(key)).collect();
    // Backwards, so that whatever it remembers is another.
    for (key, shard) in keys.iter().zip(first).rev() {
        ensure_eq!(subject.scheme.shard_of(key), shard, "shard of {:?}, asked again", Bytes(key));
    }
    Ok(())
}

fn the_description_says_everything(subject: &Subject<'_>) -> Result<(), Broken> {
    let words = subject.scheme.describe();
    ensure_eq!(subject.scheme.describe(), words, "the description, asked again");
    let Some(other) = (subject.parse)(&words) else {
        return Err(Broken(format!("{words:?} is not understood")));
    };
    ensure_eq!(other.describe(), words, "the description of what {words:?} describes");
    ensure_eq!(other.shards(), subject.scheme.shards(), "shards of what {words:?} describes");
    for key in keys() {
        let (here, there) = (subject.scheme.shard_of(&key), other.shard_of(&key));
        ensure_eq!(there, here, "shard of {:?} in what {words:?} describes", Bytes(&key));
    }
    Ok(())
}

/// Two radiants compare words, so one scheme has one description; and what was garbled must not become another scheme in
/// silence.
fn nothing_else_is_described_by_other_words(subject: &Subject<'_>) -> Result<(), Broken> {
    let words = subject.scheme.describe();
    let mut garbled: Vec<String> = vec![String::new(), " ".into(), format!(" {words}"), format!("{words} ")];
    let cuts = words.char_indices().map(|(at, _)| at);
    for at in cuts.chain([words.len()]) {
        let (before, after) = words.split_at(at);
        garbled.push(before.to_owned());
        for more in ["0", "+", "-", "9", "/", "x", " ", "00000000000000000000"] {
            garbled.push(format!("{before}{more}{after}"));
        }
    }
    for other in garbled.iter().filter(|other| **other != words) {
        if let Some(scheme) = (subject.parse)(other) {
            ensure_eq!(&scheme.describe(), other, "the description of what {other:?} describes");
        }
    }
    Ok(())
}

fn keys_are_spread_evenly(subject: &Subject<'_>) -> Result<(), Broken> {
    let shards = subject.scheme.shards();
    let keys = (shards * 40).clamp(1_000, 700_000);
    let mut counts = vec![0_usize; shards];
    for number in 0..keys {
        let key = format!("user:{number}");
        if let Some(count) = counts.get_mut(subject.scheme.shard_of(key.as_bytes())) {
            *count += 1;
        }
    }
    let mean = keys / shards;
    let (least, most) =
        (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
    // Shards differ by one slot, which is half of a shard that has two; the rest is chance.
    ensure!(
        least > 0 && most <= mean * 4,
        "of {keys} keys, {least} to {most} are in a shard, {mean} would be even"
    );
    Ok(())
}

/// A key in a message.
struct Bytes<'a>(&'a [u8]);

impl std::fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (shown, length) = (self.0.get(..40).unwrap_or(self.0), self.0.len());
        write!(f, "{:?} ({length} bytes)", String::from_utf8_lossy(shown))
    }
}
