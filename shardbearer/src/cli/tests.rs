//! The definition of the command line.

use clap::{CommandFactory, Parser};

use super::*;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[track_caller]
fn parses(line: &str) {
    Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
}

#[track_caller]
fn wrong(line: &str) {
    let error = Cli::try_parse_from(line.split(' ')).err().unwrap_or_else(|| panic!("{line}: accepted"));
    assert_eq!(error.exit_code(), 2, "{line}");
}

#[test]
fn usage() {
    parses("shardbearer --endpoints a:1,b:2 --output json --timeout 500ms kv get k");
    parses("shardbearer kv get k --output json --endpoints a:1");
    parses("shardbearer kv put k v --if-revision 3 --ttl 10m");
    parses("shardbearer kv put k --file /tmp/v");
    parses("shardbearer kv incr k -3");
    parses("shardbearer kv import f.jsonl --key id --prefix p");
    parses("shardbearer kv export --start a --end b");
    parses("shardbearer shards --order 3");
    parses("shardbearer shard move 7 --to 3 --watch --output json");
    parses("shardbearer shard cancel --why because");
    #[cfg(feature = "conformance")]
    parses("shardbearer --output json conformance --engine openraft --seeds 3");
    parses("shardbearer epochs --at 3 key k");
    parses("shardbearer epochs diff 3 4 --output json");
    parses("shardbearer epochs revert 3 --dry-run");
    parses("shardbearer timeline --last 5 --mermaid");
    parses("shardbearer completions zsh");
    parses("shardbearer up --radiants 5 --data /tmp/five");
    parses("shardbearer node --config radiant.toml");
    parses("shardbearer check-config radiant.toml");
    parses("shardbearer check history.jsonl --slack 50ms --from-anything --states-max 1000 --show 3");
    parses("shardbearer rebalance --dry-run --by load --output json");
    parses("shardbearer rebalance mode count --why because");
    parses("shardbearer shard pin 7 --to 3 --dry-run");
    parses("shardbearer shard unpin 7 --dry-run");
    parses("shardbearer shard explain 7");
    parses("shardbearer order create --members r1,r2");
    parses("shardbearer order remove 4 --dry-run --force");
    parses("shardbearer radiant leave r1 --force");
    wrong("shardbearer rebalance mode fast");
    wrong("shardbearer order weight 3");
    wrong("shardbearer check");
    wrong("shardbearer");
    wrong("shardbearer kv put k v --if-absent --if-present");
    wrong("shardbearer kv put k v --file f");
    wrong("shardbearer kv import f.jsonl");
    wrong("shardbearer kv export --prefix a --start b");
    wrong("shardbearer kv put k v --ttl soon");
    wrong("shardbearer shard move 7");
    wrong("shardbearer epochs diff 3");
    wrong("shardbearer --output xml status");
}

/// Every command's help shows how to use it.
#[test]
fn help_teaches_by_examples() {
    fn check(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Examples:"), "{} has no examples", command.get_name());
        command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(check);
    }
    check(&Cli::command());
}
