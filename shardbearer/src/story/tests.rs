//! The merging of memories whose clocks lie, and how the story is told.

use std::sync::Arc;

use prost::Message;

use super::*;
use crate::world::Real;

const HOUR: u64 = 3_600_000;

struct Memory {
    radiant: u64,
    skew_ms: u64,
    events: Vec<StoryEvent>,
}

impl Memory {
    fn of(radiant: u64, skew_ms: u64) -> Memory {
        Memory { radiant, skew_ms, events: Vec::new() }
    }

    /// Something at a true time.
    fn note(mut self, at_ms: u64, kind: Kind, event: StoryEvent) -> Memory {
        let number = self.events.len() as u64 + 1;
        let last = self.events.last().map_or(0, |last| last.epoch);
        self.events.push(StoryEvent {
            kind: kind.into(),
            radiant: self.radiant,
            number,
            at_ms: at_ms + self.skew_ms,
            epoch: event.epoch.max(last),
            life: 1,
            ..event
        });
        self
    }
}

fn lead(order: u64, term: u64) -> StoryEvent {
    StoryEvent { order, term, ..StoryEvent::default() }
}

fn phase(version: u64, what: &str) -> StoryEvent {
    StoryEvent { migration: 2, version, what: what.into(), ..StoryEvent::default() }
}

fn decided(epoch: u64, at_ms: u64) -> StoryEvent {
    let text = |what: &str| what.to_owned();
    of_epoch(pb::EpochRecord {
        epoch,
        at_ms,
        who: text("operator"),
        why: text("because"),
        what: format!("change {epoch}"),
    })
}

fn told(events: Vec<StoryEvent>) -> Vec<String> {
    let names = Names::new(&[
        pb::StoryRadiant { id: 1, name: "kaladin".into(), answered: true },
        pb::StoryRadiant { id: 2, name: "shallan".into(), answered: true },
    ]);
    merge(events).iter().map(|event| words(event, &names)).collect()
}

/// A story in which radiant 1's clock is an hour ahead.
fn story() -> Vec<StoryEvent> {
    let epoch = |epoch| StoryEvent { epoch, ..StoryEvent::default() };
    let one = Memory::of(1, HOUR)
        .note(10, Kind::Epoch, epoch(1))
        .note(20, Kind::Won, lead(2, 5))
        .note(30, Kind::Epoch, epoch(2))
        .note(40, Kind::Migration, phase(1, "planned"))
        .note(50, Kind::Migration, phase(2, "copying"))
        .note(80, Kind::Lost, StoryEvent { other: 2, ..lead(2, 5) });
    let two = Memory::of(2, 0)
        .note(31, Kind::Epoch, epoch(2))
        .note(51, Kind::Migration, phase(4, "copying"))
        .note(60, Kind::Migration, phase(5, "frozen"))
        .note(70, Kind::Won, lead(2, 6))
        .note(90, Kind::Silent, StoryEvent { other: 1, ..StoryEvent::default() });
    [one.events, two.events, vec![decided(2, 29), decided(1, 5)]].concat()
}

#[test]
fn causes_come_before_effects_though_clocks_lie() {
    let told = told(story());
    assert_eq!(
        told,
        [
            "epoch 1: change 1 (operator: because)",
            "epoch 2: change 2 (operator: because)",
            "kaladin becomes the herald of order 2 (term 5)",
            "move 2: planned",
            "move 2: copying",
            "move 2: frozen",
            "shallan becomes the herald of order 2 (term 6)",
            "shallan does not hear kaladin any more",
            "kaladin is no longer the herald of order 2 (term 5): shallan is",
        ]
    );
}

#[test]
fn a_lead_is_told_once_a_term_and_its_loss_if_it_is_for_good() {
    let one = Memory::of(1, 0)
        .note(10, Kind::Won, lead(2, 5))
        .note(20, Kind::Lost, lead(2, 5))
        .note(30, Kind::Won, lead(2, 5))
        .note(40, Kind::Won, lead(3, 5))
        .note(50, Kind::Lost, StoryEvent { other: 2, ..lead(2, 5) })
        .note(60, Kind::Won, lead(2, 7));
    assert_eq!(
        told(one.events),
        [
            "kaladin becomes the herald of order 2 (term 5)",
            "kaladin becomes the herald of order 3 (term 5)",
            "kaladin is no longer the herald of order 2 (term 5): shallan is",
            "kaladin becomes the herald of order 2 (term 7)",
        ]
    );
}

