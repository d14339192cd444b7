//! The replicated state machine, and the workspace in which it applies a command.

use bytes::Bytes;

use crate::log::LogPos;
use crate::storage::{Batch, KeyRange, Space, StorageError, View};

/// What an order replicates. One per kind of order.
///
/// Contract: `apply` is total and deterministic. The same commands at the same positions give the
/// same bytes on every replica: no clock, no randomness, no iteration over unordered maps. It has
/// no error: what the data refuse is a reply. Anything kept in fields must be derivable from the rows.
pub trait StateMachine: Send + 'static {
    /// What is proposed.
    type Command: Send;
    /// What a proposal is answered.
    type Reply: Send;

    /// Carries out one command; reads through `work` see what earlier commands wrote into it.
    fn apply(&mut self, position: LogPos, command: Self::Command, work: &mut Workspace<'_>) -> Self::Reply;

    /// Discards everything kept in fields and loads it anew from the rows: at start, and after a
    /// snapshot was installed or a commit did not happen.
    fn load(&mut self, view: &dyn View) -> Result<(), StorageError>;

    /// The spaces that make up the state now; what a snapshot holds, in a stable order.
    fn spaces(&self) -> Vec<Space>;

    /// Spaces that the last applied commands gave up, to be dropped after the commit.
    fn take_dropped(&mut self) -> Vec<Space>;

    /// A number for the whole state, from what is kept in fields: the same on every replica that applied the same, and
    /// most likely another one where it differs. Asked for between commands, now and then, and cheap. `None`: there
    /// is none.
    fn digest(&self) -> Option<u64> {
        None
    }
}

/// A view with changes on top that nobody else sees yet.
///
/// A failing disk under it is remembered, reads then answer "nothing", and the driver must throw
/// the whole workspace away and stop: see [`Workspace::finish`].
pub struct Workspace<'a> {
    view: &'a dyn View,
    batch: Batch,
    /// While a savepoint is open: what each changed row was before, oldest first.
    undo: Option<Vec<Undo>>,
    failure: Option<StorageError>,
}

/// A changed row and what the batch held of it before: nothing, a deletion or a value.
type Undo = (Space, Bytes, Option<Option<Bytes>>);

impl<'a> Workspace<'a> {
    /// Nothing changed yet.
    pub fn new(view: &'a dyn View) -> Self {
        Workspace { view, batch: Batch::default(), undo: None, failure: None }
    }

    /// The row as the commands applied so far left it.
    pub fn get(&mut self, space: Space, key: &[u8]) -> Option<Bytes> {
        if let Some(changed) = self.batch.look(space, key) {
            return changed.cloned();
        }
        match self.view.get(space, key) {
            Ok(value) => value,
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        }
    }

    /// At most `limit` rows of the range, as the commands applied so far left them.
    pub fn scan(&mut self, space: Space, range: &KeyRange, limit: usize) -> Vec<(Bytes, Bytes)> {
        let mut stored = self.view.scan(space, range).peekable();
        let mut changed = self.batch.range(space, range).peekable();
        let mut rows = Vec::new();
        while rows.len() < limit {
            let stored_first = match (stored.peek(), changed.peek()) {
                (None, None) => break,
                (Some(Err(error)), _) => {
                    self.failure.get_or_insert(error.clone());
                    break;
                }
                (Some(Ok(_)), None) => true,
                (None, Some(_)) => false,
                (Some(Ok((key, _))), Some((changed_key, _))) => key < *changed_key,
            };
            if stored_first {
                if let Some(Ok(row)) = stored.next() {
                    rows.push(row);
                }
            } else if let Some((key, value)) = changed.next() {
                if matches!(stored.peek(), Some(Ok((stored_key, _))) if stored_key == key) {
                    stored.next();
                }
                if let Some(value) = value {
                    rows.push((key.clone(), value.clone()));
                }
            }
        }
        rows
    }

    /// Sets a row.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.change(space, key.into(), Some(value.into()));
    }

    /// Removes a row.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        self.change(space, key.into(), None);
    }

    fn change(&mut self, space: Space, key: Bytes, value: Option<Bytes>) {
        match &mut self.undo {
            None => drop(self.batch.set(space, key, value)),
            Some(undo) => {
                let before = self.batch.set(space, key.clone(), value);
                undo.push((space, key, before));
            }
        }
    }

    /// Forgets every change made to a space that is being given up. Not to be used under a savepoint.
    pub fn forget_space(&mut self, space: Space) {
        self.batch.forget_space(space);
    }

    /// Opens a savepoint; there is one at most. Costs nothing but what changes after it.
    pub fn begin(&mut self) {
        self.undo = Some(Vec::new());
    }

    /// Closes the savepoint and keeps the changes.
    pub fn keep(&mut self) {
        self.undo = None;
    }

    /// Closes the savepoint and undoes everything since.
    pub fn rollback(&mut self) {
        for (space, key, before) in self.undo.take().unwrap_or_default().into_iter().rev() {
            match before {
                Some(value) => {
                    self.batch.set(space, key, value);
                }
                None => self.batch.unset(space, &key),
            }
        }
    }

    /// The changes, or the first failure of the disk, after which nothing of this may be used.
    pub fn finish(self) -> Result<Batch, StorageError> {
        match self.failure {
            None => Ok(self.batch),
            Some(error) => Err(error),
        }
    }
}
