//! What the documents promise about files holds.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All documents that are part of the project.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs"), root().join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("there").flatten() {
            let path = entry.path();
            let hidden = path.file_name().is_some_and(|name| name == "target" || name == "node_modules");
            if path.is_dir() && !hidden {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)));
    found
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#')).collect()
}

#[test]
fn every_link_between_files_leads_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("readable");
        let folder = document.parent().expect("a file has a folder");
        for link in links(&text) {
            seen += 1;
            let target = link.split('#').next().unwrap_or_default();
            if !folder.join(target).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} links were seen: the search is broken");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_broken_link_would_be_seen() {
    assert_eq!(links("see [a](b.md), [c](https://d), [e](#f) and [g](h.md#i)"), ["b.md", "h.md#i"]);
}

/// What is quoted in backticks and looks like a file of the project: folders, a name, an ending that ours have.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let quotes = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    let one_of_ours = |quote: &&str| {
        let parts: Vec<&str> = quote.split('/').collect();
        let named = |part: &&str| {
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !part.is_empty() && part.bytes().all(sound)
        };
        let ending = parts.last().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
        let ours = ["c", "jq", "md", "proto", "py", "rs", "sh", "toml", "txt"];
        parts.len() > 1 && parts.iter().all(named) && ending.is_some_and(|ending| ours.contains(&ending))
    };
    quotes.filter(one_of_ours).collect()
}

/// All files of the project, by their paths from the root.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("there").flatten() {
            let path = entry.path();
            let foreign = [".git", "target", "node_modules"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !foreign {
                folders.push(path);
            } else if path.is_file() {
                let path = path.strip_prefix(root()).expect("below the root");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn every_file_that_is_quoted_is_there() {
    let files = files();
    let mut missing = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("readable");
        for quote in quoted(&text) {
            seen += 1;
            // From the root, or from any folder that the sentence is about.
            let end = format!("/{quote}");
            if !files.iter().any(|file| file == quote || file.ends_with(&end)) {
                missing.push(format!("{}: {quote}", document.display()));
            }
        }
    }
    assert!(seen > 40, "only {seen} files are quoted: the search is broken");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn only_what_looks_like_a_file_of_ours_is_taken_for_one() {
    let text = "see `a/b.rs`, `c.rs`, `d/e`, `data/LOG.old`, `f g/h.rs` and `x/*.rs`\n```\n`i/j.rs`\n```\nand `k/l-m.sh`";
    assert_eq!(quoted(text), ["a/b.rs", "k/l-m.sh"]);
}

/// Whoever asks a script what it does gets an answer, and no failure.
#[test]
fn every_script_that_takes_arguments_has_help() {
    let folder = root().join("scripts");
    let mut asked = 0;
    for script in std::fs::read_dir(&folder).expect("there").flatten().map(|entry| entry.path()) {
        let takes_arguments = |text: String| text.contains("$1");
        if !script.is_file() || !std::fs::read_to_string(&script).is_ok_and(takes_arguments) {
            continue;
        }
        asked += 1;
        let name = script.file_name().expect("it has one").to_string_lossy().into_owned();
        for help in ["--help", "-h"] {
            let told = Command::new("bash").arg(&script).arg(help).output().expect("it runs");
            assert_eq!(told.status.code(), Some(0), "{name} {help}");
            assert!(told.stdout.len() > 100, "{name} {help}: {told:?}");
        }
    }
    assert!(asked > 4, "only {asked} scripts were asked: the search is broken");
}

/// One thing, one word: the glossary explains no word twice.
#[test]
fn the_glossary_has_each_word_once() {
    let text = std::fs::read_to_string(root().join("docs/glossary.md")).expect("readable");
    let mut words: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| **")).collect();
    words.iter_mut().for_each(|line| *line = line.split("**").next().unwrap_or_default());
    assert!(words.len() > 40, "only {} words were seen: the search is broken", words.len());
    words.sort_unstable();
    let twice: Vec<_> = words.windows(2).filter(|two| two[0] == two[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
