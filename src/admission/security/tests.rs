//! The levels against upstream's own judgement.
//!
//! `tests/it/api/rules/security/cases.jsonl` holds pods, labels and namespaces, and what
//! `k8s.io/pod-security-admission` says of them. It is made by the Go program beside it.

use super::*;
use crate::api::meta::Key;
use crate::auth::Authorization;
use crate::history::{Change, History, Object};

/// The newest version that the cases know.
const NEWEST: u32 = 39;

fn cases(kind: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/api/rules/security/cases.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let all = text.lines().map(|line| Value::parse(line.as_bytes()).unwrap());
    let cases: Vec<Value> = all.filter(|case| !case.get(kind).is_null()).collect();
    assert!(!cases.is_empty());
    cases
}

/// What upstream says by one version: of the versions at which it changes, the last before it.
fn expected(case: &Value, level: &str, minor: u32) -> String {
    let said = case.get(level).fields().map(|(since, said)| (since.parse::<u32>().unwrap(), said));
    let (_, said) = said.filter(|(since, _)| *since <= minor).max_by_key(|(s, _)| *s).unwrap();
    let texts = case.get("texts").items();
    let text = |number: &Value| texts[usize::try_from(number.as_int().unwrap()).unwrap()].str();
    said.items().iter().map(text).collect::<Vec<_>>().join(", ")
}

#[test]
fn pods_are_judged_as_kubernetes_does() {
    for case in cases("pod") {
        let pod = pod::Pod::of(case.get("pod"));
        let name = case.at(&["pod", "metadata", "name"]);
        for (level, called) in [(Level::Baseline, "baseline"), (Level::Restricted, "restricted")] {
            let versions = (0..=NEWEST).map(|minor| (Some(minor), minor));
            for (version, minor) in versions.chain([(None, NEWEST)]) {
                let violations = standard::violations(LevelVersion { level, version }, pod);
                let said = standard::details(&violations);
                assert_eq!(said, expected(&case, called, minor), "{name} {called} {version:?}");
            }
        }
    }
}

#[test]
fn labels_are_read_as_kubernetes_does() {
    for case in cases("labels") {
        let labels = case.get("labels");
        let (policy, faults) = Policy::of_labels(labels);
        for (mode, read) in
            [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)]
        {
            assert_eq!(read.to_string(), case.get(mode).str(), "{mode} of {labels}");
        }
        let causes = policy::invalid("a", &faults).details.unwrap().causes;
        let said: Vec<String> =
            causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let faults: Vec<&str> = case.get("faults").items().iter().map(Value::str).collect();
        assert_eq!(said, faults, "{labels}");
    }
}

#[test]
fn a_stricter_namespace_is_told_of_its_pods_as_by_kubernetes() {
    for case in cases("pods") {
        let history = History::new(1, 1 << 20);
        let world = World::new(history.clone(), Authorization::new(&history).into());
        for (at, pod) in case.get("pods").items().iter().enumerate() {
            let resource = GroupResource::new("", "pods");
            // Some have the same name: it is the case's own.
            let key = Key::new(&resource, "a", &format!("{at}"));
            let revision = history.revision() + 1;
            let object = Object::new(key, pod.clone(), revision, Vec::new());
            history.publish(vec![Change::Put(object.into())], revision);
        }
        let level = match case.get("level").str() {
            "baseline" => Level::Baseline,
            _ => Level::Restricted,
        };
        let said = present(&world, "a", LevelVersion { level, version: None });
        let warnings: Vec<&str> = case.get("warnings").items().iter().map(Value::str).collect();
        assert_eq!(said, warnings);
    }
}
