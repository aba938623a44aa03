//! The admission registration group: webhooks and policies. rk calls and evaluates none yet, but
//! what their expressions say is checked.

mod client;
mod expressions;
mod matching;
mod policies;

use super::check::{self, At, Rule};
use super::fallback::Fallback;
use super::table::{AGE, Heading, NAME};
use super::tabled::{Cell, Tabled};
use super::{selector, text};
use crate::api::registry::Errors;
use crate::api::tree::Value;

const WEBHOOKS: Heading = (
    "Webhooks",
    "integer",
    0,
    "Webhooks indicates the number of webhooks registered in this configuration",
);

/// MutatingWebhookConfigurations.
pub const MUTATING_WEBHOOKS: Tabled = Tabled {
    defaults: &[
        ("webhooks[].failurePolicy", Fallback::Text("Fail")),
        ("webhooks[].matchPolicy", Fallback::Text("Equivalent")),
        ("webhooks[].namespaceSelector", Fallback::Map),
        ("webhooks[].objectSelector", Fallback::Map),
        ("webhooks[].timeoutSeconds", Fallback::NumberIfAbsent(10)),
        ("webhooks[].reinvocationPolicy", Fallback::Text("Never")),
        ("webhooks[].rules[].scope", Fallback::Text("*")),
        ("webhooks[].clientConfig.service.port", Fallback::NumberIfAbsent(443)),
    ],
    rules: WEBHOOK_RULES,
    check: webhooks,
    generations: true,
    columns: &[(NAME, Cell::Name), (WEBHOOKS, Cell::Count("webhooks")), (AGE, Cell::Age)],
    unserved: "rk stores MutatingWebhookConfigurations, but calls no webhooks yet",
    ..Tabled::PLAIN
};

/// ValidatingWebhookConfigurations.
pub const VALIDATING_WEBHOOKS: Tabled = Tabled {
    defaults: &[
        ("webhooks[].failurePolicy", Fallback::Text("Fail")),
        ("webhooks[].matchPolicy", Fallback::Text("Equivalent")),
        ("webhooks[].namespaceSelector", Fallback::Map),
        ("webhooks[].objectSelector", Fallback::Map),
        ("webhooks[].timeoutSeconds", Fallback::NumberIfAbsent(10)),
        ("webhooks[].rules[].scope", Fallback::Text("*")),
        ("webhooks[].clientConfig.service.port", Fallback::NumberIfAbsent(443)),
    ],
    unserved: "rk stores ValidatingWebhookConfigurations, but calls no webhooks yet",
    ..MUTATING_WEBHOOKS
};

const WEBHOOK_RULES: &[(&str, Rule)] = &[
    ("webhooks[].failurePolicy", Rule::OneOf(&["Fail", "Ignore"])),
    ("webhooks[].matchPolicy", Rule::OneOf(&["Equivalent", "Exact"])),
    ("webhooks[].sideEffects", Rule::Required("must specify one of None, NoneOnDryRun")),
    ("webhooks[].sideEffects", Rule::OneOf(&["None", "NoneOnDryRun"])),
    ("webhooks[].reinvocationPolicy", Rule::OneOf(&["IfNeeded", "Never"])),
    ("webhooks[].rules[]", Rule::Each(matching::rule)),
    ("webhooks[].namespaceSelector", Rule::Each(selector::check)),
    ("webhooks[].objectSelector", Rule::Each(selector::check)),
];

/// A webhook's name is a domain of at least three parts.
fn webhook_name(at: At<'_>, errors: &mut Errors) {
    let faults = text::dns_subdomain(at.str());
    if at.str().is_empty() {
        errors.required(at, "");
    } else if !faults.is_empty() {
        errors.invalid(at, &at, &faults.join(","));
    } else if at.str().split('.').count() < 3 {
        errors.invalid(
            at,
            &at,
            "should be a domain with at least three segments separated by dots",
        );
    }
}

fn webhooks(root: At<'_>, errors: &mut Errors) {
    let list = root.field("webhooks");
    check::unique(list, "name", errors);
    for webhook in list.items() {
        webhook_name(webhook.field("name"), errors);
        let versions = webhook.field("admissionReviewVersions");
        let known = versions.value().items().iter().any(|v| matches!(v.str(), "v1" | "v1beta1"));
        reviewed(versions, errors);
        if versions.is_empty() {
            errors.required(versions, "must specify one of v1, v1beta1");
        } else if !known {
            errors.invalid(versions, &versions, "must include at least one of v1, v1beta1");
        }
        let timeout = webhook.field("timeoutSeconds");
        if timeout.as_int().is_some_and(|s| !(1..=30).contains(&s)) {
            errors.invalid(timeout, &timeout, "the timeout value must be between 1 and 30 seconds");
        }
        client::config(webhook.field("clientConfig"), errors);
        matching::conditions(webhook.field("matchConditions"), false, errors);
    }
}

/// The versions of reviews that a webhook knows, each once.
fn reviewed(list: At<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for version in list.items() {
        if seen.contains(&version.value().str()) {
            errors.invalid(version, &version, "duplicate version");
        } else {
            check::formatted(version, text::dns_1035_label, errors);
        }
        seen.push(version.value().str());
    }
}

const PARAM_KIND: Heading = ("ParamKind", "string", 0, "The kind of resource this policy uses");

