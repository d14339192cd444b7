//! The laws of [`Transport`]: silence is allowed, lies are not.
//!
//! ```text
//! conformance::transport::check(&Subject { connect: &|inbounds| Box::pin(connect(inbounds)), channels: ALL, virtual_time: false });
//! ```
//!
//! The kit brings who receives; the subject connects them, and stops one when it is asked to. Nothing here disturbs the way:
//! what a transport makes of a bad network is for the network's own tests.

mod lab;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::ids::RadiantId;
use shardbearer_core::transport::{CallError, Channel, Frame, Inbound, Transport};
use tokio::time::Instant;

use self::lab::{AMPLE, DECLINE, ECHO, LINGER, ONE, PATIENCE, SILENCE, THREE, TWO, echo, frame, run};
use super::suite::{self, Law, suite};
use super::{Broken, ensure, ensure_eq};

/// Something that takes a while.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Who receives as whom.
pub type Inbounds = Vec<(RadiantId, Arc<dyn Inbound>)>;

/// Radiants that are connected.
pub struct Wires {
    /// Each one's way to the others, and to itself.
    pub transports: BTreeMap<RadiantId, Arc<dyn Transport>>,
    /// Stops a radiant: from when this is done nobody receives there.
    pub stop: Box<dyn Fn(RadiantId) -> Soon<'static, ()>>,
}

/// A transport under test.
pub struct Subject<'a> {
    /// Connects radiants.
    pub connect: &'a dyn Fn(Inbounds) -> Soon<'static, Wires>,
    /// What it carries.
    pub channels: &'a [Channel],
    /// Whether it waits through tokio's timers only, so that time may be virtual.
    pub virtual_time: bool,
}

impl Subject<'_> {
    fn requests(&self) -> impl Iterator<Item = Channel> + use<'_> {
        self.channels.iter().copied().filter(|channel| matches!(channel, Channel::Forward | Channel::Control))
    }

    fn channel(&self) -> Channel {
        self.channels.first().copied().unwrap_or(Channel::Pulse)
    }
}

/// All laws.
pub fn laws<'a>() -> Vec<Law<Subject<'a>>> {
    suite! {
        |_| None =>
            an_answer_is_what_the_right_one_said
            calls_at_once_have_each_their_own_answer
            who_has_nothing_to_say_is_unreachable_at_once
            nobody_is_unreachable
            silence_ends_at_the_deadline
            sends_wait_for_nobody
            what_is_sent_is_what_arrives
            who_is_gone_does_not_answer;
        |subject| subject.requests().next().is_none().then_some("a channel of requests") =>
            requests_arrive_once
            unreachable_means_that_it_never_arrived;
    }
}

/// Runs all laws; panics with what is broken.
///
/// # Panics
/// With everything that is broken, if anything is.
pub fn check(subject: &Subject<'_>) {
    suite::check(&laws(), subject);
}

fn an_answer_is_what_the_right_one_said(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        for channel in subject.channels {
            for (from, to) in [(ONE, TWO), (TWO, ONE), (THREE, ONE), (ONE, ONE)] {
                for length in [0, 1, 100, 70_000, 1 << 20] {
                    let asked = frame(*channel, ECHO, vec![7; length]);
                    let answer = lab.call(from, to, asked.clone(), AMPLE).await;
                    let answer = answer.map_err(|error| Broken(format!("{from} calls {to}: {error}")))?;
                    ensure!(
                        answer == echo(from, &asked),
                        "{from} asked {to} by {channel:?} with {length} bytes and got {} bytes, {:?}",
                        answer.len(),
                        answer.get(..40).unwrap_or(&answer)
                    );
                }
            }
        }
        Ok(())
    })
}

fn calls_at_once_have_each_their_own_answer(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        let channel = subject.channel();
        let calls: Vec<_> = (0..200_u8)
            .map(|place| {
                let (way, asked) = (lab.way(ONE), frame(channel, LINGER, [place]));
                (asked.clone(), tokio::spawn(async move { way.call(TWO, asked, AMPLE).await }))
            })
            .collect();
        for (asked, call) in calls {
            let answer = call.await.map_err(|error| Broken(error.to_string()))?;
            ensure_eq!(answer, Ok(echo(ONE, &asked)), "the answer to {asked:?}, among others");
        }
        Ok(())
    })
}

