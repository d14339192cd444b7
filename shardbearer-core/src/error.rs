//! What can go wrong on the way to a shard, and the one question every error answers: may the
//! request have taken effect?

use thiserror::Error;

use crate::ids::{Epoch, OrderId, RadiantId};

/// Why a request got no reply. There is no third variant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Provably had no effect and never will.
    #[error("{0}")]
    Refused(Refused),
    /// May have taken effect, or may still do so.
    #[error("unknown outcome: {0}")]
    Unknown(String),
}

/// Why a request was refused before it could have any effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Another radiant leads the order.
    #[error("order {order} is led by {}", match .hint { Some(id) => format!("radiant {id}"), None => "nobody known here".into() })]
    NotHerald {
        /// The order asked.
        order: OrderId,
        /// Who leads it, as far as known.
        hint: Option<RadiantId>,
    },
    /// The shard belongs to another order.
    #[error("the shard belongs to another order since epoch {epoch}")]
    WrongOrder {
        /// The epoch from which that holds, as far as known.
        epoch: Epoch,
    },
    /// A queue is full. Try again.
    #[error("busy: {0}; try again")]
    Busy(String),
    /// The disk is nearly full; writes are refused while reads go on. Try again when there is space.
    #[error("disk nearly full: {0}")]
    DiskFull(String),
    /// No herald, no quorum or no route within the deadline.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The request itself is not acceptable; trying again will not help.
    #[error("{0}")]
    Invalid(String),
    /// This radiant or order is closing.
    #[error("closing")]
    Closed,
}

impl RequestError {
    /// Whether another attempt may succeed. An `Unknown` may be retried only with the same
    /// [`crate::kv::RequestId`].
    pub fn is_retryable(&self) -> bool {
        match self {
            RequestError::Unknown(_) => true,
            RequestError::Refused(refused) => match refused {
                Refused::NotHerald { .. }
                | Refused::WrongOrder { .. }
                | Refused::Busy(_)
                | Refused::Unavailable(_)
                | Refused::Closed => true,
                Refused::DiskFull(_) | Refused::Invalid(_) => false,
            },
        }
    }
}

impl From<Refused> for RequestError {
    fn from(refused: Refused) -> Self {
        RequestError::Refused(refused)
    }
}
