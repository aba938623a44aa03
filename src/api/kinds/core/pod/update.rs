//! What may change in a pod once it is there: little of its spec, forward only in its status.

use crate::api::kinds::check::{self, At};
use crate::api::kinds::text;
use crate::api::meta::Meta;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// Names pods that a kubelet runs from its own files.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Which pod goes first when a controller scales down.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

const UPDATABLE: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Annotations that mean something to Kubernetes.
pub fn annotations(pod: &Value, errors: &mut Errors) {
    let at = |key: &str| format!("metadata.annotations[{key}]");
    if let Some(mirror) = pod.annotation(MIRROR)
        && pod.at(&["spec", "nodeName"]).is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(at(MIRROR), &mirror.into(), why);
    }
    if let Some(cost) = pod.annotation(DELETION_COST)
        && !is_cost(cost)
    {
        errors.invalid(at(DELETION_COST), &cost.into(), "must be a 32bit integer");
    }
}

/// A 32-bit integer without a plus sign or leading zeros.
fn is_cost(text: &str) -> bool {
    text.parse::<i32>().is_ok_and(|cost| cost.to_string() == text)
}

/// Annotations that an update may neither add nor change.
pub fn annotation_update(pod: &Value, old: &Value, errors: &mut Errors) {
    let path = || format!("metadata.annotations[{MIRROR}]");
    match (old.annotation(MIRROR), pod.annotation(MIRROR)) {
        (Some(before), after) if after != Some(before) => {
            errors.forbidden(path(), "may not remove or update mirror pod annotation");
        }
        (None, Some(_)) => errors.forbidden(path(), "may not add mirror pod annotation"),
        _ => {}
    }
}

/// What an update of the pod itself may not change.
pub fn validate(pod: &Value, old: &Value, errors: &mut Errors) {
    annotation_update(pod, old, errors);
    let root = At::root(pod);
    let (spec, before) = (root.field("spec"), old.get("spec"));
    for list in ["containers", "initContainers"] {
        if spec.get(list).items().len() != before.get(list).items().len() {
            return errors
                .forbidden(spec.field(list), "pod updates may not add or remove containers");
        }
    }
    if !deadline(spec, before, errors) {
        return;
    }
    added_tolerations(spec, before, errors);
    removed_gates(spec, before, errors);
    if spec.value() == before {
        return;
    }
    let munged = with_updatable(spec.value(), before);
    if munged != *before {
        let diff = differences("spec", before, &munged);
        errors.forbidden(spec, &format!("{UPDATABLE}\n{}", diff.join("\n")));
    }
}

/// The active deadline may come, and shrink. False if nothing else need be looked at.
fn deadline(spec: At<'_>, old: &Value, errors: &mut Errors) -> bool {
    let at = spec.field("activeDeadlineSeconds");
    match (at.as_int(), old.get("activeDeadlineSeconds").as_int()) {
        (Some(new), _) if !(0..=i32::MAX.into()).contains(&new) => {
            errors.invalid(at, &at, &text::between(0, i32::MAX.into()));
            false
        }
        (Some(new), Some(before)) if before < new => {
            errors.invalid(at, &at, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.invalid(at, &Value::Null, why);
            true
        }
        _ => true,
    }
}

fn added_tolerations(spec: At<'_>, old: &Value, errors: &mut Errors) {
    let at = spec.field("tolerations");
    let timeless = |toleration: &Value| {
        let mut copy = toleration.clone();
        copy.remove("tolerationSeconds");
        copy
    };
    let new: Vec<Value> = at.value().items().iter().map(timeless).collect();
    if old.get("tolerations").items().iter().any(|before| !new.contains(&timeless(before))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(at, why);
    }
}

fn removed_gates(spec: At<'_>, old: &Value, errors: &mut Errors) {
    let before: Vec<&str> =
        old.get("schedulingGates").items().iter().map(|gate| gate.get("name").str()).collect();
    for gate in spec.field("schedulingGates").items() {
        let name = gate.get("name").str();
        if !before.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(gate.field("name"), &why);
        }
    }
}

