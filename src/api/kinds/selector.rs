//! Label selectors in objects: their rules, and how rows show them.

use super::check::{self, At};
use super::{metadata, text};
use crate::api::registry::Errors;
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;

/// Checks a `meta/v1.LabelSelector`; false if something is wrong with it.
pub fn validate(at: At<'_>, errors: &mut Errors) -> bool {
    let before = errors.len();
    metadata::labels(at.field("matchLabels"), errors);
    at.field("matchExpressions").items().for_each(|one| requirement(one, errors));
    errors.len() == before
}

/// The same as a rule of a table.
pub fn check(at: At<'_>, errors: &mut Errors) {
    validate(at, errors);
}

fn requirement(at: At<'_>, errors: &mut Errors) {
    let (operator, values) = (at.field("operator"), at.field("values"));
    match (operator.str(), values.value().items().is_empty()) {
        ("In" | "NotIn", true) => {
            errors.required(values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        ("Exists" | "DoesNotExist", false) => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(values, why);
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
        _ => errors.invalid(operator, &operator.str().into(), "not a valid selector operator"),
    }
    check::formatted(at.field("key"), text::label_key, errors);
    values.items().for_each(|value| check::formatted(value, text::label_value, errors));
}

/// A selector as rows show it.
pub fn shown(selector: &Value) -> String {
    match LabelSelector::from_object(selector) {
        Ok(selector) if selector.is_everything() => "<none>".into(),
        Ok(selector) => selector.to_text(),
        Err(_) => "<invalid>".into(),
    }
}
