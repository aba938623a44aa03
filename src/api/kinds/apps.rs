//! Deployments, ReplicaSets, and what the other workloads share with them.

mod daemon_set;
mod revision;
mod stateful_set;

use super::check::{self, At, Rule};
use super::core::pod::spec;
use super::fallback::{self, Fallback};
use super::table::{AGE, Heading, NAME, columns, number};
use super::workload::{
    CONTAINERS, IMAGES, layout, named_template_warnings, spec_with_template as spec_of,
};
use super::{not_yet, selector, text};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age, default_subresource};
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;
use crate::history::Fields;

pub use daemon_set::DaemonSet;
pub use revision::ControllerRevision;
pub use stateful_set::StatefulSet;

/// The rules of deployments.
pub struct Deployment;

/// The rules of replica sets.
pub struct ReplicaSet;

const SELECTOR: Heading = ("Selector", "string", 1, "The labels of the pods that are counted");

impl Rules for Deployment {
    fn default(&self, object: &mut Value) {
        const TABLE: &[(&str, Fallback)] = &[
            ("replicas", Fallback::NumberIfAbsent(1)),
            ("revisionHistoryLimit", Fallback::NumberIfAbsent(10)),
            ("progressDeadlineSeconds", Fallback::NumberIfAbsent(600)),
            ("strategy", Fallback::Map),
            ("strategy.type", Fallback::Text("RollingUpdate")),
        ];
        const ROLLING: &[(&str, Fallback)] = &[
            ("rollingUpdate", Fallback::Map),
            ("rollingUpdate.maxUnavailable", Fallback::TextIfAbsent("25%")),
            ("rollingUpdate.maxSurge", Fallback::TextIfAbsent("25%")),
        ];
        let spec = spec_of(object);
        fallback::apply(spec, TABLE);
        if spec.at(&["strategy", "type"]).str() == "RollingUpdate" {
            fallback::apply(spec.entry("strategy"), ROLLING);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", Value::object());
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        default_subresource(subresource, object, old);
        let labels = old.metadata().get("labels").clone();
        match labels.is_null() {
            true => drop(object.entry("metadata").remove("labels")),
            false => object.entry("metadata").set("labels", labels),
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let spec = root.field("spec");
        replicated(spec, errors);
        strategy(spec.field("strategy"), errors);
        check::not_negative(spec.field("revisionHistoryLimit"), errors);
        let deadline = spec.field("progressDeadlineSeconds");
        check::not_negative(deadline, errors);
        let ready = spec.get("minReadySeconds").as_int().unwrap_or(0);
        if deadline.as_int().is_some_and(|seconds| seconds <= ready) {
            errors.invalid(deadline, &deadline, "must be greater than minReadySeconds");
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        self.validate(object, errors);
        same_selector(object, old, errors);
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let root = At::root(object);
        let status = root.field("status");
        counts(status, &["updatedReplicas", "readyReplicas", "availableReplicas"], errors);
        check::not_negative(status.field("unavailableReplicas"), errors);
        collisions(status, old, errors);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        named_template_warnings(object, old)
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    /// Annotations count: they are copied to the replica sets.
    fn raises_generation(&self, object: &Value, old: &Value) -> bool {
        let annotations = |value: &Value| value.metadata().get("annotations").clone();
        object.get("spec") != old.get("spec") || annotations(object) != annotations(old)
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Ready", "string", 0, "Number of the pod with ready state"),
            ("Up-to-date", "string", 0, "How many pods have the newest template"),
            ("Available", "string", 0, "How many pods have been ready long enough"),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let (spec, status) = (object.get("spec"), object.get("status"));
        let count = |value: &Value| value.as_int().unwrap_or(0);
        let ready =
            format!("{}/{}", count(status.get("readyReplicas")), count(spec.get("replicas")));
        let [names, images] = layout(spec.get("template"));
        vec![
            object.name().into(),
            ready.into(),
            number(status.get("updatedReplicas")),
            number(status.get("availableReplicas")),
            age(object, context),
            names,
            images,
            selector_text(spec).into(),
        ]
    }
}

impl Rules for ReplicaSet {
    fn default(&self, object: &mut Value) {
        fallback::apply(spec_of(object), &[("replicas", Fallback::NumberIfAbsent(1))]);
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", [("replicas", 0.into())]);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        replicated(At::root(object).field("spec"), errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        self.validate(object, errors);
        same_selector(object, old, errors);
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        replica_counts(object, errors);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        named_template_warnings(object, old)
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Fields {
        replica_fields(object)
    }

    fn selectable(&self) -> &[&'static str] {
        &["status.replicas"]
    }

    fn columns(&self) -> Vec<Column> {
        replica_columns()
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        replica_row(object, selector::shown(object.at(&["spec", "selector"])), context)
    }
}

/// Checks the status of kinds that keep a number of pods.
pub fn replica_counts(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let list = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    counts(root.field("status"), &list, errors);
}

/// The fields by which they can be selected.
pub fn replica_fields(object: &Value) -> Fields {
    let replicas = object.at(&["status", "replicas"]).as_int().unwrap_or(0);
    vec![("status.replicas", replicas.to_string().into())]
}

/// The columns of kinds that keep a number of pods.
pub fn replica_columns() -> Vec<Column> {
    columns(&[
        NAME,
        ("Desired", "integer", 0, "How many pods are wanted"),
        ("Current", "integer", 0, "How many pods there are"),
        ("Ready", "integer", 0, "How many pods are ready"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ])
}

/// The row below [`replica_columns`].
pub fn replica_row(object: &Value, selector: String, context: Context) -> Vec<Value> {
    let (spec, status) = (object.get("spec"), object.get("status"));
    let [names, images] = layout(spec.get("template"));
    vec![
        object.name().into(),
        number(spec.get("replicas")),
        number(status.get("replicas")),
        number(status.get("readyReplicas")),
        age(object, context),
        names,
        images,
        selector.into(),
    ]
}

/// What both kinds share: a number of pods of one template, chosen by a selector.
fn replicated(at: At<'_>, errors: &mut Errors) {
    const NUMBERS: &[(&str, Rule)] =
        &[("replicas", Rule::NotNegative), ("minReadySeconds", Rule::NotNegative)];
    check::apply(NUMBERS, at, errors);
    let selector = at.field("selector");
    let mut sound = true;
    if selector.is_null() {
        errors.required(selector, "");
    } else {
        sound = selector::validate(selector, errors);
        let empty = |list: &str| selector.get(list).is_empty();
        if empty("matchLabels") && empty("matchExpressions") {
            errors.invalid(selector, &selector, "empty selector is invalid for deployment");
        }
    }
    match LabelSelector::from_object(&selector) {
        Ok(selects) if sound => {
            let template = at.field("template");
            if !selects.is_everything() {
                selected(template, &selects, errors);
            }
            lasting_template(template, "ReplicaSet", errors);
        }
        _ => errors.invalid(selector, &selector, "invalid label selector"),
    }
}

/// The pods of a template must have the labels by which they are chosen.
pub fn selected(template: At<'_>, selects: &LabelSelector, errors: &mut Errors) {
    let metadata = template.field("metadata");
    let labels = metadata.field("labels");
    if !selects.matches(labels.value()) {
        errors.invalid(labels, &labels, "`selector` does not match template `labels`");
    }
}

/// A template of pods that do not end of themselves, of an object of this kind.
pub fn lasting_template(template: At<'_>, kind: &str, errors: &mut Errors) {
    spec::template(template, errors);
    let pod = template.field("spec");
    not_yet::refuse(not_yet::POD, pod, errors);
    let (restart, deadline) = (pod.field("restartPolicy"), pod.field("activeDeadlineSeconds"));
    check::one_of(restart, &["Always"], errors);
    if !deadline.is_null() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(deadline, &why);
    }
}

pub(super) fn same_selector(object: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(object);
    check::immutable(root.field("spec").field("selector"), old.at(&["spec", "selector"]), errors);
}

fn strategy(at: At<'_>, errors: &mut Errors) {
    let rolling = at.field("rollingUpdate");
    match at.get("type").str() {
        "Recreate" if !rolling.is_null() => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(rolling, why);
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
            int_or_percent(unavailable, errors);
            int_or_percent(surge, errors);
            if amount(&unavailable) == 0 && amount(&surge) == 0 {
                errors.invalid(unavailable, &unavailable, "may not be 0 when `maxSurge` is 0");
            }
            not_above_all(unavailable, errors);
        }
        _ => errors.not_supported(at, &at, &["Recreate", "RollingUpdate"]),
    }
}

/// Checks a number of things, or a share of them.
pub fn int_or_percent(at: At<'_>, errors: &mut Errors) {
    match at.value() {
        Value::Str(_) => check::formatted(at, text::percent, errors),
        _ => check::not_negative(at, errors),
    }
}

/// A share is not more than all.
pub fn not_above_all(at: At<'_>, errors: &mut Errors) {
    if at.as_str().is_some() && amount(&at) > 100 {
        errors.invalid(at, &at, "must not be greater than 100%");
    }
}

fn amount(value: &Value) -> i64 {
    match value {
        Value::Str(text) => text.strip_suffix('%').and_then(|n| n.parse().ok()).unwrap_or(0),
        value => value.as_int().unwrap_or(0),
    }
}

/// The number of collisions of names only grows.
fn collisions(status: At<'_>, old: &Value, errors: &mut Errors) {
    let at = status.field("collisionCount");
    check::not_negative(at, errors);
    let now = at.as_int().unwrap_or(0);
    if old.at(&["status", "collisionCount"]).as_int().is_some_and(|before| now < before) {
        errors.invalid(at, &now.into(), "cannot be decremented");
    }
}

/// Counts in a status: none below 0, none above the number of all.
pub fn counts(status: At<'_>, parts: &[&str], errors: &mut Errors) {
    let count = |name: &str| status.get(name).as_int().unwrap_or(0);
    for name in ["observedGeneration", "replicas", "terminatingReplicas"].iter().chain(parts) {
        check::not_negative(status.field(name), errors);
    }
    for name in parts.iter().filter(|name| count(name) > count("replicas")) {
        let at = status.field(name);
        errors.invalid(at, &at, "cannot be greater than status.replicas");
    }
    if count("availableReplicas") > count("readyReplicas") {
        let at = status.field("availableReplicas");
        errors.invalid(at, &at, "cannot be greater than readyReplicas");
    }
}

/// A deployment's selector; unlike elsewhere an empty one is shown as nothing.
fn selector_text(spec: &Value) -> String {
    LabelSelector::from_object(spec.get("selector"))
        .map_or_else(|_| "<invalid>".into(), |selector| selector.to_text())
}
