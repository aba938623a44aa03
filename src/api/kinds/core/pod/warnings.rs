//! What clients should know of a pod, or a template of pods, that is valid but unwise.
//!
//! The order is upstream's.

use std::collections::{BTreeMap, BTreeSet};

use super::defaults::CONTAINER_LISTS;
use super::overlaps;
use crate::api::kinds::address;
use crate::api::kinds::check::At;
use crate::api::kinds::text;
use crate::api::quantity::Quantity;

/// Labels of nodes that nobody should choose by any more, and what upstream says of them.
pub const DEPRECATED_LABELS: &[(&str, &str)] = &[
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
];

/// Annotations that do nothing any more.
const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Kinds of volumes that are no more: field, how it is named, what is said.
const VOLUMES: &[(&str, &str, &str)] = &[
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const USE_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What is said of a node label that is no more.
fn deprecated(label: &str) -> Option<&'static str> {
    DEPRECATED_LABELS.iter().find(|(known, _)| *known == label).map(|(_, why)| *why)
}

/// What there is to say of a pod or a template, whose path is that of `at`.
pub fn of(at: At<'_>, is_template: bool) -> Vec<String> {
    let mut told = Vec::new();
    let (metadata, spec) = (at.field("metadata"), at.field("spec"));
    let annotations = metadata.field("annotations");
    labels_of_nodes(spec, &mut told);
    for (key, why) in ANNOTATIONS {
        let annotation = annotations.key(key);
        if !annotation.is_null() {
            told.push(format!("{annotation}: {why}"));
        }
    }
    volumes(spec, &mut told);
    overlaps::warnings(spec, &mut told);
    repeated(spec, &mut told);
    for name in ["memory", "ephemeral-storage"] {
        fraction(spec.field("overhead").key(name), &mut told);
    }
    let seccomp = annotations.key("seccomp.security.alpha.kubernetes.io/pod");
    if !seccomp.is_null() && spec.field("securityContext").get("seccompProfile").is_null() {
        told.push(format!("{seccomp}: {USE_SECCOMP}"));
    }
    for list in CONTAINER_LISTS {
        for container in spec.field(list).items() {
            annotated(container, annotations, &mut told);
            if is_template {
                app_armor(container, spec, annotations, &mut told);
            }
            amounts(container, &mut told);
            hidden(container, &mut told);
        }
    }
    ports(spec, &mut told);
    port_names(spec, &mut told);
    let grace = spec.field("terminationGracePeriodSeconds");
    if grace.as_int().is_some_and(|seconds| seconds < 0) {
        told.push(format!(
            "{grace}: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    affinity_to_pods(spec, &mut told);
    for list in ["dnsConfig.nameservers[]", "hostAliases[].ip"] {
        spec.descend(list, &mut |ip| told.extend(address::warning(&ip.to_string(), ip.str())));
    }
    told
}

fn labels_of_nodes(spec: At<'_>, told: &mut Vec<String>) {
    for (key, label) in spec.field("nodeSelector").keys() {
        told.extend(deprecated(key).map(|why| format!("{label}: {why}")));
    }
    let affinity = spec.field("affinity");
    let affinity = affinity.field("nodeAffinity");
    let required = affinity.field(REQUIRED);
    for term in required.field("nodeSelectorTerms").items() {
        expressions(term, false, told);
    }
    for term in affinity.field(PREFERRED).items() {
        expressions(term.field("preference"), true, told);
    }
    for constraint in spec.field("topologySpreadConstraints").items() {
        named_label(constraint.field("topologyKey"), told);
        no_selector(constraint.field("labelSelector"), told);
    }
}

fn named_label(key: At<'_>, told: &mut Vec<String>) {
    told.extend(deprecated(key.str()).map(|why| format!("{key}: {} is {why}", key.str())));
}

fn no_selector(selector: At<'_>, told: &mut Vec<String>) {
    if selector.is_null() {
        told.push(format!("{selector}: {NO_SELECTOR}"));
    }
}

fn expressions(term: At<'_>, with_values: bool, told: &mut Vec<String>) {
    for expression in term.field("matchExpressions").items() {
        named_label(expression.field("key"), told);
        for value in expression.field("values").items().filter(|_| with_values) {
            let faults = text::label_value(value.str());
            told.extend(
                faults.iter().map(|why| format!("{value}: {} is invalid, {why}", value.str())),
            );
        }
    }
}

fn affinity_to_pods(spec: At<'_>, told: &mut Vec<String>) {
    let affinity = spec.field("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = affinity.field(kind);
        for term in affinity.field(REQUIRED).items() {
            no_selector(term.field("labelSelector"), told);
        }
        for term in affinity.field(PREFERRED).items() {
            no_selector(term.field("podAffinityTerm").field("labelSelector"), told);
        }
    }
}

fn volumes(spec: At<'_>, told: &mut Vec<String>) {
    for volume in spec.field("volumes").items() {
        let old = VOLUMES.iter().filter(|(field, ..)| !volume.get(field).is_null());
        told.extend(old.map(|(_, shown, why)| format!("{}: {why}", volume.field(shown))));
    }
}

/// Entries of lists that are taken as sets.
fn repeated(spec: At<'_>, told: &mut Vec<String>) {
    for (list, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = BTreeSet::new();
        for item in spec.field(list).items() {
            let field = item.field(key);
            if !seen.insert(field.str().to_owned()) {
                told.push(format!("{field}: duplicate {key} {:?}", field.str()));
            }
        }
    }
    spec.descend("imagePullSecrets[].name", &mut |name| {
        if name.str().is_empty() {
            told.push(format!("{name}: invalid empty name \"\""));
        }
    });
}

/// An annotation that a field has taken the place of.
fn annotated(container: At<'_>, annotations: At<'_>, told: &mut Vec<String>) {
    let name = container.get("name").str();
    let key = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
    let annotation = annotations.key(&key);
    let field = container.get("securityContext").get("seccompProfile");
    if !annotation.is_null() && field.is_null() {
        told.push(format!("{annotation}: {USE_SECCOMP}"));
    }
}

/// The same for AppArmor, unless the pod's own profile says what the annotation says.
fn app_armor(container: At<'_>, spec: At<'_>, annotations: At<'_>, told: &mut Vec<String>) {
    let name = container.get("name").str();
    let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
    let annotation = annotations.key(&key);
    let own = container.get("securityContext").get("appArmorProfile");
    if annotation.is_null() || !own.is_null() {
        return;
    }
    let pod = spec.get("securityContext").get("appArmorProfile");
    let said = (pod.get("type").str(), pod.get("localhostProfile").str());
    let meant = match annotation.str() {
        "unconfined" => ("Unconfined", ""),
        "runtime/default" => ("RuntimeDefault", ""),
        other => match other.strip_prefix("localhost/").filter(|name| !name.is_empty()) {
            Some(name) => ("Localhost", name),
            None => ("", ""),
        },
    };
    if pod.is_null() || said != meant {
        told.push(format!(
            "{annotation}: deprecated since v1.30; use the \"appArmorProfile\" field instead"
        ));
    }
}

fn amounts(container: At<'_>, told: &mut Vec<String>) {
    let resources = container.field("resources");
    for name in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            fraction(resources.field(list).key(name), told);
        }
    }
}

/// Bytes are whole.
fn fraction(amount: At<'_>, told: &mut Vec<String>) {
    let Ok(quantity) = Quantity::of(amount.value()) else { return };
    if quantity.milli_value() % 1000 != 0 {
        told.push(format!(
            "{amount}: fractional byte value \"{quantity}\" is invalid, must be an integer"
        ));
    }
}

/// Variables that are set again, and not from what they were.
fn hidden(container: At<'_>, told: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for variable in container.field("env").items() {
        let name = variable.value().get("name").str();
        if seen.insert(name) {
            continue;
        }
        let (reference, value) = (format!("$({name})"), variable.get("value").str());
        let extends = value.contains(&reference) && value != reference;
        if !variable.get("valueFrom").is_null() || !extends {
            told.push(format!(
                "{variable}: hides previous definition of {name:?}, which may be dropped when \
                 using apply"
            ));
        }
    }
}

