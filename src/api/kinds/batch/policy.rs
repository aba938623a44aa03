//! When a failed pod fails its job, and when a job has succeeded early.

use super::indexes::Indexes;
use crate::api::kinds::check::{self, At};
use crate::api::kinds::text;
use crate::api::registry::Errors;
use crate::api::tree::Value;

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

/// Checks `podFailurePolicy` of a job's spec.
pub(super) fn failure(spec: At<'_>, errors: &mut Errors) {
    let policy = spec.field("podFailurePolicy");
    let rules = policy.field("rules");
    bounded(rules, RULES_MAX, errors);
    rules.items().for_each(|rule| failure_rule(spec.value(), rule, errors));
}

fn bounded(list: At<'_>, max: usize, errors: &mut Errors) {
    let count = list.value().items().len();
    if count > max {
        errors.too_many(list, count, max);
    }
}

/// One of the known words, or the list of them.
fn known(at: At<'_>, words: &[&str], errors: &mut Errors) {
    if at.is_empty() {
        let list: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        errors.required(at, &format!("valid values: [{}]", list.join(" ")));
    } else {
        check::one_of(at, words, errors);
    }
}

fn failure_rule(spec: &Value, rule: At<'_>, errors: &mut Errors) {
    let (action, codes) = (rule.field("action"), rule.field("onExitCodes"));
    let conditions = rule.field("onPodConditions");
    known(action, ACTIONS, errors);
    if action.str() == "FailIndex" && spec.get("backoffLimitPerIndex").is_null() {
        errors.invalid(action, &action, "requires the backoffLimitPerIndex to be set");
    }
    if !codes.is_null() {
        exit_codes(spec, codes, errors);
    }
    bounded(conditions, CONDITIONS_MAX, errors);
    for condition in conditions.items() {
        check::formatted(condition.field("type"), text::label_key, errors);
        known(condition.field("status"), STATUSES, errors);
    }
    let why = match (codes.is_null(), conditions.is_empty()) {
        (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.invalid_unshown(rule, why);
}

fn exit_codes(spec: &Value, at: At<'_>, errors: &mut Errors) {
    let (operator, container) = (at.field("operator"), at.field("containerName"));
    let values = at.field("values");
    known(operator, OPERATORS, errors);
    let named = |list: &str| {
        let containers = spec.at(&["template", "spec", list]).items();
        containers.iter().any(|one| one.get("name").str() == container.str())
    };
    if !container.is_null() && !named("containers") && !named("initContainers") {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(container, &container, why);
    }
    if values.is_empty() {
        let none = Value::from(Vec::<Value>::new());
        errors.invalid(values, &none, "at least one value is required");
    }
    bounded(values, EXIT_CODES_MAX, errors);
    let codes: Vec<i64> = values.value().items().iter().filter_map(Value::as_int).collect();
    let mut seen: Vec<i64> = Vec::new();
    for value in values.items() {
        let code = value.as_int().unwrap_or(0);
        if operator.str() == "In" && code == 0 {
            errors.invalid(value, &value, "must not be 0 for the In operator");
        }
        if seen.contains(&code) {
            errors.duplicate(value, &value);
        }
        seen.push(code);
    }
    if !codes.is_sorted() {
        errors.invalid(values, &values, "must be ordered");
    }
}

/// Checks `successPolicy` of an indexed job's spec.
pub(super) fn success(spec: At<'_>, errors: &mut Errors) {
    let policy = spec.field("successPolicy");
    let rules = policy.field("rules");
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.required(rules, why);
    }
    bounded(rules, RULES_MAX, errors);
    let completions = spec.get("completions").as_int().unwrap_or(0);
    rules.items().for_each(|rule| success_rule(rule, completions, errors));
}

fn success_rule(rule: At<'_>, completions: i64, errors: &mut Errors) {
    let (indexes, count) = (rule.field("succeededIndexes"), rule.field("succeededCount"));
    if indexes.is_null() && count.is_null() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(rule, why);
    }
    if indexes.str().len() > INDEXES_BYTES_MAX {
        errors.too_long(indexes, INDEXES_BYTES_MAX);
    }
    let parsed = Indexes::parse(indexes.str(), completions);
    if let Err(why) = &parsed {
        errors.invalid(indexes, &indexes, &format!("error parsing succeededIndexes: {why}"));
    }
    check::not_negative(count, errors);
    let Some(wanted) = count.as_int() else { return };
    let total = parsed.unwrap_or_default().len();
    let bounds = [
        (true, completions, "the number of specified completions"),
        (
            !indexes.is_null(),
            total,
            "the number of indexes in the specified succeededIndexes field",
        ),
    ];
    for (_, bound, what) in bounds.iter().filter(|(given, bound, _)| *given && wanted > *bound) {
        let why = format!("must be less than or equal to {bound} ({what})");
        errors.invalid(count, &count, &why);
    }
}
