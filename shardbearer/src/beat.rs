//! One beat for what a radiant does regularly.
//!
//! Every order has its ticks, heartbeats and looks. Begun at moments of their own, those of 32 idle orders wake a radiant
//! over a thousand times a second, and each message goes out by itself. Rounded up to one beat they are woken together, and
//! what they send shares frames: half of what an idle radiant costs (docs/performance.md).

use std::time::Duration;

use shardbearer_core::world::World;

/// The beat. Small beside the shortest wait that is rounded: heartbeats, and timeouts of elections.
const BEAT: Duration = Duration::from_millis(25);

/// A wait from now on, made longer so that it ends on the beat.
pub fn until_beat(world: &World, wait: Duration) -> Duration {
    rounded(world.monotonic_ns(), wait)
}

fn rounded(now_ns: u64, wait: Duration) -> Duration {
    let past = (u128::from(now_ns) + wait.as_nanos()) % BEAT.as_nanos();
    let left = (BEAT.as_nanos() - past) % BEAT.as_nanos();
    // Below a beat.
    wait + Duration::from_nanos(left as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_become_longer_by_less_than_a_beat_and_end_together() {
        let ms = Duration::from_millis;
        assert_eq!(rounded(0, ms(100)), ms(100));
        assert_eq!(rounded(1_000_000, ms(100)), ms(124));
        assert_eq!(rounded(1_000_000, ms(99)), ms(99));
        assert_eq!(rounded(24_999_999, Duration::ZERO), Duration::from_nanos(1));
        assert_eq!(
            rounded(u64::MAX, Duration::ZERO).as_nanos() + u128::from(u64::MAX),
            18_446_744_073_725_000_000
        );
    }
}
