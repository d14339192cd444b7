//! Calls on single keys, with typed results.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use shardbearer_core::kv::{Command, Condition, ExpireWhen, Expiry, Record, RecordInfo, Reply};

use crate::client::Client;
use crate::error::Error;
use crate::results::{Conditional, Count, Deleted, Length, Number, Written};

/// Marks a write without a condition.
pub struct Always;

/// Marks a write with a condition.
pub struct When;

type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A put to be awaited. Without a condition it gives [`Written`], with one [`Conditional<Written>`].
#[must_use = "nothing is written until this is awaited"]
pub struct Put<C = Always> {
    client: Client,
    key: Bytes,
    value: Bytes,
    condition: Condition,
    expiry: Expiry,
    previous: bool,
    kind: PhantomData<C>,
}

impl<C> Put<C> {
    /// The key expires after this time.
    pub fn ttl(mut self, ttl: Duration) -> Put<C> {
        self.expiry = Expiry::At(after(ttl));
        self
    }

    /// The key expires at this time, in Unix milliseconds.
    pub fn expires_at_ms(mut self, at: u64) -> Put<C> {
        self.expiry = Expiry::At(at);
        self
    }

    /// The key keeps the expiry it has.
    pub fn keep_ttl(mut self) -> Put<C> {
        self.expiry = Expiry::Keep;
        self
    }

    /// The result tells what was replaced.
    pub fn previous(mut self) -> Put<C> {
        self.previous = true;
        self
    }

    /// Only if this holds.
    pub fn condition(self, condition: Condition) -> Put<When> {
        let Put { client, key, value, expiry, previous, .. } = self;
        Put { client, key, value, condition, expiry, previous, kind: PhantomData }
    }

    /// Only if there is no such key.
    pub fn if_absent(self) -> Put<When> {
        self.condition(Condition::Absent)
    }

    /// Only if there is such a key.
    pub fn if_present(self) -> Put<When> {
        self.condition(Condition::Present)
    }

    /// Only if the key's revision is this; 0 means that there is no such key.
    pub fn if_revision(self, revision: u64) -> Put<When> {
        self.condition(Condition::Revision(revision))
    }

    /// Only if the key holds exactly this.
    pub fn if_value(self, value: impl Into<Bytes>) -> Put<When> {
        self.condition(Condition::Value(value.into()))
    }

    async fn send(self) -> Result<Conditional<Written>, Error> {
        let Put { client, key, value, condition, expiry, previous, .. } = self;
        match client.execute(Command::Put { key, value, condition, expiry, previous }).await? {
            Reply::Written { revision, previous } => Ok(Conditional::Done(Written { revision, previous })),
            Reply::ConditionFailed { current } => Ok(Conditional::ConditionFailed { current }),
            other => Err(Error::unexpected(&other)),
        }
    }
}

impl IntoFuture for Put<Always> {
    type Output = Result<Written, Error>;
    type IntoFuture = Call<Written>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { unconditional(self.send().await?) })
    }
}

impl IntoFuture for Put<When> {
    type Output = Result<Conditional<Written>, Error>;
    type IntoFuture = Call<Conditional<Written>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A delete to be awaited. Without a condition it gives [`Deleted`], with one [`Conditional<Deleted>`].
#[must_use = "nothing is deleted until this is awaited"]
pub struct Delete<C = Always> {
    client: Client,
    key: Bytes,
    condition: Condition,
    previous: bool,
    kind: PhantomData<C>,
}

impl<C> Delete<C> {
    /// The result tells what was removed.
    pub fn previous(mut self) -> Delete<C> {
        self.previous = true;
        self
    }

    /// Only if this holds.
    pub fn condition(self, condition: Condition) -> Delete<When> {
        Delete { client: self.client, key: self.key, condition, previous: self.previous, kind: PhantomData }
    }

    /// Only if the key's revision is this.
    pub fn if_revision(self, revision: u64) -> Delete<When> {
        self.condition(Condition::Revision(revision))
    }

    /// Only if the key holds exactly this.
    pub fn if_value(self, value: impl Into<Bytes>) -> Delete<When> {
        self.condition(Condition::Value(value.into()))
    }

    async fn send(self) -> Result<Conditional<Deleted>, Error> {
        let Delete { client, key, condition, previous, .. } = self;
        match client.execute(Command::Delete { key, condition, previous }).await? {
            Reply::Deleted { existed, previous } => Ok(Conditional::Done(Deleted { existed, previous })),
            Reply::ConditionFailed { current } => Ok(Conditional::ConditionFailed { current }),
            other => Err(Error::unexpected(&other)),
        }
    }
}

impl IntoFuture for Delete<Always> {
    type Output = Result<Deleted, Error>;
    type IntoFuture = Call<Deleted>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { unconditional(self.send().await?) })
    }
}

impl IntoFuture for Delete<When> {
    type Output = Result<Conditional<Deleted>, Error>;
    type IntoFuture = Call<Conditional<Deleted>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

fn unconditional<T>(result: Conditional<T>) -> Result<T, Error> {
    match result {
        Conditional::Done(done) => Ok(done),
        Conditional::ConditionFailed { current } => Err(Error::unexpected(&current)),
    }
}

/// The wall clock's time after so long, in Unix milliseconds.
fn after(ttl: Duration) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from((since.saturating_add(ttl)).as_millis()).unwrap_or(u64::MAX)
}

impl Client {
    /// The key's record, if there is one.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Record>, Error> {
        match self.execute(Command::Get { key: key.into() }).await? {
            Reply::Record(record) => Ok(record),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Everything about the key but its value.
    pub async fn inspect(&self, key: impl Into<Bytes>) -> Result<Option<RecordInfo>, Error> {
        match self.execute(Command::Inspect { key: key.into() }).await? {
            Reply::Info(info) => Ok(info),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Sets the key. `client.put(k, v).await`, or first a condition or an expiry.
    pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        Put {
            client: self.clone(),
            key: key.into(),
            value: value.into(),
            condition: Condition::Always,
            expiry: Expiry::Never,
            previous: false,
            kind: PhantomData,
        }
    }

    /// Removes the key. `client.delete(k).await`, or first a condition.
    pub fn delete(&self, key: impl Into<Bytes>) -> Delete {
        Delete {
            client: self.clone(),
            key: key.into(),
            condition: Condition::Always,
            previous: false,
            kind: PhantomData,
        }
    }

    /// Adds to a decimal integer; an absent key counts as 0.
    pub async fn increment(&self, key: impl Into<Bytes>, by: i64) -> Result<Number, Error> {
        match self.execute(Command::Increment { key: key.into(), by }).await? {
            Reply::Number { value, revision } => Ok(Number { value, revision }),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Appends to the value; an absent key counts as empty.
    pub async fn append(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Length, Error> {
        match self.execute(Command::Append { key: key.into(), value: value.into() }).await? {
            Reply::Length { length, revision } => Ok(Length { length, revision }),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Lets the key expire after this time, or never. Returns whether there was such a key to change.
    pub async fn expire(&self, key: impl Into<Bytes>, ttl: Option<Duration>) -> Result<bool, Error> {
        let command = Command::Expire { key: key.into(), at_ms: ttl.map(after), when: ExpireWhen::Always };
        match self.execute(command).await? {
            Reply::Touched { changed } => Ok(changed),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// How much the whole table holds.
    pub async fn count(&self) -> Result<Count, Error> {
        match self.execute(Command::Count).await? {
            Reply::Count { rows, bytes } => Ok(Count { rows, bytes }),
            other => Err(Error::unexpected(&other)),
        }
    }
}
