//! Messages to calls, results to messages.

use std::time::Duration;

use prost::Message;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::kv::{Command, Reply};
use shardbearer_core::limits;
use shardbearer_proto::convert::{ConvertError, client_may_send, cluster_of_call};
use shardbearer_proto::pb;

use crate::gateway::TABLE_DEFAULT;
use crate::kv::{Call, CallResult};

/// Calls in one request. Each has a result in the one answer.
pub(super) const CALLS_MAX: usize = limits::PROPOSAL_ITEMS_MAX;

/// What an answer's frame and the fields around its results take at most.
const ANSWER_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX - 4096;

/// A request as understood.
pub(super) struct Asked {
    pub(super) tag: u64,
    pub(super) table: String,
    pub(super) deadline: Duration,
    /// What goes to the door.
    pub(super) calls: Vec<Call>,
    /// What does not, with its place among all.
    pub(super) refused: Vec<(usize, RequestError)>,
    /// About how much memory it holds until it is answered, its answer included.
    pub(super) weight: usize,
}

/// Where the results of a request go once they are there.
pub(super) struct Slots {
    tag: u64,
    /// Results that come from the door.
    pub(super) calls: usize,
    refused: Vec<(usize, RequestError)>,
    /// As in [`Asked`].
    pub(super) weight: usize,
}

/// Understands a request, or answers it as a whole if it has more calls than one may have.
pub(super) fn understand(request: pb::ExecuteRequest) -> Result<Asked, pb::ExecuteResponse> {
    let tag = request.tag;
    if request.calls.len() > CALLS_MAX {
        let why = format!("the request has {} calls; at most {CALLS_MAX} are allowed", request.calls.len());
        let error = Err(Refused::Invalid(why).into());
        return Err(pb::ExecuteResponse { tag, results: vec![(&error).into()] });
    }
    let deadline_ms = match u64::from(request.deadline_ms) {
        0 => limits::REQUEST_MS_DEFAULT,
        asked => asked.min(limits::REQUEST_MS_MAX),
    };
    let table = if request.table.is_empty() { TABLE_DEFAULT.to_owned() } else { request.table };
    let mut calls = Vec::with_capacity(request.calls.len());
    let mut refused = Vec::new();
    let mut weight = 0;
    for (place, call) in request.calls.into_iter().enumerate() {
        match understand_call(call) {
            Ok(call) => {
                weight += call.command.weight() + answer_weight(&call.command);
                calls.push(call);
            }
            Err(why) => refused.push((place, Refused::Invalid(why).into())),
        }
    }
    Ok(Asked { tag, table, deadline: Duration::from_millis(deadline_ms), calls, refused, weight })
}

fn understand_call(call: pb::Call) -> Result<Call, String> {
    let said = |error: ConvertError| error.to_string();
    let id = call.id.map(TryInto::try_into).transpose().map_err(said)?;
    let command: Command = call.command.ok_or("field Call.command: missing")?.try_into().map_err(said)?;
    // The door knows this radiant's own, lower limit for values.
    client_may_send(&command, limits::GROWN_VALUE_BYTES_MAX)?;
    let cluster = cluster_of_call(&call.cluster).map_err(said)?;
    Ok(Call { id, cluster, ..Call::new(command) })
}

/// What the answer may weigh, where that is more than its question. Values read are not known beforehand.
fn answer_weight(command: &Command) -> usize {
    match command {
        Command::Scan(scan) => match usize::try_from(scan.bytes) {
            Ok(0) | Err(_) => limits::PAGE_BYTES_MAX,
            Ok(asked) => asked.min(limits::PAGE_BYTES_MAX),
        },
        _ => 0,
    }
}

impl Asked {
    /// The calls, and where their results go.
    pub(super) fn split(self) -> (Vec<Call>, Slots) {
        let slots =
            Slots { tag: self.tag, calls: self.calls.len(), refused: self.refused, weight: self.weight };
        (self.calls, slots)
    }
}

impl Slots {
    /// The answer. Takes as many results as there were calls.
    pub(super) fn fill(self, results: &mut impl Iterator<Item = CallResult>) -> pb::ExecuteResponse {
        let all = self.calls + self.refused.len();
        let mut answer = pb::ExecuteResponse { tag: self.tag, results: Vec::with_capacity(all) };
        let mut refused = self.refused.into_iter().peekable();
        let mut bytes = 0;
        for place in 0..all {
            let result = match refused.next_if(|(at, _)| *at == place) {
                Some((_, error)) => Err(error),
                None => results.next().unwrap_or_else(|| Err(RequestError::Unknown("no result".into()))),
            };
            let mut wire = pb::Result::from(&result);
            let size = wire.encoded_len();
            if bytes + size > ANSWER_BYTES_MAX {
                wire = (&Err(too_large(&result))).into();
                bytes += wire.encoded_len();
            } else {
                bytes += size;
            }
            answer.results.push(wire);
        }
        answer
    }
}

/// What is said instead of a reply that does not fit into the answer any more.
fn too_large(result: &CallResult) -> RequestError {
    let why = "the replies are larger than a message may be; ask for less at once".to_owned();
    match result {
        Ok(Reply::Record(_) | Reply::Page { .. } | Reply::Info(_)) | Err(RequestError::Refused(_)) => {
            Refused::Invalid(why).into()
        }
        // It may have written.
        Ok(_) | Err(RequestError::Unknown(_)) => RequestError::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shardbearer_core::kv::Record;

    use super::*;

    #[test]
    fn a_reply_that_does_not_fit_leaves_the_others_their_place() {
        let value = Bytes::from(vec![0; limits::MESSAGE_BYTES_MAX / 2]);
        let record =
            || Ok(Reply::Record(Some(Record { value: value.clone(), revision: 1, expires_at_ms: None })));
        let written = || Ok(Reply::Written { revision: 2, previous: None });
        let slots = Slots { tag: 5, calls: 3, refused: Vec::new(), weight: 0 };
        let answer = slots.fill(&mut [record(), record(), written()].into_iter());
        assert!(answer.encoded_len() <= limits::MESSAGE_BYTES_MAX);
        let results: Vec<_> = answer
            .results
            .into_iter()
            .map(|result| shardbearer_proto::convert::result_from_wire(result).expect("valid"))
            .collect();
        assert!(matches!(results[0], Ok(Reply::Record(Some(_)))));
        assert!(matches!(results[1], Err(RequestError::Refused(Refused::Invalid(_)))));
        assert!(matches!(results[2], Ok(Reply::Written { revision: 2, .. })));
    }

    #[test]
    fn deadlines_are_bounded() {
        for (asked, expected) in [(0, limits::REQUEST_MS_DEFAULT), (5, 5), (u32::MAX, limits::REQUEST_MS_MAX)]
        {
            let request = pb::ExecuteRequest { deadline_ms: asked, ..Default::default() };
            let Ok(understood) = understand(request) else { panic!("refused") };
            assert_eq!(understood.deadline, Duration::from_millis(expected));
        }
    }
}
