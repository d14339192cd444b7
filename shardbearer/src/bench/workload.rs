//! Which operation comes next.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use super::Options;
use super::driver::{Kind, Op};

/// Keys, values and their shares.
pub(super) struct Workload {
    /// How many keys.
    pub(super) keys: u64,
    /// The value that is written. Printable, and not compressible by much.
    pub(super) value: Bytes,
    zipf: Option<Zipf>,
    read_share: f64,
    /// What stands before the number of a key.
    before: String,
}

impl Workload {
    /// As the options say.
    pub(super) fn new(options: &Options) -> Workload {
        let mut rng = rand::rng();
        let value: Vec<u8> = (0..options.value_size).map(|_| rng.random_range(b'!'..=b'~')).collect();
        let zipf = options.zipf.map(|theta| Zipf::new(options.keys, theta));
        let before = options.tag.as_ref().map_or("bench:".into(), |tag| format!("bench:{{{tag}}}:"));
        Workload { keys: options.keys, value: value.into(), zipf, read_share: options.read_share, before }
    }

    /// The next operation.
    pub(super) fn next(&self, rng: &mut StdRng) -> Op {
        let kind = if rng.random_bool(self.read_share) { Kind::Read } else { Kind::Write };
        let index = match &self.zipf {
            None => rng.random_range(0..self.keys),
            // Scattered, so that popular keys are not neighbours.
            Some(zipf) => zipf.rank(rng.random()).wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.keys,
        };
        Op { kind, key: self.key(index) }
    }

    /// The key with this number.
    pub(super) fn key(&self, index: u64) -> Bytes {
        format!("{}{index:010}", self.before).into()
    }
}

/// Ranks by a zipfian distribution: Gray et al., Quickly Generating Billion-Record Synthetic Databases (1994),
/// section 3.2; the generator that YCSB uses.
struct Zipf {
    items: u64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(items: u64, theta: f64) -> Zipf {
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-theta)).sum::<f64>();
        let (zeta, zeta_two) = (zeta(items), zeta(items.min(2)));
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - theta)) / (1.0 - zeta_two / zeta);
        Zipf { items, theta, alpha: 1.0 / (1.0 - theta), zeta, eta }
    }

    /// The rank for a number drawn evenly from 0 to 1.
    fn rank(&self, drawn: f64) -> u64 {
        let scaled = drawn * self.zeta;
        let rank = if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            1
        } else {
            (self.items as f64 * (self.eta * drawn - self.eta + 1.0).powf(self.alpha)) as u64
        };
        rank.min(self.items - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_zipfian_choice_prefers_the_first_ranks() {
        let (zipf, mut rng) = (Zipf::new(1_000, 0.99), StdRng::seed_from_u64(1));
        let ranks: Vec<u64> = (0..100_000).map(|_| zipf.rank(rng.random())).collect();
        assert!(ranks.iter().all(|rank| *rank < 1_000));
        let share = |from, to| ranks.iter().filter(|rank| (from..to).contains(*rank)).count() as f64 / 1e5;
        // 1 / zeta(1000, 0.99) = 0.129; the first ten of a thousand take about two fifths.
        assert!((share(0, 1) - 0.129).abs() < 0.02, "{}", share(0, 1));
        assert!((share(0, 10) - 0.38).abs() < 0.05, "{}", share(0, 10));
        assert_eq!(Zipf::new(1, 0.5).rank(0.999), 0);
    }

    #[test]
    fn shares_and_keys_stay_in_bounds() {
        let mut rng = StdRng::seed_from_u64(1);
        for (share, kind) in [(0.0, Kind::Write), (1.0, Kind::Read)] {
            let options =
                Options { keys: 3, zipf: Some(0.9), read_share: share, value_size: 16, ..Options::default() };
            let workload = Workload::new(&options);
            assert_eq!(workload.value.len(), 16);
            for _ in 0..100 {
                let op = workload.next(&mut rng);
                assert_eq!(op.kind, kind);
                assert!((0..3).any(|index| workload.key(index) == op.key));
            }
        }
    }

    #[test]
    fn keys_with_a_tag_are_of_one_slot() {
        let slots = |tag: Option<String>| -> std::collections::BTreeSet<_> {
            let workload = Workload::new(&Options { tag, ..Options::default() });
            (0..50).map(|index| shardbearer_core::slots::slot_of(&workload.key(index))).collect()
        };
        assert_eq!(slots(Some("a".into())).len(), 1);
        assert!(slots(None).len() > 1);
    }
}
