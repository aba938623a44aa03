//! The style rules, executable: what a reviewer would otherwise have to look for.
//!
//! Exceptions stand in tables here, each with its reason, and the tables only shrink.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Columns in a line of Rust.
const LINE_COLUMNS_MAX: usize = 100;
/// Lines in a function, signature included.
const FUNCTION_LINES_MAX: usize = 70;
/// The median length of functions over the whole program.
const FUNCTION_LINES_MEDIAN_MAX: usize = 10;
/// Lines in a file.
const FILE_LINES_MAX: usize = 800;

/// Files that may be longer, because they are tables.
const TABLES: &[&str] = &[];
/// Files whose functions may be longer, because each is one table of cases.
const TABLES_OF_CASES: &[&str] = &["src/node/pod/tests.rs"];

/// Words that are not used, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("FIXME", "mend it, or open an issue"),
    ("todo!(", "build it, or refuse it with a clear error"),
    ("unimplemented!(", "build it, or refuse it with a clear error"),
    ("dbg!(", "tracing with fields"),
    ("thread::sleep", "a wait on a condition with a deadline"),
    ("unbounded_channel", "a channel with a bound from limits.rs"),
    ("lazy_static", "std::sync::LazyLock"),
    ("Box<dyn std::error::Error", "a thiserror enum of the module"),
    ("allow(clippy::all", "an allow that names the lint and the reason"),
    ("#[ignore]", "#[ignore = \"why\"]"),
];

/// Which modules a module may import (the table "Rooms" of the design).
const ROOMS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("util", &["limits"]),
    ("sys", &["util", "limits"]),
    ("pki", &["util", "limits"]),
    // Fields and Wall time are plain data that rules hand to the history.
    ("api", &["util", "limits", "history::Fields"]),
    ("history", &["api::meta", "api::tree", "api::selector", "util", "limits"]),
    ("store", &["history", "api::meta", "api::tree", "util", "limits"]),
    ("client", &["history", "api", "pki", "util", "limits"]),
    ("auth", &["client", "history", "api", "pki", "util", "limits"]),
    ("admission", &["auth", "client", "history", "api", "util", "limits"]),
    (
        "apiserver",
        &["store", "history", "client", "auth", "admission", "pki", "api", "util", "limits"],
    ),
    ("scheduler", &["client", "history", "api", "util", "limits"]),
    ("controllers", &["client", "history", "api", "util", "limits"]),
    ("runtime", &["sys", "util", "limits"]),
    ("net", &["sys", "util", "limits"]),
    (
        "node",
        &["runtime", "net", "sys", "client", "history", "api", "pki", "auth", "util", "limits"],
    ),
];

/// Modules that wire the others and may import anything.
const WIRING: &[&str] = &["server", "agent", "cli", "lib", "main"];

struct Source {
    /// Relative to the project's root.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push(Source { path: relative, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

fn all() -> Vec<Source> {
    let mut all = sources("src");
    all.extend(sources("tests"));
    all
}

fn report(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

/// Functions of a file: name, first line (from 1), lines. Relies on rustfmt's indentation.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", &line[..indent]);
        let end = (at..lines.len()).find(|&i| lines[i] == close || ends_at_once(lines[i], i == at));
        let end = end.unwrap_or(at);
        found.push((name, at + 1, end - at + 1));
    }
    found
}

/// A signature without a body, or a body on one line.
fn ends_at_once(line: &str, first: bool) -> bool {
    first && (line.ends_with(';') || line.ends_with("}"))
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().peekable();
    const BEFORE: [&str; 5] = ["pub", "async", "const", "unsafe", "extern"];
    while words.peek().is_some_and(|w| BEFORE.contains(w) || w.starts_with("pub(")) {
        words.next();
    }
    (words.next()? == "fn").then_some(())?;
    let name = words.next()?;
    Some(name.split(['(', '<']).next()?.to_owned())
}

#[test]
fn every_file_says_what_it_is_for() {
    let faults: Vec<String> = all()
        .iter()
        .filter(|s| !s.text.starts_with("//! "))
        .map(|s| format!("{} does not start with //!", s.path))
        .collect();
    report("files without a charter", &faults);
}

