//! From text, variables and `--set` to a [`Config`], with the line of whatever is wrong.

use std::path::Path;

use serde::Deserialize;

use super::reference::{KEYS, nearest};
use super::{Config, ConfigError, check};
use crate::engine::Engines;

/// Reads a file, lays variables and `section.key=value` settings over it, and checks the result for a build that
/// has these engines.
pub fn load(
    file: Option<&Path>,
    variables: impl Iterator<Item = (String, String)>,
    settings: &[String],
    engines: &Engines,
) -> Result<Config, ConfigError> {
    let name = file.map(|file| file.display().to_string());
    let text = match file {
        None => String::new(),
        Some(file) => std::fs::read_to_string(file).map_err(|error| ConfigError {
            file: name.clone(),
            line: None,
            why: format!("cannot be read: {error}"),
        })?,
    };
    let named = |mut error: ConfigError| {
        error.file = name.clone();
        error
    };
    let mut table = table(&text).map_err(named)?;
    for (variable, value) in variables {
        if let Some(key) = variable_key(&variable) {
            lay_over(&mut table, key.section, key.name, &value);
            fits(&table, key.section, key.name, &format!("{variable}={value}"))?;
        }
    }
    for setting in settings {
        let parsed = setting.split_once('=').and_then(|(path, value)| Some((path.split_once('.')?, value)));
        let Some(((section, key), value)) = parsed else {
            let why = format!("--set {setting}: must look like section.key=value");
            return Err(ConfigError { file: None, line: None, why });
        };
        known(section.trim(), key.trim()).map_err(|why| ConfigError {
            file: None,
            line: None,
            why: format!("--set {setting}: {why}"),
        })?;
        lay_over(&mut table, section.trim(), key.trim(), value.trim());
        fits(&table, section.trim(), key.trim(), &format!("--set {setting}"))?;
    }
    let config: Config = table.try_into().map_err(|error: toml::de::Error| ConfigError {
        file: name.clone(),
        line: None,
        why: error.message().to_owned(),
    })?;
    rules(&text, &config, engines).map_err(named)?;
    Ok(config)
}

/// Reads and checks a text alone.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    table(text)?;
    let config: Config = toml::from_str(text).map_err(|error| spanned(text, &error))?;
    rules(text, &config, &Engines::default())?;
    Ok(config)
}

/// Checks the rules; says all that are broken, the first with its place in front.
fn rules(text: &str, config: &Config, engines: &Engines) -> Result<(), ConfigError> {
    let mut broken = check::check(config, engines).into_iter();
    let Some(first) = broken.next() else { return Ok(()) };
    let words = |broken: &check::Broken| format!("[{}] {}: {}", broken.section, broken.key, broken.why);
    let mut why = words(&first);
    for next in broken {
        let line = line_of_key(text, next.section, next.key);
        let line = line.map_or_else(String::new, |line| format!("line {line}: "));
        why.push_str(&format!("\nand {line}{}", words(&next)));
    }
    Err(ConfigError { file: None, line: line_of_key(text, first.section, first.key), why })
}

/// Whether the table is still a configuration after `setting` was laid over it.
fn fits(table: &toml::Table, section: &str, key: &str, setting: &str) -> Result<(), ConfigError> {
    match Config::deserialize(table.clone()) {
        Ok(_) => Ok(()),
        Err(error) => {
            let why = format!("{setting}: [{section}] {key} {}", mismatch(error.message()));
            Err(ConfigError { file: None, line: None, why })
        }
    }
}

/// What a value must be and is, out of the parser's "invalid type: string \"three\", expected u32".
fn mismatch(message: &str) -> String {
    let Some((found, expected)) =
        message.split_once(": ").and_then(|(_, rest)| rest.trim_end().split_once(", expected "))
    else {
        return format!("cannot be that: {message}");
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative and not too large",
        "a string" | "path string" => "a text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list in brackets",
        other => other,
    };
    let found = found.replace('`', "");
    let found = match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "boolean", value)) => value.to_owned(),
        Some(("floating", value)) => value.trim_start_matches("point ").to_owned(),
        Some(_) | None => found,
    };
    format!("must be {expected}; it is {found}")
}

/// The text as a table of known keys whose values have the right types.
fn table(text: &str) -> Result<toml::Table, ConfigError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| spanned(text, &error))?;
    for (section, keys) in &table {
        let Some(keys) = keys.as_table() else {
            let why =
                format!("\"{section}\" stands outside any section; begin with [radiant], [listen], ...");
            return Err(ConfigError { file: None, line: line_of_key(text, "", section), why });
        };
        if !KEYS.iter().any(|key| key.section == section) {
            let why = unknown("section", section, KEYS.iter().map(|key| key.section));
            return Err(ConfigError { file: None, line: line_of_section(text, section), why });
        }
        for key in keys.keys() {
            known(section, key).map_err(|why| ConfigError {
                file: None,
                line: line_of_key(text, section, key),
                why,
            })?;
        }
    }
    // Types are checked on the text, because only then does an error know its line.
    let _: Config = toml::from_str(text).map_err(|error| spanned(text, &error))?;
    Ok(table)
}

fn known(section: &str, key: &str) -> Result<(), String> {
    let here = || KEYS.iter().filter(|known| known.section == section);
    if here().next().is_none() {
        return Err(unknown("section", section, KEYS.iter().map(|key| key.section)));
    }
    if here().any(|known| known.name == key) {
        return Ok(());
    }
    let elsewhere = KEYS.iter().find(|known| known.name == key);
    Err(match elsewhere {
        Some(other) => format!("[{section}] has no key \"{key}\"; it belongs to [{}]", other.section),
        None => format!("[{section}]: {}", unknown("key", key, here().map(|known| known.name))),
    })
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = known.collect();
    all.dedup();
    match nearest(name, all.iter().copied()) {
        Some(near) => format!("there is no {what} \"{name}\"; did you mean \"{near}\"?"),
        None => format!("there is no {what} \"{name}\"; there are {}", all.join(", ")),
    }
}

