//! Random walks: anything happens, then nothing bad any more, and the members must agree and serve.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::protocol::Protocol;

use super::{Event, Net};
use crate::conformance::Broken;

/// What may go wrong on a walk, each in a thousand steps.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Messages lost.
    pub lose: u32,
    /// Messages that arrive twice.
    pub double: u32,
    /// Members that lose their power. They come back.
    pub crash: u32,
    /// Logs compacted.
    pub purge: u32,
}

/// All of it, a lot.
pub const ROUGH: Faults = Faults { lose: 60, double: 30, crash: 12, purge: 10 };

/// Walks `steps` steps, heals everything, and waits until a new proposal is acknowledged, applied by all of
/// `members`, and read at one that leads. The seed decides everything.
pub fn walk<P: Protocol + Clone + fmt::Debug>(
    net: &mut Net<P>,
    seed: u64,
    steps: usize,
    faults: Faults,
    members: &[RadiantId],
) -> Result<(), Broken> {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..steps {
        let event = choose(net, &mut rng, faults);
        net.happen(event)?;
    }
    heal(net, members)
}

/// The next thing to happen, by lot.
pub(crate) fn choose<P: Protocol + Clone + fmt::Debug>(
    net: &Net<P>,
    rng: &mut StdRng,
    faults: Faults,
) -> Event {
    let ids: Vec<RadiantId> = net.members.keys().copied().collect();
    let id = ids.choose(rng).copied().unwrap_or_default();
    let Faults { lose, double, crash, purge } = faults;
    // Any that is under way, so they overtake each other.
    let any = if net.flights.is_empty() { 0 } else { rng.random_range(0..net.flights.len()) };
    let mut draw = rng.random_range(0..1_000);
    let mut within = |share: u32| {
        let hit = draw < share;
        draw = draw.saturating_sub(share);
        hit && {
            draw = u32::MAX;
            true
        }
    };
    match () {
        () if within(lose) => Event::Lose(any),
        () if within(double) => Event::Double(any),
        () if within(crash / 2) => Event::Crash(id),
        () if within(crash.div_ceil(2)) => Event::PowerCut(id),
        () if within(4 * crash) => Event::Restart(id),
        () if within(purge) => Event::Purge(id),
        () if within(60) => Event::Propose(id),
        () if within(40) => Event::Read(id),
        () if within(8) => Event::GiveUp(id),
        () if within(20) => Event::Again(id),
        () if within(200) => Event::Tick(id),
        () if within(220) => Event::Persist(id),
        () => Event::Deliver(any),
    }
}

/// Everybody is up, nothing is lost: how many rounds until all is well again, at most.
const HEALING_ROUNDS: usize = 400;

/// Heals, and demands service.
pub fn heal<P: Protocol + Clone + fmt::Debug>(net: &mut Net<P>, members: &[RadiantId]) -> Result<(), Broken> {
    let mut target = None;
    let answered = net.answered;
    for _ in 0..HEALING_ROUNDS {
        for id in net.members.keys().copied().collect::<Vec<_>>() {
            net.happen(Event::Restart(id))?;
            net.happen(Event::Tick(id))?;
            while net.members.get(&id).is_some_and(|member| member.unwritten() > 0) {
                net.happen(Event::Persist(id))?;
            }
        }
        // As many as there are now; answers to them are for the next round.
        for _ in 0..net.flights.len() {
            net.happen(Event::Deliver(0))?;
        }
        let leads = |id: &RadiantId| net.protocol(*id).is_some_and(|one| one.status().leading);
        let Some(leader) = members.iter().copied().find(leads) else { continue };
        match target {
            None => {
                let before = net.acknowledged;
                net.happen(Event::Propose(leader))?;
                target = Some(before + 1);
            }
            Some(index) if net.acknowledged >= index => {
                let applied =
                    |id: &RadiantId| net.members.get(id).is_some_and(|one| one.applied.len() as u64 >= index);
                if net.answered > answered && members.iter().all(applied) {
                    return Ok(());
                }
                net.happen(Event::Read(leader))?;
            }
            Some(_) => {}
        }
    }
    let under_way = super::script::flights(net);
    Err(Broken(format!("no service after everything was healed; under way: {under_way:?}; {net:?}")))
}
