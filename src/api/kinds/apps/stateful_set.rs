//! StatefulSets.

use super::{amount, collisions, int_or_percent, lasting_template, not_above_all};
use super::{same_selector, selected};
use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::fallback::{self, Fallback};
use crate::api::kinds::table::{AGE, NAME, columns};
use crate::api::kinds::text::{self, Format};
use crate::api::kinds::workload::{
    CONTAINERS, IMAGES, layout, spec_with_template, template_warnings,
};
use crate::api::kinds::{not_yet, selector};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;

/// The rules of stateful sets.
pub struct StatefulSet;

impl Rules for StatefulSet {
    fn name_format(&self) -> Format {
        text::dns_label
    }

    fn default(&self, object: &mut Value) {
        const TABLE: &[(&str, Fallback)] = &[
            ("podManagementPolicy", Fallback::Text("OrderedReady")),
            ("serviceName", Fallback::TextIfAbsent("")),
            ("persistentVolumeClaimRetentionPolicy", Fallback::Map),
            ("persistentVolumeClaimRetentionPolicy.whenDeleted", Fallback::Text("Retain")),
            ("persistentVolumeClaimRetentionPolicy.whenScaled", Fallback::Text("Retain")),
            ("replicas", Fallback::NumberIfAbsent(1)),
            ("revisionHistoryLimit", Fallback::NumberIfAbsent(10)),
            ("updateStrategy", Fallback::Map),
        ];
        const ROLLING: &[(&str, Fallback)] = &[
            ("rollingUpdate.partition", Fallback::NumberIfAbsent(0)),
            ("rollingUpdate.maxUnavailable", Fallback::NumberIfAbsent(1)),
        ];
        let spec = spec_with_template(object);
        fallback::apply(spec, TABLE);
        let strategy = spec.entry("updateStrategy");
        if strategy.get("type").is_empty() {
            let table =
                [("type", Fallback::Text("RollingUpdate")), ("rollingUpdate", Fallback::Map)];
            fallback::apply(strategy, &table);
        }
        if strategy.get("type").str() == "RollingUpdate" {
            fallback::apply(strategy, ROLLING);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", no_replicas());
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
        let status = object.entry("status");
        for (count, zero) in no_replicas().fields() {
            if status.get(count).is_null() {
                status.set(count, zero.clone());
            }
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        set(object, errors);
        let root = At::root(object);
        let spec = root.field("spec");
        Rule::Text(text::dns_label).check(spec.field("serviceName"), errors);
        not_yet::refuse(not_yet::STATEFUL_SET, spec, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        set(object, errors);
        same_selector(object, old, errors);
        let root = At::root(object);
        let spec = root.field("spec");
        for name in ["volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
            check::immutable(spec.field(name), old.get("spec").get(name), errors);
        }
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        const PARTS: [&str; 4] =
            ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let root = At::root(object);
        let status = root.field("status");
        let count = |name: &str| status.get(name).as_int().unwrap_or(0);
        for name in ["observedGeneration", "replicas"].iter().chain(&PARTS) {
            check::not_negative(status.field(name), errors);
        }
        for name in PARTS.iter().filter(|name| count(name) > count("replicas")) {
            let at = status.field(name);
            errors.invalid(at, &at, "cannot be greater than status.replicas");
        }
        if count("availableReplicas") > count("readyReplicas") {
            let at = status.field("availableReplicas");
            errors.invalid(at, &at, "cannot be greater than status.readyReplicas");
        }
        collisions(status, old, errors);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let limit = object.at(&["spec", "revisionHistoryLimit"]).as_int();
        let negative = limit.is_some_and(|limit| limit < 0);
        let warning = "spec.revisionHistoryLimit: a negative value retains all historical \
                       revisions; a value >= 0 is recommended";
        let mut told = template_warnings(object, old, &["spec", "template"]);
        told.extend(negative.then(|| warning.to_owned()));
        told
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        let ready = ("Ready", "string", 0, "Number of the pod with ready state");
        columns(&[NAME, ready, AGE, CONTAINERS, IMAGES])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let count = |path: [&str; 2]| object.at(&path).as_int().unwrap_or(0);
        let [names, images] = layout(object.at(&["spec", "template"]));
        let (ready, wanted) = (count(["status", "readyReplicas"]), count(["spec", "replicas"]));
        vec![
            object.name().into(),
            format!("{ready}/{wanted}").into(),
            age(object, context),
            names,
            images,
        ]
    }
}

fn no_replicas() -> Value {
    Value::from([("replicas", 0.into()), ("availableReplicas", 0.into())])
}

/// What holds on create and on update.
fn set(object: &Value, errors: &mut Errors) {
    const RULES: &[(&str, Rule)] = &[
        ("podManagementPolicy", Rule::Required("")),
        ("podManagementPolicy", Rule::Each(management)),
        ("updateStrategy", Rule::Each(strategy)),
        ("persistentVolumeClaimRetentionPolicy.whenDeleted", Rule::Each(retention)),
        ("persistentVolumeClaimRetentionPolicy.whenScaled", Rule::Each(retention)),
        ("replicas", Rule::NotNegative),
        ("minReadySeconds", Rule::NotNegative),
        ("ordinals.start", Rule::NotNegative),
    ];
    let root = At::root(object);
    let spec = root.field("spec");
    check::apply(RULES, spec, errors);
    let at = spec.field("selector");
    let empty = |list: &str| at.get(list).is_empty();
    let mut sound = true;
    if at.is_null() {
        errors.required(at, "");
    } else {
        sound = selector::validate(at, errors);
        if empty("matchLabels") && empty("matchExpressions") {
            errors.invalid(at, &at, "empty selector is invalid for statefulset");
        }
    }
    let selects = match at.is_null() {
        true => Ok(LabelSelector::nothing()),
        false => LabelSelector::from_object(&at),
    };
    // The set names its pods' hosts itself.
    let mut template = spec.get("template").clone();
    for name in ["hostname", "subdomain"] {
        template.entry("spec").remove(name);
    }
    let template = At::path("spec.template", &template);
    match selects {
        Ok(selects) if sound => {
            if !selects.is_everything() {
                selected(template, &selects, errors);
            }
            lasting_template(template, "StatefulSet", errors);
        }
        _ => errors.invalid(at, &at, ""),
    }
}

fn management(at: At<'_>, errors: &mut Errors) {
    if !matches!(at.str(), "OrderedReady" | "Parallel" | "") {
        errors.invalid(at, &at, "must be 'OrderedReady' or 'Parallel'");
    }
}

fn retention(at: At<'_>, errors: &mut Errors) {
    check::one_of(at, &["Retain", "Delete"], errors);
}

fn strategy(at: At<'_>, errors: &mut Errors) {
    let rolling = at.field("rollingUpdate");
    match at.get("type").str() {
        "" => errors.required(at, ""),
        "OnDelete" if !rolling.is_null() => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.invalid(rolling, &rolling, why);
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            check::not_negative(rolling.field("partition"), errors);
            let most = rolling.field("maxUnavailable");
            if most.is_null() {
                return;
            }
            int_or_percent(most, errors);
            if amount(&most) == 0 {
                errors.invalid(most, &most, "cannot be 0");
            }
            not_above_all(most, errors);
        }
        _ => errors.invalid(at, &at, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}