#[test]
fn lines_fit() {
    let mut faults = Vec::new();
    for source in all() {
        for (at, line) in source.text.lines().enumerate() {
            let long = line.chars().count() > LINE_COLUMNS_MAX;
            // A long literal cannot be broken without changing what it says.
            if long && !line.contains('"') && !line.contains("http") {
                faults.push(format!("{}:{}", source.path, at + 1));
            }
        }
    }
    report("lines over 100 columns", &faults);
}

#[test]
fn files_are_short() {
    let faults: Vec<String> = all()
        .iter()
        .filter(|s| !TABLES.contains(&s.path.as_str()))
        .filter(|s| s.text.lines().count() > FILE_LINES_MAX)
        .map(|s| format!("{} has {} lines", s.path, s.text.lines().count()))
        .collect();
    report("files over 800 lines that are no table", &faults);
}

#[test]
fn functions_are_short() {
    let (mut faults, mut lengths) = (Vec::new(), Vec::new());
    for source in all() {
        for (name, line, length) in functions(&source) {
            lengths.push(length);
            if length > FUNCTION_LINES_MAX && !TABLES_OF_CASES.contains(&source.path.as_str()) {
                faults.push(format!("{}:{line} {name} has {length} lines", source.path));
            }
        }
    }
    report("functions over 70 lines", &faults);
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= FUNCTION_LINES_MEDIAN_MAX, "the median function has {median} lines");
}

#[test]
fn banned_words_are_not_used() {
    let mut faults = Vec::new();
    for source in all().iter().filter(|s| s.path != "tests/it/tidy.rs") {
        for (at, line) in source.text.lines().enumerate() {
            for (word, instead) in BANNED.iter().filter(|(word, _)| line.contains(word)) {
                faults.push(format!("{}:{} {word} -> {instead}", source.path, at + 1));
            }
        }
    }
    report("banned words", &faults);
}

#[test]
fn unsafe_code_has_one_address() {
    let faults: Vec<String> = sources("src")
        .iter()
        .filter(|s| !s.path.starts_with("src/sys"))
        .filter(|s| s.text.contains("unsafe {") || s.text.contains("allow(unsafe_code"))
        .map(|s| s.path.clone())
        .collect();
    report("unsafe outside src/sys", &faults);
}

#[test]
fn modules_import_only_what_their_room_allows() {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut faults = BTreeSet::new();
    for source in sources("src") {
        let module = source.path["src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        if WIRING.contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = rooms.get(module.as_str()) else {
            faults.insert(format!("{} is in no room: add a row", source.path));
            continue;
        };
        for import in imports(&source.text) {
            let fits = |room: &str| import == *room || import.starts_with(&format!("{room}::"));
            if !import.starts_with(&module) && !allowed.iter().any(|room| fits(room)) {
                faults.insert(format!("{} imports crate::{import}", source.path));
            }
        }
    }
    report("imports that the design does not allow", &faults.into_iter().collect::<Vec<_>>());
}

/// Paths below `crate::` that a file names outside its tests.
fn imports(text: &str) -> Vec<String> {
    let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = program.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = Vec::new();
    for line in code {
        for rest in line.split("crate::").skip(1) {
            expand(rest, &mut found);
        }
    }
    found
}

/// `history::{Draft, Object}` names both.
fn expand(rest: &str, found: &mut Vec<String>) {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
    let path = rest[..end].trim_end_matches(':');
    match rest[end..].strip_prefix('{') {
        Some(list) => {
            let items = list.split(['}', ';']).next().unwrap_or("").split(',');
            let names = items.map(|item| item.trim().split([' ', '{']).next().unwrap_or(""));
            found.extend(names.filter(|n| !n.is_empty()).map(|name| format!("{path}::{name}")));
        }
        None => found.push(path.to_owned()),
    }
}

#[test]
fn there_is_one_integration_test_binary() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert_eq!(manifest.matches("[[test]]").count(), 1);
}

#[test]
fn the_top_level_is_the_users_card() {
    const CARD: [&str; 9] = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "embedded",
        "examples",
        "install.sh",
        "src",
        "tests",
    ];
    let extra: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target" && !CARD.contains(&name.as_str()))
        .collect();
    report("top-level entries that the card does not have", &extra);
}