fn who_has_nothing_to_say_is_unreachable_at_once(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        for to in [TWO, ONE] {
            let start = Instant::now();
            let answer = lab.call(ONE, to, frame(subject.channel(), DECLINE, "?"), PATIENCE).await;
            ensure!(matches!(answer, Err(CallError::Unreachable { .. })), "{to} declined: {answer:?}");
            let took = start.elapsed();
            ensure!(took < PATIENCE / 2, "that {to} declined was known after {took:?}");
        }
        Ok(())
    })
}

fn nobody_is_unreachable(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        let nobody = RadiantId(99);
        lab.way(ONE).send(nobody, frame(subject.channel(), ECHO, "anybody there?"));
        let answer = lab.call(ONE, nobody, frame(subject.channel(), ECHO, "?"), PATIENCE).await;
        ensure!(matches!(answer, Err(CallError::Unreachable { .. })), "nobody was called: {answer:?}");
        Ok(())
    })
}

fn silence_ends_at_the_deadline(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        for to in [TWO, ONE] {
            for deadline in [Duration::from_millis(50), Duration::from_millis(400)] {
                let start = Instant::now();
                let answer = lab.call(ONE, to, frame(subject.channel(), SILENCE, "?"), deadline).await;
                ensure!(matches!(answer, Err(CallError::Unknown { .. })), "{to} said nothing: {answer:?}");
                let took = start.elapsed();
                let late = deadline + Duration::from_secs(5);
                ensure!(took >= deadline && took < late, "a deadline of {deadline:?} came after {took:?}");
            }
        }
        Ok(())
    })
}

/// Neither for who is slow to receive, nor for who is gone; and others are reached meanwhile.
#[allow(clippy::disallowed_methods)] // a send that holds the thread up shows on no virtual clock
fn sends_wait_for_nobody(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        let start = std::time::Instant::now();
        let way = lab.way(ONE);
        for number in 0..20_000_u32 {
            way.send(TWO, frame(subject.channel(), SILENCE, number.to_be_bytes()));
            way.send(RadiantId(99), frame(subject.channel(), SILENCE, number.to_be_bytes()));
        }
        let took = start.elapsed();
        ensure!(took < PATIENCE / 2, "40000 sends to who does not hear took {took:?}");
        let held = |frame: &Frame| frame.body.first() == Some(&SILENCE);
        let start = Instant::now();
        while !lab.desk(TWO).seen().iter().any(|(_, frame)| held(frame)) {
            ensure!(start.elapsed() < PATIENCE, "none of 20000 frames arrived");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let asked = frame(subject.channel(), ECHO, "?");
        let answer = lab.call(ONE, THREE, asked.clone(), AMPLE).await;
        ensure_eq!(answer, Ok(echo(ONE, &asked)), "a call to another meanwhile");
        Ok(())
    })
}

fn what_is_sent_is_what_arrives(subject: &Subject<'_>) -> Result<(), Broken> {
    const FRAMES: u32 = 50;
    run(subject, async |subject, lab| {
        let mut sent = Vec::new();
        for channel in subject.channels {
            for number in 0..FRAMES {
                let one = frame(*channel, ECHO, format!("sent {number}"));
                lab.way(ONE).send(TWO, one.clone());
                sent.push((ONE, one));
            }
        }
        let arrived = || -> Vec<(RadiantId, Frame)> {
            let seen = lab.desk(TWO).seen().into_iter();
            seen.filter(|(_, frame)| frame.body.starts_with(b"esent")).collect()
        };
        let start = Instant::now();
        // Some may be lost, hardly more than a few in a calm network.
        while arrived().len() < sent.len() / 2 {
            ensure!(start.elapsed() < PATIENCE, "{} of {} frames arrived", arrived().len(), sent.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let strange = arrived().into_iter().find(|one| !sent.contains(one));
        ensure_eq!(strange, None, "a frame that nobody sent");
        let stray = lab.desk(THREE).seen().into_iter().find(|(_, frame)| frame.body.starts_with(b"esent"));
        ensure_eq!(stray, None, "a frame for another");
        Ok(())
    })
}

fn who_is_gone_does_not_answer(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        (lab.wires.stop)(TWO).await;
        let before = lab.desk(TWO).seen().len();
        for _ in 0..5 {
            let answer =
                lab.call(ONE, TWO, frame(subject.channel(), ECHO, "?"), Duration::from_millis(300)).await;
            ensure!(answer.is_err(), "one that is gone answered {answer:?}");
        }
        ensure_eq!(lab.desk(TWO).seen().len(), before, "frames received by one that is gone");
        let asked = frame(subject.channel(), ECHO, "and you?");
        let answer = lab.call(ONE, THREE, asked.clone(), AMPLE).await;
        ensure_eq!(answer, Ok(echo(ONE, &asked)), "a call to one that is not gone");
        Ok(())
    })
}

