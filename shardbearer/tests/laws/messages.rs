//! No message is forgotten: what the .proto files describe, a fuzz target reads, and what is converted, one converts.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use shardbearer::fuzzing::kinds;

use super::architecture::sources;

const PACKAGE: &str = ".shardbearer.v1";

/// What the .proto files say, by full names.
#[derive(Default)]
struct Schema {
    /// Of each message, the messages that it holds.
    parts: BTreeMap<String, Vec<String>>,
    /// What a radiant is asked, and what it answers.
    spoken: BTreeSet<String>,
}

impl Schema {
    fn read() -> Schema {
        let files = FileDescriptorSet::decode(shardbearer_proto::DESCRIPTORS).expect("descriptors");
        let mut schema = Schema::default();
        for file in files.file.iter().filter(|file| PACKAGE.ends_with(file.package())) {
            file.message_type.iter().for_each(|message| schema.add(PACKAGE, message));
            for method in file.service.iter().flat_map(|service| &service.method) {
                schema.spoken.extend([method.input_type().to_owned(), method.output_type().to_owned()]);
            }
        }
        schema
    }

    fn add(&mut self, above: &str, message: &DescriptorProto) {
        let name = format!("{above}.{}", message.name());
        let held = message.field.iter().filter(|field| field.r#type() == Type::Message);
        self.parts.insert(name.clone(), held.map(|field| field.type_name().to_owned()).collect());
        message.nested_type.iter().for_each(|inner| self.add(&name, inner));
    }

    /// These and all that they hold.
    fn reached(&self, names: impl Iterator<Item = String>) -> BTreeSet<String> {
        let mut waiting: Vec<String> = names.collect();
        let mut reached = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            let held = self.parts.get(&name).unwrap_or_else(|| panic!("{name} is in no .proto file"));
            if reached.insert(name) {
                waiting.extend(held.iter().cloned());
            }
        }
        reached
    }
}

fn full(name: &str) -> String {
    format!("{PACKAGE}.{name}")
}

/// What no target reads, or only as a part of something else although it travels alone.
fn unread(known: &[&str]) -> Vec<String> {
    let schema = Schema::read();
    let reached = schema.reached(known.iter().map(|name| full(name)));
    let all = schema.parts.keys().filter(|name| !reached.contains(*name));
    let alone = schema.spoken.iter().filter(|name| !known.iter().any(|known| full(known) == **name));
    all.chain(alone).cloned().collect()
}

#[test]
fn every_message_is_read_by_a_fuzz_target() {
    let known: Vec<&str> = kinds().map(|kind| kind.name).collect();
    assert_eq!(unread(&known), [""; 0], "add it to a table of shardbearer/src/fuzzing");
}

#[test]
fn a_message_that_no_target_reads_is_found() {
    for one in ["ControlResponse", "ForwardResponse", "Pulse", "BootstrapVote", "DigestRequest"] {
        let known: Vec<&str> = kinds().map(|kind| kind.name).filter(|name| *name != one).collect();
        assert!(unread(&known).contains(&full(one)), "nobody misses {one}");
    }
}

/// Messages that a file turns into something else: those of `From` and of `TryFrom`.
fn converted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with("impl")).filter_map(|line| {
        let (_, name) = line.split_once("From<pb::")?;
        name.split_once('>').map(|(name, _)| name)
    })
}

/// Messages of which a file's free functions make something, or nothing: those that return a `Result` or an `Option`.
fn understood(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (before, rest) in text.match_indices("fn ").map(|(at, _)| text.split_at(at)) {
        let head = rest.split(['{', ';']).next().unwrap_or_default();
        let plain = !before.ends_with("async ") && !head.contains("self");
        let Some((takes, gives)) = head.split_once("->").filter(|_| plain) else { continue };
        if !gives.contains("Result<") && !gives.contains("Option<") {
            continue;
        }
        names.extend(takes.split("pb::").skip(1).filter_map(|rest| {
            let name = rest.split(|one: char| !one.is_alphanumeric()).next()?;
            name.starts_with(char::is_uppercase).then_some(name)
        }));
    }
    names
}

#[test]
fn what_free_functions_understand_is_found() {
    let text = "impl From<pb::Pulse> for P {}\nfn f(a: u8, b: &pb::MapRequest) -> Result<u8, String> {}\n\
                fn g(\n    a: Option<pb::Move>,\n) -> Option<u8> {}\nasync fn h(a: pb::Pulse) -> Option<u8> {}\n\
                fn i(&self, a: pb::Pulse) -> Option<u8> {}\nfn j(a: pb::Pulse) -> u8 {}\n\
                fn k(a: u8) -> Option<pb::Pulse> {}\nfn l(a: &pb::move_request::Kind) -> Option<u8> {}";
    assert_eq!(understood(text), ["MapRequest", "Move"]);
    assert_eq!(converted(text).collect::<Vec<_>>(), ["Pulse"]);
}

#[test]
fn every_conversion_is_tried_by_a_fuzz_target() {
    let with = kinds().filter(|kind| kind.convert.is_some()).map(|kind| full(kind.name));
    let tried = Schema::read().reached(with);
    let (mut found, mut free) = (0, 0);
    for (path, text) in sources() {
        // The commands for people only move fields from one struct to another.
        if path.contains("/tests") || path.contains("/src/cli/") {
            continue;
        }
        for name in converted(&text) {
            found += 1;
            assert!(tried.contains(&full(name)), "{path}: no target tries pb::{name}");
        }
        for name in understood(&text) {
            free += 1;
            assert!(tried.contains(&full(name)), "{path}: no target tries what becomes of pb::{name}");
        }
    }
    assert!(found > 20 && free > 10, "{found} conversions and {free} functions cannot be all");
}
