//! Frames between radiants. One stream per direction and pair of radiants carries all orders.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use crate::ids::{OrderId, RadiantId};

/// What a frame is about; decides who receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// An engine's own traffic.
    Engine(OrderId),
    /// Client requests on their one hop to a herald.
    Forward,
    /// Liveness, leads and loads, to everybody, a few times a second.
    Pulse,
    /// Requests to the control order: join, fetch the configuration.
    Control,
}

/// Bytes for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is about.
    pub channel: Channel,
    /// Opaque to the transport.
    pub body: Bytes,
}

/// Why a call got no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The frame provably never left: no address, no connection, queue full.
    #[error("radiant {to} unreachable: {why}")]
    Unreachable {
        /// Whom it was for.
        to: RadiantId,
        /// A sentence.
        why: String,
    },
    /// It may have arrived.
    #[error("no answer from radiant {to}: {why}")]
    Unknown {
        /// Whom it was for.
        to: RadiantId,
        /// A sentence.
        why: String,
    },
}

/// The way to the other radiants. Frames may be lost, delayed, doubled and reordered.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends without waiting for anything; dropped if there is no way or the queue is full.
    fn send(&self, to: RadiantId, frame: Frame);

    /// Sends and waits for the answer, at most for `deadline`. A peer that has nothing to say
    /// (it does not run that order) answers at once, which is `Unreachable` here.
    ///
    /// Requests of clients and those to the control order are delivered at most once: of two deliveries one
    /// could be refused and the other carried out, and a refusal would prove nothing.
    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError>;

    /// Whether the way to a radiant broke some moments ago and is not there again: it may be gone, and others may be
    /// about to take over what it led. A guess, by which clients are spared a detour; a transport that cannot tell says no.
    fn has_just_lost(&self, _: RadiantId) -> bool {
        false
    }
}

/// The receiving side. Must be quick to return for [`Transport::send`]; calls may take their time.
#[async_trait]
pub trait Inbound: Send + Sync {
    /// A frame from a peer; `None` means "not for me".
    async fn receive(&self, from: RadiantId, frame: Frame) -> Option<Bytes>;
}