/// The new spec with everything as it was that an update may change.
fn with_updatable(spec: &Value, old: &Value) -> Value {
    let mut munged = spec.clone();
    for list in ["containers", "initContainers"] {
        let items = munged.get_mut(list).map(Value::items_mut).unwrap_or_default();
        for (container, before) in items.iter_mut().zip(old.get(list).items()) {
            restore(container, before, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        restore(&mut munged, old, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if old.get(grace).as_int().is_some_and(|s| s < 0) && munged.get(grace).as_int() == Some(1) {
        restore(&mut munged, old, grace);
    }
    munged
}

fn restore(object: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Value::Null => drop(object.remove(field)),
        before => object.set(field, before.clone()),
    }
}

/// The leaves in which two values differ, one line each: `- path: old`, `+ path: new`.
pub fn differences(path: &str, old: &Value, new: &Value) -> Vec<String> {
    match (old, new) {
        _ if old == new => Vec::new(),
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&str> = a.iter().chain(b.iter()).map(|(key, _)| key).collect();
            keys.sort_unstable();
            keys.dedup();
            let below =
                |key: &&str| differences(&format!("{path}.{key}"), old.get(key), new.get(key));
            keys.iter().flat_map(below).collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.flat_map(|(i, (x, y))| differences(&format!("{path}[{i}]"), x, y)).collect()
        }
        _ => {
            let line = |sign: char, value: &Value| format!("{sign} {path}: {value}");
            let sides = [('-', old), ('+', new)].into_iter().filter(|(_, value)| !value.is_null());
            sides.map(|(sign, value)| line(sign, value)).collect()
        }
    }
}

/// What an update through `ephemeralcontainers` must satisfy besides the spec's rules.
pub fn ephemeral(pod: &Value, old: &Value, errors: &mut Errors) {
    annotation_update(pod, old, errors);
    if old.annotation(MIRROR).is_some() {
        errors.forbidden("[]", "static pods do not support ephemeral containers");
    }
    let at = "spec.ephemeralContainers";
    let new = pod.at(&["spec", "ephemeralContainers"]).items();
    for before in old.at(&["spec", "ephemeralContainers"]).items() {
        let name = before.get("name").str();
        match new.iter().find(|container| container.get("name").str() == name) {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.forbidden(at, &why);
            }
            Some(after) if after != before => {
                let diff = differences("", before, after).join("\n");
                let why =
                    format!("existing ephemeral containers {name:?} may not be changed\n{diff}");
                errors.forbidden(at, &why);
            }
            Some(_) => {}
        }
    }
}

/// What an update of the status must satisfy.
pub fn status(pod: &Value, old: &Value, errors: &mut Errors) {
    annotation_update(pod, old, errors);
    let root = At::root(pod);
    let (status, before) = (root.field("status"), old.get("status"));
    conditions(status.field("conditions"), errors);
    nomination(status, old, errors);
    generation(status.field("observedGeneration"), errors);
    check::immutable(status.field("qosClass"), before.get("qosClass"), errors);
    for (list, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", ""),
    ] {
        transitions(status.field(list), before.get(list), old.get("spec"), containers, errors);
    }
    addresses(status, "podIP", "podIPs", errors);
    addresses(status, "hostIP", "hostIPs", errors);
}

fn conditions(list: At<'_>, errors: &mut Errors) {
    for condition in list.items() {
        generation(condition.field("observedGeneration"), errors);
        let kind = condition.get("type");
        for fault in text::label_key(kind.str()) {
            errors.invalid(format!("{condition}.Type"), kind, &fault);
        }
    }
}

fn generation(at: At<'_>, errors: &mut Errors) {
    if at.as_int().is_some_and(|generation| generation < 0) {
        errors.invalid(at, &at, "must be a non-negative integer");
    }
}

fn nomination(status: At<'_>, old: &Value, errors: &mut Errors) {
    let node = status.field("nominatedNodeName");
    if node.is_empty() || node.value() == old.at(&["status", "nominatedNodeName"]) {
        return;
    }
    check::formatted(node, text::dns_subdomain, errors);
    if !old.at(&["spec", "nodeName"]).is_empty() {
        errors.forbidden(node, "may not be set on pods that are already bound to a node");
    }
}

/// A container that ended for good does not run again.
fn transitions(list: At<'_>, old: &Value, spec: &Value, containers: &str, errors: &mut Errors) {
    for (index, before) in old.items().iter().enumerate() {
        let end = before.at(&["state", "terminated"]);
        let name = before.get("name");
        let again = list.value().items().iter().any(|status| {
            status.get("name") == name && status.at(&["state", "terminated"]).is_null()
        });
        let container = spec.get(containers).items().iter().find(|c| c.get("name") == name);
        let failed = end.get("exitCode").as_int().unwrap_or(0) != 0;
        if !end.is_null() && again && !may_restart(container, spec, failed) {
            let why = "may not be transitioned to non-terminated state";
            errors.forbidden(format!("{list}[{index}].state"), why);
        }
    }
}

fn may_restart(container: Option<&Value>, spec: &Value, failed: bool) -> bool {
    let Some(container) = container else { return false };
    let policy = match container.get("restartPolicy").str() {
        "" => spec.get("restartPolicy").str(),
        own => own,
    };
    match policy {
        "Always" => true,
        "OnFailure" => failed,
        _ => false,
    }
}

/// The list of addresses: one of each family, the first equal to the single field.
fn addresses(status: At<'_>, one: &str, many: &str, errors: &mut Errors) {
    let (single, list) = (status.field(one), status.field(many));
    let ips: Vec<&str> = list.value().items().iter().map(|ip| ip.get("ip").str()).collect();
    for (index, ip) in ips.iter().enumerate() {
        for fault in text::ip(ip) {
            errors.invalid(format!("{list}[{index}]"), &(*ip).into(), &fault);
        }
    }
    let sixes = ips.iter().filter(|ip| ip.contains(':')).count();
    if ips.len() > 2 || (ips.len() == 2 && sixes != 1) {
        errors.invalid(list, &list, "may specify no more than one IP for each IP family");
    }
    match ips.first() {
        Some(first) if *first != single.str() => {
            let why = format!("must be equal to `{one}`");
            errors.invalid(format!("{list}[0].ip"), &(*first).into(), &why);
        }
        None if !single.is_empty() && one == "podIP" => {
            let why = "podIP and podIPs must either both be set or both be unset";
            errors.invalid(list, &list, why);
        }
        _ => {}
    }
}
