//! The laws of the house: what every implementation of a seam keeps ([`conformance`]), what holds of any bytes
//! ([`corpora`], which [`messages`] sees are complete), which crate and which file may know what ([`architecture`]), where documents point ([`documents`]),
//! and what may come into the build ([`supply`]).

mod architecture;
mod conformance;
mod corpora;
mod documents;
mod doubles;
mod engines;
mod kits;
mod machines;
mod messages;
mod protocols;
mod supply;
mod transports;
