//! The admission registration group: webhooks and policies. rk calls and evaluates none yet.

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
        ("webhooks[].timeoutSeconds", Fallback::Number(10)),
        ("webhooks[].reinvocationPolicy", Fallback::Text("Never")),
        ("webhooks[].rules[].scope", Fallback::Text("*")),
        ("webhooks[].clientConfig.service.port", Fallback::Number(443)),
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
        ("webhooks[].timeoutSeconds", Fallback::Number(10)),
        ("webhooks[].rules[].scope", Fallback::Text("*")),
        ("webhooks[].clientConfig.service.port", Fallback::Number(443)),
    ],
    unserved: "rk stores ValidatingWebhookConfigurations, but calls no webhooks yet",
    ..MUTATING_WEBHOOKS
};

const WEBHOOK_RULES: &[(&str, Rule)] = &[
    ("webhooks[].name", Rule::Each(webhook_name)),
    ("webhooks[].failurePolicy", Rule::OneOf(&["Fail", "Ignore"])),
    ("webhooks[].matchPolicy", Rule::OneOf(&["Equivalent", "Exact"])),
    ("webhooks[].sideEffects", Rule::RequiredOneOf(&["None", "NoneOnDryRun"])),
    ("webhooks[].reinvocationPolicy", Rule::OneOf(&["IfNeeded", "Never"])),
    ("webhooks[].rules[].operations", Rule::Required("")),
    ("webhooks[].rules[].operations[]", Rule::OneOf(OPERATIONS)),
    ("webhooks[].rules[].apiGroups", Rule::Required("")),
    ("webhooks[].rules[].apiVersions", Rule::Required("")),
    ("webhooks[].rules[].resources", Rule::Required("")),
    ("webhooks[].rules[].scope", Rule::OneOf(&["*", "Cluster", "Namespaced"])),
    ("webhooks[].clientConfig.service?.name", Rule::Required("")),
    ("webhooks[].clientConfig.service?.namespace", Rule::Required("")),
    ("webhooks[].namespaceSelector", Rule::Each(selector::check)),
    ("webhooks[].objectSelector", Rule::Each(selector::check)),
];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// A webhook's name is a domain of at least three parts.
fn webhook_name(at: At<'_>, errors: &mut Errors) {
    check::formatted(at, text::dns_subdomain, errors);
    if at.str().split('.').count() < 3 {
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
        let versions = webhook.field("admissionReviewVersions");
        let known = versions.value().items().iter().any(|v| matches!(v.str(), "v1" | "v1beta1"));
        if versions.is_empty() {
            errors.required(versions, "must specify one of v1, v1beta1");
        } else if !known {
            errors.invalid(versions, &versions, "must include at least one of v1, v1beta1");
        }
        let timeout = webhook.field("timeoutSeconds");
        if timeout.as_int().is_some_and(|s| !(1..=30).contains(&s)) {
            errors.invalid(timeout, &timeout, "the timeout value must be between 1 and 30 seconds");
        }
        let client = webhook.field("clientConfig");
        if client.get("url").is_null() == client.get("service").is_null() {
            errors.required(client, "exactly one of url or service is required");
        }
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
        ("spec.validations[].expression", Rule::Required("expression is not specified")),
        ("spec.auditAnnotations[].key", Rule::Required("")),
        ("spec.variables[].name", Rule::Required("name is not specified")),
        ("spec.matchConstraints.resourceRules[].operations[]", Rule::OneOf(OPERATIONS)),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        let validations = spec.field("validations");
        if validations.is_empty() && spec.get("auditAnnotations").is_empty() {
            errors.required(
                validations,
                "validations or auditAnnotations must contain at least one item",
            );
        }
        rules_of(spec, errors);
    },
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

/// What a policy is about must be said.
fn rules_of(spec: At<'_>, errors: &mut Errors) {
    let constraints = spec.field("matchConstraints");
    let rules = constraints.field("resourceRules");
    if !constraints.is_null() && rules.is_empty() {
        errors.required(rules, "");
    }
}

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
        ("spec.variables[].name", Rule::Required("name is not specified")),
    ],
    check: |root, errors| rules_of(root.field("spec"), errors),
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
        ("spec.policyName", Rule::Required("")),
        ("spec.validationActions", Rule::Required("")),
        ("spec.validationActions[]", Rule::OneOf(&["Audit", "Deny", "Warn"])),
        ("spec.paramRef.parameterNotFoundAction", Rule::OneOf(&["Allow", "Deny"])),
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
        ("spec.policyName", Rule::Required("")),
        ("spec.paramRef.parameterNotFoundAction", Rule::OneOf(&["Allow", "Deny"])),
    ],
    unserved: "rk stores MutatingAdmissionPolicyBindings, but does not evaluate policies yet",
    ..VALIDATING_BINDING
};

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
