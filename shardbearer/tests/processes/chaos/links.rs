//! The network between radiants: a proxy for each directed pair, so that each direction can be cut, slowed and healed alone.
//!
//! A radiant sends what it has to say to another over its own connection and is answered there, so that a cut of (A, B)
//! takes A's word from B while B's still reaches A.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// Bytes wait until it is healed, as on a network that loses all packets: nobody is told.
    Silent,
    /// Connections are closed, and new ones at once.
    Reset,
    /// Whatever it carries comes so much later.
    Slow(Duration),
}

/// One direction between two radiants.
pub struct Link {
    pub from: usize,
    pub to: usize,
    pub port: u16,
    state: watch::Sender<State>,
}

/// All of them.
pub struct Links {
    /// What had to wait or was broken off, in pieces.
    pub held: Arc<AtomicU64>,
    links: Vec<Link>,
    /// Ends with it.
    _tasks: JoinSet<()>,
}

impl Links {
    /// Between radiants whose gRPC doors have these ports.
    pub async fn between(ports: &[u16]) -> Links {
        let (mut links, mut listeners) = (Vec::new(), Vec::new());
        for from in 0..ports.len() {
            for to in (0..ports.len()).filter(|to| *to != from) {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                listeners.push(listener);
                #[allow(clippy::disallowed_methods)] // real processes, no seeds
                let (state, _) = watch::channel(State::Open);
                links.push(Link { from, to, port, state });
            }
        }
        let (held, mut tasks) = (Arc::<AtomicU64>::default(), JoinSet::new());
        let watched = |from: usize, to: usize| {
            let link = links.iter().find(|link| (link.from, link.to) == (from, to)).expect("all pairs");
            Watched { state: link.state.subscribe(), held: held.clone() }
        };
        for (Link { from, to, .. }, listener) in links.iter().zip(listeners) {
            // What is answered on a connection goes the other way.
            tasks.spawn(serve(listener, ports[*to], watched(*from, *to), watched(*to, *from)));
        }
        Links { held, links, _tasks: tasks }
    }

    /// For a radiant: where it must go instead of each door.
    pub fn instead(&self, radiant: usize, ports: &[u16]) -> Vec<(u16, u16)> {
        let own = self.links.iter().filter(|link| link.from == radiant);
        own.map(|link| (ports[link.to], link.port)).collect()
    }

    /// Sets the links that `which` picks by their ends.
    pub fn set(&self, state: State, which: impl Fn(usize, usize) -> bool) {
        for link in self.links.iter().filter(|link| which(link.from, link.to)) {
            link.state.send_replace(state);
        }
    }

    pub fn heal(&self) {
        self.set(State::Open, |_, _| true);
    }
}

/// What is asked of a connection, and what came of it.
#[derive(Clone)]
struct Watched {
    state: watch::Receiver<State>,
    held: Arc<AtomicU64>,
}

impl Watched {
    /// Waits as the link makes everything wait.
    async fn passable(&mut self) {
        if *self.state.borrow() != State::Open {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        let found = self.state.wait_for(|state| *state != State::Silent).await.map(|state| *state);
        if let Ok(State::Slow(time)) = found {
            tokio::time::sleep(time).await;
        }
    }

    async fn reset(&mut self) {
        // An error means that the harness is gone.
        let _ = self.state.wait_for(|state| *state == State::Reset).await;
        self.held.fetch_add(1, Ordering::Relaxed);
    }
}

async fn serve(listener: TcpListener, to: u16, link: Watched, back: Watched) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            Ok((here, _)) = listener.accept() => {
                connections.spawn(carry(here, to, link.clone(), back.clone()));
            }
        }
    }
}

/// One connection, until either side or one of its ways ends it.
async fn carry(here: TcpStream, to: u16, link: Watched, back: Watched) {
    let (mut watched, mut watched_back) = (link.clone(), back.clone());
    let both = async {
        link.clone().passable().await;
        let Ok(there) = TcpStream::connect(("127.0.0.1", to)).await else { return };
        let _ = (here.set_nodelay(true), there.set_nodelay(true));
        let ((from_here, to_here), (from_there, to_there)) = (here.into_split(), there.into_split());
        tokio::select! {
            biased;
            () = pump(from_here, to_there, link.clone()) => {}
            () = pump(from_there, to_here, back) => {}
        }
    };
    tokio::select! {
        biased;
        () = watched.reset() => {}
        () = watched_back.reset() => {}
        () = both => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: Watched) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        link.passable().await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
