//! The laws of [`Protocol`], without a driver: on the [`Net`], which checks after every step what members promise.
//!
//! ```text
//! conformance::protocol::check(&Subject::<Mine>::of(&[1, 2, 3, 5]));
//! ```
//!
//! What a protocol does behind the driver, with disks and time, is the business of [`super::engine`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::engine::Applied;
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{
    Change, Configuration, Entry, Input, Message, Payload, Protocol, Ready, Ticket,
};

use super::suite::{self, Law, suite};
use super::{Broken, ensure, ensure_eq};
use crate::protocol::explore::{Budget, explore};
use crate::protocol::walk::{ROUGH, choose, heal, walk};
use crate::protocol::{Event, Load, Net};

/// A protocol under test.
pub struct Subject<P> {
    /// Numbers of founders with which it runs.
    pub sizes: &'static [u64],
    /// Walks of each size.
    pub seeds: u64,
    /// States of an exploration at most.
    pub states: usize,
    protocol: PhantomData<fn() -> P>,
}

impl<P> Subject<P> {
    /// A protocol that runs with so many founders.
    pub fn of(sizes: &'static [u64]) -> Self {
        Subject { sizes, seeds: 30, states: 3_000, protocol: PhantomData }
    }
}

/// Steps of a walk.
const STEPS: usize = 400;

/// All laws.
pub fn laws<P: Protocol + Clone + Debug>() -> Vec<Law<Subject<P>>> {
    suite! {
        |_| None =>
            it_serves_when_all_is_calm
            it_comes_back_with_everything
            every_way_in_which_little_can_happen_is_fine
            at_most_one_leads_in_a_term
            the_same_inputs_have_the_same_outputs
            what_is_said_arrives
            nonsense_is_no_panic
            talk_ends_when_nothing_happens;
    }
}

/// Runs all laws; panics with what is broken.
///
/// # Panics
/// With everything that is broken, if anything is.
pub fn check<P: Protocol + Clone + Debug>(subject: &Subject<P>) {
    suite::check(&laws(), subject);
}

/// Founders that serve, with nothing under way.
fn served<P: Protocol + Clone + Debug>(size: u64) -> Result<Net<P>, Broken> {
    let mut net = Net::<P>::founded(size);
    let members = ids(&net);
    heal(&mut net, &members)?;
    net.flights.clear();
    Ok(net)
}

fn ids<P: Protocol>(net: &Net<P>) -> Vec<RadiantId> {
    net.members.keys().copied().collect()
}

fn leader<P: Protocol + Clone + Debug>(net: &Net<P>) -> Option<RadiantId> {
    ids(net).into_iter().find(|id| net.protocol(*id).is_some_and(|one| one.status().leading))
}

fn it_serves_when_all_is_calm<P: Protocol + Clone + Debug>(subject: &Subject<P>) -> Result<(), Broken> {
    for size in subject.sizes {
        let net = served::<P>(*size)?;
        ensure!(leader(&net).is_some(), "nobody of {size} leads");
        ensure!(net.acknowledged > 0 && net.answered > 0, "{size} members served nobody");
    }
    Ok(())
}

fn it_comes_back_with_everything<P: Protocol + Clone + Debug>(subject: &Subject<P>) -> Result<(), Broken> {
    for size in subject.sizes {
        for seed in 0..subject.seeds {
            let mut net = Net::<P>::founded(*size);
            let members = ids(&net);
            walk(&mut net, seed, STEPS, ROUGH, &members)
                .map_err(|broken| Broken(format!("{size} members, seed {seed}: {broken}")))?;
        }
    }
    Ok(())
}

fn every_way_in_which_little_can_happen_is_fine<P: Protocol + Clone + Debug>(
    subject: &Subject<P>,
) -> Result<(), Broken> {
    for size in subject.sizes.iter().filter(|size| **size <= 3) {
        let net = served::<P>(*size)?;
        let leader = leader(&net).unwrap_or_default();
        let none = Budget { proposals: vec![leader], ..Budget::default() };
        let mut budgets = vec![Budget { losses: 1, ticks: vec![leader; 2], ..none.clone() }];
        for id in ids(&net) {
            budgets.push(Budget { crashes: vec![id], reads: vec![id], ..none.clone() });
        }
        for budget in budgets {
            explore(&net, &budget, subject.states)
                .map_err(|broken| Broken(format!("{size} members, {budget:?}: {broken}")))?;
        }
    }
    Ok(())
}

