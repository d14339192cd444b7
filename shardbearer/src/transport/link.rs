//! The sending side of one peer: a queue, a stream that is set up again whenever it breaks, and the calls
//! that wait for answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::limits;
use shardbearer_core::transport::{CallError, Frame};
use shardbearer_core::world::World;
use shardbearer_proto::pb;
use shardbearer_proto::pb::peer_client::PeerClient;
use shardbearer_proto::pb::peer_frame::Kind;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::channel_to_wire;

/// Bytes that may wait for a peer; about what a slow second produces.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Bytes in one message, well below the limit of what the other side accepts.
const MESSAGE_BYTES: usize = limits::MESSAGE_BYTES_MAX / 4;

/// Largest frame that is taken at all.
const FRAME_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX - 4096;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_millis(500);

/// Silence after which a connection is probed, and then given up: a peer that vanished without a word.
const PROBE: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a broken link is news: longer than others take to elect whom they need.
const NEWS: Duration = Duration::from_secs(3);

type Answer = Result<Bytes, &'static str>;

/// One peer.
pub(super) struct Link {
    to: RadiantId,
    address: String,
    queue: Mutex<Queue>,
    arrived: Notify,
    next_call: AtomicU64,
    pending: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
    connected: AtomicBool,
    broke: Mutex<Option<Instant>>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Queue {
    frames: Vec<pb::PeerFrame>,
    bytes: usize,
}

impl Link {
    /// Starts the task that keeps the stream up; it ends at [`Link::close`].
    pub(super) fn start(to: RadiantId, address: String, hello: pb::PeerHello, world: &World) -> Arc<Link> {
        let link = Arc::new(Link {
            to,
            address,
            queue: Mutex::default(),
            arrived: Notify::new(),
            next_call: AtomicU64::new(1),
            pending: Mutex::default(),
            connected: AtomicBool::new(false),
            broke: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        world.spawn("peer-link", keep_up(link.clone(), hello));
        link
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.lost();
        self.arrived.notify_one();
    }

    pub(super) fn send(&self, frame: Frame) {
        // Nothing is kept for a peer that is away: what matters is repeated by who sent it.
        if self.connected.load(Ordering::Acquire) {
            let _ = self.enqueue(frame, Kind::Send, 0);
        }
    }

    pub(super) async fn call(&self, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        let to = self.to;
        if !self.connected.load(Ordering::Acquire) {
            return Err(CallError::Unreachable { to, why: format!("no connection to {}", self.address) });
        }
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.pending.lock().insert(call, sender);
        let forget = Forget { link: self, call };
        if let Err(why) = self.enqueue(frame, Kind::Call, call) {
            return Err(CallError::Unreachable { to, why });
        }
        let answer = tokio::time::timeout(deadline, answer).await;
        drop(forget);
        match answer {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(why))) => Err(CallError::Unreachable { to, why: why.into() }),
            Ok(Err(_)) => Err(CallError::Unknown { to, why: "the connection broke".into() }),
            Err(_) => Err(CallError::Unknown { to, why: "no answer in time".into() }),
        }
    }

    /// Whether it was up some moments ago, and is not.
    pub(super) fn has_just_broken(&self) -> bool {
        let broke = *self.broke.lock();
        !self.connected.load(Ordering::Acquire) && broke.is_some_and(|broke| broke.elapsed() < NEWS)
    }

