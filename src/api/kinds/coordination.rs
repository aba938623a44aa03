//! Leases.

use super::check::{self, At, Rule, required};
use super::table::{AGE, NAME, columns};
use super::text;
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of leases.
pub struct Lease;

const RULES: &[(&str, Rule)] = &[
    ("spec.leaseDurationSeconds", Rule::Positive),
    ("spec.leaseTransitions", Rule::NotNegative),
    ("spec.strategy", Rule::Each(strategy)),
];

impl Rules for Lease {
    fn validate(&self, object: &Value, errors: &mut Errors) {
        check::apply(RULES, At::root(object), errors);
        let spec = object.get("spec");
        if !spec.get("preferredHolder").is_empty() && spec.get("strategy").is_empty() {
            errors.forbidden(
                "spec.preferredHolder",
                "may only be specified if `strategy` is defined",
            );
        }
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[NAME, ("Holder", "string", 0, "Who holds the lease"), AGE])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let holder = object.at(&["spec", "holderIdentity"]).str();
        vec![object.name().into(), holder.into(), age(object, context)]
    }
}

/// A strategy of Kubernetes' own, or a qualified name of another's.
fn strategy(at: At<'_>, errors: &mut Errors) {
    if at.str().contains('/') {
        check::formatted(at, text::label_key, errors);
    } else if required(at, "", errors) && at.str() != "OldestEmulationVersion" {
        errors.not_supported(at, &at, &["OldestEmulationVersion"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_bounded() {
        let lease = Value::parse(
            br#"{"spec":{"leaseDurationSeconds":0,"leaseTransitions":-1,"preferredHolder":"a"}}"#,
        )
        .unwrap();
        let mut errors = Errors::default();
        Lease.validate(&lease, &mut errors);
        let fields: Vec<String> = errors.into_causes().into_iter().map(|c| c.field).collect();
        assert_eq!(
            fields,
            ["spec.leaseDurationSeconds", "spec.leaseTransitions", "spec.preferredHolder"]
        );
    }
}
