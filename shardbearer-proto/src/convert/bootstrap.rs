//! The founding protocol's messages and the data directory's small files: bytes to
//! [`shardbearer_core::bootstrap`] and back.
//!
//! Decoding is total: any bytes give a value or a sentence. What has no meaning (a radiant without
//! incarnation, a ballot without term) does not come through, so that the machine need not ask.

use bytes::Bytes;
use prost::Message;
use shardbearer_core::bootstrap::{
    Accepted, Ask, Ballot, Founder, Founding, Request, Response, Say, View, Vote,
};
use shardbearer_core::ids::{ClusterId, Incarnation, RadiantId};
use shardbearer_core::limits::{BOOTSTRAP_PEERS_MAX, BOOTSTRAP_TEXT_BYTES_MAX, MESSAGE_BYTES_MAX};
use shardbearer_core::topology::Doors;

use crate::pb;
use pb::bootstrap_request::Ask as WireAsk;
use pb::bootstrap_response::Say as WireSay;

/// The version of the founding protocol that is spoken here.
const VERSION: u32 = 1;
/// Members that a configuration may name in a message; more than the largest cluster has.
const MEMBERS_MAX: usize = 4_096;
/// Longest objection: a few sentences.
const OBJECTION_BYTES_MAX: usize = 4 << 10;

/// Why bytes are not what they should be: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Encodes a question.
pub fn request_to_bytes(request: &Request) -> Bytes {
    let ask = match &request.ask {
        Ask::Beacon => WireAsk::Beacon(pb::BootstrapBeacon {}),
        Ask::Promise(ballot) => WireAsk::Promise(from_ballot(*ballot)),
        Ask::Accept(accepted) => WireAsk::Accept(from_accepted(accepted)),
        Ask::Founded(founding) => WireAsk::Founded(from_founding(founding)),
    };
    let to = from_incarnation(request.to);
    let from = Some(from_view(&request.from));
    pb::BootstrapRequest { version: VERSION, from, to, ask: Some(ask) }.encode_to_vec().into()
}

/// Decodes a question.
pub fn request_from_bytes(raw: Bytes) -> Result<Request, Malformed> {
    let wire = pb::BootstrapRequest::decode(checked(raw)?).map_err(damaged)?;
    check_version(wire.version)?;
    let ask = match wire.ask.ok_or_else(|| missing("question"))? {
        WireAsk::Beacon(pb::BootstrapBeacon {}) => Ask::Beacon,
        WireAsk::Promise(ballot) => Ask::Promise(to_ballot(Some(ballot))?),
        WireAsk::Accept(accepted) => Ask::Accept(to_accepted(accepted)?),
        WireAsk::Founded(founding) => Ask::Founded(to_founding(Some(founding))?),
    };
    let to = if wire.to.is_empty() { Incarnation::NONE } else { to_incarnation(&wire.to)? };
    Ok(Request { from: to_view(wire.from)?, to, ask })
}

/// Encodes an answer.
pub fn response_to_bytes(response: &Response) -> Bytes {
    let say = match &response.say {
        Say::Seen => WireSay::Seen(pb::BootstrapBeacon {}),
        Say::Promised { ballot, accepted } => WireSay::Promised(pb::BootstrapPromised {
            ballot: Some(from_ballot(*ballot)),
            accepted: accepted.as_ref().map(from_accepted),
        }),
        Say::Accepted(ballot) => WireSay::Accepted(from_ballot(*ballot)),
        Say::Superseded { ballot, promised } => WireSay::Superseded(pb::BootstrapSuperseded {
            ballot: Some(from_ballot(*ballot)),
            promised: Some(from_ballot(*promised)),
        }),
        Say::Member(founding) => WireSay::Member(from_founding(founding)),
        Say::Join { cluster, via } => {
            WireSay::Join(pb::BootstrapJoin { cluster: from_cluster(*cluster), via: via.clone() })
        }
        Say::Objection(why) => WireSay::Objection(shortened(why, OBJECTION_BYTES_MAX).to_owned()),
        Say::NameTaken(why) => WireSay::NameTaken(shortened(why, OBJECTION_BYTES_MAX).to_owned()),
    };
    let from = Some(from_view(&response.from));
    pb::BootstrapResponse { version: VERSION, from, say: Some(say) }.encode_to_vec().into()
}

