//! What tests Shardbearer and never ships with it. [`conformance`] has the laws that every implementation of a
//! trait keeps, for our own plug-ins and for those of others; [`recorder`] writes down what clients see, for the
//! oracle in `shardbearer-state`.

pub mod conformance;
pub mod recorder;
