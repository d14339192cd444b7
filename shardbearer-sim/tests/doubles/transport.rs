//! A transport within one process, honest or with one flaw; and the network of the engines' kit, which has to be honest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::engine::{ConsensusEngine, EngineStatus};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::transport::{CallError, Channel, Frame, Inbound, Transport};
use shardbearer_sim::conformance::engine::group::ORDER;
use shardbearer_sim::conformance::engine::net::Net;
use shardbearer_sim::conformance::suite::caught;
use shardbearer_sim::conformance::transport::{Inbounds, Soon, Subject, Wires, check, laws};

use super::assert_documented;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    ForgetsWhoAsks,
    AnswersWhatOthersAsked,
    WaitsForTheSilent,
    DoesNotKnowNobody,
    WaitsForEver,
    ServesOneAtATime,
    MixesFramesUp,
    OutlivesItself,
    DeliversTwice,
    DeniesADelivery,
}

/// Each with the law that is meant to find it.
const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::ForgetsWhoAsks, "an_answer_is_what_the_right_one_said"),
    (Flaw::AnswersWhatOthersAsked, "calls_at_once_have_each_their_own_answer"),
    (Flaw::WaitsForTheSilent, "who_has_nothing_to_say_is_unreachable_at_once"),
    (Flaw::DoesNotKnowNobody, "nobody_is_unreachable"),
    (Flaw::WaitsForEver, "silence_ends_at_the_deadline"),
    (Flaw::ServesOneAtATime, "sends_wait_for_nobody"),
    (Flaw::MixesFramesUp, "what_is_sent_is_what_arrives"),
    (Flaw::OutlivesItself, "who_is_gone_does_not_answer"),
    (Flaw::DeliversTwice, "requests_arrive_once"),
    (Flaw::DeniesADelivery, "unreachable_means_that_it_never_arrived"),
];

/// What all share.
struct Hub {
    flaw: Flaw,
    inbounds: BTreeMap<RadiantId, Arc<dyn Inbound>>,
    gone: Mutex<BTreeSet<RadiantId>>,
    last: Mutex<Option<Bytes>>,
    turn: tokio::sync::Mutex<()>,
}

struct Direct(Arc<Hub>, RadiantId);

impl Hub {
    fn is_gone(&self, id: RadiantId) -> bool {
        self.flaw != Flaw::OutlivesItself && self.gone.lock().expect("no panic").contains(&id)
    }

    async fn deliver(&self, from: RadiantId, to: RadiantId, frame: Frame) -> Option<Bytes> {
        let inbound = self.inbounds.get(&to)?;
        let _turn = match self.flaw {
            Flaw::ServesOneAtATime => Some(self.turn.lock().await),
            _ => None,
        };
        let from = if self.flaw == Flaw::ForgetsWhoAsks { RadiantId(1) } else { from };
        if self.flaw == Flaw::DeliversTwice {
            inbound.receive(from, frame.clone()).await;
        }
        inbound.receive(from, frame).await
    }
}

#[async_trait]
impl Transport for Direct {
    fn send(&self, to: RadiantId, mut frame: Frame) {
        let (hub, me) = (self.0.clone(), self.1);
        if hub.flaw == Flaw::MixesFramesUp {
            frame.channel = Channel::Pulse;
        }
        if !hub.is_gone(to) {
            tokio::spawn(async move { hub.deliver(me, to, frame).await });
        }
    }

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        let hub = &self.0;
        let unreachable = || CallError::Unreachable { to, why: "nobody answers".into() };
        let unknown = || CallError::Unknown { to, why: "no answer".into() };
        if hub.is_gone(to) || !hub.inbounds.contains_key(&to) {
            return Err(if hub.flaw == Flaw::DoesNotKnowNobody { unknown() } else { unreachable() });
        }
        let delivered = hub.deliver(self.1, to, frame);
        let answer = match hub.flaw {
            Flaw::WaitsForEver => Ok(delivered.await),
            _ => tokio::time::timeout(deadline, delivered).await,
        };
        if hub.flaw == Flaw::DeniesADelivery {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if hub.is_gone(to) {
                return Err(unreachable());
            }
        }
        let answer = answer.map_err(|_| unknown())?;
        if hub.flaw == Flaw::AnswersWhatOthersAsked {
            let mut last = hub.last.lock().expect("no panic");
            let mine = answer.clone();
            return std::mem::replace(&mut *last, answer).or(mine).ok_or_else(unreachable);
        }
        match answer {
            Some(answer) => Ok(answer),
            None if hub.flaw == Flaw::WaitsForTheSilent => Err(unknown()),
            None => Err(unreachable()),
        }
    }
}

