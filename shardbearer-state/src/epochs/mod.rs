//! The history of configurations as something to ask and to go back in: what differs between two of them ([`differences`]), and
//! what would take back what one of them changed ([`revert`]).

mod differences;
mod revert;
#[cfg(test)]
mod tests;

pub use self::differences::{Difference, differences};
pub use self::revert::{Undo, revert};
