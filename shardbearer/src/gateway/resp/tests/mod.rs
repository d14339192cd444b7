//! The gateway as its clients see it.