#[test]
fn however_memories_arrive_the_story_is_the_same_and_rubbish_makes_one_too() {
    let mut events = story();
    let expected = merge(events.clone());
    for _ in 0..events.len() {
        events.rotate_left(1);
        assert_eq!(merge(events.clone()), expected);
        events.swap(0, 3);
        assert_eq!(merge(events.clone()), expected);
    }
    // Each says that it saw what the other had not done yet: both wins cannot be first.
    let one = Memory::of(1, 0).note(1, Kind::Won, lead(2, 9)).note(2, Kind::Won, lead(3, 1));
    let two = Memory::of(2, 0).note(1, Kind::Won, lead(3, 9)).note(2, Kind::Won, lead(2, 1));
    assert_eq!(merge([one.events, two.events].concat()).len(), 4, "nothing is left out");
}

#[test]
fn the_diagram_has_everybody_and_nothing_breaks_its_lines() {
    let mut events = story();
    events.push(StoryEvent {
        kind: 99,
        radiant: 7,
        what: "x\nR1->>R2: forged".into(),
        ..StoryEvent::default()
    });
    let radiants = [pb::StoryRadiant { id: 1, name: "a;b\nc".into(), answered: true }];
    let drawn = mermaid(&merge(events), &radiants);
    let lines: Vec<&str> = drawn.lines().collect();
    assert_eq!(
        &lines[..4],
        [
            "sequenceDiagram",
            "    participant R1 as a b c",
            "    participant R2 as radiant 2",
            "    participant R7 as radiant 7"
        ]
    );
    assert!(lines.contains(&"    R1->>R2: the herald of order 2, term 6"), "{drawn}");
    assert!(lines.contains(&"    R1--xR2: not heard any more"), "{drawn}");
    assert!(lines.contains(&"    Note over R1,R7: move 2: frozen"), "{drawn}");
    assert!(!drawn.contains("forged"), "{drawn}");
}

#[test]
fn the_ring_is_bounded_and_tells_a_phase_once() {
    let (world, _real): (_, Arc<Real>) = Real::create();
    let story = Story::new(RadiantId(1), world);
    story.epoch(Epoch(4));
    let mut record = Migration { id: Epoch(4), version: 1, ..Migration::default() };
    story.migration(&record);
    record.version = 2;
    story.migration(&record);
    assert_eq!(story.all().len(), 2, "only the numbers of the record changed");
    for term in 0..2 * EVENTS_MAX as u64 {
        story.won(OrderId(2), term);
    }
    let all = story.all();
    assert_eq!(all.len(), EVENTS_MAX);
    assert_eq!(all.last().map(|event| (event.term, event.epoch)), Some((2 * EVENTS_MAX as u64 - 1, 4)));
}

#[test]
fn of_a_long_story_the_end_is_told() {
    let story: Vec<StoryEvent> = (1..=1_000)
        .map(|number| StoryEvent { number, what: "x".repeat(100), ..StoryEvent::default() })
        .collect();
    assert_eq!(latest(story.clone(), usize::MAX), (story.clone(), 0));
    let (kept, left_out) = latest(story.clone(), 10_000);
    assert_eq!((kept.last(), kept.len() as u64 + left_out), (story.last(), 1_000));
    let bytes =
        pb::TimelineResponse { events: kept.clone(), ..pb::TimelineResponse::default() }.encoded_len();
    assert!((9_800..=10_000).contains(&bytes), "{bytes}");
    // One that is too large ends it: nothing in the middle is left out.
    let mut holed = story;
    holed[990].what = "x".repeat(20_000);
    assert_eq!(latest(holed, 10_000).0.len(), 9);
    assert_eq!(latest(kept, 0).0, Vec::new());
}

#[test]
fn who_is_heard_first_decides_nothing_even_of_rubbish() {
    // Two events that claim to be the same one.
    let said = |what: &str| StoryEvent { radiant: 1, number: 1, what: what.into(), ..StoryEvent::default() };
    let (one, other) = (said("the disk is full"), said("the disk is slow"));
    assert_eq!(merge(vec![one.clone(), other.clone()]), merge(vec![other, one]));
}
