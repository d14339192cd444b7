//! What the loop sees of a server.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use shardbearer_client::{Client, Command, Condition, Expiry};

/// Reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of the whole value.
    Read,
    /// Of the whole value, whatever there is.
    Write,
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Op {
    /// What.
    pub(super) kind: Kind,
    /// On which key.
    pub(super) key: Bytes,
}

/// One client's way to the servers.
#[async_trait]
pub(super) trait Driver: Send {
    /// Sends all at once and waits for all answers. After an error the next call starts afresh.
    async fn run(&mut self, ops: &[Op], value: &Bytes) -> anyhow::Result<()>;
}

#[async_trait]
impl Driver for Client {
    async fn run(&mut self, ops: &[Op], value: &Bytes) -> anyhow::Result<()> {
        let calls = ops.iter().map(|op| {
            let key = op.key.clone();
            self.execute(match op.kind {
                Kind::Read => Command::Get { key },
                Kind::Write => Command::Put {
                    key,
                    value: value.clone(),
                    condition: Condition::Always,
                    expiry: Expiry::Never,
                    previous: false,
                },
            })
        });
        try_join_all(calls).await?;
        Ok(())
    }
}
