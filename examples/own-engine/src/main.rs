//! The `shardbearer` command with one more engine:
//!
//! ```text
//! cargo run -p own-engine -- up --set consensus.engine=star
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use own_engine::StarFactory;
use shardbearer::engine::Engines;

fn main() -> ExitCode {
    let mut engines = Engines::default();
    engines.register(Arc::new(StarFactory));
    shardbearer::cli::main_with(engines)
}
