//! A watch channel that wakes who waits in the order in which they began to. tokio's draws lots for it, from a
//! generator that cannot be seeded, and so no run with it could be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use openraft::OptionalSend;
use openraft::rt::watch::SendError;
use openraft::rt::{OptionalSync, RecvError, Watch, WatchReceiver, WatchSender};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// The kind of channel.
pub struct Ordered;

struct Shared<T> {
    value: RwLock<T>,
    version: AtomicU64,
    news: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// Changes the value.
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl Watch for Ordered {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            value: RwLock::new(init),
            version: AtomicU64::new(0),
            news: Notify::new(),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        });
        (Sender(shared.clone()), Receiver { shared, seen: 0 })
    }
}

impl<T> Sender<T> {
    fn changed(&self) {
        self.0.version.fetch_add(1, Ordering::AcqRel);
        self.0.news.notify_waiters();
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<Ordered, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(SendError(value));
        }
        *self.0.value.write() = value;
        self.changed();
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = modify(&mut self.0.value.write());
        if modified {
            self.changed();
        }
        modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        // Who looks twice must not wait for a writer in between, that would wait for the first look.
        self.0.value.read_recursive()
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver { shared: self.0.clone(), seen: self.0.version.load(Ordering::Acquire) }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.news.notify_waiters();
        }
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<Ordered, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let mut news = std::pin::pin!(self.shared.news.notified());
            // From here on a change is not missed.
            news.as_mut().enable();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(RecvError(()));
            }
            news.await;
        }
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.value.read_recursive()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        // First the version: a change in between is then seen twice, never missed.
        self.seen = self.shared.version.load(Ordering::Acquire);
        self.shared.value.read_recursive()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}
