//! What of a job may change.

use super::{CONTROLLER_UID_LABELS, JOB_NAME_LABELS, holds};
use crate::api::kinds::check::{self, At};
use crate::api::meta::Meta;
use crate::api::registry::Errors;
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;

/// What never changes.
const IMMUTABLE: &[&str] = &[
    "selector",
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
];
/// What of a template's spec says where pods may run.
const DIRECTIVES: &[&str] = &["nodeSelector", "tolerations", "schedulingGates"];

/// Checks that a selector that the server made is the one that it makes.
pub(super) fn generated_selector(job: &Value, prefixed: bool, errors: &mut Errors) {
    let root = At::root(job);
    let spec = root.field("spec");
    let selector = spec.field("selector");
    if spec.get("manualSelector").is_true() || selector.is_null() {
        return;
    }
    let template = spec.field("template");
    let metadata = template.field("metadata");
    let labels = metadata.field("labels");
    let kinds = [(CONTROLLER_UID_LABELS, job.uid()), (JOB_NAME_LABELS, job.name())];
    let mut expected = Value::object();
    for ([long, short], value) in kinds {
        for label in [long, short].into_iter().filter(|label| prefixed || *label == short) {
            expected.set(label, value);
            let (at, why) = (labels.key(label), format!("must be '{value}'"));
            match at.as_str() {
                None => errors.required(at, &why),
                Some(given) if given != value => errors.invalid(at, &labels, &why),
                Some(_) => {}
            }
        }
    }
    if LabelSelector::from_object(&selector).is_ok_and(|selects| !selects.matches(&expected)) {
        errors.invalid(selector, &selector, "`selector` not auto-generated");
    }
}

/// Checks what an update of a job changes.
pub(super) fn validate(job: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(job);
    let (spec, before) = (root.field("spec"), old.get("spec"));
    for name in IMMUTABLE {
        check::immutable(spec.field(name), before.get(name), errors);
    }
    let completions = spec.field("completions");
    if spec.get("completionMode").str() != "Indexed" {
        check::immutable(completions, before.get("completions"), errors);
    } else if *completions.value() != *before.get("completions")
        && !completions.is_null()
        && *completions.value() != *spec.get("parallelism")
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.invalid(completions, &completions, why);
    }
    template(spec, old, errors);
}

/// A template changes only while the job is held back: where its pods may run, and what they need.
fn template(spec: At<'_>, old: &Value, errors: &mut Errors) {
    let template = spec.field("template");
    let mut allowed = old.at(&["spec", "template"]).clone();
    if is_held(old) {
        let metadata = allowed.entry("metadata");
        for name in ["labels", "annotations"] {
            take(metadata, template.get("metadata"), name);
        }
        let pod = allowed.entry("spec");
        for name in DIRECTIVES {
            take(pod, template.get("spec"), name);
        }
        affinity(pod, template.get("spec"));
        needs(pod, template.get("spec"));
    }
    if allowed != *template.value() {
        errors.invalid_unshown(template, "field is immutable");
    }
}

fn is_held(job: &Value) -> bool {
    let status = job.get("status");
    job.at(&["spec", "suspend"]).is_true()
        && (status.get("startTime").is_null() || holds(status, "Suspended"))
        && status.get("active").as_int().unwrap_or(0) == 0
}

fn take(to: &mut Value, from: &Value, name: &str) {
    match from.get(name) {
        Value::Null => drop(to.remove(name)),
        value => to.set(name, value.clone()),
    }
}

/// Only what binds pods to nodes may change of their affinity.
fn affinity(pod: &mut Value, new: &Value) {
    let wanted = new.at(&["affinity", "nodeAffinity"]).clone();
    let affinity = pod.entry("affinity");
    match wanted.is_null() {
        true => drop(affinity.remove("nodeAffinity")),
        false => affinity.set("nodeAffinity", wanted),
    }
    if affinity.is_empty() && new.get("affinity").is_null() {
        pod.remove("affinity");
    }
}

/// What containers of the same names need.
fn needs(pod: &mut Value, new: &Value) {
    for list in ["containers", "initContainers"] {
        let containers = pod.get_mut(list).map(Value::items_mut).into_iter().flatten();
        for (container, new) in containers.zip(new.get(list).items()) {
            if container.get("name") == new.get("name") {
                take(container, new, "resources");
            }
        }
    }
}
