//! Errors of the way to a shard.

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;

use super::{ConvertError, missing};
use crate::pb;

impl From<&RequestError> for pb::RequestError {
    fn from(error: &RequestError) -> Self {
        use pb::request_error::{Kind, NotHerald};
        let kind = match error {
            RequestError::Unknown(why) => Kind::Unknown(why.clone()),
            RequestError::Refused(refused) => match refused {
                Refused::NotHerald { order, hint } => {
                    Kind::NotHerald(NotHerald { order: order.0, hint: hint.unwrap_or(RadiantId::NONE).0 })
                }
                Refused::WrongOrder { epoch } => Kind::WrongOrderEpoch(epoch.0),
                Refused::Busy(why) => Kind::Busy(why.clone()),
                Refused::DiskFull(why) => Kind::DiskFull(why.clone()),
                Refused::Unavailable(why) => Kind::Unavailable(why.clone()),
                Refused::Invalid(why) => Kind::Invalid(why.clone()),
                Refused::Closed => Kind::Closed(true),
            },
        };
        pb::RequestError { kind: Some(kind) }
    }
}

impl TryFrom<pb::RequestError> for RequestError {
    type Error = ConvertError;

    fn try_from(error: pb::RequestError) -> Result<Self, ConvertError> {
        use pb::request_error::Kind;
        Ok(RequestError::Refused(match error.kind.ok_or_else(|| missing("RequestError.kind"))? {
            Kind::Unknown(why) => return Ok(RequestError::Unknown(why)),
            Kind::NotHerald(not_herald) => Refused::NotHerald {
                order: not_herald.order.into(),
                hint: Some(RadiantId(not_herald.hint)).filter(|hint| !hint.is_none()),
            },
            Kind::WrongOrderEpoch(epoch) => Refused::WrongOrder { epoch: epoch.into() },
            Kind::Busy(why) => Refused::Busy(why),
            Kind::DiskFull(why) => Refused::DiskFull(why),
            Kind::Unavailable(why) => Refused::Unavailable(why),
            Kind::Invalid(why) => Refused::Invalid(why),
            Kind::Closed(_) => Refused::Closed,
        }))
    }
}
