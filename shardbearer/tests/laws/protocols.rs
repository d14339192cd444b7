//! Chains with one flaw each: the kit for protocols must catch every one, by the law that is meant for it.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use shardbearer::engine::chain::Chain;
use shardbearer_core::protocol::{Answer, Boot, Durable, Input, Message, Protocol, Ready, Standing, Status};
use shardbearer_sim::conformance::protocol::{Subject, laws};
use shardbearer_sim::conformance::suite::caught;

/// What is wrong, as a number, because a type cannot take an enum.
const COMMITS_NOTHING: u8 = 1;
const COMMITS_AT_ONCE: u8 = 2;
const LEADS_WITH_OTHERS: u8 = 3;
const FOLLOWS_A_WHIM: u8 = 4;
const MUMBLES: u8 = 5;
const CHOKES: u8 = 6;
const ANSWERS_EVERYTHING: u8 = 7;
const FORGETS_ITS_LOG: u8 = 8;
const READS_WHAT_IT_APPLIED: u8 = 9;

type Words = <Chain as Protocol>::Message;

/// Different every time.
static WHIM: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Debug)]
struct Flawed<const FLAW: u8>(Chain, u64);

#[derive(Clone, Debug, PartialEq)]
struct Say<const FLAW: u8>(Words);

impl<const FLAW: u8> Message for Say<FLAW> {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
        if FLAW == MUMBLES
            && let Some(last) = out.last_mut()
        {
            *last &= !1;
        }
    }

    fn decode(bytes: Bytes) -> Option<Self> {
        let said = Words::decode(bytes).map(Say);
        if FLAW == CHOKES { Some(said.expect("members speak clearly")) } else { said }
    }
}

impl<const FLAW: u8> Protocol for Flawed<FLAW> {
    type Message = Say<FLAW>;

    fn recover(boot: Boot, mut durable: Durable) -> Result<Self, String> {
        if FLAW == FORGETS_ITS_LOG {
            let last = durable.log.last().index;
            durable.log.truncate(last);
        }
        let applied = durable.applied.position.index;
        Chain::recover(boot, durable).map(|chain| Flawed(chain, applied))
    }

    fn step(&mut self, input: Input<Say<FLAW>>, ready: &mut Ready<Say<FLAW>>) {
        let mut inner = Ready::default();
        if let Input::Applied { upto } = input {
            self.1 = upto;
        }
        if let Input::ReadBarrier { ticket } = input
            && FLAW == READS_WHAT_IT_APPLIED
            && self.0.status().leading
        {
            return ready.answer(ticket, Answer::Read(self.1));
        }
        let input = match input {
            Input::Receive { from, message, entries } => {
                if FLAW == ANSWERS_EVERYTHING {
                    ready.send_now(from, message.clone());
                }
                Input::Receive { from, message: message.0, entries }
            }
            Input::Tick => Input::Tick,
            Input::Propose { ticket, proposal } => Input::Propose { ticket, proposal },
            Input::ReadBarrier { ticket } => Input::ReadBarrier { ticket },
            Input::Reconfigure { ticket, change } => Input::Reconfigure { ticket, change },
            Input::HandOver { ticket, to } => Input::HandOver { ticket, to },
            Input::GivenUp { ticket } => Input::GivenUp { ticket },
            Input::Campaign => Input::Campaign,
            Input::Persisted { upto } => Input::Persisted { upto },
            Input::Applied { upto } => Input::Applied { upto },
            Input::Purged { upto } => Input::Purged { upto },
            Input::Installed { from, applied } => Input::Installed { from, applied },
        };
        let persisted = match input {
            Input::Persisted { upto } => upto,
            _ => 0,
        };
        self.0.step(input, &mut inner);
        let whim = FLAW == FOLLOWS_A_WHIM && WHIM.fetch_add(1, Ordering::Relaxed).is_multiple_of(5);
        ready.persist.append(&mut inner.persist);
        let said =
            |envelope: shardbearer_core::protocol::Envelope<Words>| shardbearer_core::protocol::Envelope {
                to: envelope.to,
                message: Say(envelope.message),
                entries: envelope.entries,
            };
        if !whim {
            ready.now.extend(inner.now.into_iter().map(said));
        }
        ready.standing.extend(inner.standing.into_iter().map(|standing| match standing {
            Standing::Ask { ticket, to, message } => Standing::Ask { ticket, to, message: Say(message) },
            Standing::Heard { ticket, from } => Standing::Heard { ticket, from },
            Standing::Deliver(envelope) => Standing::Deliver(said(envelope)),
            Standing::Delivered { to } => Standing::Delivered { to },
        }));
        ready.after.extend(inner.after.into_iter().map(said));
        ready.answers.append(&mut inner.answers);
        ready.snapshots.append(&mut inner.snapshots);
        match FLAW {
            COMMITS_NOTHING => {}
            COMMITS_AT_ONCE => ready.commit(inner.commit.max(persisted)),
            _ => ready.commit(inner.commit),
        }
    }

    fn status(&self) -> Status {
        let status = self.0.status();
        Status { leading: status.leading || FLAW == LEADS_WITH_OTHERS, ..status }
    }
}

fn assert_caught<const FLAW: u8>(flaw: &str, law: &str) {
    let broken = caught(&laws(), law, &Subject::<Flawed<FLAW>>::of(&[1, 2, 3]));
    println!("{flaw}: {broken:.200}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let row = text.lines().find(|line| line.contains(&format!("`{flaw}`")));
    assert!(row.is_some_and(|row| row.contains(law)), "docs/testing.md: `{flaw}` is caught by `{law}`");
}

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    assert_caught::<COMMITS_NOTHING>("CommitsNothing", "it_serves_when_all_is_calm");
    assert_caught::<FORGETS_ITS_LOG>("ForgetsItsLog", "it_comes_back_with_everything");
    assert_caught::<READS_WHAT_IT_APPLIED>("ReadsWhatItApplied", "it_comes_back_with_everything");
    assert_caught::<COMMITS_AT_ONCE>("CommitsAtOnce", "every_way_in_which_little_can_happen_is_fine");
    assert_caught::<LEADS_WITH_OTHERS>("LeadsWithOthers", "at_most_one_leads_in_a_term");
    assert_caught::<FOLLOWS_A_WHIM>("FollowsAWhim", "the_same_inputs_have_the_same_outputs");
    assert_caught::<MUMBLES>("Mumbles", "what_is_said_arrives");
    assert_caught::<CHOKES>("Chokes", "nonsense_is_no_panic");
    assert_caught::<ANSWERS_EVERYTHING>("AnswersEverything", "talk_ends_when_nothing_happens");
}
