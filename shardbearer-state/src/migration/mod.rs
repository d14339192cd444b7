//! How a shard is moved: who does what next.
//!
//! ```text
//!   control order        Plan ─▶ Copy ────────────▶ Freeze ─────────────▶ Commit ─────────────▶ Collected
//!                          │      ▲                    ▲                    ▲                       ▲
//!   driver (destination)   └▶Begin┘ Image, Changes ... ┘ Freeze ... verify ─┘ Activate ── Collect ──┘
//! ```
//!
//! Two machines decide, and neither trusts its own memory for longer than until something goes wrong:
//!
//! - [`Driver`] runs at the herald of the destination and takes every step forward. It keeps nothing that it cannot read
//!   again from the control order's record and from its own order, so its successor goes on where it stopped.
//! - [`Attendant`] runs at the herald of the source. It takes the shard back when the migration is called off, and calls it off
//!   when the shard has been frozen for too long. So a destination that is gone cannot keep the shard from being served. The
//!   copy it leaves alone: the driver has the source drop it, once the destination serves.
//!
//! A third, [`Overseer`], at the scherald, has only to do where one of these orders is gone: it calls off, and does not wait for
//! who is not there. What an order has missed it does when it is back ([`left_over`]). So nothing that is dead keeps other
//! shards from moving.
//!
//! **Why there are never two owners.** Of `Commit` and `Cancel` the control order takes one. The destination is asked to
//! activate only after `Commit`, the source to serve again only after `Cancel`. `Commit` is asked for only once the
//! destination's own log says `Verified`, which needs rows from a source whose log says `Frozen`; and a frozen source
//! changes nothing any more.
//!
//! **Why nothing is lost.** The source notes every change from `Watch` on, before the first row is read. The destination
//! takes rows only in the order of the notes, never rows older than what it has, and compares the digest of everything at the end.
//!
//! **Why never none for good.** Every state has a step that one of the two takes by itself once its order and the
//! control order have their quorums; `tests/explore.rs` looks at all of them.
//!
//! **A split** is a migration of which only some rows cross, to a shard that does not exist before `Commit`. The source is the
//! shard that is split; it weighs what crosses while it is copied, so that there is something to compare. After `Commit` it
//! serves on, without the slots that are another shard's now: the attendant sees to that, too, lest what stays wait for a
//! destination that is gone.
//!
//! Not here: reaching anybody, time, which shard should move (`placement`).

mod attend;
mod driver;
mod oversee;
mod pace;
#[cfg(test)]
mod tests;

pub use self::attend::{Attendant, DISCARD_MS_MAX, Duty, FROZEN_MS_MAX, Owned, left_over};
pub use self::driver::{Driver, Effect, Event, Failure};
pub use self::oversee::{GONE_MS_MAX, Overseer, RETURN_MS_MAX};
pub use self::pace::{PIECE_MAX, PIECE_MIN, Pace, RATE_MAX, RATE_MIN, RATE_START};
