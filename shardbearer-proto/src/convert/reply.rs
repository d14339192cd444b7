//! Replies and results.

use shardbearer_core::error::RequestError;
use shardbearer_core::kv::{Record, RecordInfo, Refusal, Reply, Row};

use super::{ConvertError, missing};
use crate::pb;

impl From<&Record> for pb::Record {
    fn from(record: &Record) -> Self {
        pb::Record {
            value: record.value.clone(),
            revision: record.revision,
            expires_at_ms: record.expires_at_ms,
        }
    }
}

impl From<pb::Record> for Record {
    fn from(record: pb::Record) -> Self {
        Record { value: record.value, revision: record.revision, expires_at_ms: record.expires_at_ms }
    }
}

fn refusal_to_wire(refusal: &Refusal) -> pb::RefusedReply {
    use pb::refused_reply::Kind;
    let kind = match refusal {
        Refusal::NotAnInteger => Kind::NotAnInteger(true),
        Refusal::NotANumber => Kind::NotANumber(true),
        Refusal::Overflow => Kind::Overflow(true),
        Refusal::TooLarge { limit } => Kind::TooLargeLimit(*limit),
        Refusal::WrongOrder => Kind::WrongOrder(true),
        Refusal::SessionExpired => Kind::SessionExpired(true),
        Refusal::SessionsFull => Kind::SessionsFull(true),
        Refusal::Malformed(why) => Kind::Malformed(why.clone()),
    };
    pb::RefusedReply { kind: Some(kind) }
}

fn refusal_from_wire(refusal: pb::RefusedReply) -> Result<Refusal, ConvertError> {
    use pb::refused_reply::Kind;
    Ok(match refusal.kind.ok_or_else(|| missing("RefusedReply.kind"))? {
        Kind::NotAnInteger(_) => Refusal::NotAnInteger,
        Kind::NotANumber(_) => Refusal::NotANumber,
        Kind::Overflow(_) => Refusal::Overflow,
        Kind::TooLargeLimit(limit) => Refusal::TooLarge { limit },
        Kind::WrongOrder(_) => Refusal::WrongOrder,
        Kind::SessionExpired(_) => Refusal::SessionExpired,
        Kind::SessionsFull(_) => Refusal::SessionsFull,
        Kind::Malformed(why) => Refusal::Malformed(why),
    })
}

impl From<&Reply> for pb::Reply {
    fn from(reply: &Reply) -> Self {
        use pb::reply::Kind;
        let record = |record: &Option<Record>| record.as_ref().map(Into::into);
        let kind = match reply {
            Reply::Record(found) => Kind::Record(pb::RecordReply { record: record(found) }),
            Reply::Info(info) => Kind::Info(pb::InfoReply {
                info: info.map(|info| pb::RecordInfo {
                    length: info.length,
                    revision: info.revision,
                    expires_at_ms: info.expires_at_ms,
                }),
            }),
            Reply::Written { revision, previous } => {
                Kind::Written(pb::WrittenReply { revision: *revision, previous: record(previous) })
            }
            Reply::Deleted { existed, previous } => {
                Kind::Deleted(pb::DeletedReply { existed: *existed, previous: record(previous) })
            }
            Reply::ConditionFailed { current } => {
                Kind::ConditionFailed(pb::ConditionFailedReply { current: record(current) })
            }
            Reply::Number { value, revision } => {
                Kind::Number(pb::NumberReply { value: *value, revision: *revision })
            }
            Reply::Decimal { value, revision } => {
                Kind::Decimal(pb::DecimalReply { value: value.clone(), revision: *revision })
            }
            Reply::Length { length, revision } => {
                Kind::Length(pb::LengthReply { length: *length, revision: *revision })
            }
            Reply::Touched { changed } => Kind::Touched(pb::TouchedReply { changed: *changed }),
            Reply::Batch { applied, replies } => Kind::Batch(pb::BatchReply {
                applied: *applied,
                replies: replies.iter().map(Into::into).collect(),
            }),
            Reply::Page { rows, more } => Kind::Page(pb::PageReply {
                rows: rows
                    .iter()
                    .map(|row| pb::Row { key: row.key.clone(), record: Some((&row.record).into()) })
                    .collect(),
                more: *more,
            }),
            Reply::Count { rows, bytes } => Kind::Count(pb::CountReply { rows: *rows, bytes: *bytes }),
            Reply::Swept { removed, more } => Kind::Swept(pb::SweptReply { removed: *removed, more: *more }),
            Reply::Migrated(migrated) => Kind::Migrated(migrated.into()),
            Reply::Refused(refusal) => Kind::Refused(refusal_to_wire(refusal)),
        };
        pb::Reply { kind: Some(kind) }
    }
}