/// Walks, and looks at each step.
fn watch<P: Protocol + Clone + Debug>(
    subject: &Subject<P>,
    mut look: impl FnMut(u64, &Net<P>, &mut StdRng) -> Result<(), Broken>,
) -> Result<(), Broken> {
    for size in subject.sizes {
        for seed in 0..subject.seeds.div_ceil(5) {
            let (mut net, mut rng) = (Net::<P>::founded(*size), StdRng::seed_from_u64(seed));
            for step in 0..STEPS {
                let event = choose(&net, &mut rng, ROUGH);
                net.happen(event)?;
                look(seed, &net, &mut rng).map_err(|broken| {
                    Broken(format!("{size} members, seed {seed}, step {step}: {broken}"))
                })?;
            }
        }
    }
    Ok(())
}

fn at_most_one_leads_in_a_term<P: Protocol + Clone + Debug>(subject: &Subject<P>) -> Result<(), Broken> {
    let mut leaders: BTreeMap<(usize, u64, u64), RadiantId> = BTreeMap::new();
    watch(subject, |seed, net, _| {
        for id in net.up() {
            let Some(status) = net.protocol(id).map(Protocol::status).filter(|status| status.leading) else {
                continue;
            };
            let known = *leaders.entry((net.members.len(), seed, status.term)).or_insert(id);
            ensure_eq!(id, known, "who leads in term {}", status.term);
            ensure_eq!(status.herald, Some(id), "whom {id} takes for the herald while it leads");
        }
        Ok(())
    })
}

fn the_same_inputs_have_the_same_outputs<P: Protocol + Clone + Debug>(
    subject: &Subject<P>,
) -> Result<(), Broken> {
    for size in subject.sizes {
        for seed in 0..subject.seeds.div_ceil(5) {
            let (mut one, mut other) = (Net::<P>::founded(*size), Net::<P>::founded(*size));
            let mut rng = StdRng::seed_from_u64(seed);
            for step in 0..STEPS {
                let event = choose(&one, &mut rng, ROUGH);
                one.happen(event.clone())?;
                other.happen(event.clone())?;
                ensure_eq!(
                    other.said,
                    one.said,
                    "{size} members, seed {seed}, step {step}: {event:?} led to"
                );
                ensure!(
                    format!("{one:?}") == format!("{other:?}"),
                    "{size} members, seed {seed}, step {step}: after {event:?} they differ"
                );
            }
        }
    }
    Ok(())
}

/// The messages under way.
fn messages<P: Protocol + Clone + Debug>(net: &Net<P>) -> impl Iterator<Item = &P::Message> {
    net.flights.iter().filter_map(|flight| match &flight.load {
        Load::Message(message, _) => Some(message),
        Load::Snapshot(_) => None,
    })
}

fn encoded<M: Message>(message: &M) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    bytes.freeze()
}

fn what_is_said_arrives<P: Protocol + Clone + Debug>(subject: &Subject<P>) -> Result<(), Broken> {
    watch(subject, |_, net, _| {
        for message in messages(net) {
            let decoded = P::Message::decode(encoded(message));
            ensure_eq!(decoded.as_ref(), Some(message), "a message after its journey");
        }
        Ok(())
    })
}

/// Bytes that were messages, once.
fn garbled(bytes: &Bytes, rng: &mut StdRng) -> Bytes {
    let mut bytes = bytes.to_vec();
    match rng.random_range(0..4) {
        0 => bytes.truncate(rng.random_range(0..=bytes.len())),
        1 => bytes.extend((0..rng.random_range(1..12)).map(|_| rng.random::<u8>())),
        2 => bytes = (0..rng.random_range(0..40)).map(|_| rng.random()).collect(),
        _ => {}
    }
    for byte in &mut bytes {
        if rng.random_ratio(1, 8) {
            *byte = if rng.random() { rng.random() } else { u8::MAX };
        }
    }
    bytes.into()
}