/// ValidatingAdmissionPolicies.
pub const VALIDATING_POLICY: Tabled = Tabled {
    defaults: &[
        ("spec.failurePolicy", Fallback::Text("Fail")),
        ("spec.matchConstraints.matchPolicy", Fallback::Text("Equivalent")),
        ("spec.matchConstraints.namespaceSelector", Fallback::Map),
        ("spec.matchConstraints.objectSelector", Fallback::Map),
        ("spec.matchConstraints.resourceRules[].scope", Fallback::Text("*")),
        ("spec.matchConstraints.excludeResourceRules[].scope", Fallback::Text("*")),
    ],
    rules: &[
        ("spec.failurePolicy", Rule::OneOf(&["Fail", "Ignore"])),
        ("spec.matchConstraints", Rule::Required("")),
    ],
    check: policies::validating,
    status: true,
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (
            (
                "Validations",
                "integer",
                0,
                "Validations indicates the number of validation rules defined in this configuration",
            ),
            Cell::Count("spec.validations"),
        ),
        (PARAM_KIND, Cell::Made(param_kind)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores ValidatingAdmissionPolicies, but does not evaluate them yet",
    ..Tabled::PLAIN
};

fn param_kind(object: &Value) -> Value {
    let kind = object.at(&["spec", "paramKind"]);
    if kind.is_null() {
        return "<unset>".into();
    }
    format!("{}/{}", kind.get("apiVersion").str(), kind.get("kind").str()).into()
}

/// MutatingAdmissionPolicies.
pub const MUTATING_POLICY: Tabled = Tabled {
    rules: &[
        ("spec.failurePolicy", Rule::OneOf(&["Fail", "Ignore"])),
        ("spec.matchConstraints", Rule::Required("")),
        ("spec.mutations", Rule::Required("mutations must contain at least one item")),
        ("spec.mutations[].patchType", Rule::RequiredOneOf(&["ApplyConfiguration", "JSONPatch"])),
        ("spec.reinvocationPolicy", Rule::RequiredOneOf(&["IfNeeded", "Never"])),
    ],
    check: policies::mutating,
    status: false,
    columns: &[
        (NAME, Cell::Name),
        (
            (
                "Mutations",
                "integer",
                0,
                "Mutation indicates the number of mutations rules defined in this configuration",
            ),
            Cell::Count("spec.mutations"),
        ),
        (PARAM_KIND, Cell::Made(param_kind)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores MutatingAdmissionPolicies, but does not evaluate them yet",
    ..VALIDATING_POLICY
};

/// ValidatingAdmissionPolicyBindings.
pub const VALIDATING_BINDING: Tabled = Tabled {
    defaults: BINDING_DEFAULTS,
    rules: &[
        ("spec.policyName", Rule::RequiredText(text::dns_subdomain)),
        ("spec.validationActions", Rule::Required("")),
        ("spec.validationActions", Rule::Each(actions)),
        ("spec.paramRef", Rule::Each(param_ref_rules)),
        ("spec.matchResources", Rule::Each(matching::match_resources)),
    ],
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (
            ("PolicyName", "string", 0, "The policy definition which the policy binding binds to"),
            Cell::At("spec.policyName"),
        ),
        (
            ("ParamRef", "string", 0, "The param resource which the policy binding uses"),
            Cell::Made(param_ref),
        ),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores ValidatingAdmissionPolicyBindings, but does not evaluate policies yet",
    ..Tabled::PLAIN
};

const BINDING_DEFAULTS: &[(&str, Fallback)] = &[
    ("spec.matchResources.matchPolicy", Fallback::Text("Equivalent")),
    ("spec.matchResources.namespaceSelector", Fallback::Map),
    ("spec.matchResources.objectSelector", Fallback::Map),
    ("spec.matchResources.resourceRules[].scope", Fallback::Text("*")),
    ("spec.matchResources.excludeResourceRules[].scope", Fallback::Text("*")),
];

/// MutatingAdmissionPolicyBindings.
pub const MUTATING_BINDING: Tabled = Tabled {
    rules: &[
        ("spec.policyName", Rule::RequiredText(text::dns_subdomain)),
        ("spec.paramRef", Rule::Each(param_ref_rules)),
        ("spec.matchResources", Rule::Each(matching::match_resources)),
        ("spec.matchResources.resourceRules", Rule::Each(matching::no_deletion)),
    ],
    unserved: "rk stores MutatingAdmissionPolicyBindings, but does not evaluate policies yet",
    ..VALIDATING_BINDING
};

/// What is done with an answer that says no.
fn actions(list: At<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for action in list.items() {
        check::one_of(action, &["Audit", "Deny", "Warn"], errors);
        if seen.contains(&action.value().str()) {
            errors.duplicate(action, &action);
        }
        seen.push(action.value().str());
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure \
                   information in the API response and headers serves no purpose)";
        errors.invalid(list, &list, why);
    }
}

/// Which object has the parameters.
fn param_ref_rules(at: At<'_>, errors: &mut Errors) {
    let (name, selector) = (at.field("name"), at.field("selector"));
    Rule::Text(text::path_segment).check(name, errors);
    if !name.str().is_empty() && !selector.is_null() {
        errors.forbidden(name, "name and selector are mutually exclusive");
        errors.forbidden(selector, "name and selector are mutually exclusive");
    }
    if !selector.is_null() {
        selector::check(selector, errors);
    } else if name.str().is_empty() {
        errors.required(at, "one of name or selector must be specified");
    }
    let action = at.field("parameterNotFoundAction");
    Rule::RequiredOneOf(&["Deny", "Allow"]).check(action, errors);
}

fn param_ref(object: &Value) -> Value {
    let reference = object.at(&["spec", "paramRef"]);
    let (namespace, name) = (reference.get("namespace").str(), reference.get("name").str());
    match (namespace, name) {
        _ if reference.is_null() => "<unset>".into(),
        (_, "") => "*".into(),
        ("", name) => name.into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}