impl TryFrom<pb::Reply> for Reply {
    type Error = ConvertError;

    fn try_from(reply: pb::Reply) -> Result<Self, ConvertError> {
        use pb::reply::Kind;
        let record = |record: Option<pb::Record>| record.map(Record::from);
        Ok(match reply.kind.ok_or_else(|| missing("Reply.kind"))? {
            Kind::Record(reply) => Reply::Record(record(reply.record)),
            Kind::Info(reply) => Reply::Info(reply.info.map(|info| RecordInfo {
                length: info.length,
                revision: info.revision,
                expires_at_ms: info.expires_at_ms,
            })),
            Kind::Written(reply) => {
                Reply::Written { revision: reply.revision, previous: record(reply.previous) }
            }
            Kind::Deleted(reply) => {
                Reply::Deleted { existed: reply.existed, previous: record(reply.previous) }
            }
            Kind::ConditionFailed(reply) => Reply::ConditionFailed { current: record(reply.current) },
            Kind::Number(reply) => Reply::Number { value: reply.value, revision: reply.revision },
            Kind::Decimal(reply) => Reply::Decimal { value: reply.value, revision: reply.revision },
            Kind::Length(reply) => Reply::Length { length: reply.length, revision: reply.revision },
            Kind::Touched(reply) => Reply::Touched { changed: reply.changed },
            Kind::Batch(batch) => {
                let replies = batch.replies.into_iter().map(|inner| match inner.kind {
                    // Batches do not nest, which also bounds the recursion.
                    Some(Kind::Batch(_)) => {
                        Err(ConvertError::Field { field: "BatchReply.replies", why: "batches do not nest" })
                    }
                    kind => pb::Reply { kind }.try_into(),
                });
                Reply::Batch { applied: batch.applied, replies: replies.collect::<Result<_, _>>()? }
            }
            Kind::Page(page) => {
                let rows = page.rows.into_iter().map(|row| {
                    let record = row.record.ok_or_else(|| missing("Row.record"))?.into();
                    Ok(Row { key: row.key, record })
                });
                Reply::Page { rows: rows.collect::<Result<_, ConvertError>>()?, more: page.more }
            }
            Kind::Count(reply) => Reply::Count { rows: reply.rows, bytes: reply.bytes },
            Kind::Swept(reply) => Reply::Swept { removed: reply.removed, more: reply.more },
            Kind::Migrated(migrated) => Reply::Migrated(migrated.try_into()?),
            Kind::Refused(refused) => Reply::Refused(refusal_from_wire(refused)?),
        })
    }
}

impl From<&Result<Reply, RequestError>> for pb::Result {
    fn from(result: &Result<Reply, RequestError>) -> Self {
        use pb::result::Kind;
        let kind = match result {
            Ok(reply) => Kind::Reply(reply.into()),
            Err(error) => Kind::Error(error.into()),
        };
        pb::Result { kind: Some(kind) }
    }
}

/// The result of one call, from the wire.
pub fn result_from_wire(result: pb::Result) -> Result<Result<Reply, RequestError>, ConvertError> {
    use pb::result::Kind;
    Ok(match result.kind.ok_or_else(|| missing("Result.kind"))? {
        Kind::Reply(reply) => Ok(reply.try_into()?),
        Kind::Error(error) => Err(error.try_into()?),
    })
}