/// Decodes an answer.
pub fn response_from_bytes(raw: Bytes) -> Result<Response, Malformed> {
    let wire = pb::BootstrapResponse::decode(checked(raw)?).map_err(damaged)?;
    check_version(wire.version)?;
    let say = match wire.say.ok_or_else(|| missing("answer"))? {
        WireSay::Seen(pb::BootstrapBeacon {}) => Say::Seen,
        WireSay::Promised(promised) => Say::Promised {
            ballot: to_ballot(promised.ballot)?,
            accepted: promised.accepted.map(to_accepted).transpose()?,
        },
        WireSay::Accepted(ballot) => Say::Accepted(to_ballot(Some(ballot))?),
        WireSay::Superseded(pb::BootstrapSuperseded { ballot, promised }) => {
            Say::Superseded { ballot: to_ballot(ballot)?, promised: to_ballot(promised)? }
        }
        WireSay::Member(founding) => Say::Member(to_founding(Some(founding))?),
        WireSay::Join(join) => {
            let via = join.via.into_iter().take(BOOTSTRAP_PEERS_MAX);
            let via =
                via.map(|address| text(address, "address")).collect::<Result<Vec<String>, Malformed>>()?;
            Say::Join { cluster: to_cluster(&join.cluster)?, via }
        }
        WireSay::Objection(why) => Say::Objection(shortened(&why, OBJECTION_BYTES_MAX).to_owned()),
        WireSay::NameTaken(why) => Say::NameTaken(shortened(&why, OBJECTION_BYTES_MAX).to_owned()),
    };
    Ok(Response { from: to_view(wire.from)?, say })
}

/// Encodes the body of the file `bootstrap-vote`.
pub fn vote_to_bytes(vote: &Vote) -> Bytes {
    let promised = (vote.promised != Ballot::default()).then(|| from_ballot(vote.promised));
    pb::BootstrapVote { promised, accepted: vote.accepted.as_ref().map(from_accepted) }.encode_to_vec().into()
}

/// Decodes the body of the file `bootstrap-vote`.
pub fn vote_from_bytes(raw: Bytes) -> Result<Vote, Malformed> {
    let wire = pb::BootstrapVote::decode(raw).map_err(damaged)?;
    let promised = wire.promised.map(|ballot| to_ballot(Some(ballot))).transpose()?.unwrap_or_default();
    Ok(Vote { promised, accepted: wire.accepted.map(to_accepted).transpose()? })
}

/// Encodes the body of the file `identity`.
pub fn identity_to_bytes(name: &str, incarnation: Incarnation) -> Bytes {
    let incarnation = from_incarnation(incarnation);
    pb::BootstrapIdentity { name: name.to_owned(), incarnation }.encode_to_vec().into()
}

/// Decodes the body of the file `identity`.
pub fn identity_from_bytes(raw: Bytes) -> Result<(String, Incarnation), Malformed> {
    let wire = pb::BootstrapIdentity::decode(raw).map_err(damaged)?;
    Ok((wire.name, to_incarnation(&wire.incarnation)?))
}

/// Encodes the body of the file `cluster`.
pub fn cluster_to_bytes(cluster: ClusterId, radiant: RadiantId, topology: Bytes) -> Bytes {
    let cluster = from_cluster(cluster);
    pb::BootstrapCluster { cluster, radiant: radiant.0, topology }.encode_to_vec().into()
}

/// Decodes the body of the file `cluster`: the cluster, this radiant's id, the encoded topology.
pub fn cluster_from_bytes(raw: Bytes) -> Result<(ClusterId, RadiantId, Bytes), Malformed> {
    let wire = pb::BootstrapCluster::decode(raw).map_err(damaged)?;
    if wire.radiant == 0 {
        return Err(missing("radiant"));
    }
    Ok((to_cluster(&wire.cluster)?, RadiantId(wire.radiant), wire.topology))
}

fn from_view(view: &View) -> pb::BootstrapView {
    let peers = view.peers.iter().take(BOOTSTRAP_PEERS_MAX).map(from_founder).collect();
    let me = Some(from_founder(&view.me));
    pb::BootstrapView { me, expect: view.expect, cluster: from_cluster(view.cluster), peers }
}

fn to_view(wire: Option<pb::BootstrapView>) -> Result<View, Malformed> {
    let wire = wire.ok_or_else(|| missing("view"))?;
    let me = to_founder(wire.me.ok_or_else(|| missing("speaker"))?)?;
    let cluster = if wire.cluster.is_empty() { ClusterId::NONE } else { to_cluster(&wire.cluster)? };
    let peers = wire.peers.into_iter().take(BOOTSTRAP_PEERS_MAX).map(to_founder);
    Ok(View { me, expect: wire.expect, cluster, peers: peers.collect::<Result<_, _>>()? })
}

