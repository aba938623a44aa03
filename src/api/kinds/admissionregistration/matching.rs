//! What webhooks and policies are asked about: rules, selectors and conditions.

use super::expressions::{Access, Expression, environment};
use crate::api::cel::types::Type;
use crate::api::kinds::check::{self, At};
use crate::api::kinds::{selector, text};
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// What can be asked about.
pub(super) const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
/// How many conditions there may be.
const CONDITIONS_MAX: usize = 64;

fn has(list: At<'_>, text: &str) -> bool {
    list.value().items().iter().any(|item| item.str() == text)
}

/// Reports a list that is empty, or that names anything beside `*`.
fn alone(list: At<'_>, what: &str, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, "");
    }
    if list.value().items().len() > 1 && has(list, "*") {
        errors.invalid(list, &list, &format!("if '*' is present, must not specify other {what}"));
    }
}

/// Checks one rule: which operations on which resources.
pub(super) fn rule(at: At<'_>, errors: &mut Errors) {
    let operations = at.field("operations");
    alone(operations, "operations", errors);
    operations.items().for_each(|operation| check::one_of(operation, OPERATIONS, errors));
    alone(at.field("apiGroups"), "API groups", errors);
    let versions = at.field("apiVersions");
    alone(versions, "API versions", errors);
    for version in versions.items().filter(|version| version.str().is_empty()) {
        errors.required(version, "");
    }
    resources(at.field("resources"), errors);
    let scope = at.field("scope");
    if !scope.is_null() {
        check::one_of(scope, SCOPES, errors);
    }
}

fn resources(list: At<'_>, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, "");
    }
    let (mut any_below, mut below_any) = (Vec::new(), Vec::new());
    // As upstream: only what the last resource without a subresource is counts.
    let mut plain = false;
    for item in list.items() {
        let whole = item.value().str();
        if whole.is_empty() {
            errors.required(item, "");
            continue;
        }
        let Some((resource, sub)) = whole.split_once('/') else {
            plain = whole != "*";
            continue;
        };
        if any_below.contains(&resource) {
            let why = format!("if '{resource}/*' is present, must not specify {whole}");
            errors.invalid(item, &item, &why);
        }
        if below_any.contains(&sub) {
            let why = format!("if '*/{sub}' is present, must not specify {whole}");
            errors.invalid(item, &item, &why);
        }
        if sub == "*" {
            any_below.push(resource);
        }
        if resource == "*" {
            below_any.push(sub);
        }
    }
    if list.value().items().len() > 1 && has(list, "*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.invalid(list, &list, why);
    }
    if has(list, "*") && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(list, &list, why);
    }
}

/// Checks what a policy or a binding is about.
pub(super) fn match_resources(at: At<'_>, errors: &mut Errors) {
    if at.is_null() {
        return;
    }
    check::one_of(at.field("matchPolicy"), &["Equivalent", "Exact"], errors);
    selector::check(at.field("namespaceSelector"), errors);
    selector::check(at.field("objectSelector"), errors);
    for list in ["resourceRules", "excludeResourceRules"] {
        for named in at.field(list).items() {
            names(named.field("resourceNames"), errors);
            rule(named, errors);
        }
    }
}

fn names(list: At<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for name in list.items() {
        check::formatted(name, text::path_segment, errors);
        if seen.contains(&name.value().str()) {
            errors.duplicate(name, &name);
        }
        seen.push(name.value().str());
    }
}

/// What can be mutated is what is not deleted.
pub(super) fn no_deletion(rules: At<'_>, errors: &mut Errors) {
    let known: Vec<&str> = OPERATIONS.iter().copied().filter(|name| *name != "DELETE").collect();
    // Upstream names no index here.
    let path = format!("{rules}.operations");
    for operation in rules.value().items().iter().flat_map(|rule| rule.get("operations").items()) {
        if !known.contains(&operation.str()) {
            errors.not_supported(path.as_str(), operation, &known);
        }
    }
}

/// Checks conditions, which must be expressions that say yes or no.
pub(super) fn conditions(list: At<'_>, params: bool, errors: &mut Errors) {
    let count = list.value().items().len();
    if count > CONDITIONS_MAX {
        errors.too_many(list, count, CONDITIONS_MAX);
    }
    let environment = environment(Access { params, authorizer: true, patches: false }, &None);
    for condition in list.items() {
        let (expression, name) = (condition.field("expression"), condition.field("name"));
        if expression.value().str().trim().is_empty() {
            errors.required(expression, "");
        } else {
            Expression::trimmed(expression).check(&environment, &[Type::Bool], errors);
        }
        if name.is_empty() {
            errors.required(name, "");
        } else {
            check::formatted(name, text::label_key, errors);
        }
    }
    check::unique(list, "name", errors);
}

/// Checks the kind of a policy's parameters.
pub(super) fn param_kind(at: At<'_>, errors: &mut Errors) {
    let (api, kind) = (at.field("apiVersion"), at.field("kind"));
    let whole = api.value().str();
    let refuse = |at: At<'_>, value: &str, why: &str, errors: &mut Errors| {
        errors.invalid(at, &Value::from(value), why);
    };
    match whole.split('/').collect::<Vec<_>>()[..] {
        [""] => errors.required(api, ""),
        [version] => group_version(api, "", version, errors),
        [group, version] => group_version(api, group, version, errors),
        _ => refuse(api, whole, &format!("unexpected GroupVersion string: {whole}"), errors),
    }
    if kind.is_empty() {
        return errors.required(kind, "");
    }
    let faults = text::dns_1035_label(&kind.value().str().to_lowercase());
    if !faults.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
        refuse(kind, kind.value().str(), &why, errors);
    }
}

fn group_version(at: At<'_>, group: &str, version: &str, errors: &mut Errors) {
    let faults = text::dns_subdomain(group);
    if !group.is_empty() && !faults.is_empty() {
        errors.invalid(at, &group.into(), &faults.join(","));
    }
    let faults = text::dns_1035_label(version);
    if version.is_empty() {
        errors.invalid(at, &at, "version must be specified");
    } else if !faults.is_empty() {
        errors.invalid(at, &version.into(), &faults.join(","));
    }
}
