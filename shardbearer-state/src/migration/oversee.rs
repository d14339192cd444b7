//! What the scherald does about a migration whose orders are gone: one that is dead must not keep every other shard where it is.

use shardbearer_core::ids::Epoch;
use shardbearer_core::migration::{Migration, MigrationChange, Phase};

/// An order without a herald for so long is not waited for by a migration that can still be called off. Far longer than an
/// election or a restart takes.
pub const GONE_MS_MAX: u64 = 30_000;

/// Once it is called off, an order without a herald is not waited for longer than this: it does its part when it is back.
pub const RETURN_MS_MAX: u64 = 3_000;

/// Since when the two orders of a migration have no herald, by any clock that does not go back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overseer {
    id: Epoch,
    gone_ms: [Option<u64>; 2],
}

impl Overseer {
    /// Takes in whether the source and the destination of a migration are led, as it is seen again and again.
    pub fn look(&mut self, id: Epoch, led: [bool; 2], now_ms: u64) {
        if self.id != id {
            *self = Overseer { id, ..Overseer::default() };
        }
        for (gone, led) in self.gone_ms.iter_mut().zip(led) {
            *gone = if led { None } else { gone.or(Some(now_ms)) };
        }
    }

    /// What to change, and why, of a migration that was just looked at.
    pub fn duty(&self, record: &Migration, now_ms: u64) -> Option<(MigrationChange, String)> {
        if self.id != record.id {
            return None;
        }
        let [from, to] = self.gone_ms.map(|gone| gone.map_or(0, |since| now_ms.saturating_sub(since)));
        let id = record.id;
        match record.phase {
            Phase::Planned | Phase::Copying | Phase::Frozen if !record.paused => {
                let gone = [(from, record.from, "gives"), (to, record.to, "takes")];
                let (ms, order, does) = gone.into_iter().find(|(ms, _, _)| *ms >= GONE_MS_MAX)?;
                let why =
                    format!("order {order}, which {does} the shard, had no herald for {} s", ms / 1_000);
                Some((MigrationChange::Cancel { id }, why))
            }
            Phase::Returning => {
                let released = !record.released && from >= RETURN_MS_MAX;
                let discarded = !record.discarded && to >= RETURN_MS_MAX;
                let change = MigrationChange::Returned { id, released, discarded };
                (released || discarded)
                    .then(|| (change, "an order is gone, and does its part when it is back".to_owned()))
            }
            // Who owns the shard then is decided, and the destination goes on without the source.
            Phase::Planned
            | Phase::Copying
            | Phase::Frozen
            | Phase::Serving
            | Phase::Collected
            | Phase::Returned => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use shardbearer_core::ids::OrderId;

    use super::*;

    fn record(phase: Phase) -> Migration {
        Migration { id: Epoch(7), from: OrderId(2), to: OrderId(3), phase, ..Migration::default() }
    }

    fn seen(
        overseer: &mut Overseer,
        record: &Migration,
        led: [bool; 2],
        now_ms: u64,
    ) -> Option<(MigrationChange, String)> {
        overseer.look(record.id, led, now_ms);
        overseer.duty(record, now_ms)
    }

    #[test]
    fn only_a_long_silence_calls_off_and_only_before_it_is_decided() {
        for phase in [Phase::Planned, Phase::Copying, Phase::Frozen] {
            let (mut overseer, record) = (Overseer::default(), record(phase));
            assert_eq!(seen(&mut overseer, &record, [false, true], 5), None);
            assert_eq!(seen(&mut overseer, &record, [false, true], 4 + GONE_MS_MAX), None);
            let (change, why) =
                seen(&mut overseer, &record, [false, true], 5 + GONE_MS_MAX).expect("long enough");
            assert_eq!(change, MigrationChange::Cancel { id: Epoch(7) });
            assert_eq!(why, "order 2, which gives the shard, had no herald for 30 s");
            assert_eq!(seen(&mut overseer, &record, [true, false], 6 + GONE_MS_MAX), None, "it is back");
            assert_eq!(seen(&mut overseer, &record, [true, true], 7 + 2 * GONE_MS_MAX), None);
            assert_eq!(seen(&mut overseer, &record, [true, false], 8 + 2 * GONE_MS_MAX), None, "begins anew");
            let paused = Migration { paused: true, ..record };
            assert_eq!(
                seen(&mut overseer, &paused, [false, false], 9 * GONE_MS_MAX),
                None,
                "as the operator said"
            );
        }
        let mut overseer = Overseer::default();
        for now_ms in [0, 10 * GONE_MS_MAX] {
            assert_eq!(seen(&mut overseer, &record(Phase::Serving), [false, false], now_ms), None);
        }
    }

    #[test]
    fn nothing_follows_from_another_migration() {
        let (mut overseer, record) = (Overseer::default(), record(Phase::Copying));
        for now_ms in [0, 2 * GONE_MS_MAX] {
            overseer.look(Epoch(6), [false, false], now_ms);
        }
        assert_eq!(overseer.duty(&record, 2 * GONE_MS_MAX), None, "the one before it");
        overseer.look(record.id, [false, false], 2 * GONE_MS_MAX);
        assert_eq!(overseer.duty(&record, 2 * GONE_MS_MAX), None, "it has just begun");
    }

    #[test]
    fn of_a_return_those_who_are_gone_are_not_waited_for() {
        let (mut overseer, record) = (Overseer::default(), record(Phase::Returning));
        assert_eq!(seen(&mut overseer, &record, [false, true], 0), None);
        let change = seen(&mut overseer, &record, [false, true], RETURN_MS_MAX).map(|(change, _)| change);
        let returned = |released, discarded| MigrationChange::Returned { id: Epoch(7), released, discarded };
        assert_eq!(change, Some(returned(true, false)));
        let told = Migration { released: true, ..record };
        assert_eq!(
            seen(&mut overseer, &told, [false, true], 2 * RETURN_MS_MAX),
            None,
            "the destination is there"
        );
        assert_eq!(seen(&mut overseer, &told, [false, false], 2 * RETURN_MS_MAX), None);
        let change = seen(&mut overseer, &told, [false, false], 3 * RETURN_MS_MAX).map(|(change, _)| change);
        assert_eq!(change, Some(returned(false, true)));
    }
}