/// A port of a container as others may clash with it.
struct Port {
    path: String,
    host_port: i64,
    host_ip: String,
}

impl Port {
    /// What is to be said of this port, there being another one of the same number.
    fn clash(&self, other: &Self) -> Option<&'static str> {
        let (here, there) = (self.host_ip.is_empty(), other.host_ip.is_empty());
        if self.host_ip == other.host_ip && self.host_port == other.host_port {
            return Some("duplicate");
        }
        if self.host_port == 0 || other.host_port == 0 {
            return Some("overlapping");
        }
        let ambiguous = self.host_port == other.host_port && here != there;
        ambiguous.then_some("dangerously ambiguous")
    }
}

fn ports(spec: At<'_>, told: &mut Vec<String>) {
    let mut numbers: BTreeMap<(i64, String), Vec<Port>> = BTreeMap::new();
    for list in CONTAINER_LISTS {
        spec.descend(&format!("{list}[].ports[]"), &mut |port| {
            let number = port.get("containerPort").as_int().unwrap_or(0);
            let protocol = port.get("protocol").as_str().unwrap_or("TCP");
            let (name, path) = (port.get("name").str(), port.to_string());
            let host_port = port.get("hostPort").as_int().unwrap_or(0);
            let host_ip = port.get("hostIP").str().to_owned();
            if !host_ip.is_empty() && host_port == 0 {
                told.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{name} HostPort:0 \
                     ContainerPort:{number} Protocol:{protocol} HostIP:{host_ip}}}"
                ));
            }
            let others = numbers.entry((number, protocol.to_owned())).or_default();
            let new = Port { path, host_port, host_ip };
            for other in others.iter() {
                let clash = new.clash(other);
                told.extend(
                    clash.map(|how| {
                        format!("{}: {how} port definition with {}", new.path, other.path)
                    }),
                );
            }
            others.push(new);
        });
    }
}

