//! Which shard a key belongs to, which order a shard belongs to, which radiants an order belongs
//! to, and who should lead it. Pure and total: any scherald decides the same.

mod even;
mod founding;
mod heralds;
pub mod rebalance;

pub use self::even::Even;
pub use self::founding::{Founding, found};
pub use self::heralds::{Candidate, hand_over_to};
pub use shardbearer_core::slots::{SLOTS, Slots, slot_of};
