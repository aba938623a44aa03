//! PodDisruptionBudgets.

use super::apps::{int_or_percent, not_above_all};
use super::check::{self, At};
use super::selector;
use super::table::{AGE, NAME, columns, number};
use super::text::{self, Format};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of pod disruption budgets.
pub struct PodDisruptionBudget;

/// The counts in a status that are always there.
const COUNTS: [&str; 4] =
    ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"];

impl Rules for PodDisruptionBudget {
    /// Upstream does not look at the name, but that it is part of a path.
    fn name_format(&self) -> Format {
        text::path_segment
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", Value::from(COUNTS.map(|count| (count, 0.into()))));
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let spec = root.field("spec");
        let bounds = [spec.field("minAvailable"), spec.field("maxUnavailable")];
        if bounds.iter().all(|bound| !bound.is_null()) {
            let why = "minAvailable and maxUnavailable cannot be both set";
            errors.invalid(spec, &spec, why);
        }
        for bound in bounds.into_iter().filter(|bound| !bound.is_null()) {
            int_or_percent(bound, errors);
            not_above_all(bound, errors);
        }
        selector::validate(spec.field("selector"), errors);
        let policy = spec.field("unhealthyPodEvictionPolicy");
        if !policy.is_null() {
            check::one_of(policy, &["AlwaysAllow", "IfHealthyBudget"], errors);
        }
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        let root = At::root(object);
        let status = root.field("status");
        COUNTS.iter().for_each(|count| check::not_negative(status.field(count), errors));
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Min Available", "string", 0, "The minimum number of pods that must be available."),
            ("Max Unavailable", "string", 0, "The maximum number of pods that may be unavailable."),
            (
                "Allowed Disruptions",
                "integer",
                0,
                "Calculated number of pods that may be disrupted at this time.",
            ),
            AGE,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let spec = object.get("spec");
        let bound = |name: &str| match spec.get(name) {
            Value::Null => "N/A".to_owned(),
            Value::Str(text) => text.to_string(),
            number => number.to_string(),
        };
        vec![
            object.name().into(),
            bound("minAvailable").into(),
            bound("maxUnavailable").into(),
            number(object.at(&["status", "disruptionsAllowed"])),
            age(object, context),
        ]
    }
}