fn requests_arrive_once(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        for channel in subject.requests() {
            for number in 0..100_u32 {
                let asked = frame(channel, ECHO, format!("{channel:?} {number}"));
                let answer = lab.call(ONE, TWO, asked.clone(), AMPLE).await;
                ensure!(answer.is_ok(), "a request in a calm network: {answer:?}");
                ensure_eq!(lab.desk(TWO).times(&asked.body), 1, "deliveries of request {number}");
            }
        }
        Ok(())
    })
}

/// While the other goes away: the caller may not know, but what it is told is true.
fn unreachable_means_that_it_never_arrived(subject: &Subject<'_>) -> Result<(), Broken> {
    run(subject, async |subject, lab| {
        let mut calls = Vec::new();
        for channel in subject.requests() {
            for number in 0..200_u32 {
                let (way, asked) = (lab.way(ONE), frame(channel, ECHO, format!("{channel:?} {number}")));
                let call = {
                    let asked = asked.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_micros(u64::from(number) * 100)).await;
                        way.call(TWO, asked, Duration::from_secs(1)).await
                    })
                };
                calls.push((asked, call));
            }
        }
        // Some have arrived, and some have not been made.
        let (before, start) = (lab.desk(TWO).seen().len(), Instant::now());
        while lab.desk(TWO).seen().len() < before + 50 {
            ensure!(start.elapsed() < PATIENCE, "fewer than 50 calls arrive in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (lab.wires.stop)(TWO).await;
        for channel in subject.requests() {
            let (way, asked) = (lab.way(ONE), frame(channel, ECHO, format!("{channel:?}, after the end")));
            let late = asked.clone();
            calls.push((
                asked,
                tokio::spawn(async move { way.call(TWO, late, Duration::from_secs(1)).await }),
            ));
        }
        let (mut answered, mut unreachable) = (0, 0);
        let mut judge = |asked: &Frame, result| {
            let times = lab.desk(TWO).times(&asked.body);
            match result {
                Ok(answer) => {
                    ensure!(answer == echo(ONE, asked) && times == 1, "{answer:?} to {asked:?}");
                    answered += 1;
                }
                Err(CallError::Unreachable { why, .. }) => {
                    unreachable += 1;
                    ensure_eq!(times, 0, "deliveries of a request that was unreachable ({why})");
                }
                Err(CallError::Unknown { .. }) => {
                    ensure!(times <= 1, "{asked:?} was delivered {times} times");
                }
            }
            Ok(unreachable)
        };
        for (asked, call) in calls {
            judge(&asked, call.await.map_err(|error| Broken(error.to_string()))?)?;
        }
        // It may take a while until it is known here that the other has gone.
        let (start, requests) = (Instant::now(), subject.requests().collect::<Vec<_>>());
        for (number, channel) in (0..).zip(requests.into_iter().cycle()) {
            let asked = frame(channel, ECHO, format!("{channel:?}, long after the end {number}"));
            let result = lab.way(ONE).call(TWO, asked.clone(), Duration::from_secs(1)).await;
            if judge(&asked, result)? > 0 {
                break;
            }
            let late = start.elapsed() > PATIENCE;
            ensure!(!late, "nobody who called after that was told that the other is unreachable");
        }
        ensure!(answered > 0, "no call was answered before the other went away");
        Ok(())
    })
}
