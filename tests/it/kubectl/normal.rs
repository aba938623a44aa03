//! What two clusters may say differently without meaning anything: times, random names, addresses.
//! Every rule is here, and everything that no rule names is compared as it is.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Letters of names that Kubernetes makes up.
const SAFE: &str = "[bcdfghjklmnpqrstvwxz2456789]";

/// What is replaced, by what, in this order.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules: &[(&str, &str)] = &[
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
        // diff's own headers.
        (r"\t\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", ""),
        (r"/(LIVE|MERGED)-\d+/", "/$1/"),
        (r"\S*/kubectl-edit-\d+\.yaml", "FILE"),
        (r#"(resourceVersion"?: )"\d+""#, "$1\"REVISION\""),
        (r"(Resource Version:\s+)\d+", "${1}REVISION"),
        (r#"(pod-template-hash"?[=:] ?"?)[a-z0-9]+"#, "${1}HASH"),
        // A pod of a ReplicaSet, a ReplicaSet, another name with a random end, an event.
        (&format!(r"-({SAFE}{{5,10}})-{SAFE}{{5}}\b"), "-HASH-RANDOM"),
        (&format!(r"-{SAFE}{{6,10}}\b"), "-HASH"),
        (&format!(r"-{SAFE}{{5}}\b"), "-RANDOM"),
        (r"\.[0-9a-f]{16}\b", ".RANDOM"),
        (r"((Container|Image) ID:).*", "$1 ID"),
        (r"((container|image)ID:).*", "$1 ID"),
        (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", "IP"),
        (r"X509SHA256=[0-9a-f]{64}", "X509SHA256=HASH"),
        // How often an event was seen.
        (r" \(x\d+ over [0-9a-z]+\)", ""),
        (r"\b(\d+) \([0-9a-z]+ ago\)", "$1"),
    ];
    rules.iter().map(|(from, to)| (Regex::new(from).unwrap(), *to)).collect()
});

static NODE_PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b3[0-2]\d{3}\b").unwrap());
static GAP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\S) {2,}").unwrap());
static AGE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(\d+[smhd]){1,2}$").unwrap());

/// The lines of an output, without what means nothing.
pub fn lines(output: &str) -> Vec<String> {
    let told = output.lines().filter(|line| !is_progress(line));
    let mut lines: Vec<String> = told.map(line).collect();
    if let Some(title) = lines.windows(2).position(|pair| pair == ["Data", "===="]) {
        sort_data(&mut lines[title + 2..]);
    }
    lines
}

/// Old kubectl tells the keys of a ConfigMap in any order: `KEY:`, a rule, and what it holds.
fn sort_data(lines: &mut [String]) {
    let is_key = |at: usize| lines.get(at + 1).is_some_and(|rule| rule == "----");
    let end = lines.iter().position(|line| line == "BinaryData").unwrap_or(lines.len());
    let starts: Vec<usize> = (0..end).filter(|at| is_key(*at)).collect();
    let Some(first) = starts.first().copied() else { return };
    let ends = starts[1..].iter().copied().chain([end]);
    let ranges = starts.iter().copied().zip(ends);
    let mut blocks: Vec<Vec<String>> = ranges.map(|(at, to)| lines[at..to].to_vec()).collect();
    // The last has an empty line more.
    for block in &mut blocks {
        while block.last().is_some_and(String::is_empty) {
            block.pop();
        }
    }
    blocks.sort();
    let mut sorted = blocks.concat();
    sorted.resize(end - first, String::new());
    lines[first..end].clone_from_slice(&sorted);
}

/// How far a rollout was when it was looked at is a matter of speed.
fn is_progress(line: &str) -> bool {
    line.starts_with("Waiting for deployment")
}

fn line(line: &str) -> String {
    let mut line = line.trim_end().to_owned();
    for (from, to) in &*RULES {
        line = from.replace_all(&line, *to).into_owned();
    }
    let line = NODE_PORT.replace_all(&line, |found: &Captures<'_>| match &found[0] {
        // What the manifests ask for.
        fixed @ ("30001" | "30002") => fixed.to_owned(),
        _ => "NODEPORT".to_owned(),
    });
    // Columns are as wide as their widest cell; nothing after the indentation counts but the words.
    let line = GAP.replace_all(&line, "$1  ").into_owned();
    let cells = line.split("  ").map(|cell| if AGE.is_match(cell) { "AGE" } else { cell });
    cells.collect::<Vec<_>>().join("  ")
}

#[test]
fn only_what_means_nothing_is_replaced() {
    let said = "my-tomcat-5d59d67564-7bqsz   1/1     Running   2 (3s ago)   2m10s   10.42.0.7";
    let told = ["my-tomcat-HASH-RANDOM  1/1  Running  2  AGE  IP"];
    assert_eq!(lines(said), told);
    let said = "    Port:   http  8080/TCP\n    NodePort: http  31234/TCP 30001/TCP\n";
    let told = ["    Port:  http  8080/TCP", "    NodePort: http  NODEPORT/TCP 30001/TCP"];
    assert_eq!(lines(said), told);
}
