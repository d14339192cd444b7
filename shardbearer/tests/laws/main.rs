//! The laws of the house: what every implementation of a seam keeps ([`conformance`]), and which crate and which file
//! may know what ([`architecture`]).

mod architecture;
mod conformance;