    fn enqueue(&self, frame: Frame, kind: Kind, call: u64) -> Result<(), String> {
        let size = frame.body.len();
        if size > FRAME_BYTES_MAX {
            return Err(format!("a frame of {size} bytes is too large"));
        }
        let (channel, order) = channel_to_wire(frame.channel);
        {
            let mut queue = self.queue.lock();
            if queue.frames.len() >= limits::PEER_QUEUE_FRAMES_MAX || queue.bytes + size > QUEUE_BYTES_MAX {
                return Err("too much waits for it".into());
            }
            queue.bytes += size;
            queue.frames.push(pb::PeerFrame { kind: kind.into(), call, channel, order, body: frame.body });
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// What goes into the next message.
    fn take(&self) -> Vec<pb::PeerFrame> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        let fits = queue.frames.iter().position(|frame| {
            bytes += frame.body.len();
            bytes > MESSAGE_BYTES
        });
        let rest = match fits {
            None => Vec::new(),
            // At least one frame, however large.
            Some(count) => queue.frames.split_off(count.max(1)),
        };
        let taken = std::mem::replace(&mut queue.frames, rest);
        queue.bytes -= taken.iter().map(|frame| frame.body.len()).sum::<usize>();
        taken
    }

    fn answered(&self, frame: pb::PeerFrame) {
        let waiting = self.pending.lock().remove(&frame.call);
        let Some(waiting) = waiting else { return };
        let _ = waiting.send(match Kind::try_from(frame.kind) {
            Ok(Kind::Answer) => Ok(frame.body),
            Ok(Kind::Declined | Kind::Send | Kind::Call) | Err(_) => Err("it does not serve that"),
        });
    }

    /// The stream is gone, and with it what was under way.
    fn lost(&self) {
        if self.connected.swap(false, Ordering::AcqRel) {
            *self.broke.lock() = Some(Instant::now());
        }
        *self.queue.lock() = Queue::default();
        self.pending.lock().clear();
    }
}

/// Forgets a call however it ends, also when its caller is cancelled.
struct Forget<'a> {
    link: &'a Link,
    call: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.pending.lock().remove(&self.call);
    }
}

/// Connects again and again until the link is closed.
async fn keep_up(link: Arc<Link>, hello: pb::PeerHello) {
    let mut pause = RETRY_FIRST;
    let mut failures = 0u32;
    while !link.closed.load(Ordering::Acquire) {
        let ended = stream(&link, &hello, &mut pause).await;
        link.lost();
        if link.closed.load(Ordering::Acquire) {
            return;
        }
        if let Err(why) = ended {
            // Once per outage, and not where a peer is merely a moment behind in starting.
            failures = failures.saturating_add(1);
            if failures == 3 {
                tracing::warn!(peer = %link.to, address = link.address, "no link: {why}");
            }
        } else {
            failures = 0;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

/// One stream from connection to end. `Ok` if it was up.
async fn stream(link: &Arc<Link>, hello: &pb::PeerHello, pause: &mut Duration) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(format!("http://{}", link.address))
        .map_err(|error| error.to_string())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PROBE)
        .keep_alive_timeout(PROBE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20);
    let channel = tokio::time::timeout(CONNECT_TIMEOUT * 2, endpoint.connect())
        .await
        .map_err(|_| "connecting took too long".to_owned())?
        .map_err(|error| error.to_string())?;
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
    // One message in the channel: what arrives meanwhile gathers into the next.
    let (outgoing, messages) = mpsc::channel(1);
    let first = pb::PeerFrames { hello: Some(hello.clone()), frames: Vec::new() };
    outgoing.send(first).await.map_err(|_| "closed".to_owned())?;
    let response = tokio::time::timeout(CONNECT_TIMEOUT * 2, client.link(ReceiverStream::new(messages)))
        .await
        .map_err(|_| "no answer to the greeting".to_owned())?
        .map_err(|status| status.message().to_owned())?;
    let mut incoming = response.into_inner();
    *pause = RETRY_FIRST;
    link.connected.store(true, Ordering::Release);
    tracing::debug!(peer = %link.to, "link up");
    loop {
        tokio::select! {
            // Answers cannot keep requests waiting for ever: there are no more of them than requests sent.
            biased;
            message = incoming.message() => match message {
                Ok(Some(frames)) => frames.frames.into_iter().for_each(|frame| link.answered(frame)),
                Ok(None) | Err(_) => return Ok(()),
            },
            permit = wait_to_send(link, &outgoing) => match permit {
                Some(permit) => {
                    let frames = link.take();
                    if !frames.is_empty() {
                        permit.send(pb::PeerFrames { hello: None, frames });
                    }
                }
                None => return Ok(()),
            },
        }
    }
}

/// Waits until there is something to send and room for it; `None` when the link is closed.
async fn wait_to_send<'a>(
    link: &Link,
    outgoing: &'a mpsc::Sender<pb::PeerFrames>,
) -> Option<mpsc::Permit<'a, pb::PeerFrames>> {
    loop {
        if link.closed.load(Ordering::Acquire) {
            return None;
        }
        if !link.queue.lock().frames.is_empty() {
            return outgoing.reserve().await.ok();
        }
        link.arrived.notified().await;
    }
}
