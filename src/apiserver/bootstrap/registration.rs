//! `APIService` objects for what this server serves itself, with upstream's priorities: clients
//! that order groups by them see the order they know.

use super::object;
use crate::api::tree::Value;

/// Group and version, with the priority of the group among groups and of the version in it.
const PRIORITIES: &[(&str, &str, i64, i64)] = &[
    ("", "v1", 18_000, 1),
    ("apps", "v1", 17_800, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("resource.k8s.io", "v1", 16_200, 21),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
    ("storagemigration.k8s.io", "v1", 15_800, 15),
];

/// The object of each version. The group of the objects themselves has none, as upstream.
pub(super) fn local(served: &[(String, String)]) -> Vec<Value> {
    let others = served.iter().filter(|(group, _)| group != "apiregistration.k8s.io");
    others.map(|(group, version)| service(group, version)).collect()
}

fn service(group: &str, version: &str) -> Value {
    let known = PRIORITIES.iter().find(|known| (known.0, known.1) == (group, version));
    let (of_group, of_version) = known.map_or((1000, 100), |known| (known.2, known.3));
    let name = format!("{version}.{group}");
    let mut made = object("apiregistration.k8s.io/v1", "APIService", "", &name);
    let labels = made.entry_at(&["metadata", "labels"]);
    labels.set("kube-aggregator.kubernetes.io/automanaged", "onstart");
    let mut spec = Value::from([
        ("version", version.into()),
        ("groupPriorityMinimum", of_group.into()),
        ("versionPriority", of_version.into()),
    ]);
    if !group.is_empty() {
        spec.set("group", group);
    }
    made.set("spec", spec);
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry::builtin;

    #[test]
    fn every_built_in_version_has_its_priority() {
        for (group, version) in builtin().versions() {
            if group == "apiregistration.k8s.io" {
                continue;
            }
            let known = PRIORITIES.iter().any(|known| (known.0, known.1) == (&*group, &*version));
            assert!(known, "{group}/{version}");
        }
    }
}
