//! DaemonSets.

use super::{SELECTOR, amount, collisions, int_or_percent, lasting_template, not_above_all};
use super::{same_selector, selected};
use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::fallback::{self, Fallback};
use crate::api::kinds::selector;
use crate::api::kinds::table::{AGE, NAME, columns, labels, number};
use crate::api::kinds::workload::{
    CONTAINERS, IMAGES, layout, spec_with_template, template_warnings,
};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;

/// The rules of daemon sets.
pub struct DaemonSet;

/// Counts the templates that a DaemonSet has had; it was a field of its spec once.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The counts in a status that are always there.
const COUNTS: [&str; 4] =
    ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"];

impl Rules for DaemonSet {
    fn default(&self, object: &mut Value) {
        const TABLE: &[(&str, Fallback)] = &[
            ("revisionHistoryLimit", Fallback::NumberIfAbsent(10)),
            ("updateStrategy", Fallback::Map),
            ("updateStrategy.type", Fallback::Text("RollingUpdate")),
        ];
        const ROLLING: &[(&str, Fallback)] = &[
            ("rollingUpdate", Fallback::Map),
            ("rollingUpdate.maxUnavailable", Fallback::NumberIfAbsent(1)),
            ("rollingUpdate.maxSurge", Fallback::NumberIfAbsent(0)),
        ];
        let spec = spec_with_template(object);
        fallback::apply(spec, TABLE);
        if spec.at(&["updateStrategy", "type"]).str() == "RollingUpdate" {
            fallback::apply(spec.entry("updateStrategy"), ROLLING);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", Value::from(COUNTS.map(|count| (count, 0.into()))));
        let given = template_generation(object).max(1);
        set_template_generation(object, given);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
        if object.get("status").is_null() {
            object.set("status", Value::from(COUNTS.map(|count| (count, 0.into()))));
        }
        let template = |set: &Value| set.at(&["spec", "template"]).clone();
        let changed = i64::from(template(object) != template(old));
        set_template_generation(object, template_generation(old) + changed);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        const RULES: &[(&str, Rule)] = &[
            ("minReadySeconds", Rule::NotNegative),
            ("revisionHistoryLimit", Rule::NotNegative),
            ("updateStrategy", Rule::Each(strategy)),
        ];
        let root = At::root(object);
        let spec = root.field("spec");
        check::apply(RULES, spec, errors);
        let at = spec.field("selector");
        let sound = selector::validate(at, errors);
        let empty = |list: &str| at.get(list).is_empty();
        if !at.is_null() && empty("matchLabels") && empty("matchExpressions") {
            errors.invalid(at, &at, "empty selector is invalid for daemonset");
        }
        let selects = match at.is_null() {
            true => Ok(LabelSelector::nothing()),
            false => LabelSelector::from_object(&at),
        };
        let template = spec.field("template");
        if let Ok(selects) = selects
            && sound
        {
            selected(template, &selects, errors);
        }
        lasting_template(template, "DaemonSet", errors);
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
        const MORE: [&str; 4] = [
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ];
        let root = At::root(object);
        let status = root.field("status");
        COUNTS.iter().chain(&MORE).for_each(|c| check::not_negative(status.field(c), errors));
        collisions(status, old, errors);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        template_warnings(object, old, &["spec", "template"])
    }

    /// The count of templates is a field of upstream's inner form, which tables are made of.
    fn row_metadata(&self, metadata: &mut Value) {
        let Some(annotations) = metadata.get_mut("annotations") else { return };
        annotations.remove(TEMPLATE_GENERATION);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Desired", "integer", 0, "How many nodes are to run the pod"),
            ("Current", "integer", 0, "How many of them have it"),
            ("Ready", "integer", 0, "How many of them have it ready"),
            ("Up-to-date", "integer", 0, "How many of them have the newest template"),
            ("Available", "integer", 0, "How many of them have had it ready long enough"),
            ("Node Selector", "string", 0, "The labels of the nodes that run the pod"),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let (spec, status) = (object.get("spec"), object.get("status"));
        let [names, images] = layout(spec.get("template"));
        vec![
            object.name().into(),
            number(status.get("desiredNumberScheduled")),
            number(status.get("currentNumberScheduled")),
            number(status.get("numberReady")),
            number(status.get("updatedNumberScheduled")),
            number(status.get("numberAvailable")),
            labels(spec.at(&["template", "spec", "nodeSelector"])).into(),
            age(object, context),
            names,
            images,
            selector::shown(spec.get("selector")).into(),
        ]
    }
}

fn template_generation(set: &Value) -> i64 {
    let annotation = set.metadata().get("annotations").get(TEMPLATE_GENERATION);
    annotation.str().parse().unwrap_or(0)
}

fn set_template_generation(set: &mut Value, generation: i64) {
    let annotations = set.entry_at(&["metadata", "annotations"]);
    annotations.set(TEMPLATE_GENERATION, generation.to_string());
}

fn strategy(at: At<'_>, errors: &mut Errors) {
    let rolling = at.field("rollingUpdate");
    match at.get("type").str() {
        "OnDelete" => return,
        "RollingUpdate" => {}
        _ => return errors.not_supported(at, &at, &["RollingUpdate", "OnDelete"]),
    }
    let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
    for at in [unavailable, surge] {
        int_or_percent(at, errors);
        not_above_all(at, errors);
    }
    match (amount(&unavailable) != 0, amount(&surge) != 0) {
        (true, true) => {
            errors.invalid(surge, &surge, "may not be set when maxUnavailable is non-zero");
        }
        (false, false) => errors.required(unavailable, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}
