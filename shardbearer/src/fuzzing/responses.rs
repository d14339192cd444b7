//! What radiants answer to clients, operators and each other, as the side reads it that asked: the library and the commands
//! for people, gateways, and radiants themselves. And the few questions that have nothing to be converted.

use std::fmt::Debug;

use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shardbearer_core::control::{ControlReply, EpochRecord};
use shardbearer_core::error::RequestError;
use shardbearer_core::migration::Migration;
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb::control_response::Kind as Said;
use shardbearer_proto::{convert, pb};

use super::messages::{self, Kind, again, kinds};
use crate::cluster::fuzz as cluster;
use crate::report::{self, history, rebalance};
use crate::router;
use crate::story;

/// What the target `responses` reads.
pub(super) const RESPONSES: &[Kind] = kinds! {
    // Clients and their library.
    ExecuteResponse => |raw| {
        each(raw, |answer: pb::ExecuteResponse| for result in answer.results { self::result(result) });
    },
    MapResponse => |raw| each(raw, map),
    // Radiants, of each other.
    ForwardResponse => |raw| {
        let read = |raw| router::results_from_bytes(raw).ok_or("these are no results");
        again(raw, read, |results| router::results_to_bytes(results));
    },
    ControlResponse => |raw| each(raw, control),
    BeaconRequest => |raw| {
        let of = |raw| convert::bootstrap::request_from_bytes(pb::BeaconRequest::decode(raw).unwrap_or_default().body);
        again(raw, of, |request| {
            let body = convert::bootstrap::request_to_bytes(request);
            pb::BeaconRequest { body }.encode_to_vec().into()
        });
    },
    BeaconResponse => |raw| {
        let of = |raw| convert::bootstrap::response_from_bytes(pb::BeaconResponse::decode(raw).unwrap_or_default().body);
        again(raw, of, |response| {
            let body = convert::bootstrap::response_to_bytes(response);
            pb::BeaconResponse { body }.encode_to_vec().into()
        });
    },
    // Operators.
    StatusResponse => |raw| each(raw, |status: pb::StatusResponse| told(report::Status::from(status))),
    EpochsResponse => |raw| each(raw, |answer: pb::EpochsResponse| answer.epochs.into_iter().for_each(epoch)),
    EpochAtResponse => |raw| each(raw, epoch_at),
    RevertResponse,
    MoveResponse => |raw| {
        each(raw, |answer: pb::MoveResponse| answer.migration.into_iter().for_each(migration));
    },
    RebalanceResponse => |raw| each(raw, |answer: pb::RebalanceResponse| told(rebalance::Answer::from(answer))),
    ExplainResponse => |raw| {
        each(raw, |answer: pb::ExplainResponse| answer.moves.into_iter().for_each(migration));
    },
    MemberResponse,
    ResetResponse,
    TimelineResponse => |raw| each(raw, timeline),
    DigestResponse,
    // What they ask.
    MapRequest,
    StatusRequest,
    EpochsRequest => |raw| each(raw, cluster::epochs),
    EpochAtRequest,
    RevertRequest,
    MoveRequest,
    RebalanceRequest => |raw| each(raw, cluster::rebalance),
    ExplainRequest,
    MemberRequest => |raw| each(raw, cluster::member),
    ResetRequest => |raw| each(raw, cluster::reset),
    TimelineRequest,
    DigestRequest,
};

/// Bytes that may be an answer: the first says of which kind.
pub fn responses(bytes: &[u8]) {
    messages::one_of(RESPONSES, bytes);
}

/// Hands on what is a message at all.
pub(super) fn each<M: Message + Default>(raw: Bytes, check: fn(M)) {
    if let Ok(message) = M::decode(raw) {
        check(message);
    }
}

/// From the wire and back to it: a value, or a sentence that says why there is none.
pub(super) fn there_and_back<M, T>(message: M) -> Option<T>
where
    M: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<M, Error: ToString>,
{
    let sentence = |error: T::Error| assert!(!error.to_string().is_empty(), "an error without a word");
    let value = T::try_from(message).map_err(sentence).ok()?;
    let written = M::from(&value).encode_to_vec();
    let back = M::decode(written.as_slice()).expect("what was written is a message");
    let back = T::try_from(back).map_err(|error| error.to_string()).expect("what was written is understood");
    assert_eq!(M::from(&back).encode_to_vec(), written, "another value came back");
    Some(value)
}

