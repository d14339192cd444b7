//! Keeps the shard map fresh, and asks the questions that any radiant can answer.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use shardbearer_core::error::Refused;
use shardbearer_proto::pb;
use shardbearer_proto::pb::admin_client::AdminClient;
use tokio::sync::Notify;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::error::Error;
use crate::route::{Links, Routes};

/// How old the map may grow while all goes well: a call to a deposed herald is forwarded without complaint, so only
/// asking tells.
const AGE_MAX: Duration = Duration::from_secs(3);

/// Time between two fetches, however many callers want one.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// Largest answer of the admin service: a status with many thousands of shards.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The admin service of one radiant.
pub(crate) type Admin = AdminClient<Channel>;

/// A question under way. Not `AsyncFn`, of which callers could not tell that its future may be sent: they could not
/// spawn what asks.
pub(crate) trait Asked<T>: Future<Output = Result<Response<T>, Status>> + Send {}

impl<T, F: Future<Output = Result<Response<T>, Status>> + Send> Asked<T> for F {}

/// The one who fetches the map.
pub(crate) struct Refresher {
    links: Arc<Links>,
    routes: Arc<ArcSwap<Routes>>,
    timeout: Duration,
    wanted: Notify,
}

impl Refresher {
    /// `timeout`: for one radiant to answer.
    pub(crate) fn new(links: Arc<Links>, routes: Arc<ArcSwap<Routes>>, timeout: Duration) -> Arc<Refresher> {
        Arc::new(Refresher { links, routes, timeout, wanted: Notify::new() })
    }

    /// Somebody was led astray. Returns at once.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Fetches when wanted, and now and then.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            // A timeout is a reason like any other.
            let _ = tokio::time::timeout(AGE_MAX, self.wanted.notified()).await;
            if let Err(error) = self.fetch().await {
                tracing::debug!(%error, "no radiant answers with a map");
            }
            tokio::time::sleep(PAUSE_MIN).await;
        }
    }

    /// Fetches the map from the first radiant that answers.
    pub(crate) async fn fetch(&self) -> Result<(), Error> {
        let map = self
            .first_answer(self.timeout, false, |mut admin| async move { admin.map(pb::MapRequest {}).await })
            .await?;
        let next = self.routes.load().with(map.clone()).map_err(Error::invalid)?;
        self.links.keep(&next);
        // Built again from whatever is there now: a hint may have come in meanwhile.
        self.routes.rcu(|routes| routes.with(map.clone()).unwrap_or_else(|_| routes.as_ref().clone()));
        Ok(())
    }

    /// Asks one radiant after the other until one answers.
    pub(crate) async fn ask<T, F: Asked<T>>(
        &self,
        timeout: Duration,
        question: impl Fn(Admin) -> F,
    ) -> Result<T, Error> {
        // One that hangs must leave time to ask another.
        match tokio::time::timeout(timeout, self.first_answer(timeout / 3, false, question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Refused(Refused::Unavailable("no radiant answered in time".into()))),
        }
    }

    /// The same for what changes something: where an answer may only be late, it may have been done, and is not asked
    /// for a second time.
    pub(crate) async fn ask_to_change<T, F: Asked<T>>(
        &self,
        timeout: Duration,
        question: impl Fn(Admin) -> F,
    ) -> Result<T, Error> {
        match tokio::time::timeout(timeout, self.first_answer(timeout, true, question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unknown("no answer in time; `status` and `epochs` tell".into())),
        }
    }

    async fn first_answer<T, F: Asked<T>>(
        &self,
        each: Duration,
        changes: bool,
        question: impl Fn(Admin) -> F,
    ) -> Result<T, Error> {
        let mut why = "no radiant is known".to_owned();
        let mut said = None;
        for link in self.links.shuffled(&self.routes.load_full()) {
            let admin = AdminClient::new(link.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
            match tokio::time::timeout(each, question(admin)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                // It has asked whoever it concerns, and another could do no better.
                Ok(Err(status)) if is_final(&status) => {
                    return Err(Error::invalid(status.message()));
                }
                Ok(Err(status)) if changes && status.code() == Code::DeadlineExceeded => {
                    return Err(Error::Unknown(status.message().to_owned()));
                }
                // The connection broke with the request on its way.
                Ok(Err(status)) if changes && is_transport(&status) && !was_not_sent(&status) => {
                    let words = status.message();
                    return Err(Error::Unknown(format!(
                        "{}: {words}; `status` and `epochs` tell",
                        link.address
                    )));
                }
                // One that answers tells more than those that do not.
                Ok(Err(status)) if !is_transport(&status) => {
                    let words = status.message();
                    said = Some(words.strip_prefix("unavailable: ").unwrap_or(words).to_owned());
                }
                Ok(Err(status)) => why = format!("{}: {}", link.address, status.message()),
                Err(_) => why = format!("{} has no answer within {:.1} s", link.address, each.as_secs_f64()),
            }
        }
        Err(Error::Refused(Refused::Unavailable(said.unwrap_or(why))))
    }
}

/// Whether nobody answered, rather than somebody with an error.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Whether it is certain that there was no connection to send anything on.
fn was_not_sent(status: &Status) -> bool {
    use std::io::ErrorKind;
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            let kinds =
                [ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
            return kinds.contains(&error.kind());
        }
        cause = error.source();
    }
    false
}

/// Whether the request itself is wrong, whoever is asked.
fn is_final(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tonic::transport::Endpoint;

    use super::*;

    async fn asked(address: std::net::SocketAddr) -> Status {
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
        AdminClient::new(channel).map(pb::MapRequest {}).await.expect_err("nobody answers")
    }

    #[tokio::test]
    async fn only_what_was_never_sent_may_be_sent_to_another() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let breaks = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut some = [0; 64];
            stream.read_exact(&mut some).await.expect("a request begins");
        };
        let (broken, ()) = tokio::join!(asked(address), breaks);
        assert!(is_transport(&broken) && !was_not_sent(&broken), "{broken:?}");

        drop(listener);
        let refused = asked(address).await;
        assert!(is_transport(&refused) && was_not_sent(&refused), "{refused:?}");
        assert!(!is_transport(&Status::unavailable("said by a radiant")));
    }
}
