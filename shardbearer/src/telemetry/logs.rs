//! Logs on stderr, so that stdout stays free for what a command prints.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::Subscriber;
use tracing_subscriber::util::TryInitError;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter makes no sense.
    #[error("{filter:?} is no log filter: {source}; try \"info\" or \"info,shardbearer=debug\"")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Another part of this process logs already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Logs what `filter` lets through, in the syntax of `RUST_LOG`, from now on and in the whole process.
pub fn start(filter: &str, format: Format) -> Result<(), LogError> {
    let builder = Subscriber::builder().with_env_filter(parse(filter)?).with_writer(std::io::stderr);
    match format {
        Format::Text => {
            let subscriber = builder.with_ansi(std::io::stderr().is_terminal()).finish();
            tracing_subscriber::util::SubscriberInitExt::try_init(subscriber)?;
        }
        Format::Json => {
            let subscriber = builder.json().flatten_event(true).finish();
            tracing_subscriber::util::SubscriberInitExt::try_init(subscriber)?;
        }
    }
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_understood_or_explained() {
        for good in ["info", "warn,shardbearer=debug", "off", "shardbearer::gateway=trace"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let error = parse("shardbearer=loud").expect_err("no such level").to_string();
        assert!(error.contains("shardbearer=loud") && error.contains("try"), "{error}");
    }
}