/// The key that a variable such as `SHARDBEARER_STORAGE_CACHE_MIB` sets.
fn variable_key(variable: &str) -> Option<&'static super::reference::Key> {
    let name = variable.strip_prefix("SHARDBEARER_")?.to_ascii_lowercase();
    KEYS.iter()
        .find(|key| name.strip_prefix(key.section).and_then(|rest| rest.strip_prefix('_')) == Some(key.name))
}

/// Sets a value given as text: as TOML if it is any, otherwise as a string.
fn lay_over(table: &mut toml::Table, section: &str, key: &str, value: &str) {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let parsed = parsed.ok().and_then(|mut parsed| parsed.remove("value"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let Some(section) = section.as_table_mut() {
        section.insert(key.to_owned(), value);
    }
}

fn spanned(text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map(|span| line_at(text, span.start));
    let why = match line.and_then(|line| key_at(text, line)) {
        Some((section, key))
            if error.message().starts_with("invalid ") && KEYS.iter().any(|known| known.name == key) =>
        {
            format!("[{section}] {key} {}", mismatch(error.message()))
        }
        Some(_) | None => error.message().to_owned(),
    };
    ConfigError { file: None, line, why }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The section and the key that a line, counted from 1, sets.
fn key_at(text: &str, line: usize) -> Option<(String, String)> {
    let before: Vec<&str> = text.lines().take(line).collect();
    let section = before.iter().rev().find_map(|line| line.trim().strip_prefix('[')?.split(']').next())?;
    let key = before.last()?.split_once('=')?.0;
    Some((section.trim().to_owned(), key.trim().to_owned()))
}

fn line_of_section(text: &str, section: &str) -> Option<usize> {
    let header = |line: &str| line.trim().strip_prefix('[').is_some_and(|rest| rest.starts_with(section));
    text.lines().position(header).map(|at| at + 1)
}

/// The line that sets a key; of the section's header if it is not set.
fn line_of_key(text: &str, section: &str, key: &str) -> Option<usize> {
    let mut inside = section.is_empty();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line.trim_start_matches('[').split(']').next().map(str::trim) == Some(section);
        } else if inside && line.split('=').next().map(str::trim) == Some(key) {
            return Some(at + 1);
        }
    }
    line_of_section(text, section).filter(|_| !section.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let error = parse(text).expect_err("it is wrong");
        format!("{}: {}", error.line.map_or("-".into(), |line| line.to_string()), error.why)
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(
            wrong("[bootstrap]\nexpect = 3\nneighbours = []\n"),
            "3: [bootstrap]: there is no key \"neighbours\"; did you mean \"neighbors\"?"
        );
        assert_eq!(wrong("\n[storge]\n"), "2: there is no section \"storge\"; did you mean \"storage\"?");
        assert_eq!(
            wrong("[listen]\ncache_mib = 3"),
            "2: [listen] has no key \"cache_mib\"; it belongs to [storage]"
        );
        assert_eq!(
            wrong("[bootstrap]\nexpect = \"three\""),
            "2: [bootstrap] expect must be a whole number, not negative and not too large; it is the text \"three\""
        );
        assert_eq!(wrong("[listen]\n\nresp = 6400"), "3: [listen] resp must be a text in quotes; it is 6400");
        assert_eq!(
            wrong("[bootstrap]\nneighbors = \"b:1\""),
            "2: [bootstrap] neighbors must be a list in brackets; it is the text \"b:1\""
        );
        assert_eq!(
            wrong("[bootstrap]\nshards = 0\n[radiant]\nname = \"a b\""),
            "4: [radiant] name: must be 1 to 64 letters, digits, '-', '_' or '.'\n\
             and line 2: [bootstrap] shards: must be between 1 and 16384"
        );
        assert!(wrong("[radiant\n").starts_with("1: "));
        assert!(wrong("name = 1").starts_with("1: \"name\" stands outside any section"));
        assert_eq!(
            wrong("[consensus]\nheartbeat_ms = 500\n"),
            "2: [consensus] heartbeat_ms: must be at most a quarter of election_timeout_ms (500), or one lost \
             heartbeat means an election"
        );
    }

    #[test]
    fn variables_go_before_the_file_and_settings_before_both() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("radiant.toml");
        std::fs::write(&file, "[storage]\ncache_mib = 1\nengine = \"sled\"\n[radiant]\nname = \"a\"\n")
            .expect("written");
        let variables = [
            ("SHARDBEARER_STORAGE_CACHE_MIB", "2"),
            ("SHARDBEARER_RADIANT_NAME", "b"),
            ("SHARDBEARER_ENDPOINTS", "x:1"),
        ];
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = load(Some(&file), variables, &["storage.cache_mib=3".into()], &Engines::default())
            .expect("valid");
        assert_eq!((config.storage.cache_mib, config.radiant.name.as_str()), (3, "b"));
        assert_eq!(config.storage.engine, "sled");
        let error = load(None, std::iter::empty(), &["storage.cash_mib=3".into()], &Engines::default())
            .expect_err("no such key");
        assert!(error.to_string().contains("did you mean \"cache_mib\""), "{error}");
        let error = load(None, std::iter::empty(), &["storage.cache_mib=much".into()], &Engines::default())
            .expect_err("no number");
        assert!(
            error.to_string().contains("--set storage.cache_mib=much: [storage] cache_mib must be a whole"),
            "{error}"
        );
    }
}
