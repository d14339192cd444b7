//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH`: queued commands become one batch of one shard.
//!
//! Watching a key is remembering its revision; `EXEC` puts a guard in front of the batch for each. As in Redis
//! a wrong number of arguments spoils the transaction when it is queued, while an argument that makes no
//! sense is an error in the answer of `EXEC`, in the place of its command.

use bytes::Bytes;
use shardbearer_core::kv::{Command, Condition, Reply};
use shardbearer_core::limits;
use shardbearer_proto::convert::client_may_send;
use shardbearer_state::placement::slot_of;

use super::commands::{Control, Run, Spec};
use super::failure::Failure;
use super::plan::Shape;
use super::reply::Writer;
use super::session::Session;
use crate::kv::Call;

/// Most bytes of arguments that are queued: what fits one message between radiants, with room to spare.
const QUEUED_BYTES_MAX: usize = 8 << 20;

/// One connection's transaction and what it watches.
#[derive(Debug, Default)]
pub struct Transaction {
    open: bool,
    spoilt: bool,
    queued: Vec<(&'static Spec, Vec<Bytes>)>,
    bytes: usize,
    watched: Vec<(Bytes, u64)>,
}

/// A queued command at `EXEC`.
enum Step {
    /// The next so many replies of the batch are its own.
    Data(Shape, usize),
    Local(fn(&mut Session, &[Bytes], &mut Writer), Vec<Bytes>),
    Failed(Failure),
}

impl Transaction {
    /// Whether commands are being queued.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// `MULTI`.
    pub fn begin(&mut self) -> Result<(), Failure> {
        if self.open {
            return Err("ERR MULTI calls can not be nested".into());
        }
        self.open = true;
        Ok(())
    }

    /// `DISCARD`; also ends the watch.
    pub fn discard(&mut self) -> Result<(), Failure> {
        if !self.open {
            return Err("ERR DISCARD without MULTI".into());
        }
        *self = Transaction::default();
        Ok(())
    }

    /// `UNWATCH`.
    pub fn unwatch(&mut self) {
        self.watched.clear();
    }

    /// A command could not be queued: `EXEC` will refuse.
    pub fn spoil(&mut self) {
        self.spoilt |= self.open;
    }

    /// Queues a command.
    pub fn queue(&mut self, spec: &'static Spec, words: Vec<Bytes>) -> Result<(), Failure> {
        if !spec.queues {
            return Err("ERR Command not allowed inside a transaction".into());
        }
        // The name counts too, so that a queue of the shortest commands has an end.
        self.bytes += words.iter().map(|word| word.len() + 16).sum::<usize>();
        if self.bytes > QUEUED_BYTES_MAX || self.queued.len() >= limits::BATCH_COMMANDS_MAX {
            return Err(format!(
                "ERR a transaction has at most {} commands and {QUEUED_BYTES_MAX} bytes",
                limits::BATCH_COMMANDS_MAX
            )
            .into());
        }
        self.queued.push((spec, words));
        Ok(())
    }

    /// `WATCH key ...`.
    pub async fn watch(&mut self, session: &Session, keys: &[Bytes]) -> Result<(), Failure> {
        if self.open {
            return Err("ERR WATCH inside MULTI is not allowed".into());
        }
        session.gateway.inside()?;
        let watched = self.watched.iter().map(|(key, _)| key);
        one_slot(watched.chain(keys))?;
        let new = self.not_watched(keys);
        if self.watched.len() + new.len() > limits::BATCH_COMMANDS_MAX / 2 {
            return Err(format!("ERR at most {} keys are watched", limits::BATCH_COMMANDS_MAX / 2).into());
        }
        let calls = new.iter().map(|key| Call::new(Command::Inspect { key: key.clone() }));
        let calls: Vec<Call> = calls.collect();
        let mut revisions = Vec::with_capacity(new.len());
        for result in session.gateway.execute(calls).await {
            match result.map_err(|error| Failure::of(&error))? {
                Reply::Info(info) => revisions.push(info.map_or(0, |info| info.revision)),
                Reply::Refused(refusal) => return Err(Failure::refusal(&refusal)),
                _ => return Err("ERR the shard gave an answer that makes no sense".into()),
            }
        }
        self.watched.extend(new.into_iter().zip(revisions));
        Ok(())
    }

