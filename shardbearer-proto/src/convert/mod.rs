//! Wire to domain and back, one file per topic.

pub mod bootstrap;
