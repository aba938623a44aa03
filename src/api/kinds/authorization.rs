//! Access reviews: it must be clear who is to do what, and where.

use super::check::{self, At, required};
use super::text;
use crate::api::meta::Meta;
use crate::api::registry::{Errors, Rules};
use crate::api::tree::Value;

/// The rules of the reviews that ask for one access.
pub struct AccessReview {
    /// Whether the spec names who is asked about.
    pub of_others: bool,
    /// Whether only one namespace is asked about, that of the review.
    pub namespaced: bool,
}

impl Rules for AccessReview {
    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let spec = root.field("spec");
        let (resource, path) =
            (spec.field("resourceAttributes"), spec.field("nonResourceAttributes"));
        if resource.is_null() == path.is_null() {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(spec, &path, why);
        }
        let (user, groups) = (spec.field("user"), spec.field("groups"));
        if self.of_others && user.str().is_empty() && groups.value().items().is_empty() {
            let why = "at least one of user or group must be specified";
            errors.invalid(user, &"".into(), why);
        }
        for selector in ["fieldSelector", "labelSelector"] {
            check_selector(resource.field(selector), selector == "labelSelector", errors);
        }
        self.metadata(root.field("metadata"), errors);
        if self.namespaced {
            check_namespace(object.namespace(), resource, path, errors);
        }
    }
}

impl AccessReview {
    fn metadata(&self, at: At<'_>, errors: &mut Errors) {
        let may = |key: &str| key == "managedFields" || key == "namespace" && self.namespaced;
        if at.value().fields().any(|(key, value)| !may(key) && !value.is_empty()) {
            let why = if self.namespaced {
                "must be empty except for namespace"
            } else {
                "must be empty"
            };
            errors.invalid(at, &at, why);
        }
    }
}

fn check_namespace(own: &str, resource: At<'_>, path: At<'_>, errors: &mut Errors) {
    let asked = resource.field("namespace");
    if !resource.is_null() && asked.str() != own {
        errors.invalid(asked, &asked.str().into(), "must match metadata.namespace");
    }
    if !path.is_null() {
        errors.invalid(path, &path, "disallowed on this kind of request");
    }
}

/// Operators that this version does not know pass: the request is then judged without them, as one
/// for more.
fn check_selector(at: At<'_>, of_labels: bool, errors: &mut Errors) {
    let (raw, requirements) = (at.field("rawSelector"), at.field("requirements"));
    let given = !requirements.value().items().is_empty();
    match (raw.str().is_empty(), given) {
        (false, true) => {
            errors.invalid(raw, &raw, "may not specified at the same time as requirements");
        }
        (true, false) if !at.is_null() => {
            let why = format!("when {at} is specified, requirements or rawSelector is required");
            errors.required(requirements, &why);
        }
        _ => {}
    }
    for one in requirements.items() {
        if !of_labels {
            required(one.field("key"), "must be specified", errors);
        }
        check_values(one, errors);
        if of_labels {
            check::formatted(one.field("key"), text::label_key, errors);
            let values = one.field("values");
            values.items().for_each(|value| check::formatted(value, text::label_value, errors));
        }
    }
}

fn check_values(requirement: At<'_>, errors: &mut Errors) {
    let values = requirement.field("values");
    match (requirement.get("operator").str(), values.value().items().is_empty()) {
        ("In" | "NotIn", true) => {
            errors.required(values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        ("Exists" | "DoesNotExist", false) => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(values, why);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &AccessReview, json: &str) -> Vec<String> {
        let mut errors = Errors::default();
        rules.validate(&Value::parse(json.as_bytes()).unwrap(), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn a_review_asks_for_one_thing_of_somebody() {
        let others = AccessReview { of_others: true, namespaced: false };
        assert_eq!(
            faults(&others, r#"{"metadata":{"name":"x"}}"#),
            [
                "spec: Invalid value: null: exactly one of nonResourceAttributes or \
                 resourceAttributes must be specified",
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
            ]
        );
        let whole = r#"{"spec":{"groups":["g"],"nonResourceAttributes":{"path":"/x"}}}"#;
        assert_eq!(faults(&others, whole), [""; 0]);
    }

    #[test]
    fn a_local_review_asks_about_its_namespace() {
        let local = AccessReview { of_others: true, namespaced: true };
        let review = |namespace: &str| {
            format!(
                r#"{{"metadata":{{"namespace":"a"}},
                   "spec":{{"user":"u","resourceAttributes":{{"namespace":"{namespace}"}}}}}}"#
            )
        };
        assert_eq!(faults(&local, &review("a")), [""; 0]);
        assert_eq!(
            faults(&local, &review("b")),
            [
                "spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace"
            ]
        );
    }

    #[test]
    fn selectors_are_raw_or_in_parts() {
        let own = AccessReview { of_others: false, namespaced: false };
        let ask = |selector: &str| format!(r#"{{"spec":{{"resourceAttributes":{{{selector}}}}}}}"#);
        let field = "spec.resourceAttributes.fieldSelector";
        assert_eq!(
            faults(&own, &ask(r#""fieldSelector":{}"#)),
            [format!(
                "{field}.requirements: Required value: when {field} is specified, requirements or \
                 rawSelector is required"
            )]
        );
        let term = r#""fieldSelector":{"requirements":[{"key":"","operator":"In"}]}"#;
        assert_eq!(
            faults(&own, &ask(term)),
            [
                format!("{field}.requirements[0].key: Required value: must be specified"),
                format!(
                    "{field}.requirements[0].values: Required value: must be specified when \
                     `operator` is 'In' or 'NotIn'"
                ),
            ]
        );
        let newer = r#""labelSelector":{"requirements":[{"key":"a","operator":"Near"}]}"#;
        assert_eq!(faults(&own, &ask(newer)), [""; 0]);
    }
}
