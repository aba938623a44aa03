//! The map from Kubernetes' conformance tests to the tests here that check what they check.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tests;

/// How many conformance tests v1.37 has.
const NAMES: usize = 449;

const MAP: &str = include_str!("conformance/map.txt");

/// What stands before the name of a test beside the code: its module and its function.
const UNIT: &str = "unit:";

/// The groups of the map: what stands at its head, and the conformance tests.
fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in MAP.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("    "), groups.last_mut()) {
            (Some(name), Some((_, names))) => names.push(name),
            (Some(name), None) => panic!("{name} belongs to no test"),
            (None, _) => groups.push((line, Vec::new())),
        }
    }
    groups
}

/// Whether there is a test of this name.
fn exists(test: &str) -> bool {
    let Some(path) = test.strip_prefix(UNIT) else { return tests::all().contains(test) };
    let (module, function) = path.rsplit_once("::").unwrap_or_default();
    let file = |module: &str| {
        let name = format!("src/{}.rs", module.replace("::", "/"));
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
    };
    let inline = module.strip_suffix("::tests").unwrap_or(module);
    let texts = [file(module), file(inline)].into_iter().flatten();
    texts.into_iter().any(|text| text.contains(&format!("fn {function}(")))
}

#[test]
fn every_conformance_test_is_on_the_map() {
    let groups = groups();
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (head, listed) in &groups {
        let tests = head.split(' ').filter(|_| !head.starts_with("- "));
        faults.extend(tests.filter(|test| !exists(test)).map(|test| format!("no test {test}")));
        let twice = listed.iter().filter(|name| !names.insert(**name));
        faults.extend(twice.map(|name| format!("twice: {name}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(names.len(), NAMES);
    assert!(names.iter().all(|name| name.starts_with("[sig-") && name.contains("[Conformance]")));
}