    /// A key watched before keeps the revision it had then.
    fn not_watched(&self, keys: &[Bytes]) -> Vec<Bytes> {
        let mut new: Vec<Bytes> = Vec::new();
        for key in keys {
            if !new.contains(key) && !self.watched.iter().any(|(watched, _)| watched == key) {
                // A slice would keep a whole read buffer alive for as long as the watch lasts.
                new.push(Bytes::copy_from_slice(key));
            }
        }
        new
    }

    /// `EXEC`: writes one reply for each queued command, null if a watched key has changed, or why nothing happened.
    pub async fn execute(&mut self, session: &mut Session, writer: &mut Writer) {
        match std::mem::take(self).run(session, writer).await {
            Ok(()) => {}
            Err(failure) => writer.failure(&failure),
        }
    }

    async fn run(self, session: &mut Session, writer: &mut Writer) -> Result<(), Failure> {
        if !self.open {
            return Err("ERR EXEC without MULTI".into());
        }
        if self.spoilt {
            return Err("EXECABORT Transaction discarded because of previous errors.".into());
        }
        let now_ms = session.gateway.world.wall_ms();
        let guards = self.watched.len();
        let guard = |(key, revision)| Command::Check { key, condition: Condition::Revision(revision) };
        let mut commands: Vec<Command> = self.watched.into_iter().map(guard).collect();
        let mut steps = Vec::with_capacity(self.queued.len());
        for (spec, words) in self.queued {
            steps.push(step(spec, words, now_ms, session.gateway.options.value_bytes_max, &mut commands));
        }
        one_slot(commands.iter().filter_map(Command::key))?;
        if commands.len() > limits::BATCH_COMMANDS_MAX {
            return Err(format!("ERR a transaction has at most {} keys", limits::BATCH_COMMANDS_MAX).into());
        }
        let count = commands.len();
        let replies = if commands.is_empty() {
            Vec::new()
        } else {
            session.gateway.inside()?;
            let batch = Command::Batch { commands, all_or_nothing: false };
            match session.gateway.execute_one(Call::new(batch)).await.map_err(|error| Failure::of(&error))? {
                Reply::Batch { replies, .. } => replies,
                Reply::ConditionFailed { .. } => {
                    writer.null_array();
                    return Ok(());
                }
                Reply::Refused(refusal) => return Err(Failure::refusal(&refusal)),
                _ => Vec::new(),
            }
        };
        if replies.len() != count {
            return Err("UNKNOWN outcome: the shard gave an answer that makes no sense".into());
        }
        let mut replies = replies.iter().skip(guards);
        writer.array(steps.len());
        for step in steps {
            match step {
                Step::Data(shape, count) => {
                    let own: Vec<&Reply> = replies.by_ref().take(count).collect();
                    shape.write(&own, now_ms, writer);
                }
                Step::Local(run, words) => run(session, &words, writer),
                Step::Failed(failure) => writer.failure(&failure),
            }
        }
        Ok(())
    }
}

/// Translates a queued command and adds its part to the batch.
fn step(
    spec: &Spec,
    words: Vec<Bytes>,
    now_ms: u64,
    value_bytes_max: usize,
    commands: &mut Vec<Command>,
) -> Step {
    match spec.run {
        Run::Local(run) => Step::Local(run, words),
        Run::Control(Control::Unwatch) => Step::Local(|_, _, writer| writer.ok(), words),
        Run::Whole(_) | Run::Control(_) => {
            Step::Failed("ERR Command not allowed inside a transaction".into())
        }
        Run::Data(translate) => match translate(&words, now_ms) {
            Err(failure) => Step::Failed(failure),
            Ok(plan) => {
                // The door would refuse the whole batch for one unacceptable command.
                let mut refused = plan.commands().iter().map(|one| client_may_send(one, value_bytes_max));
                if let Some(why) = refused.find_map(Result::err) {
                    return Step::Failed(format!("ERR {why}").into());
                }
                commands.extend_from_slice(plan.commands());
                Step::Data(plan.shape, plan.commands().len())
            }
        },
    }
}

fn one_slot<'a>(keys: impl Iterator<Item = &'a Bytes>) -> Result<(), Failure> {
    let mut slots = keys.map(|key| slot_of(key));
    let first = slots.next();
    if slots.all(|slot| Some(slot) == first) { Ok(()) } else { Err(Failure::CROSS_SLOT) }
}
