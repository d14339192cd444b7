//! `completions`: a script that lets the shell complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer completions bash > ~/.local/share/bash-completion/completions/shardbearer
  shardbearer completions zsh > \"${fpath[1]}/_shardbearer\"
  shardbearer completions fish > ~/.config/fish/completions/shardbearer.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "shardbearer", &mut script);
        super::output::raw(&script)?;
        Ok(())
    }
}
