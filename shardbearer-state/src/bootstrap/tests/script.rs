//! Golden traces: `scripts/bootstrap/*.txt`, one scenario a file. The first line says what must hold and
//! what tries to break it. Blocks of commands are followed by `---` and what happened. Set
//! `UPDATE_SCRIPTS=1` to write what happens now, and read the difference before you commit it.
//!
//! Time is in milliseconds; a message takes 10; of repeated beacons and answers only the first is shown. Ballots
//! are `term.candidate`; radiant `n2` has incarnation 2.
//!
//! | command | does |
//! |---|---|
//! | `radiant n4 expect 3 neighbors n1 n2` | adds a radiant |
//! | `seed 7` | other random waits from here on |
//! | `start n1 n2`, `crash n1`, `wipe n1 as 9` | also after a crash; a wiped one has a new incarnation |
//! | `crash n2 when accepted` | as soon as it stored that, before it answers |
//! | `belongs n9 to 77 of n8 n9` | is a member of a cluster |
//! | `rename n4 n2` | calls itself otherwise, at its old address |
//! | `cut n1 n2`, `heal` | |
//! | `run 500` | lets time pass |
//! | `settled` | all radiants that are up know one and the same cluster |

use std::path::Path;

use bytes::Bytes;
use shardbearer_core::bootstrap::Founding;
use shardbearer_core::ids::ClusterId;

use super::founder;
use super::net::Net;

#[test]
fn golden_traces_of_all_scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bootstrap");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 12, "only {} scripts in {}", paths.len(), folder.display());
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("a script is text");
        let actual = play(&script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, actual).expect("the script can be written");
        } else if actual != script {
            let differs = script.lines().zip(actual.lines()).position(|(one, other)| one != other);
            panic!(
                "{} differs from line {:?} on. It is now:\n{actual}",
                path.display(),
                differs.map(|at| at + 1)
            );
        }
    }
}

/// Carries out a script; returns it with what happened.
fn play(script: &str) -> String {
    let mut net = Net::new(1);
    let mut apart = false;
    let mut actual = String::new();
    for block in script.trim_end().split("\n\n") {
        let commands = block.split("\n---").next().unwrap_or_default();
        for line in commands.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            apart |= words.first() == Some(&"belongs");
            command(&mut net, &words);
        }
        if !actual.is_empty() {
            actual.push('\n');
        }
        actual += &format!("{commands}\n");
        let happened: Vec<String> = net.trace.drain(..).collect();
        if !happened.is_empty() {
            actual += &format!("---\n{}\n", happened.join("\n"));
        }
    }
    if !apart {
        net.assert_one_cluster();
    }
    actual
}

fn command(net: &mut Net, words: &[&str]) {
    let addresses = |names: &[&str]| names.iter().map(|name| format!("{name}:1")).collect::<Vec<String>>();
    match words {
        ["radiant", name, "expect", expect, "neighbors", neighbors @ ..] => {
            let expect = expect.parse().expect("a number");
            net.add(name, number(name), expect, &addresses(neighbors));
        }
        ["seed", seed] => net.reseed(seed.parse().expect("a number")),
        ["start", names @ ..] => names.iter().for_each(|name| net.start(name)),
        ["crash", name, "when", kind] => {
            net.traps.insert((*name).to_owned(), (*kind).to_owned());
        }
        ["crash", names @ ..] => names.iter().for_each(|name| net.crash(name)),
        ["wipe", name, "as", incarnation] => net.wipe(name, incarnation.parse().expect("a number")),
        ["belongs", name, "to", cluster, "of", members @ ..] => {
            let members = members.iter().map(|name| founder(name, number(name))).collect();
            let cluster = ClusterId(cluster.parse().expect("a number"));
            let topology = Bytes::from_static(b"a cluster of its own");
            net.nodes.get_mut(*name).expect("added").member = Some(Founding { cluster, members, topology });
        }
        ["rename", name, to] => {
            net.nodes.get_mut(*name).expect("added").settings.me.name = (*to).to_owned();
        }
        ["cut", one, other] => net.cut(one, other),
        ["heal"] => net.cuts.clear(),
        ["run", ms] => net.run(ms.parse().expect("a number")),
        ["settled"] => {
            let up = net.nodes.values().filter(|node| node.machine.is_some());
            let known = up.map(|node| node.member.as_ref().map(|member| member.cluster).or(node.join));
            let known: std::collections::BTreeSet<_> = known.collect();
            let one = known.len() == 1 && !known.contains(&None);
            assert!(one, "not settled: {known:?}\n{}", net.trace.join("\n"));
        }
        [] => {}
        _ => panic!("unknown command: {words:?}"),
    }
}

/// The incarnation of a radiant by its name.
fn number(name: &str) -> u128 {
    name.trim_start_matches('n').parse().expect("radiants are called n1, n2, ...")
}
