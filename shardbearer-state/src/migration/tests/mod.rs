//! Tests of the migration machines.
