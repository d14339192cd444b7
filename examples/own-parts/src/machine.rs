//! What an order may replicate: here numbers with names, to which is added.

use bytes::Bytes;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::{Space, StorageError, View};

/// Adds to the number of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Whose.
    pub name: String,
    /// How much.
    pub by: i64,
}

/// Numbers with names. All of it is in the rows: nothing is kept in fields, so there is nothing to load.
pub struct Tally(OrderId);

impl Tally {
    /// That of an order.
    pub fn of(order: OrderId) -> Tally {
        Tally(order)
    }
}

impl StateMachine for Tally {
    type Command = Add;
    /// The number then; `None`, and nothing happens, if it would be too large.
    type Reply = Option<i64>;

    fn apply(&mut self, _: LogPos, command: Add, work: &mut Workspace<'_>) -> Option<i64> {
        let (space, key) = (Space::Order(self.0), Bytes::from(command.name));
        // Whoever stores it checks it; a row of another length is taken for none, by all replicas alike.
        let number =
            work.get(space, &key).and_then(|row| row.as_ref().try_into().ok().map(i64::from_be_bytes));
        let number = number.unwrap_or(0).checked_add(command.by)?;
        work.put(space, key, number.to_be_bytes().to_vec());
        Some(number)
    }

    fn load(&mut self, _: &dyn View) -> Result<(), StorageError> {
        Ok(())
    }

    fn spaces(&self) -> Vec<Space> {
        vec![Space::Order(self.0)]
    }

    fn take_dropped(&mut self) -> Vec<Space> {
        Vec::new()
    }
}
