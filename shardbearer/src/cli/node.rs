//! `shardbearer node`: one radiant of a real cluster.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::config::{self, Config, LogFormat};
use crate::engine::Engines;
use crate::node;
use crate::telemetry::logs;

/// Runs one radiant until SIGTERM or Ctrl-C, then gives its leads to others and stops.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer node --config radiant.toml
  shardbearer node --set radiant.name=alone --set radiant.data_dir=/var/lib/shardbearer
  SHARDBEARER_STORAGE_CACHE_MIB=512 shardbearer node --config radiant.toml

`shardbearer check-config --reference` lists all keys.")]
pub struct Node {
    /// The configuration; without one all keys have their defaults
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets a key, whatever file and environment say; may be given several times
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
}

impl Node {
    pub async fn run(self, engines: Engines) -> anyhow::Result<()> {
        let config = config::load(self.config.as_deref(), std::env::vars(), &self.settings, &engines)?;
        start_logs(&config)?;
        let stop = CancellationToken::new();
        let _signals = AbortOnDropHandle::new(tokio::spawn(on_signals(stop.clone())));
        let prepared = node::prepare(config, engines)?;
        let doors = prepared.doors();
        tracing::info!(grpc = doors.grpc, resp = doors.resp, http = doors.http, "doors");
        let span = tracing::info_span!("radiant", name = prepared.name());
        // Nobody waits for it to open: the log says so.
        let (opened, _) = mpsc::channel(1);
        prepared.run(stop, opened, true).instrument(span).await?;
        Ok(())
    }
}

pub(super) fn start_logs(config: &Config) -> anyhow::Result<()> {
    let format = match config.telemetry.format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    logs::start(&config.telemetry.log, format)?;
    Ok(())
}

/// Asks for the end at the first SIGTERM or Ctrl-C, and ends at once at the second.
pub(super) async fn on_signals(stop: CancellationToken) {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        tracing::warn!("signals cannot be received; the process can only be killed, which loses nothing");
        return;
    };
    for times in 0.. {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if times > 0 {
            // As `kill -9` would; everything acknowledged is on disk.
            std::process::exit(130);
        }
        stop.cancel();
    }
}
