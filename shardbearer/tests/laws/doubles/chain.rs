//! Chains with one flaw each, for what only a protocol can do wrong: a chain that does one thing it must not, on the driver of all.

use bytes::{BufMut, Bytes, BytesMut};
use shardbearer::engine::chain::Chain;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::protocol::{Answer, Boot, Durable, Input, Message, Protocol, Ready, Status};

/// What is wrong, as a number, because a type cannot take an enum.
pub const READS_CLEAN_ALONE: u8 = 1;
pub const TRUSTS_ITS_TICKS: u8 = 2;
pub const CONFIRMS_OLD_EPOCHS: u8 = 3;
pub const COUNTS_WITHOUT_THE_TAIL: u8 = 4;

type Say = <Chain as Protocol>::Message;

/// Kinds of messages, as they are on the wire behind the version; numbers of eight bytes follow.
const ACK: u8 = 2;
const CONFIRM: u8 = 4;
const CONFIRMED_WITH_END: u8 = 6;

#[derive(Clone, Debug)]
pub struct Flawed<const FLAW: u8> {
    chain: Chain,
    me: RadiantId,
    commit: u64,
    tick: u64,
    patience: u64,
    /// When somebody was heard, by its ticks.
    heard: Option<u64>,
}

/// A message's version, kind and numbers.
fn taken(message: &Say) -> Option<(u8, u8, Vec<u64>)> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    let numbers = rest.chunks_exact(8).filter_map(|number| number.try_into().ok().map(u64::from_be_bytes));
    Some((head[0], head[1], numbers.collect()))
}

fn put(version: u8, kind: u8, numbers: &[u64]) -> Option<Say> {
    let mut bytes = BytesMut::from(&[version, kind][..]);
    numbers.iter().for_each(|number| bytes.put_u64(*number));
    Say::decode(Bytes::from(bytes))
}

/// What the successor has, as if it were durable from it to the tail.
fn counted<const FLAW: u8>(message: &Say) -> Option<Say> {
    let Some((version, ACK, numbers)) = taken(message) else { return None };
    let [epoch, matched, _, beat] = numbers[..] else { return None };
    if FLAW == COUNTS_WITHOUT_THE_TAIL { put(version, ACK, &[epoch, matched, matched, beat]) } else { None }
}

impl<const FLAW: u8> Flawed<FLAW> {
    fn is_member(&self) -> bool {
        self.chain.status().members.contains(&self.me)
    }

    /// Whether it answers a read from what it has.
    fn reads_alone(&self) -> bool {
        let follows = self.is_member() && self.chain.status().herald != Some(self.me);
        match FLAW {
            READS_CLEAN_ALONE => follows,
            TRUSTS_ITS_TICKS => {
                self.is_member() && self.heard.is_some_and(|heard| self.tick - heard <= self.patience)
            }
            _ => false,
        }
    }

    /// Says "it is" to one who asks whether an epoch is the present one that is over.
    fn confirms(&self, from: RadiantId, message: &Say, ready: &mut Ready<Say>) -> bool {
        let Some((version, CONFIRM, numbers)) = taken(message) else { return false };
        let [epoch, round] = numbers[..] else { return false };
        if FLAW != CONFIRMS_OLD_EPOCHS || epoch >= self.chain.status().term {
            return false;
        }
        // Whoever is asked may have been the tail.
        if let Some(said) = put(version, CONFIRMED_WITH_END, &[epoch, round, 0]) {
            ready.send_now(from, said);
        }
        true
    }
}

impl<const FLAW: u8> Protocol for Flawed<FLAW> {
    type Message = Say;

    fn recover(boot: Boot, durable: Durable) -> Result<Self, String> {
        let (me, patience) = (boot.me, boot.ticks.election_max);
        let commit = durable.applied.position.index;
        Ok(Flawed { chain: Chain::recover(boot, durable)?, me, commit, tick: 0, patience, heard: None })
    }

    fn step(&mut self, input: Input<Say>, ready: &mut Ready<Say>) {
        let input = match input {
            Input::Tick => {
                self.tick += 1;
                Input::Tick
            }
            Input::ReadBarrier { ticket } if self.reads_alone() => {
                return ready.answer(ticket, Answer::Read(self.commit));
            }
            Input::Receive { from, message, .. } if self.confirms(from, &message, ready) => return,
            Input::Receive { from, message, entries } => {
                self.heard = Some(self.tick);
                let message = counted::<FLAW>(&message).unwrap_or(message);
                Input::Receive { from, message, entries }
            }
            input => input,
        };
        self.chain.step(input, ready);
        self.commit = self.commit.max(ready.commit);
    }

    fn status(&self) -> Status {
        self.chain.status()
    }
}