async fn connect(flaw: Flaw, inbounds: Inbounds) -> Wires {
    let hub = Arc::new(Hub {
        flaw,
        inbounds: inbounds.into_iter().collect(),
        gone: Mutex::default(),
        last: Mutex::default(),
        turn: tokio::sync::Mutex::default(),
    });
    let way = |id: &RadiantId| (*id, Arc::new(Direct(hub.clone(), *id)) as Arc<dyn Transport>);
    let transports = hub.inbounds.keys().map(way).collect();
    let stop = move |id| -> Soon<'static, ()> {
        hub.gone.lock().expect("no panic").insert(id);
        Box::pin(async {})
    };
    Wires { transports, stop: Box::new(stop) }
}

const CHANNELS: &[Channel] = &[Channel::Engine(OrderId(1)), Channel::Forward, Channel::Control];

#[test]
fn an_honest_transport_keeps_every_law() {
    let connect = |inbounds| -> Soon<'static, Wires> { Box::pin(connect(Flaw::None, inbounds)) };
    check(&Subject { connect: &connect, channels: CHANNELS, virtual_time: true });
}

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    for (flaw, law) in FLAWS {
        let connect = |inbounds| -> Soon<'static, Wires> { Box::pin(connect(*flaw, inbounds)) };
        caught(&laws(), law, &Subject { connect: &connect, channels: CHANNELS, virtual_time: true });
    }
    assert_documented(FLAWS);
}

/// An engine that does nothing but receive.
struct Ear(Arc<dyn Inbound>);

fn deaf<T>() -> Result<T, RequestError> {
    Err(Refused::Closed.into())
}

#[async_trait]
impl ConsensusEngine for Ear {
    async fn propose(&self, _: Bytes) -> Result<Bytes, RequestError> {
        deaf()
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        deaf()
    }

    async fn receive(&self, from: RadiantId, body: Bytes) -> Option<Bytes> {
        self.0.receive(from, Frame { channel: Channel::Engine(ORDER), body }).await
    }

    async fn reconfigure(&self, _: Vec<RadiantId>) -> Result<(), RequestError> {
        deaf()
    }

    async fn hand_over(&self, _: RadiantId) -> Result<(), RequestError> {
        deaf()
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        deaf()
    }

    fn status(&self) -> EngineStatus {
        EngineStatus::default()
    }

    async fn changed(&self, _: u64) -> EngineStatus {
        std::future::pending().await
    }

    async fn close(&self) {}
}

#[test]
fn the_network_of_the_engines_kit_keeps_the_laws_of_transports() {
    let connect = |inbounds: Inbounds| -> Soon<'static, Wires> {
        let net = Net::new(1);
        let mut transports = BTreeMap::new();
        for (id, inbound) in inbounds {
            net.join(id, Arc::new(Ear(inbound)));
            transports.insert(id, net.door(id, Arc::new(AtomicBool::new(true))));
        }
        let stop = move |id| -> Soon<'static, ()> {
            net.leave(id);
            Box::pin(async {})
        };
        Box::pin(async { Wires { transports, stop: Box::new(stop) } })
    };
    check(&Subject { connect: &connect, channels: &[Channel::Engine(ORDER)], virtual_time: true });
}
