//! How a client is made: endpoints, timeouts, bounds.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use shardbearer_core::limits;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::client::{Client, Inner, clamped};
use crate::error::Error;
use crate::map::Refresher;
use crate::retry::Journey;
use crate::route::{Links, Routes};
use crate::session::Sessions;

/// How a client is made. See [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    endpoints: Vec<String>,
    timeout: Duration,
    attempt_timeout: Duration,
    connect_timeout: Duration,
    in_flight_max: usize,
    sessions: usize,
    session_window: u64,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            endpoints: Vec::new(),
            timeout: Duration::from_millis(limits::REQUEST_MS_DEFAULT),
            attempt_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(1),
            in_flight_max: 4_096,
            sessions: 32,
            session_window: 256,
        }
    }
}

impl Builder {
    /// Adds a radiant's gRPC door as `host:port`. Any radiant will do; the others are learned from it.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Builder {
        self.endpoints.push(endpoint.into());
        self
    }

    /// How long a call may take over all its attempts; at most 60 s. Default 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Builder {
        self.timeout = timeout;
        self
    }

    /// After how long without an answer another attempt is made. Default 3 s.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Builder {
        self.attempt_timeout = timeout;
        self
    }

    /// How long to wait for one connection. Default 1 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.connect_timeout = timeout;
        self
    }

    /// Calls in flight at once; more wait for their turn. Default 4096.
    #[must_use]
    pub fn in_flight_max(mut self, calls: usize) -> Builder {
        self.in_flight_max = calls.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many sessions number the writes, and how many numbers each may have open. Shards remember every session
    /// and the replies in its window. Defaults: 32 and 256.
    #[must_use]
    pub fn sessions(mut self, count: usize, window: u64) -> Builder {
        (self.sessions, self.session_window) = (count, window);
        self
    }

    /// A client that knows the cluster's map: at least one endpoint answered within the timeout.
    pub async fn connect(self) -> Result<Client, Error> {
        let timeout = clamped(self.timeout);
        let links = Arc::new(Links::new(self.endpoints, self.connect_timeout).map_err(Error::invalid)?);
        let routes = Arc::new(ArcSwap::from_pointee(Routes::default()));
        let refresher = Refresher::new(links.clone(), routes.clone(), self.connect_timeout);
        let end = Instant::now() + timeout;
        let mut journey = Journey::new(false, false);
        while let Err(error) = refresher.fetch().await {
            journey.begin();
            let wait = journey.wait();
            if Instant::now() + wait >= end {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
        let task = tokio::spawn(refresher.clone().run()).abort_handle();
        let inner = Inner {
            links,
            routes,
            refresher,
            task,
            sessions: Sessions::new(self.sessions, self.session_window),
            permits: Semaphore::new(self.in_flight_max),
            attempt_timeout: self.attempt_timeout,
        };
        Ok(Client { inner: Arc::new(inner), table: "default".into(), timeout })
    }
}
