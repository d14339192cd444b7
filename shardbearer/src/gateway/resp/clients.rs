//! Who is connected: for the limit, for `CLIENT LIST` and for `CLIENT KILL`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// All connections of one gateway.
#[derive(Debug, Default)]
pub struct Clients {
    accepted: AtomicU64,
    refused: AtomicU64,
    present: Mutex<BTreeMap<u64, Arc<Client>>>,
}

/// One connection, as others see it.
#[derive(Debug)]
pub struct Client {
    /// Counted from 1, never reused.
    pub id: u64,
    /// The far end.
    pub address: SocketAddr,
    /// This end.
    pub local: SocketAddr,
    /// Cancelled to close the connection.
    pub end: CancellationToken,
    /// Whether commands are carried out or answered.
    pub busy: AtomicBool,
    since_ms: u64,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    name: String,
    library: String,
    library_version: String,
    command: &'static str,
    active_ms: u64,
}

/// A connection's entry in the list; leaves it when dropped.
#[derive(Debug)]
pub struct Entry {
    /// The connection.
    pub client: Arc<Client>,
    clients: Arc<Clients>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.clients.present.lock().remove(&self.client.id);
        metrics::gauge!("shardbearer_resp_connections").decrement(1.0);
    }
}

impl Clients {
    /// Enters a connection, unless there are so many already. `now_ms` is monotonic.
    pub fn enter(
        self: &Arc<Self>,
        most: usize,
        (address, local): (SocketAddr, SocketAddr),
        end: CancellationToken,
        now_ms: u64,
    ) -> Option<Entry> {
        let mut present = self.present.lock();
        if present.len() >= most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let state = Mutex::new(State { active_ms: now_ms, ..State::default() });
        let client = Arc::new(Client {
            id,
            address,
            local,
            end,
            busy: AtomicBool::new(false),
            since_ms: now_ms,
            state,
        });
        present.insert(id, client.clone());
        metrics::gauge!("shardbearer_resp_connections").increment(1.0);
        Some(Entry { client, clients: self.clone() })
    }

    /// All connections, oldest first.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.present.lock().values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.present.lock().len()
    }

    /// How many were ever let in.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many were turned away.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Client {
    /// The name that the client gave itself; may be empty.
    pub fn name(&self) -> String {
        self.state.lock().name.clone()
    }

    /// Names the connection.
    pub fn set_name(&self, name: String) {
        self.state.lock().name = name;
    }

    /// Notes the name or, with `version`, the version of the client's library.
    pub fn set_library(&self, text: String, version: bool) {
        let mut state = self.state.lock();
        if version { state.library_version = text } else { state.library = text }
    }

    /// Notes the last command and when it came.
    pub fn touch(&self, command: &'static str, now_ms: u64) {
        let mut state = self.state.lock();
        (state.command, state.active_ms) = (command, now_ms);
    }

    /// The line of `CLIENT LIST`.
    pub fn describe(&self, now_ms: u64, resp: i64) -> String {
        let State { name, library, library_version, command, active_ms } = self.state.lock().clone();
        let age = now_ms.saturating_sub(self.since_ms) / 1000;
        let idle = now_ms.saturating_sub(active_ms) / 1000;
        format!(
            "id={} addr={} laddr={} fd=-1 name={name} age={age} idle={idle} flags=N db=0 sub=0 psub=0 ssub=0 \
             multi=-1 cmd={command} user=default redir=-1 resp={resp} lib-name={library} \
             lib-ver={library_version}\n",
            self.id, self.address, self.local,
        )
    }
}
