//! What the members of a chain say to each other, and how it and a member's hard state look as bytes. Total to decode.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{Configuration, Message};

/// Version of messages and of the hard state.
const VERSION: u8 = 1;

/// Members that a configuration may have; a chain of more would be of no use to anybody.
pub const MEMBERS_MAX: usize = 64;

/// What one member says to another. All but [`Say::Take`] count only within their epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// Down the chain: here are the entries behind `prev`, all durable where they come from.
    Append { epoch: Epoch, prev: LogPos, base: u64, beat: u64 },
    /// Up the chain: how far my log is yours, and how much is durable from me to the tail. The newest beat the tail got.
    Ack { epoch: Epoch, matched: u64, commit: u64, beat: u64 },
    /// Up the chain: I do not have your `prev`; go back to this index.
    Reject { epoch: Epoch, back: u64 },
    /// To everybody: is this still your epoch?
    Confirm { epoch: Epoch, round: u64 },
    /// It is. From the tail, once it knows of all that earlier epochs committed, also how far that goes by now.
    Confirmed { epoch: Epoch, round: u64, last: Option<u64> },
    /// I know of no newer epoch than this, and heard of one.
    Ask { epoch: Epoch },
    /// The members as I know them.
    Take(Configuration),
}

impl Say {
    /// The epoch in which it was said.
    pub fn epoch(&self) -> Epoch {
        match self {
            Say::Append { epoch, .. }
            | Say::Ack { epoch, .. }
            | Say::Reject { epoch, .. }
            | Say::Confirm { epoch, .. }
            | Say::Confirmed { epoch, .. }
            | Say::Ask { epoch } => *epoch,
            Say::Take(configuration) => configuration.epoch,
        }
    }
}

impl Message for Say {
    fn encode(&self, out: &mut BytesMut) {
        let mut put = |kind: u8, numbers: &[u64]| {
            out.put_u8(VERSION);
            out.put_u8(kind);
            numbers.iter().for_each(|number| out.put_u64(*number));
        };
        match self {
            Say::Append { epoch, prev, base, beat } => {
                put(1, &[epoch.0, prev.term, prev.index, *base, *beat]);
            }
            Say::Ack { epoch, matched, commit, beat } => put(2, &[epoch.0, *matched, *commit, *beat]),
            Say::Reject { epoch, back } => put(3, &[epoch.0, *back]),
            Say::Confirm { epoch, round } => put(4, &[epoch.0, *round]),
            Say::Confirmed { epoch, round, last: None } => put(5, &[epoch.0, *round]),
            Say::Confirmed { epoch, round, last: Some(last) } => put(6, &[epoch.0, *round, *last]),
            Say::Ask { epoch } => put(7, &[epoch.0]),
            Say::Take(configuration) => {
                put(8, &[]);
                put_configuration(out, configuration);
            }
        }
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let rest = &mut bytes;
        if rest.try_get_u8().ok()? != VERSION {
            return None;
        }
        let kind = rest.try_get_u8().ok()?;
        let say = if kind == 8 {
            Say::Take(take_configuration(rest)?)
        } else {
            let mut number = || rest.try_get_u64().ok();
            let epoch = Epoch(number()?);
            match kind {
                1 => {
                    let prev = LogPos { term: number()?, index: number()? };
                    Say::Append { epoch, prev, base: number()?, beat: number()? }
                }
                2 => Say::Ack { epoch, matched: number()?, commit: number()?, beat: number()? },
                3 => Say::Reject { epoch, back: number()? },
                4 => Say::Confirm { epoch, round: number()? },
                5 => Say::Confirmed { epoch, round: number()?, last: None },
                6 => Say::Confirmed { epoch, round: number()?, last: Some(number()?) },
                7 => Say::Ask { epoch },
                _ => return None,
            }
        };
        bytes.is_empty().then_some(say)
    }
}

fn put_configuration(out: &mut BytesMut, configuration: &Configuration) {
    out.put_u64(configuration.epoch.0);
    out.put_u64(configuration.previous.0);
    configuration.members.iter().for_each(|member| out.put_u64(member.0));
    if !configuration.learners.is_empty() {
        out.put_u64(RadiantId::NONE.0);
        configuration.learners.iter().for_each(|learner| out.put_u64(learner.0));
    }
}

/// Members, and behind a zero learners, to the end of the bytes.
fn take_configuration(rest: &mut Bytes) -> Option<Configuration> {
    let (epoch, previous) = (Epoch(rest.try_get_u64().ok()?), Epoch(rest.try_get_u64().ok()?));
    if !rest.len().is_multiple_of(8) || rest.len() / 8 > MEMBERS_MAX + 1 {
        return None;
    }
    let mut all = Vec::with_capacity(rest.len() / 8);
    while let Ok(member) = rest.try_get_u64() {
        all.push(RadiantId(member));
    }
    let mut lists = all.split(|member| member.is_none()).map(<[RadiantId]>::to_vec);
    let (members, learners) = (lists.next().unwrap_or_default(), lists.next().unwrap_or_default());
    lists.next().is_none().then_some(Configuration { epoch, previous, members, learners })
}

/// What a member must not forget: its configuration, and whether its log holds everything committed before it.
pub fn encode_hard(configuration: &Configuration, complete: bool) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    out.put_u8(complete.into());
    put_configuration(&mut out, configuration);
    out.freeze()
}

/// The inverse of [`encode_hard`].
pub fn decode_hard(mut bytes: Bytes) -> Option<(Configuration, bool)> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let complete = bytes.try_get_u8().ok()? != 0;
    Some((take_configuration(&mut bytes)?, complete))
}
