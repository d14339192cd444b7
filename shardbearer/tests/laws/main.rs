//! The laws of the house: what every implementation of a seam keeps ([`conformance`]), which crate and which file
//! may know what ([`architecture`]), where documents point ([`documents`]), and what may come into the build ([`supply`]).

mod architecture;
mod conformance;
mod documents;
mod doubles;
mod engines;
mod kits;
mod machines;
mod protocols;
mod supply;
mod transports;