fn port_names(spec: At<'_>, told: &mut Vec<String>) {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for list in CONTAINER_LISTS {
        spec.descend(&format!("{list}[].ports[]"), &mut |port| {
            let (name, path) = (port.get("name").str(), port.to_string());
            if let Some(other) = names.get(name) {
                told.push(format!(
                    "{path}: duplicate port name {name:?} with {other}, services and probes that \
                     select ports by name will use {other}"
                ));
            } else if !name.is_empty() {
                names.insert(name.to_owned(), path);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tree::Value;

    /// What the recorded cases do not hold: rk does not honour these fields yet.
    #[test]
    fn who_selects_no_pod_is_told_so() {
        let json = br#"{"spec":{"topologySpreadConstraints":[
            {"topologyKey":"failure-domain.beta.kubernetes.io/region"}],
            "affinity":{"podAntiAffinity":{
                "requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{}},{}],
                "preferredDuringSchedulingIgnoredDuringExecution":[{"podAffinityTerm":{}}]}}}}"#;
        let pod = Value::parse(json).unwrap();
        let spread = "spec.topologySpreadConstraints[0]";
        let affinity = "spec.affinity.podAntiAffinity";
        let why = "a null labelSelector results in matching no pod";
        assert_eq!(
            of(At::root(&pod), false),
            [
                format!(
                    "{spread}.topologyKey: failure-domain.beta.kubernetes.io/region is deprecated \
                     since v1.17; use \"topology.kubernetes.io/region\" instead"
                ),
                format!("{spread}.labelSelector: {why}"),
                format!("{affinity}.{REQUIRED}[1].labelSelector: {why}"),
                format!("{affinity}.{PREFERRED}[0].podAffinityTerm.labelSelector: {why}"),
            ]
        );
    }
}
