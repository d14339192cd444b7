//! What the laws of transports play with: three radiants, who receives there, and calls between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::transport::{CallError, Channel, Frame, Inbound, Transport};
use tokio::time::Instant;

use super::super::{Broken, ensure};
use super::{Subject, Wires};

pub(super) const ONE: RadiantId = RadiantId(1);
pub(super) const TWO: RadiantId = RadiantId(2);
pub(super) const THREE: RadiantId = RadiantId(3);

/// For anything that should happen at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A deadline that should never be reached.
pub(super) const AMPLE: Duration = Duration::from_secs(10);

/// What the first byte of a body asks of who receives it.
pub(super) const ECHO: u8 = b'e';
pub(super) const LINGER: u8 = b'l';
pub(super) const DECLINE: u8 = b'd';
pub(super) const SILENCE: u8 = b's';

/// Who receives: notes everything and does as the body says.
#[derive(Default)]
pub(super) struct Desk {
    seen: Mutex<Vec<(RadiantId, Frame)>>,
}

impl Desk {
    pub(super) fn seen(&self) -> Vec<(RadiantId, Frame)> {
        self.seen.lock().expect("nobody panicked").clone()
    }

    pub(super) fn times(&self, body: &Bytes) -> usize {
        self.seen().iter().filter(|(_, frame)| frame.body == *body).count()
    }
}

/// What an echo says: from whom, about what, and the body.
pub(super) fn echo(from: RadiantId, frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u64(from.0);
    out.put_slice(format!("{:?}", frame.channel).as_bytes());
    out.put_slice(&frame.body);
    out.freeze()
}

#[async_trait]
impl Inbound for Desk {
    async fn receive(&self, from: RadiantId, frame: Frame) -> Option<Bytes> {
        self.seen.lock().expect("nobody panicked").push((from, frame.clone()));
        match frame.body.first() {
            Some(&DECLINE) => None,
            Some(&SILENCE) => std::future::pending().await,
            Some(&LINGER) => {
                // The later asked, the sooner answered.
                let place = frame.body.get(1).copied().unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(u64::from(u8::MAX - place))).await;
                Some(echo(from, &frame))
            }
            Some(_) | None => Some(echo(from, &frame)),
        }
    }
}

/// Three radiants that reach each other.
pub(super) struct Lab {
    desks: BTreeMap<RadiantId, Arc<Desk>>,
    pub(super) wires: Wires,
}

impl Lab {
    async fn open(subject: &Subject<'_>) -> Result<Lab, Broken> {
        let desks: BTreeMap<RadiantId, Arc<Desk>> =
            [ONE, TWO, THREE].into_iter().map(|id| (id, Arc::default())).collect();
        let inbounds = desks.iter().map(|(id, desk)| (*id, desk.clone() as Arc<dyn Inbound>)).collect();
        let lab = Lab { wires: (subject.connect)(inbounds).await, desks };
        for from in lab.desks.keys() {
            for to in lab.desks.keys() {
                // Connections may be made when they are needed.
                let start = Instant::now();
                while let Err(error) =
                    lab.call(*from, *to, frame(subject.channel(), ECHO, "hello"), AMPLE).await
                {
                    ensure!(start.elapsed() < PATIENCE, "{from} does not reach {to}: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        Ok(lab)
    }

    pub(super) fn way(&self, from: RadiantId) -> Arc<dyn Transport> {
        self.wires.transports.get(&from).expect("all three were connected").clone()
    }

    pub(super) fn desk(&self, id: RadiantId) -> &Desk {
        self.desks.get(&id).expect("all three have one")
    }

    /// Calls; that a deadline is kept is part of every law.
    pub(super) async fn call(
        &self,
        from: RadiantId,
        to: RadiantId,
        frame: Frame,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let answer =
            tokio::time::timeout(deadline + PATIENCE, self.way(from).call(to, frame, deadline)).await;
        answer.expect("a call ends at its deadline")
    }
}

pub(super) fn frame(channel: Channel, wish: u8, rest: impl AsRef<[u8]>) -> Frame {
    let mut body = vec![wish];
    body.extend_from_slice(rest.as_ref());
    Frame { channel, body: body.into() }
}

/// Runs a law in a runtime of its own.
pub(super) fn run<'a>(
    subject: &'a Subject<'a>,
    law: impl AsyncFnOnce(&'a Subject<'a>, Lab) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(subject.virtual_time);
    let runtime = runtime.build().expect("a runtime of one thread needs nothing but memory");
    runtime.block_on(async {
        let lab = Lab::open(subject).await?;
        law(subject, lab).await
    })
}
