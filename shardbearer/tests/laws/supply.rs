//! What may come into the build: the parts of `deny.toml` that can be told from `Cargo.lock` alone, so that they hold also
//! where cargo-deny is not installed.

use crate::architecture::manifest;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What is wrong with the locked packages.
fn violations(lock: &toml::Table, banned: &[String]) -> Vec<String> {
    let packages = lock["package"].as_array().expect("a lock file has packages");
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        match package.get("source").and_then(toml::Value::as_str) {
            None => {
                let ours = name.starts_with("shardbearer") || name.starts_with("own-"); // the examples
                assert!(ours, "{name} comes from a folder that is not ours");
            }
            Some(CRATES_IO) => {}
            Some(other) => wrong.push(format!("{name} comes from {other}")),
        }
        if banned.iter().any(|one| one == name) {
            wrong.push(format!("{name} is banned in deny.toml"));
        }
    }
    wrong
}

fn banned() -> Vec<String> {
    let rules = manifest("deny.toml");
    let entries = rules["bans"]["deny"].as_array().expect("a list");
    entries.iter().map(|one| one["crate"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn packages_come_from_crates_io_and_none_is_banned() {
    assert!(banned().len() >= 5, "deny.toml was not read as it is meant");
    assert_eq!(violations(&manifest("Cargo.lock"), &banned()), [""; 0]);
}

#[test]
fn a_package_from_elsewhere_is_found() {
    let lock = r#"
        package = [
            { name = "a", source = "git+https://example.org/a" },
            { name = "openssl", source = "registry+https://github.com/rust-lang/crates.io-index" },
        ]
    "#;
    assert_eq!(violations(&lock.parse().expect("TOML"), &banned()).len(), 2);
}
