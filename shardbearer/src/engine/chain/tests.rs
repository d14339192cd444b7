//! The chain without disk and network: golden traces, random walks, and every way in which little can happen.

mod explore;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use shardbearer_core::engine::Start;
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{Configuration, Message, Protocol};
use shardbearer_sim::protocol::script::check;
use shardbearer_sim::protocol::walk::{ROUGH, heal, walk};
use shardbearer_sim::protocol::{Event, Flight, Load, Net};

use super::Chain;
use super::wire::{self, Say};

const ONE: RadiantId = RadiantId(1);
const TWO: RadiantId = RadiantId(2);
const THREE: RadiantId = RadiantId(3);
const ALL: &[RadiantId] = &[ONE, TWO, THREE];

fn configuration(epoch: u64, previous: u64, members: &[RadiantId]) -> Configuration {
    let (epoch, previous) = (Epoch(epoch), Epoch(previous));
    Configuration { epoch, previous, members: members.to_vec(), learners: Vec::new() }
}

#[test]
fn golden_traces() {
    for script in [
        include_str!("scripts/write_and_read"),
        include_str!("scripts/lost_on_the_way"),
        include_str!("scripts/head_replaced"),
        include_str!("scripts/newcomer_far_behind"),
        include_str!("scripts/learner_behind_the_tail"),
        include_str!("scripts/read_given_up"),
    ] {
        let founders = vec![ONE, TWO, THREE];
        let mut starts = vec![Start::Found(founders); 3];
        starts.push(Start::Join);
        check(&mut Net::<Chain>::new(starts), script);
    }
}

#[test]
fn whatever_is_lost_or_crashes_a_chain_comes_back_with_everything() {
    let mut entries = 0;
    for count in [1, 2, 3, 5] {
        for seed in 0..150 {
            let mut net = Net::<Chain>::founded(count);
            let members: Vec<RadiantId> = net.members.keys().copied().collect();
            if let Err(broken) = walk(&mut net, seed, 800, ROUGH, &members) {
                panic!("{count} members, seed {seed}: {broken}");
            }
            entries += net.history.len();
        }
    }
    assert!(entries > 4_000, "the walks lead nowhere: {entries} entries");
}

/// A controller that knows who is complete, as the one of the control order will: it decides on one list after the other
/// while everything goes wrong.
#[test]
fn epochs_that_overtake_each_other_lose_and_fork_nothing() {
    let mut epochs = 0;
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut starts = vec![Start::Found(ALL.to_vec()); 3];
        starts.extend([Start::Join, Start::Join]);
        let mut net = Net::<Chain>::new(starts);
        let mut current = configuration(1, 0, &[ONE, TWO, THREE]);
        let mut walked = Ok(());
        for _ in 0..12 {
            walked = walked.and_then(|()| disturb(&mut net, &mut rng));
            if let Some(next) = decide(&net, &current, &mut rng) {
                current = next;
                epochs += 1;
            }
            // Who crashed before it was on disk is told again.
            walked = walked.and_then(|()| net.happen(Event::Configure(head(&current), current.clone())));
        }
        let walked = walked
            .and_then(|()| net.happen(Event::Restart(head(&current))))
            .and_then(|()| net.happen(Event::Configure(head(&current), current.clone())))
            .and_then(|()| heal(&mut net, &current.members));
        walked.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    assert!(epochs > 1_000, "too few epochs: {epochs}");
}

/// The others have forgotten what the learner lacks. Were it made a member before an image has come, the chain would stand still.
#[test]
fn a_learner_that_needs_an_image_has_not_caught_up() {
    let mut net = Net::<Chain>::founded(3);
    heal(&mut net, ALL).expect("a calm start");
    let list = Configuration { learners: vec![THREE], ..configuration(2, 1, &[ONE, TWO]) };
    net.happen(Event::Configure(ONE, list)).expect("it is the next");
    heal(&mut net, ALL).expect("the learner gets what there is");
    let says_so = |net: &Net<Chain>| net.protocol(THREE).is_some_and(|learner| learner.status().complete);
    assert!(says_so(&net), "it has everything");
    let write_and_forget = |net: &mut Net<Chain>| {
        for _ in 0..8 {
            net.happen(Event::Propose(ONE)).expect("it leads");
            round(net, |flight| flight.to != THREE && flight.from != THREE);
        }
        for member in [ONE, TWO] {
            net.happen(Event::Purge(member)).expect("it may");
        }
    };
    let no_image = |flight: &Flight<Say>| !matches!(flight.load, Load::Snapshot(_));

    net.happen(Event::Crash(THREE)).expect("it may");
    write_and_forget(&mut net);
    net.happen(Event::Restart(THREE)).expect("it may");
    for _ in 0..20 {
        round(&mut net, no_image);
        assert!(!says_so(&net), "its log does not go on as the others' does");
    }
    (0..20).for_each(|_| round(&mut net, |_| true));
    assert!(says_so(&net), "an image has come");

    // One that was only cut off finds out with the first word that it hears.
    write_and_forget(&mut net);
    (0..8).for_each(|_| round(&mut net, no_image));
    assert!(!says_so(&net), "the others have forgotten what it lacks");
    (0..20).for_each(|_| round(&mut net, |_| true));
    assert!(says_so(&net), "an image has come");
}

