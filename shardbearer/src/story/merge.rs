//! Many memories as one list, causes before effects.
//!
//! Clocks of different machines differ, so time alone would tell lies. What is known for certain comes first:
//!
//! 1. one radiant's events of one life stand in the order in which it noticed them, its lives in the order of their starts;
//! 2. epoch N stands before epoch N+1, and before everything that a radiant noticed while N or a later one was in force;
//! 3. a lead of term T stands before leads of later terms of the same order, and before its own loss;
//! 4. a version of a migration's record stands before the later ones.
//!
//! A radiant that leads, is not sure of it for a moment, and is again, in one term, has led all the while: its lead is told once,
//! and its loss only if that was for good.
//!
//! Among events that none of this orders, the earlier time is first; equal times go by radiant and number. What several
//! radiants noticed of one migration or epoch is told once, by the first of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use prost::Message;
use shardbearer_proto::pb::StoryEvent;
use shardbearer_proto::pb::story_event::Kind;

/// Merges. Any events in any order make the same list; rubbish makes a list, too.
pub fn merge(mut events: Vec<StoryEvent>) -> Vec<StoryEvent> {
    // A total order to begin with, so that the answer depends on nothing else: also where two claim to be the same event.
    events.sort_by_cached_key(|event| {
        let StoryEvent { radiant, life, number, kind, epoch, .. } = event;
        (*radiant, *life, *number, *kind, *epoch, event.encode_to_vec())
    });
    events.dedup();
    let sorted: Vec<&StoryEvent> = sort(&events).into_iter().filter_map(|index| events.get(index)).collect();
    let lead = |event: &StoryEvent| (event.radiant, event.order, event.term);
    let won = sorted.iter().enumerate().filter(|(_, event)| event.kind() == Kind::Won);
    let last_won: BTreeMap<_, usize> = won.map(|(at, event)| (lead(event), at)).collect();
    let (mut leads, mut epochs, mut phases) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let told = sorted.into_iter().enumerate().filter(|(at, event)| match event.kind() {
        Kind::Won => leads.insert(lead(event)),
        Kind::Lost => last_won.get(&lead(event)).is_none_or(|won| won < at),
        Kind::Migration => {
            phases.insert(event.migration, event.what.clone()).is_none_or(|last| last != event.what)
        }
        Kind::Epoch => epochs.insert(event.epoch),
        _ => true,
    });
    told.map(|(_, event)| event.clone()).collect()
}

/// As many of a story's last events as fit into so many bytes, and how many older ones that leaves out.
pub fn latest(mut story: Vec<StoryEvent>, bytes: usize) -> (Vec<StoryEvent>, u64) {
    let mut left = bytes;
    // What an event costs in a list: its bytes, a tag and a length.
    let fits = |event: &&StoryEvent| {
        let cost = event.encoded_len() + 1 + prost::length_delimiter_len(event.encoded_len());
        let room = left.checked_sub(cost);
        left = room.unwrap_or(0);
        room.is_some()
    };
    let kept = story.iter().rev().take_while(fits).count();
    let left_out = story.len() - kept;
    (story.split_off(left_out), left_out as u64)
}

/// The indexes in the order of the story.
fn sort(events: &[StoryEvent]) -> Vec<usize> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); events.len()];
    let mut waits = vec![0u32; events.len()];
    for (cause, effect) in causes(events) {
        after[cause].push(effect);
        waits[effect] += 1;
    }
    let key = |index: usize| {
        let event = &events[index];
        // Of one moment, the decision comes before what is noticed of it: the control order's radiant is 0.
        Reverse((event.at_ms, event.radiant, event.life, event.number, index))
    };
    let mut ready: BinaryHeap<_> =
        (0..events.len()).filter(|index| waits[*index] == 0).map(|index| (key(index), index)).collect();
    let mut sorted = Vec::with_capacity(events.len());
    let mut done = vec![false; events.len()];
    while sorted.len() < events.len() {
        let index = match ready.pop() {
            Some((_, index)) => index,
            // Causes that go in a circle: somebody remembers what cannot be. The earliest breaks it.
            None => match (0..events.len()).filter(|index| !done[*index]).max_by_key(|index| key(*index)) {
                Some(index) => index,
                None => break,
            },
        };
        if std::mem::replace(&mut done[index], true) {
            continue;
        }
        sorted.push(index);
        for effect in &after[index] {
            waits[*effect] = waits[*effect].saturating_sub(1);
            if waits[*effect] == 0 && !done[*effect] {
                ready.push((key(*effect), *effect));
            }
        }
    }
    sorted
}

/// Pairs of a cause and an effect; chains rather than all pairs.
fn causes(events: &[StoryEvent]) -> Vec<(usize, usize)> {
    let mut chains: BTreeMap<Chain, Vec<(u64, u64, usize)>> = BTreeMap::new();
    let mut decided: BTreeMap<u64, usize> = BTreeMap::new();
    let mut won: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        let kind = event.kind();
        if event.radiant == 0 {
            decided.insert(event.epoch, index);
            chains.entry(Chain::Epochs).or_default().push((event.epoch, 0, index));
            continue;
        }
        chains.entry(Chain::Radiant(event.radiant)).or_default().push((event.life, event.number, index));
        match kind {
            Kind::Won => {
                won.insert((event.order, event.term), index);
                chains.entry(Chain::Terms(event.order)).or_default().push((event.term, 0, index));
            }
            Kind::Migration => {
                let chain = chains.entry(Chain::Migrations).or_default();
                chain.push((event.migration, event.version, index));
            }
            _ => {}
        }
    }
    let mut pairs = Vec::new();
    for chain in chains.values_mut() {
        chain.sort_unstable();
        // What several noticed of the same has no order, but all of it comes before all that follows.
        let same: Vec<_> = chain.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)).collect();
        for two in same.windows(2) {
            let [causes, effects] = two else { continue };
            let each =
                causes.iter().flat_map(|(.., cause)| effects.iter().map(|(.., effect)| (*cause, *effect)));
            pairs.extend(each);
        }
    }
    for (index, event) in events.iter().enumerate().filter(|(_, event)| event.radiant != 0) {
        // The latest epoch that is told and was in force.
        if let Some((_, cause)) = decided.range(..=event.epoch).next_back() {
            pairs.push((*cause, index));
        }
        if event.kind() == Kind::Lost
            && let Some(cause) = won.get(&(event.order, event.term))
        {
            pairs.push((*cause, index));
        }
    }
    pairs
}

/// What is in order for certain.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Chain {
    Radiant(u64),
    Epochs,
    Terms(u64),
    Migrations,
}
