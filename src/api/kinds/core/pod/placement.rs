//! Where a pod may run: node affinity, tolerations, scheduling gates.

use crate::api::kinds::check::{self, At, Rule, required};
use crate::api::kinds::text;
use crate::api::registry::Errors;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks `affinity.nodeAffinity`.
pub fn node_affinity(at: At<'_>, errors: &mut Errors) {
    let wanted = at.field("requiredDuringSchedulingIgnoredDuringExecution");
    if !wanted.is_null() {
        node_selector(wanted, errors);
    }
    for term in at.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
        let weight = term.field("weight");
        if !(1..=100).contains(&weight.as_int().unwrap_or(0)) {
            errors.invalid(
                weight,
                &weight.as_int().unwrap_or(0).into(),
                "must be in the range 1-100",
            );
        }
        node_term(term.field("preference"), false, errors);
    }
}

/// Checks a `NodeSelector`.
pub fn node_selector(at: At<'_>, errors: &mut Errors) {
    let terms = at.field("nodeSelectorTerms");
    if required(terms, "must have at least one node selector term", errors) {
        terms.items().for_each(|term| node_term(term, true, errors));
    }
}

fn node_term(term: At<'_>, strict_values: bool, errors: &mut Errors) {
    let (labels, fields) = (term.field("matchExpressions"), term.field("matchFields"));
    labels.items().for_each(|requirement| label_requirement(requirement, strict_values, errors));
    fields.items().for_each(|requirement| field_requirement(requirement, errors));
}

fn label_requirement(at: At<'_>, strict_values: bool, errors: &mut Errors) {
    let (operator, values) = (at.field("operator"), at.field("values"));
    let count = values.value().items().len();
    match (operator.str(), count) {
        ("In" | "NotIn", 0) => {
            errors.required(values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        ("Exists" | "DoesNotExist", 1..) => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(values, why);
        }
        ("Gt" | "Lt", 0 | 2..) => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.required(values, why);
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {}
        _ => errors.invalid(operator, &operator, "not a valid selector operator"),
    }
    check::formatted(at.field("key"), text::label_key, errors);
    if strict_values {
        values.items().for_each(|value| check::formatted(value, text::label_value, errors));
    }
}

fn field_requirement(at: At<'_>, errors: &mut Errors) {
    let (operator, values, key) = (at.field("operator"), at.field("values"), at.field("key"));
    if !matches!(operator.str(), "In" | "NotIn") {
        errors.invalid(operator, &operator, "not a valid selector operator");
    } else if values.value().items().len() != 1 {
        let why =
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.required(values, why);
    }
    if key.str() == "metadata.name" {
        values.items().for_each(|value| check::formatted(value, text::dns_subdomain, errors));
    } else {
        errors.invalid(key, &key, "not a valid field selector key");
    }
}

/// Checks tolerations.
pub fn tolerations(list: At<'_>, errors: &mut Errors) {
    for toleration in list.items() {
        let (key, operator) = (toleration.field("key"), toleration.field("operator"));
        let (effect, value) = (toleration.field("effect"), toleration.field("value"));
        Rule::Text(text::label_key).check(key, errors);
        if key.is_empty() && operator.str() != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values \
                       and all keys\"";
            errors.invalid(operator, &operator.str().into(), why);
        }
        if !toleration.get("tolerationSeconds").is_null() && effect.str() != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(effect, &effect.str().into(), why);
        }
        match operator.str() {
            "" | "Equal" => {
                let faults = text::label_value(value.str());
                if !faults.is_empty() {
                    errors.invalid(operator, &value, &faults.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(operator, &value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            _ => errors.not_supported(operator, &operator, &["Equal", "Exists"]),
        }
        Rule::OneOf(EFFECTS).check(effect, errors);
    }
}

/// Checks the taints of a node: well-formed, and one of each key and effect.
pub fn taints(list: At<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for taint in list.items() {
        let (key, value, effect) =
            (taint.field("key"), taint.field("value"), taint.field("effect"));
        check::formatted(key, text::label_key, errors);
        let faults = text::label_value(value.str());
        if !faults.is_empty() {
            errors.invalid(value, &value, &faults.join(";"));
        }
        Rule::RequiredOneOf(EFFECTS).check(effect, errors);
        let pair = (key.str().to_owned(), effect.str().to_owned());
        if seen.contains(&pair) {
            errors.duplicate(taint, &taint);
        }
        seen.push(pair);
    }
}

/// Checks scheduling gates: qualified names, each once.
pub fn gates(list: At<'_>, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for gate in list.items() {
        let name = gate.get("name");
        for fault in text::label_key(name.str()) {
            errors.invalid(gate, name, &fault);
        }
        if seen.iter().any(|other| other == name.str()) {
            errors.duplicate(gate, name);
        }
        seen.push(name.str().to_owned());
    }
}
