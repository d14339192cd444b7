//! `kv export`: values or whole rows to a file, in key order.
//!
//! The file is written beside its final place and takes it only when it is whole and on disk.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use shardbearer_client::{Client, Row};

use super::super::output::{self, Output};
use super::super::progress::Progress;
use super::{Span, backup};

/// Arguments of `kv export`.
#[derive(Debug, Args)]
#[command(after_help = "Without a file, or with `-`, rows go to standard output. A file is replaced only \
when everything is written.

Examples:
  shardbearer kv export users.jsonl --prefix user:    what `kv import` imported
  shardbearer kv export all.backup --format backup    what `kv import --format backup` writes back
  shardbearer kv export --start a --end b | wc -l")]
pub(in crate::cli) struct Export {
    /// The file
    file: Option<PathBuf>,
    /// What a line holds
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    span: Span,
}

/// What a line holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The value as it is; values with line breaks are refused
    #[default]
    Values,
    /// An object with "key" and "value" ("key_base64", "value_base64" for what is no text), and "expires_at_ms" if there is
    /// such a time: everything, to be read by `kv import --format backup`
    #[value(alias = "jsonl")]
    Backup,
}

impl Export {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let Export { file, format, span } = self;
        let scan = span.scan(client).page_rows(0);
        let file = file.filter(|file| file.as_os_str() != "-");
        let mut progress = Progress::new("exported", None);
        let result = match &file {
            None => write_all(scan, format, io::stdout().lock(), &mut progress).await.map(|_| ()),
            Some(path) => write_file(scan, format, path, &mut progress).await,
        };
        progress.finish();
        result?;
        if let Some(path) = file {
            let (rows, seconds) = (progress.rows(), progress.seconds());
            match output {
                Output::Table => output::line(format!(
                    "exported {} to {} in {seconds:.1} s ({:.0} rows/s)",
                    output::count(rows, "row"),
                    path.display(),
                    progress.rate()
                ))?,
                Output::Json => {
                    output::json(
                        &json!({ "rows": rows, "seconds": seconds, "file": path.display().to_string() }),
                    )?;
                }
            }
        }
        Ok(())
    }
}

async fn write_file(
    scan: shardbearer_client::ScanStream,
    format: Format,
    path: &Path,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let Some(name) = path.file_name() else { bail!("{} is no name of a file", path.display()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let cannot = || format!("cannot write {}", path.display());
    let file = File::create(&temporary).with_context(cannot)?;
    let whole = async {
        let file = write_all(scan, format, file, progress).await?;
        file.sync_all().with_context(cannot)?;
        std::fs::rename(&temporary, path).with_context(cannot)?;
        // The new name is on disk only when the folder is.
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)
    };
    let result = whole.await;
    if result.is_err() {
        // Half a file is of no use; if it cannot be removed, the first error says more.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

async fn write_all<W: Write>(
    mut scan: shardbearer_client::ScanStream,
    format: Format,
    out: W,
    progress: &mut Progress,
) -> anyhow::Result<W> {
    let mut out = BufWriter::with_capacity(1 << 20, out);
    while let Some(page) = scan.next_page().await? {
        let mut bytes = 0;
        for row in &page {
            write_row(format, row, &mut out)?;
            bytes += row.record.value.len() as u64 + 1;
        }
        progress.advance(page.len() as u64, bytes);
    }
    Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?)
}

fn write_row(format: Format, row: &Row, out: &mut impl Write) -> anyhow::Result<()> {
    match format {
        Format::Values => {
            if row.record.value.contains(&b'\n') {
                bail!(
                    "the value of key {:?} has a line break and does not fit on a line; use --format backup",
                    output::text(&row.key)
                );
            }
            out.write_all(&row.record.value)?;
        }
        Format::Backup => serde_json::to_writer(&mut *out, &backup::line(row))?,
    }
    out.write_all(b"\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shardbearer_client::Record;

    fn line(format: Format, key: &'static [u8], value: &'static [u8]) -> anyhow::Result<String> {
        let record = Record { value: value.into(), revision: 1, expires_at_ms: None };
        let mut out = Vec::new();
        write_row(format, &Row { key: key.into(), record }, &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn a_value_is_a_line_or_refused() {
        assert_eq!(line(Format::Values, b"k", b"{\"id\":1}\r").expect("fits"), "{\"id\":1}\r\n");
        let error = line(Format::Values, b"k", b"a\nb").expect_err("does not fit").to_string();
        assert!(error.contains("\"k\"") && error.contains("--format backup"), "{error}");
        assert_eq!(
            line(Format::Backup, b"k", b"a\nb").expect("fits"),
            "{\"key\":\"k\",\"value\":\"a\\nb\"}\n"
        );
        let binary = line(Format::Backup, b"k", b"\xff").expect("fits");
        assert_eq!(binary, "{\"key\":\"k\",\"value_base64\":\"/w==\"}\n");
    }
}
