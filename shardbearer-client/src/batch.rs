//! Several commands at once: independent of each other, or as one step.

use shardbearer_core::kv::{Command, Record, Reply};

use crate::client::Client;
use crate::error::Error;

/// What became of an atomic batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Atomic {
    /// The commands took effect. A reply per command; of a batch that is not all-or-nothing, some may be refusals.
    Applied(Vec<Reply>),
    /// One command was refused and so nothing happened. A reply per command tells which.
    Undone(Vec<Reply>),
    /// A [`Command::Check`] did not hold and so nothing happened.
    CheckFailed {
        /// What is there.
        current: Option<Record>,
    },
}

impl Client {
    /// Carries out commands that have nothing to do with each other, in no particular order; a result each, in
    /// their order. They may concern any shards; those for one radiant travel together.
    pub async fn batch_each(&self, commands: impl IntoIterator<Item = Command>) -> Vec<Result<Reply, Error>> {
        futures_util::future::join_all(commands.into_iter().map(|command| self.execute(command))).await
    }

    /// Carries out commands in one step that nobody sees half done. All keys must be of one shard: give them the same
    /// `{hash tag}`. With `all_or_nothing`, one refusal or failed condition undoes the whole.
    ///
    /// ```no_run
    /// # use shardbearer_client::{Atomic, Client, Command, Condition, Expiry};
    /// # async fn example(client: Client) -> Result<(), shardbearer_client::Error> {
    /// let take = Command::Increment { key: "{account}a".into(), by: -5 };
    /// let give = Command::Increment { key: "{account}b".into(), by: 5 };
    /// match client.batch_atomic(vec![take, give], true).await? {
    ///     Atomic::Applied(replies) => println!("{replies:?}"),
    ///     Atomic::Undone(_) | Atomic::CheckFailed { .. } => println!("nothing happened"),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn batch_atomic(&self, commands: Vec<Command>, all_or_nothing: bool) -> Result<Atomic, Error> {
        match self.execute(Command::Batch { commands, all_or_nothing }).await? {
            Reply::Batch { applied: true, replies } => Ok(Atomic::Applied(replies)),
            Reply::Batch { applied: false, replies } => Ok(Atomic::Undone(replies)),
            Reply::ConditionFailed { current } => Ok(Atomic::CheckFailed { current }),
            other => Err(Error::unexpected(&other)),
        }
    }
}