/// What programs are told as JSON they read as the same.
fn told<T: Serialize + DeserializeOwned + PartialEq + Debug>(report: T) {
    let text = serde_json::to_string(&report).expect("a report is JSON");
    assert_eq!(serde_json::from_str::<T>(&text).expect("its own JSON"), report, "{text}");
}

pub(super) fn result(result: pb::Result) {
    let raw = result.encode_to_vec().into();
    let read = |raw| convert::result_from_wire(pb::Result::decode(raw)?);
    again(raw, read, |result| pb::Result::from(result).encode_to_vec().into());
}

/// A map changes nothing when it comes a second time, and a key that it does not know has no address.
fn map(map: pb::MapResponse) {
    let first = shardbearer_client::fuzzing::addresses(std::slice::from_ref(&map));
    let again = shardbearer_client::fuzzing::addresses(&[map.clone(), map.clone()]);
    assert_eq!(first, again, "the same map says something else the second time");
    let _ = there_and_back::<_, Topology>(map.topology.unwrap_or_default());
}

fn control(answer: pb::ControlResponse) {
    match answer.kind {
        None => {}
        Some(Said::Topology(topology)) => drop(there_and_back::<_, Topology>(topology)),
        Some(Said::Epochs(answer)) => answer.epochs.into_iter().for_each(epoch),
        Some(Said::Reply(reply)) => drop(there_and_back::<_, ControlReply>(reply)),
        Some(Said::Error(error)) => {
            if let Some(error) = there_and_back::<_, RequestError>(error) {
                assert!(!error.to_string().is_empty(), "a refusal without a word");
            }
        }
        Some(Said::Migration(answer)) => answer.migration.into_iter().for_each(migration),
        Some(Said::Rebalance(answer)) => told(rebalance::Answer::from(answer)),
        Some(Said::Explain(answer)) => answer.moves.into_iter().for_each(migration),
        Some(Said::Members(_) | Said::Reset(_)) => {}
        Some(Said::EpochAt(answer)) => epoch_at(answer),
        Some(Said::Story(story)) => merged(story.events),
        Some(Said::LogEnd(end)) => log_end(end),
    }
}

/// What a radiant says of a log, also where it is handed on.
pub(super) fn log_end(end: pb::LogEndResponse) {
    cluster::log_end(end.clone());
    end.topology.into_iter().for_each(|topology| drop(there_and_back::<_, Topology>(topology)));
    end.migration.into_iter().for_each(migration);
}

fn epoch(record: pb::EpochRecord) {
    let record = EpochRecord::from(record);
    let wire = pb::EpochRecord::from(&record);
    told(history::Epoch::from(wire.clone()));
    assert_eq!(EpochRecord::from(wire), record);
}

fn epoch_at(answer: pb::EpochAtResponse) {
    let record = answer.record.unwrap_or_default();
    if let Some(topology) = there_and_back::<_, Topology>(answer.topology.unwrap_or_default()) {
        told(history::Configuration::new(record.clone().into(), &topology));
    }
    epoch(record);
}

pub(super) fn migration(migration: pb::Migration) {
    let report = report::migration::Migration::from(migration.clone());
    assert!(!report.sentence().is_empty(), "a migration without a word");
    told(report);
    let _ = there_and_back::<_, Migration>(migration);
}

/// Whoever is heard first, the story is the same, and each event of it is a sentence in a line of its own.
fn merged(events: Vec<pb::StoryEvent>) {
    let story = story::merge(events.clone());
    assert_eq!(
        story::merge(events.into_iter().rev().collect()),
        story,
        "the story depends on who is heard first"
    );
    let names = story::Names::default();
    for event in &story {
        let words = story::words(event, &names);
        assert!(!words.is_empty() && !words.contains('\n'), "{words:?}");
    }
}

fn timeline(timeline: pb::TimelineResponse) {
    let diagram = story::mermaid(&timeline.events, &timeline.radiants);
    assert!(diagram.starts_with("sequenceDiagram\n"), "{diagram}");
    merged(timeline.events.clone());
    told(history::Timeline::from(timeline));
}
