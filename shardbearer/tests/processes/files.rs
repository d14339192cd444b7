//! `kv import` and `kv export` against a cluster: what goes in comes out, to the byte.

use std::path::{Path, PathBuf};

use super::harness::Cluster;

/// Runs it and gives its exit code, standard output and standard error.
fn run(cluster: &Cluster, args: &[&str]) -> (Option<i32>, String, String) {
    let output = cluster.run(args);
    let text = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn cities() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/cities.jsonl")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cities_come_out_as_they_went_in() {
    let cluster = Cluster::started(3).await;
    let file = cities();
    let (code, report, error) =
        run(&cluster, &["--output", "json", "kv", "import", file.to_str().unwrap(), "--key", "id"]);
    assert_eq!(code, Some(0), "{error}");
    let text = std::fs::read_to_string(&file).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["rows"], &report["failed"]), (&text.lines().count().into(), &0.into()));

    let out = cluster.folder.path().join("out.jsonl");
    let (code, _, error) = run(&cluster, &["kv", "export", out.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{error}");
    // Keys are the decimal numbers as text, and so is their order.
    let id = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["id"].to_string()
    };
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| id(line));
    let expected: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let exported = std::fs::read_to_string(&out).unwrap();
    assert!(exported == expected, "{} bytes came out, {} went in", exported.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_lines_are_named_and_the_others_imported() {
    let cluster = Cluster::started(1).await;
    let file = cluster.folder.path().join("broken.jsonl");
    std::fs::write(&file, "{\"id\":1}\n{\"id\":\n{\"id\":2}\n{\"name\":\"nobody\"}\nnonsense\n{\"id\":3}\n")
        .unwrap();
    let (code, _, error) = run(&cluster, &["kv", "import", file.to_str().unwrap(), "--key", "id"]);
    assert_eq!(code, Some(1), "{error}");
    for line in ["line 2: ", "line 4: ", "line 5: ", "3 lines were not imported"] {
        assert!(error.contains(line), "{line:?} is not in {error}");
    }
    let out = cluster.folder.path().join("out.jsonl");
    let (code, _, error) = run(&cluster, &["kv", "export", out.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
}
