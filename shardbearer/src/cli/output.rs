//! How results are printed.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use serde_json::{Map, Value};

/// For whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    #[default]
    Table,
    /// For programs: one JSON document
    Json,
}

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// Prints a line.
pub(super) fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints bytes as they are; with a newline only where somebody reads along.
pub(super) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    if out.is_terminal() && !bytes.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// An empty table that fits the terminal.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

/// Aligns these columns of numbers to the right.
pub(super) fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Numbers with commas between.
pub(super) fn list(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// Runs of ids, since a table with thousands of shards helps nobody: `1-64, 70`.
pub(super) fn ranges(ids: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for id in ids {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*id) => *last = *id,
            Some(_) | None => runs.push((*id, *id)),
        }
    }
    let words = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// How this program is called from where the user is: its name if a shell finds it, else the way to it.
pub(super) fn program() -> String {
    let name = "shardbearer".to_owned();
    let Ok(program) = std::env::current_exe() else { return name };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(&name) == program) {
        return name;
    }
    let here = std::env::current_dir().ok();
    let way = here.as_ref().and_then(|here| program.strip_prefix(here).ok()).unwrap_or(&program);
    way.display().to_string()
}

/// A number of things, with the word as the number wants it.
pub(super) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// An id, or a dash where there is none.
pub(super) fn or_dash(id: Option<u64>) -> String {
    id.map_or_else(|| "-".into(), |id| id.to_string())
}

/// Bytes in a unit that is easy to read.
pub(super) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// Bytes for people: as text, control characters escaped.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// Puts bytes into a JSON object: as `name` if they are text, else as `name_base64`.
pub(super) fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    use base64::Engine;
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.into(), text.into()),
        Err(_) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
            object.insert(format!("{name}_base64"), encoded.into())
        }
    };
}

/// Sentences under their title, if there are any.
pub(super) fn section(lines: &mut Vec<String>, title: &str, sentences: &[String]) {
    if !sentences.is_empty() {
        lines.push(title.to_owned());
        lines.extend(sentences.iter().map(|sentence| format!("  {sentence}")));
    }
}

/// Why something is not done, forced or not, and why not unless forced. If it is done, what it was forced against.
pub(super) fn refusals(lines: &mut Vec<String>, done: bool, blockers: &[String], dangers: &[String]) {
    section(lines, "In the way:", blockers);
    section(lines, if done { "Forced, although:" } else { "Unsafe, so that it takes --force:" }, dangers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_as_runs_and_bytes_as_text() {
        assert_eq!(ranges(&[1, 2, 3, 5, 7, 8, u64::MAX]), format!("1-3, 5, 7-8, {}", u64::MAX));
        assert_eq!(ranges(&[]), "");
        assert_eq!(text(b"a\tb\xff"), "a\\tb\u{fffd}");
        let mut object = Map::new();
        insert_bytes(&mut object, "key", b"k");
        insert_bytes(&mut object, "value", b"\xff");
        assert_eq!(Value::from(object).to_string(), r#"{"key":"k","value_base64":"/w=="}"#);
    }
}