/// Time passes once for all, what is written is durable, and what is under way arrives, or not.
fn round(net: &mut Net<Chain>, passes: impl Fn(&Flight<Say>) -> bool) {
    for member in ALL {
        net.happen(Event::Tick(*member)).expect("no promise is broken");
        while net.members.get(member).is_some_and(|member| member.unwritten() > 0) {
            net.happen(Event::Persist(*member)).expect("no promise is broken");
        }
    }
    net.flights.retain(&passes);
    for _ in 0..net.flights.len() {
        net.happen(Event::Deliver(0)).expect("no promise is broken");
    }
}

fn head(configuration: &Configuration) -> RadiantId {
    *configuration.members.first().expect("a chain has a head")
}

fn disturb(net: &mut Net<Chain>, rng: &mut StdRng) -> Result<(), shardbearer_sim::conformance::Broken> {
    let ids: Vec<RadiantId> = net.members.keys().copied().collect();
    for _ in 0..rng.random_range(0..120) {
        let id = *ids.choose(rng).expect("there are members");
        let any = rng.random_range(0..net.flights.len().max(1));
        net.happen(match rng.random_range(0..100) {
            0..6 => Event::Lose(any),
            6..8 => Event::Double(any),
            8..9 => Event::Crash(id),
            9..10 => Event::PowerCut(id),
            10..16 => Event::Restart(id),
            16..18 => Event::Purge(id),
            18..20 => Event::Again(id),
            20..21 => Event::GiveUp(id),
            21..26 => Event::Propose(id),
            26..32 => Event::Read(id),
            32..50 => Event::Tick(id),
            50..70 => Event::Persist(id),
            _ => Event::Deliver(any),
        })?;
    }
    Ok(())
}

/// The next list: its head is up, of the epoch before, and complete on disk as far as anybody can tell.
fn decide(net: &Net<Chain>, current: &Configuration, rng: &mut StdRng) -> Option<Configuration> {
    let fit = |id: &RadiantId| {
        net.protocol(*id).is_some_and(|chain| chain.complete && chain.configuration == *current)
            && net.members.get(id).is_some_and(|member| member.unwritten() == 0)
    };
    let heads: Vec<RadiantId> = current.members.iter().copied().filter(fit).collect();
    let head = *heads.choose(rng)?;
    let mut others: Vec<RadiantId> = net.members.keys().copied().filter(|id| *id != head).collect();
    others.shuffle(rng);
    others.truncate(rng.random_range(0..=3));
    let learners = others.split_off(rng.random_range(0..=others.len()));
    let members: Vec<RadiantId> = std::iter::once(head).chain(others).collect();
    let step = rng.random_range(1..3);
    Some(Configuration { learners, ..configuration(current.epoch.0 + step, current.epoch.0, &members) })
}

fn say() -> impl Strategy<Value = Say> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let some = || proptest::collection::vec((1..=u64::MAX).prop_map(RadiantId), 0..5);
    (0..8_u8, numbers, some(), some()).prop_map(|(kind, (a, b, c, d, e), members, learners)| {
        let epoch = Epoch(a);
        match kind {
            0 => Say::Append { epoch, prev: LogPos { term: b, index: c }, base: d, beat: e },
            1 => Say::Ack { epoch, matched: b, commit: c, beat: d },
            2 => Say::Reject { epoch, back: b },
            3 => Say::Confirm { epoch, round: b },
            4 => Say::Confirmed { epoch, round: b, last: None },
            5 => Say::Confirmed { epoch, round: b, last: Some(c) },
            6 => Say::Ask { epoch },
            _ => Say::Take(Configuration { epoch, previous: Epoch(b), members, learners }),
        }
    })
}

proptest! {
    #[test]
    fn what_is_said_arrives(said in say()) {
        let mut bytes = BytesMut::new();
        said.encode(&mut bytes);
        prop_assert_eq!(Say::decode(bytes.freeze()), Some(said.clone()));
        if let Say::Take(configuration) = said {
            let hard = wire::encode_hard(&configuration, true);
            prop_assert_eq!(wire::decode_hard(hard), Some((configuration, true)));
        }
    }

    #[test]
    fn any_bytes_and_any_words_of_a_neighbour_do_no_harm(bytes: Vec<u8>, said in proptest::collection::vec((1..4_u64, say()), 1..20)) {
        let _ = Say::decode(Bytes::from(bytes.clone()));
        let _ = wire::decode_hard(Bytes::from(bytes));
        let mut net = Net::<Chain>::founded(3);
        heal(&mut net, ALL).expect("a calm start");
        for (from, said) in said {
            // In the right epoch, or nothing would be heard of it.
            let said = match said {
                Say::Append { prev, base, beat, .. } => Say::Append { epoch: Epoch(1), prev, base, beat },
                Say::Reject { back, .. } => Say::Reject { epoch: Epoch(1), back },
                Say::Confirmed { round, last, .. } => Say::Confirmed { epoch: Epoch(1), round, last },
                other => other,
            };
            net.flights.push(Flight { from: RadiantId(from), to: TWO, load: Load::Message(said, Vec::new()) });
            while !net.flights.is_empty() && net.flights.len() < 200 {
                prop_assert!(net.happen(Event::Deliver(0)).is_ok());
            }
        }
    }
}