fn from_founder(founder: &Founder) -> pb::BootstrapFounder {
    let Doors { grpc, resp, http } = founder.doors.clone();
    let doors = Some(pb::Doors { grpc, resp, http });
    let incarnation = from_incarnation(founder.incarnation);
    pb::BootstrapFounder { name: founder.name.clone(), incarnation, doors }
}

fn to_founder(wire: pb::BootstrapFounder) -> Result<Founder, Malformed> {
    let pb::Doors { grpc, resp, http } = wire.doors.unwrap_or_default();
    let doors =
        Doors { grpc: text(grpc, "address")?, resp: text(resp, "address")?, http: text(http, "address")? };
    let incarnation = to_incarnation(&wire.incarnation)?;
    Ok(Founder { name: text(wire.name, "name")?, incarnation, doors })
}

fn from_ballot(ballot: Ballot) -> pb::BootstrapBallot {
    pb::BootstrapBallot { term: ballot.term, candidate: from_incarnation(ballot.candidate) }
}

fn to_ballot(wire: Option<pb::BootstrapBallot>) -> Result<Ballot, Malformed> {
    let wire = wire.ok_or_else(|| missing("ballot"))?;
    if wire.term == 0 {
        return Err(missing("term"));
    }
    Ok(Ballot { term: wire.term, candidate: to_incarnation(&wire.candidate)? })
}

fn from_founding(founding: &Founding) -> pb::BootstrapFounding {
    let members = founding.members.iter().map(from_founder).collect();
    let topology = founding.topology.clone();
    pb::BootstrapFounding { cluster: from_cluster(founding.cluster), members, topology }
}

fn to_founding(wire: Option<pb::BootstrapFounding>) -> Result<Founding, Malformed> {
    let wire = wire.ok_or_else(|| missing("founding"))?;
    if wire.members.len() > MEMBERS_MAX {
        return Err(Malformed(format!("a founding names {} members", wire.members.len())));
    }
    let members = wire.members.into_iter().map(to_founder).collect::<Result<_, _>>()?;
    Ok(Founding { cluster: to_cluster(&wire.cluster)?, members, topology: wire.topology })
}

fn from_accepted(accepted: &Accepted) -> pb::BootstrapAccepted {
    let founding = Some(from_founding(&accepted.founding));
    pb::BootstrapAccepted { ballot: Some(from_ballot(accepted.ballot)), founding }
}

fn to_accepted(wire: pb::BootstrapAccepted) -> Result<Accepted, Malformed> {
    Ok(Accepted { ballot: to_ballot(wire.ballot)?, founding: to_founding(wire.founding)? })
}

/// Absent where it is none.
fn from_incarnation(incarnation: Incarnation) -> Bytes {
    if incarnation.is_none() { Bytes::new() } else { Bytes::copy_from_slice(&incarnation.to_bytes()) }
}

fn to_incarnation(raw: &[u8]) -> Result<Incarnation, Malformed> {
    Incarnation::from_bytes(raw).filter(|id| !id.is_none()).ok_or_else(|| missing("incarnation"))
}

/// Absent where it is none.
fn from_cluster(cluster: ClusterId) -> Bytes {
    if cluster.is_none() { Bytes::new() } else { Bytes::copy_from_slice(&cluster.to_bytes()) }
}

fn to_cluster(raw: &[u8]) -> Result<ClusterId, Malformed> {
    ClusterId::from_bytes(raw).filter(|id| !id.is_none()).ok_or_else(|| missing("cluster id"))
}

fn text(text: String, what: &str) -> Result<String, Malformed> {
    if text.len() > BOOTSTRAP_TEXT_BYTES_MAX {
        return Err(Malformed(format!("a {what} of {} bytes", text.len())));
    }
    Ok(text)
}

fn shortened(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn checked(raw: Bytes) -> Result<Bytes, Malformed> {
    if raw.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed(format!("a bootstrap message of {} bytes", raw.len())));
    }
    Ok(raw)
}

fn check_version(version: u32) -> Result<(), Malformed> {
    if version != VERSION {
        let words = format!("bootstrap protocol version {version}; this radiant speaks {VERSION}");
        return Err(Malformed(words));
    }
    Ok(())
}

fn missing(what: &str) -> Malformed {
    Malformed(format!("no valid {what} in a bootstrap message"))
}

fn damaged(error: prost::DecodeError) -> Malformed {
    Malformed(format!("not a bootstrap message: {error}"))
}

#[cfg(test)]
mod tests;
