//! The table is sound: what `COMMAND` shows is what happens.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_command_is_found_by_its_name_in_any_case() {
    let mut names = BTreeSet::new();
    for spec in all() {
        assert!(names.insert(spec.name), "{} is there twice", spec.name);
        assert_eq!(spec.name, spec.name.to_ascii_lowercase());
        let found = find(spec.name.to_ascii_uppercase().as_bytes()).expect("it is in the table");
        assert_eq!(found.name, spec.name);
    }
    assert!(find(b"").is_none() && find(&[b'x'; 100]).is_none());
}

#[test]
fn keys_in_the_table_are_the_keys_of_the_plan() {
    for spec in all() {
        let Run::Data(translate) = spec.run else { continue };
        // Keys are k0, k2, ...: all of one slot, and numbers where a number is wanted.
        let words: Vec<Bytes> = match spec.arity.unsigned_abs() {
            2 => vec!["x".into(), "{1}0".into()],
            3 => vec!["x".into(), "{1}0".into(), "1".into()],
            _ => vec!["x".into(), "{1}0".into(), "1".into(), "2".into()],
        };
        assert!(spec.takes(words.len()), "{}", spec.name);
        let plan = translate(&words, 1_000).unwrap_or_else(|failure| panic!("{}: {failure:?}", spec.name));
        let told: BTreeSet<&Bytes> = spec.keys.of(&words).collect();
        let used: BTreeSet<&Bytes> = plan.commands().iter().filter_map(|command| command.key()).collect();
        assert_eq!(told, used, "{}", spec.name);
        let writes = plan.commands().iter().any(|command| command.is_write());
        assert!(!(spec.is_read() && writes), "{} says that it only reads", spec.name);
    }
}

#[test]
fn words_are_counted_as_the_arity_says() {
    let get = find(b"get").expect("there");
    assert!(get.takes(2) && !get.takes(1) && !get.takes(3));
    let mset = find(b"mset").expect("there");
    assert!(mset.takes(3) && mset.takes(5) && !mset.takes(2));
    let words: Vec<Bytes> = ["mset", "a", "1", "b", "2"].map(Bytes::from).into();
    assert!(mset.keys.of(&words).eq(&[words[1].clone(), words[3].clone()]));
}

/// Refuted by a command that was added or removed without its word in the document, and by a made-up one.
#[test]
fn the_document_lists_exactly_the_commands_of_the_table() {
    let text = include_str!("../../../../../docs/clients.md");
    let section = text.split("| family | commands |").nth(1).and_then(|rest| rest.split("\n\n").next());
    let words = section.expect("the table of commands is there").split('`').skip(1).step_by(2);
    let told: BTreeSet<String> = words.map(str::to_ascii_lowercase).collect();
    let served: BTreeSet<String> = all().map(|spec| spec.name.to_owned()).collect();
    assert_eq!(told, served);
}
