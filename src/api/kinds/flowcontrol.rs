//! The flow control group: priority levels and who gets which. rk bounds requests by their kind
//! alone.

use super::check::{self, At, Rule};
use super::fallback::Fallback;
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text;
use crate::api::registry::Errors;
use crate::api::tree::Value;

const UNSERVED: &str = "rk stores flow control settings, but does not queue requests by them";

/// FlowSchemas.
pub const FLOW_SCHEMA: Tabled = Tabled {
    defaults: &[("spec.matchingPrecedence", Fallback::Number(1000))],
    rules: &[
        ("spec.matchingPrecedence", Rule::Between(1, 10_000)),
        ("spec.priorityLevelConfiguration.name", Rule::Text(text::dns_subdomain)),
        ("spec.distinguisherMethod?.type", Rule::RequiredOneOf(&["ByNamespace", "ByUser"])),
        ("spec.rules[].subjects", Rule::Required("")),
        ("spec.rules[].subjects[].kind", Rule::RequiredOneOf(&["Group", "ServiceAccount", "User"])),
        ("spec.rules[].resourceRules[].verbs", Rule::Required("")),
        ("spec.rules[].resourceRules[].apiGroups", Rule::Required("")),
        ("spec.rules[].resourceRules[].resources", Rule::Required("")),
        ("spec.rules[].nonResourceRules[].verbs", Rule::Required("")),
        ("spec.rules[].nonResourceRules[].nonResourceURLs", Rule::Required("")),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        if spec.at(&["priorityLevelConfiguration", "name"]).is_empty() {
            errors.required(
                "spec.priorityLevelConfiguration.name",
                "must reference a priority level",
            );
        }
    },
    status: true,
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (
            ("PriorityLevel", "string", 0, "The level of what it matches."),
            Cell::At("spec.priorityLevelConfiguration.name"),
        ),
        (
            ("MatchingPrecedence", "string", 0, "The lower, the earlier it is tried."),
            Cell::At("spec.matchingPrecedence"),
        ),
        (
            ("DistinguisherMethod", "string", 0, "How flows are told apart."),
            Cell::Or("spec.distinguisherMethod.type", "<none>"),
        ),
        (AGE, Cell::Age),
        (("MissingPL", "string", 0, "Whether the level is missing."), Cell::Made(missing)),
    ],
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

fn missing(object: &Value) -> Value {
    let conditions = object.at(&["status", "conditions"]).items();
    let found = conditions.iter().find(|condition| condition.get("type").str() == "Dangling");
    found.map_or("?", |condition| condition.get("status").str()).into()
}

/// PriorityLevelConfigurations.
pub const PRIORITY_LEVEL: Tabled = Tabled {
    defaults: &[
        ("spec.limited.nominalConcurrencyShares", Fallback::NumberIfAbsent(30)),
        ("spec.limited.lendablePercent", Fallback::NumberIfAbsent(0)),
        ("spec.exempt.nominalConcurrencyShares", Fallback::NumberIfAbsent(0)),
        ("spec.exempt.lendablePercent", Fallback::NumberIfAbsent(0)),
        ("spec.limited.limitResponse.queuing.queues", Fallback::Number(64)),
        ("spec.limited.limitResponse.queuing.handSize", Fallback::Number(8)),
        ("spec.limited.limitResponse.queuing.queueLengthLimit", Fallback::Number(50)),
    ],
    rules: &[
        ("spec.type", Rule::OneOf(&["Exempt", "Limited"])),
        ("spec.limited.nominalConcurrencyShares", Rule::NotNegative),
        ("spec.limited.lendablePercent", Rule::Between(0, 100)),
        ("spec.exempt.lendablePercent", Rule::Between(0, 100)),
        ("spec.limited?.limitResponse.type", Rule::RequiredOneOf(&["Queue", "Reject"])),
    ],
    check: level,
    status: true,
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (("Type", "string", 0, "Whether the level is limited."), Cell::At("spec.type")),
        (
            ("NominalConcurrencyShares", "string", 0, "Its share of what there is."),
            Cell::Or("spec.limited.nominalConcurrencyShares", "<none>"),
        ),
        (
            ("Queues", "string", 0, "How many queues it has."),
            Cell::Or("spec.limited.limitResponse.queuing.queues", "<none>"),
        ),
        (
            ("HandSize", "string", 0, "How many of them a flow may use."),
            Cell::Or("spec.limited.limitResponse.queuing.handSize", "<none>"),
        ),
        (
            ("QueueLengthLimit", "string", 0, "How much waits in one."),
            Cell::Or("spec.limited.limitResponse.queuing.queueLengthLimit", "<none>"),
        ),
        (AGE, Cell::Age),
    ],
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

/// What goes with which type; upstream's newer validators tell it without words of their own.
fn level(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    let ty = spec.field("type");
    let (limited, exempt) = (spec.field("limited"), spec.field("exempt"));
    if ty.str() != "Exempt" && !exempt.is_null() {
        errors.forbidden(exempt, "");
    }
    match (ty.str() == "Limited", limited.is_null()) {
        (true, true) => errors.required(limited, ""),
        (false, false) => errors.forbidden(limited, ""),
        _ => {}
    }
    check::required(ty, "", errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry::Rules;

    #[test]
    fn a_level_has_what_its_type_wants() {
        for (spec, wanted) in [
            (r#"{"type":"Limited","limited":{"limitResponse":{"type":"Reject"}}}"#, &[][..]),
            (r#"{"type":"Limited"}"#, &["spec.limited: Required value"]),
            (
                r#"{"limited":{"limitResponse":{"type":"Reject"}}}"#,
                &["spec.limited: Forbidden", "spec.type: Required value"],
            ),
            (
                r#"{"type":"Limited","limited":{"limitResponse":{"type":"Reject"}},"exempt":{}}"#,
                &["spec.exempt: Forbidden"],
            ),
        ] {
            let object = Value::parse(format!(r#"{{"spec":{spec}}}"#).as_bytes()).unwrap();
            let mut errors = Errors::default();
            PRIORITY_LEVEL.validate(&object, &mut errors);
            let found: Vec<String> = errors
                .into_causes()
                .into_iter()
                .map(|cause| format!("{}: {}", cause.field, cause.message))
                .collect();
            assert_eq!(found, wanted, "{spec}");
        }
    }
}
