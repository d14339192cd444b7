//! Golden traces of a protocol: a text of things that happen, each followed by what came of it.
//!
//! ```text
//! > propose 1
//! 1: append 1.1
//! > persist 1
//! 1 -> 2: Append ... + 1.1
//! ```
//!
//! Lines that begin with `>` are what happens, with `#` are for people, the others are what must come of it. Things: `tick N`, `persist N`
//! (all of its writes), `deliver` (all that is under way, and what comes of it), `deliver A B` (from A to B), `lose A B`,
//! `crash N`, `cut N` (its power), `restart N`, `propose N`, `read N`, `giveup N`, `again N`, `purge N`, `configure N EPOCH PREVIOUS M M ... [0 LEARNER ...]`, and `status N`.

use std::fmt::{self, Write};

use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{
    Answer, Configuration, Entry, Envelope, Payload, Persist, Protocol, Ready, Standing,
};

use super::{Event, Flight, Load, Net};
use crate::conformance::Broken;

/// More than any script needs.
const ROUNDS_MAX: usize = 1_000;

/// Runs a script, and compares.
///
/// # Panics
/// If it does not say what came of it, with what it should say; or if a promise is broken.
pub fn check<P: Protocol + Clone + fmt::Debug>(net: &mut Net<P>, script: &str) {
    let told = run(net, script);
    assert!(told == script, "the script should read:\n{told}");
}

/// The script as it should be.
fn run<P: Protocol + Clone + fmt::Debug>(net: &mut Net<P>, script: &str) -> String {
    let mut told = String::new();
    for line in script.lines().filter(|line| line.starts_with(['>', '#']) || line.is_empty()) {
        let _ = writeln!(told, "{line}");
        if let Some(command) = line.strip_prefix('>') {
            let lines = carry_out(net, command).unwrap_or_else(|broken| panic!("{line}: {broken}\n{told}"));
            for line in lines {
                let _ = writeln!(told, "{line}");
            }
        }
    }
    told
}

fn carry_out<P: Protocol + Clone + fmt::Debug>(
    net: &mut Net<P>,
    command: &str,
) -> Result<Vec<String>, Broken> {
    let mut words = command.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let numbers: Result<Vec<u64>, _> = words.map(str::parse).collect();
    let numbers = numbers.map_err(|error| Broken(error.to_string()))?;
    let id = RadiantId(numbers.first().copied().unwrap_or_default());
    let mut lines = Vec::new();
    match (verb, numbers.as_slice()) {
        ("tick", [_]) => happen(net, Event::Tick(id), &mut lines)?,
        ("crash", [_]) => happen(net, Event::Crash(id), &mut lines)?,
        ("cut", [_]) => happen(net, Event::PowerCut(id), &mut lines)?,
        ("restart", [_]) => happen(net, Event::Restart(id), &mut lines)?,
        ("propose", [_]) => happen(net, Event::Propose(id), &mut lines)?,
        ("read", [_]) => happen(net, Event::Read(id), &mut lines)?,
        ("again", [_]) => happen(net, Event::Again(id), &mut lines)?,
        ("giveup", [_]) => happen(net, Event::GiveUp(id), &mut lines)?,
        ("purge", [_]) => happen(net, Event::Purge(id), &mut lines)?,
        ("persist", [_]) => {
            for _ in 0..ROUNDS_MAX {
                if net.members.get(&id).is_none_or(|member| member.unwritten() == 0) {
                    break;
                }
                happen(net, Event::Persist(id), &mut lines)?;
            }
        }
        ("configure", [_, epoch, previous, members @ ..]) => {
            let members: Vec<RadiantId> = members.iter().copied().map(RadiantId).collect();
            let mut lists = members.split(|id| id.is_none()).map(<[RadiantId]>::to_vec);
            let (members, learners) = (lists.next().unwrap_or_default(), lists.next().unwrap_or_default());
            let (epoch, previous) = (Epoch(*epoch), Epoch(*previous));
            let configuration = Configuration { epoch, previous, members, learners };
            happen(net, Event::Configure(id, configuration), &mut lines)?;
        }
        ("deliver" | "lose", between) => {
            let wanted = |flight: &Flight<P::Message>| match between {
                [from, to] => flight.from.0 == *from && flight.to.0 == *to,
                _ => true,
            };
            for _ in 0..ROUNDS_MAX {
                let Some(at) = net.flights.iter().position(wanted) else { break };
                let event = if verb == "lose" { Event::Lose(at) } else { Event::Deliver(at) };
                happen(net, event, &mut lines)?;
            }
        }
        ("status", [_]) => {
            let status = net.protocol(id).map(Protocol::status).unwrap_or_default();
            let members: Vec<u64> = status.members.iter().map(|member| member.0).collect();
            let herald = status.herald.map_or(0, |herald| herald.0);
            let leads = if status.leading { ", leads" } else { "" };
            lines.push(format!("{id}: term {} of {members:?}, herald {herald}{leads}", status.term));
        }
        _ => return Err(Broken("no such thing can happen".into())),
    }
    Ok(lines)
}

