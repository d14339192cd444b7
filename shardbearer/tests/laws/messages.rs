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

#[test]
fn every_conversion_is_tried_by_a_fuzz_target() {
    let with = kinds().filter(|kind| kind.convert.is_some()).map(|kind| full(kind.name));
    let tried = Schema::read().reached(with);
    let mut found = 0;
    for (path, text) in sources() {
        // The commands for people only move fields from one struct to another.
        if path.contains("/tests") || path.contains("/src/cli/") {
            continue;
        }
        for name in converted(&text) {
            found += 1;
            assert!(tried.contains(&full(name)), "{path}: no target tries pb::{name}");
        }
    }
    assert!(found > 20, "{found} conversions cannot be all");
}