/// Whatever comes from outside, a member survives it. That it may be led astray by a peer that lies is another matter.
fn nonsense_is_no_panic<P: Protocol + Clone + Debug>(subject: &Subject<P>) -> Result<(), Broken> {
    watch(subject, |_, net, rng| {
        let messages: Vec<Bytes> = messages(net).take(3).map(encoded).collect();
        let heard: Vec<P::Message> =
            messages.iter().filter_map(|bytes| P::Message::decode(garbled(bytes, rng))).collect();
        for id in net.up() {
            let Some(mut member) = net.protocol(id).cloned() else { continue };
            for message in heard.clone() {
                let from = RadiantId(rng.random_range(0..5));
                let entries = (0..rng.random_range(0..3)).map(|_| nonsense_entry(rng)).collect();
                member.step(Input::Receive { from, message, entries }, &mut Ready::default());
            }
            let members: Vec<RadiantId> =
                (0..rng.random_range(0..4)).map(|_| RadiantId(rng.random_range(0..4))).collect();
            let learners = vec![RadiantId(rng.random_range(0..6)); rng.random_range(0..3)];
            let (epoch, previous) = (Epoch(rng.random()), Epoch(rng.random()));
            let decided = Configuration { epoch, previous, members, learners };
            let ticket = Ticket(rng.random());
            let input = match rng.random_range(0..5) {
                0 => Input::Reconfigure { ticket, change: Change::Agree(decided.members) },
                1 => Input::Reconfigure { ticket, change: Change::Decided(decided) },
                2 => Input::HandOver { ticket, to: RadiantId(rng.random_range(0..9)) },
                3 => Input::Campaign,
                _ => Input::Installed {
                    from: RadiantId(2),
                    applied: Applied { position: nonsense(rng), ..Applied::default() },
                },
            };
            member.step(input, &mut Ready::default());
            let (asked, given_up) = (Ticket(rng.random()), Ticket(rng.random()));
            for input in [
                Input::Tick,
                Input::ReadBarrier { ticket: asked },
                Input::GivenUp { ticket: given_up },
                Input::GivenUp { ticket: asked },
                Input::Tick,
            ] {
                member.step(input, &mut Ready::default());
            }
            drop(member.status());
        }
        Ok(())
    })
}

fn nonsense(rng: &mut StdRng) -> LogPos {
    let number =
        |rng: &mut StdRng| if rng.random_ratio(1, 4) { rng.random() } else { rng.random_range(0..20) };
    LogPos { term: number(rng), index: number(rng) }
}

fn nonsense_entry(rng: &mut StdRng) -> Entry {
    let payload = if rng.random() { Payload::Blank } else { Payload::Own(Bytes::from_static(b"\xff\0")) };
    Entry { position: nonsense(rng), payload }
}

/// An answer to every answer would keep radiants busy for ever.
fn talk_ends_when_nothing_happens<P: Protocol + Clone + Debug>(subject: &Subject<P>) -> Result<(), Broken> {
    for size in subject.sizes {
        let mut net = served::<P>(*size)?;
        let members = ids(&net);
        if let Some(id) = leader(&net) {
            net.happen(Event::Propose(id))?;
            net.happen(Event::Read(id))?;
        }
        members.iter().try_for_each(|id| net.happen(Event::Tick(*id)))?;
        // Each to each, some times.
        let most = 50 * size * size;
        let mut delivered = 0;
        while !net.flights.is_empty() || net.members.values().any(|member| member.unwritten() > 0) {
            for id in &members {
                net.happen(Event::Persist(*id))?;
            }
            if !net.flights.is_empty() {
                net.happen(Event::Deliver(0))?;
                delivered += 1;
            }
            ensure!(
                delivered <= most,
                "{size} members still talk after {delivered} messages, and no tick passed"
            );
        }
    }
    Ok(())
}
