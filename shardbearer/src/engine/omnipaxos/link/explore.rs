//! Every way in which little can happen between two ends: each packet that was ever sent may arrive next, again or never, and
//! each end may send, crash, or begin anew behind an image at any moment. No state is visited twice.
//!
//! From each state a calm follows, in which all that is under way is lost and each end is heard once more by the other. Then
//! whatever an end gave to the way and the other did not take has to be known as lost, at both ends unless they began anew since;
//! what was for an earlier life of the other, or for one of which nothing was heard, at the end that gave it. All states:
//!
//! ```text
//! cargo test -p shardbearer --lib link::explore -- --nocapture
//! ```

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::tests::message;
use super::{Arrival, Link, Packet};

/// What an end does with packets, so that a flaw can be put there.
trait Manners: Copy + std::fmt::Debug {
    fn arrive(self, link: &mut Link, mine: u64, packet: &Packet) -> Option<Arrival> {
        link.arrive(mine, packet)
    }

    fn pack(self, link: &mut Link, mine: u64, has: bool) -> Packet {
        link.pack(mine, if has { message() } else { vec![] }, vec![])
    }
}

/// None.
#[derive(Clone, Copy, Debug)]
struct Good;

impl Manners for Good {}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    /// Takes ordered messages that it took already, or that others overtook.
    TakesTwice,
    /// Takes what was meant for an earlier life of it.
    TakesThePast,
    /// Takes what comes from an earlier life of the other.
    TakesTheDead,
    /// Sees a gap and does not tell.
    TellsNobody,
    /// Is told of a gap and does nothing.
    DoesNotListen,
    /// Sees no gap in packets that have nothing ordered.
    LooksAtOrderedOnly,
}

impl Manners for Flaw {
    fn arrive(self, link: &mut Link, mine: u64, packet: &Packet) -> Option<Arrival> {
        let mut packet = packet.clone();
        match self {
            Flaw::TakesThePast => packet.to = mine,
            Flaw::TakesTheDead if packet.from < link.theirs => packet.from = link.theirs,
            Flaw::DoesNotListen => packet.lost = 0,
            Flaw::LooksAtOrderedOnly if packet.ordered.is_empty() => packet.number = link.seen,
            _ => {}
        }
        let mut arrival = link.arrive(mine, &packet)?;
        if self == Flaw::TakesTwice {
            arrival.ordered = arrival.paired && !packet.ordered.is_empty();
        }
        Some(arrival)
    }

    fn pack(self, link: &mut Link, mine: u64, has: bool) -> Packet {
        let packet = Good.pack(link, mine, has);
        Packet { lost: if self == Flaw::TellsNobody { 0 } else { packet.lost }, ..packet }
    }
}

/// A packet under way, and what it should not need to say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    sender: usize,
    packet: (u64, u64, u64, u64),
    /// The message in it.
    message: Option<u32>,
}

/// A message that was given to the way.
#[derive(Clone, Debug, Hash)]
struct Given {
    by: usize,
    /// The lives of both ends, as far as this one knew; none of the other's if nothing was heard of it.
    lives: [u64; 2],
    taken: bool,
    /// Whether an end has learned since then that something was lost.
    known: [bool; 2],
}

#[derive(Clone, Debug, Default, Hash)]
struct End {
    life: u64,
    link: Link,
    /// The latest life of the other that something came from.
    heard: u64,
    /// The last message of the other's that was taken.
    last: Option<u32>,
}

#[derive(Clone, Debug, Hash)]
struct State {
    ends: [End; 2],
    flights: BTreeSet<Flight>,
    given: Vec<Given>,
    /// How often each end may still send something, and how often any may begin a new life.
    sends: [u8; 2],
    lives: u8,
}

#[derive(Clone, Debug)]
enum Event {
    Send { by: usize, has: bool },
    Arrive(Flight),
    Crash(usize),
    BeginAnew(usize),
}

impl State {
    fn new(sends: [u8; 2], lives: u8) -> State {
        let end = || End { life: 1, ..End::default() };
        State { ends: [end(), end()], flights: BTreeSet::new(), given: Vec::new(), sends, lives }
    }

    fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.flights.iter().cloned().map(Event::Arrive).collect();
        for by in 0..2 {
            if self.sends[by] > 0 {
                events.extend([true, false].map(|has| Event::Send { by, has }));
            }
            if self.lives > 0 {
                events.extend([Event::Crash(by), Event::BeginAnew(by)]);
            }
        }
        events
    }

    fn happen(&mut self, manners: impl Manners, event: &Event) -> Result<(), String> {
        match event {
            Event::Send { by, has } => {
                self.sends[*by] -= 1;
                let flight = self.send(manners, *by, *has);
                self.flights.insert(flight);
                Ok(())
            }
            Event::Arrive(flight) => self.arrive(manners, flight),
            Event::Crash(end) | Event::BeginAnew(end) => {
                self.lives -= 1;
                let this = &mut self.ends[*end];
                this.life += 1;
                this.last = None;
                match event {
                    Event::Crash(_) => (this.link, this.heard) = (Link::default(), 0),
                    _ => this.link.reset(),
                }
                Ok(())
            }
        }
    }

    fn send(&mut self, manners: impl Manners, by: usize, has: bool) -> Flight {
        let this = &mut self.ends[by];
        let packet = manners.pack(&mut this.link, this.life, has);
        let message = (!packet.ordered.is_empty()).then_some(self.given.len() as u32);
        if has {
            let lives = std::array::from_fn(|end| if end == by { packet.from } else { packet.to });
            self.given.push(Given { by, lives, taken: false, known: [false; 2] });
        }
        Flight { sender: by, packet: (packet.from, packet.to, packet.number, packet.lost), message }
    }

    fn arrive(&mut self, manners: impl Manners, flight: &Flight) -> Result<(), String> {
        let (from, to, number, lost) = flight.packet;
        let ordered = if flight.message.is_some() { message() } else { vec![] };
        let at = 1 - flight.sender;
        let this = &mut self.ends[at];
        this.heard = this.heard.max(from);
        let packet = Packet { from, to, number, lost, ordered, loose: vec![] };
        let Some(arrival) = manners.arrive(&mut this.link, this.life, &packet) else { return Ok(()) };
        if arrival.broken {
            self.given.iter_mut().for_each(|given| given.known[at] = true);
        }
        let Some(message) = flight.message.filter(|_| arrival.ordered) else { return Ok(()) };
        if this.last.is_some_and(|last| last >= message) {
            return Err(format!("message {message} is taken after {:?}", this.last));
        }
        let given = &mut self.given[message as usize];
        if given.lives[at] != this.life || given.lives[1 - at] != this.heard {
            return Err(format!("message {message} was given for other lives: {given:?}"));
        }
        given.taken = true;
        let (before, lives) = (this.last, given.lives);
        this.last = Some(message);
        // Whoever takes a message knows of each gap before it.
        let missing = (before.map_or(0, |last| last + 1)..message).find(|other| {
            let other = &self.given[*other as usize];
            other.by != at && other.lives == lives && !other.taken && !other.known[at]
        });
        missing.map_or(Ok(()), |gap| Err(format!("message {message} is taken, and {gap} not missed")))
    }

    /// Nothing of what is under way arrives; each end is heard until both have said all they know.
    fn calm(mut self, manners: impl Manners) -> Result<(), String> {
        self.flights.clear();
        for by in [0, 1, 0, 1] {
            let flight = self.send(manners, by, false);
            self.arrive(manners, &flight)?;
        }
        let lives = [self.ends[0].life, self.ends[1].life];
        for (message, given) in self.given.iter().enumerate() {
            let unknown = |end: usize| given.lives[end] == lives[end] && !given.known[end] && !given.taken;
            // To whoever began anew the way did as well.
            if let Some(end) = (0..2).find(|end| unknown(*end)) {
                return Err(format!("end {end} never learns that message {message} was lost: {given:?}"));
            }
        }
        let link = |end: usize| &self.ends[end].link;
        match (0..2).find(|end| link(*end).theirs != lives[1 - end]) {
            Some(end) => Err(format!("end {end} does not know who the other is: {:?}", link(end))),
            None => Ok(()),
        }
    }
}

/// Goes every way, and returns how many states there are.
fn explore(manners: impl Manners, sends: [u8; 2], lives: u8) -> Result<usize, String> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![(State::new(sends, lives), Vec::<Event>::new())]);
    while let Some((state, way)) = open.pop() {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        if !seen.insert(hasher.finish()) {
            continue;
        }
        state.clone().calm(manners).map_err(|why| format!("{why}, in a calm after {way:?}"))?;
        for event in state.events() {
            let (mut next, mut way) = (state.clone(), way.clone());
            way.push(event.clone());
            next.happen(manners, &event).map_err(|why| format!("{why}, on the way {way:?}"))?;
            open.push((next, way));
        }
    }
    Ok(seen.len())
}

#[test]
fn on_every_way_what_arrives_is_in_order_and_what_does_not_is_known() {
    for (sends, lives, least) in [([3, 3], 0, 10_000), ([3, 2], 1, 10_000), ([2, 2], 2, 10_000)] {
        let states = explore(Good, sends, lives).unwrap_or_else(|why| panic!("{sends:?}, {lives}: {why}"));
        println!("{sends:?} packets, {lives} new lives: {states} states");
        assert!(states > least, "{states}");
    }
}

#[test]
fn every_flaw_is_found() {
    for (flaw, why) in [
        (Flaw::TakesTwice, "is taken after"),
        (Flaw::TakesThePast, "for other lives"),
        (Flaw::TakesTheDead, "for other lives"),
        (Flaw::TellsNobody, "never learns"),
        (Flaw::DoesNotListen, "never learns"),
        (Flaw::LooksAtOrderedOnly, "never learns"),
    ] {
        let found = explore(flaw, [3, 2], 1).expect_err(&format!("{flaw:?}"));
        assert!(found.contains(why), "{flaw:?}: {found}");
    }
}