fn happen<P: Protocol + Clone + fmt::Debug>(
    net: &mut Net<P>,
    event: Event,
    lines: &mut Vec<String>,
) -> Result<(), Broken> {
    net.happen(event)?;
    lines.append(&mut net.said);
    Ok(())
}

fn at(position: LogPos) -> String {
    format!("{}.{}", position.term, position.index)
}

fn entry(entry: &Entry) -> String {
    let kind = match entry.payload {
        Payload::Blank => " blank",
        Payload::Proposal(_) => "",
        Payload::Own(_) => " own",
    };
    at(entry.position) + kind
}

/// Puts what a step asked for into words.
pub(super) fn tell<M: fmt::Debug>(ready: &Ready<M>, id: RadiantId, lines: &mut Vec<String>) {
    for persist in &ready.persist {
        lines.push(match persist {
            Persist::Append(one, _) => format!("{id}: append {}", entry(one)),
            Persist::Truncate { from } => format!("{id}: truncate from {from}"),
            Persist::Hard(_) => format!("{id}: hard state"),
        });
    }
    tell_envelopes(&ready.now, id, "", lines);
    for standing in &ready.standing {
        match standing {
            Standing::Ask { to, message, .. } => lines.push(format!("{id} -> {to}: {message:?}")),
            Standing::Deliver(envelope) => tell_envelopes(std::slice::from_ref(envelope), id, "", lines),
            Standing::Heard { .. } | Standing::Delivered { .. } => {}
        }
    }
    tell_envelopes(&ready.after, id, " after that", lines);
    if ready.commit > 0 {
        lines.push(format!("{id}: commit {}", ready.commit));
    }
    for (_, answer) in &ready.answers {
        lines.push(match answer {
            Answer::Read(index) => format!("{id}: read at {index}"),
            Answer::Done => format!("{id}: done"),
            Answer::Refused(why) => format!("{id}: refused: {why}"),
            Answer::Unknown(why) => format!("{id}: unknown: {why}"),
        });
    }
    for to in &ready.snapshots {
        lines.push(format!("{id}: snapshot for {to}"));
    }
}

/// Puts messages into words.
pub(super) fn tell_envelopes<M: fmt::Debug>(
    envelopes: &[Envelope<M>],
    id: RadiantId,
    when: &str,
    lines: &mut Vec<String>,
) {
    for envelope in envelopes {
        let mut line = format!("{id} -> {}{when}: {:?}", envelope.to, envelope.message);
        if !envelope.entries.is_empty() {
            let _ = write!(line, " + {}..{}", envelope.entries.start, envelope.entries.end - 1);
        }
        lines.push(line);
    }
}

/// Names what is under way; for those who look at a net.
pub fn flights<P: Protocol>(net: &Net<P>) -> Vec<String> {
    let one = |flight: &Flight<P::Message>| match &flight.load {
        Load::Message(message, entries) => {
            let entries: Vec<String> = entries.iter().map(entry).collect();
            format!("{} -> {}: {message:?} + {entries:?}", flight.from, flight.to)
        }
        Load::Snapshot(entries) => format!("{} -> {}: snapshot of {}", flight.from, flight.to, entries.len()),
    };
    net.flights.iter().map(one).collect()
}
