//! `shardbearer check-config`: whether a radiant would take its configuration.

use std::path::PathBuf;

use clap::Args;

use crate::config::{self, reference};
use crate::engine::Engines;

/// Checks a configuration without starting anything: names the line and the rule that is broken.
#[derive(Debug, Args)]
#[command(
    override_usage = "shardbearer check-config [--print] FILE\n       shardbearer check-config --reference"
)]
#[command(after_help = "Examples:
  shardbearer check-config radiant.toml
  shardbearer check-config --print radiant.toml    with all defaults filled in
  shardbearer check-config --reference             every key, its default and its meaning")]
pub struct CheckConfig {
    /// The file
    #[arg(required_unless_present = "reference")]
    file: Option<PathBuf>,
    /// Print the configuration with all defaults filled in
    #[arg(long)]
    print: bool,
    /// Print the reference of all keys, as in docs/config.md
    #[arg(long, exclusive = true)]
    reference: bool,
}

impl CheckConfig {
    pub fn run(self, engines: &Engines) -> anyhow::Result<()> {
        let Some(file) = self.file.filter(|_| !self.reference) else {
            print!("{}", reference::markdown());
            return Ok(());
        };
        let config = config::load(Some(&file), std::env::vars(), &[], engines)?;
        if self.print {
            print!("{}", toml::to_string(&config)?);
        } else {
            println!("{}: fine", file.display());
        }
        Ok(())
    }
}
