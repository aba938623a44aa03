//! Leases.

use super::check::{self, At, Rule};
use super::not_yet;
use super::table::{AGE, NAME, columns};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of leases.
pub struct Lease;

const RULES: &[(&str, Rule)] =
    &[("spec.leaseDurationSeconds", Rule::Positive), ("spec.leaseTransitions", Rule::NotNegative)];

impl Rules for Lease {
    fn validate(&self, object: &Value, errors: &mut Errors) {
        check::apply(RULES, At::root(object), errors);
        not_yet::refuse(not_yet::LEASE, At::root(object).field("spec"), errors);
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
