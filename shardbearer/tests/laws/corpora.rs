//! What the fuzzer found worth keeping, and random changes of it: any bytes from outside are understood or refused. The
//! functions are those of `shardbearer/src/fuzzing`; `scripts/fuzz.sh` searches for more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer::fuzzing::TARGETS;
use tokio::time::Instant;

/// How long each target is tried with random changes.
const SMOKE: Duration = Duration::from_secs(1);

/// Longest input; longer ones find nothing new and take their time.
const BYTES_MAX: usize = 4 << 10;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// Every file of the target's corpus, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder(target)).expect("every target has a corpus");
    let mut files: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("readable").path();
            (path.display().to_string(), fs::read(&path).expect("readable"))
        })
        .collect();
    files.sort();
    files
}

/// Changes some bytes, drops, repeats or brings in others from another input.
fn spoilt(rng: &mut StdRng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        let end = rng.random_range(at..=bytes.len().min(at + 16));
        match rng.random_range(0..6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            2 => bytes.truncate(at),
            3 => {
                let from = rng.random_range(0..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            4 => bytes.insert(at, rng.random()),
            _ => bytes[at..end].iter_mut().take(2).for_each(|byte| *byte = rng.random()),
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn holds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("it is in the table");
    let corpus = corpus(name);
    assert!(corpus.len() >= 5, "{name} has hardly a corpus");
    for (file, bytes) in &corpus {
        // Printed only if the test fails.
        println!("{file}");
        (target.check)(bytes);
    }
    let mut rng = StdRng::seed_from_u64(7);
    let end = Instant::now() + SMOKE;
    while Instant::now() < end {
        let [one, other] = [(); 2].map(|()| &corpus[rng.random_range(0..corpus.len())].1);
        let bytes = spoilt(&mut rng, one, other);
        let caught = std::panic::catch_unwind(|| (target.check)(&bytes));
        assert!(caught.is_ok(), "{name} fails for {}", bytes.escape_ascii());
    }
}

/// A test for each target, so that they run beside each other.
macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed_and_has_a_program() {
            let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(known, [$(stringify!($name)),*]);
            for name in known {
                let program = folder(name).join("../../fuzz_targets").join(format!("{name}.rs"));
                let text = fs::read_to_string(&program).expect("every target has a program");
                assert!(text.contains(&format!("fuzzing::{name}(bytes)")), "{}", program.display());
            }
        }
    };
}

targets! { bootstrap chain config control data engines http images log protobuf resp responses }
