//! Roles and bindings.

use super::check::{self, At, Rule, required};
use super::selector;
use super::table::{self, AGE, NAME, columns};
use super::text::{self, Format};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of roles: in a namespace, or of the cluster.
pub struct Role {
    /// Whether it is a `Role` and no `ClusterRole`.
    pub namespaced: bool,
}

/// The rules of bindings: in a namespace, or of the cluster.
pub struct Binding {
    /// Whether it is a `RoleBinding` and no `ClusterRoleBinding`.
    pub namespaced: bool,
}

const GROUP: &str = "rbac.authorization.k8s.io";

impl Rules for Role {
    fn name_format(&self) -> Format {
        text::path_segment
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        for rule in root.field("rules").items() {
            policy_rule(rule, self.namespaced, errors);
        }
        let aggregation = root.field("aggregationRule");
        if !self.namespaced && !aggregation.is_null() {
            let selectors = aggregation.field("clusterRoleSelectors");
            let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            required(selectors, why, errors);
            for at in selectors.items() {
                if !selector::validate(at, errors) {
                    errors.invalid(at, &Value::Null, "invalid label selector.");
                }
            }
        }
    }

    fn columns(&self) -> Vec<Column> {
        table::name_and_created()
    }

    fn row(&self, object: &Value, _context: Context) -> Vec<Value> {
        table::created(object)
    }
}

fn policy_rule(rule: At<'_>, namespaced: bool, errors: &mut Errors) {
    required(rule.field("verbs"), "", errors);
    let urls = rule.field("nonResourceURLs");
    let given = |field: &str| !rule.get(field).items().is_empty();
    if !urls.value().items().is_empty() {
        if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.invalid(urls, &urls, why);
        }
        if given("apiGroups") || given("resources") || given("resourceNames") {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(urls, &urls, why);
        }
        return;
    }
    let group = "resource rules must supply at least one api group";
    required(rule.field("apiGroups"), group, errors);
    let resource = "resource rules must supply at least one resource";
    required(rule.field("resources"), resource, errors);
}

impl Rules for Binding {
    fn name_format(&self) -> Format {
        text::path_segment
    }

    fn default(&self, object: &mut Value) {
        if object.get("roleRef").get("apiGroup").is_empty() {
            object.entry("roleRef").set("apiGroup", GROUP);
        }
        for subject in object.get_mut("subjects").map(Value::items_mut).unwrap_or_default() {
            if subject.get("apiGroup").is_empty()
                && matches!(subject.get("kind").str(), "User" | "Group")
            {
                subject.set("apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let role = root.field("roleRef");
        let kinds: &[&str] =
            if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        check::one_of(role.field("apiGroup"), &[GROUP], errors);
        check::one_of(role.field("kind"), kinds, errors);
        Rule::RequiredText(text::path_segment).check(role.field("name"), errors);
        for subject in root.field("subjects").items() {
            validate_subject(subject, self.namespaced, errors);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        self.validate(object, errors);
        check::immutable(At::root(object).field("roleRef"), old.get("roleRef"), errors);
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Role", "string", 0, "The role that is bound"),
            AGE,
            ("Users", "string", 1, "Users in the roleBinding"),
            ("Groups", "string", 1, "Groups in the roleBinding"),
            ("ServiceAccounts", "string", 1, "ServiceAccounts in the roleBinding"),
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let role = object.get("roleRef");
        let [users, groups, accounts] = ["User", "Group", "ServiceAccount"]
            .map(|kind| subjects(object.get("subjects"), kind).into());
        vec![
            object.name().into(),
            format!("{}/{}", role.get("kind").str(), role.get("name").str()).into(),
            age(object, context),
            users,
            groups,
            accounts,
        ]
    }
}

fn validate_subject(subject: At<'_>, namespaced: bool, errors: &mut Errors) {
    let (name, group, kind) =
        (subject.field("name"), subject.field("apiGroup"), subject.field("kind"));
    required(name, "", errors);
    match kind.str() {
        "ServiceAccount" => {
            Rule::Text(text::dns_subdomain).check(name, errors);
            Rule::OneOf(&[""]).check(group, errors);
            if !namespaced {
                required(subject.field("namespace"), "", errors);
            }
        }
        "User" | "Group" => check::one_of(group, &[GROUP], errors),
        _ => check::one_of(kind, &["ServiceAccount", "User", "Group"], errors),
    }
}

fn subjects(list: &Value, kind: &str) -> String {
    let of_kind = list.items().iter().filter(|subject| subject.get("kind").str() == kind);
    let names: Vec<String> = of_kind
        .map(|subject| match (kind, subject.get("namespace").str()) {
            ("ServiceAccount", namespace) if !namespace.is_empty() => {
                format!("{namespace}/{}", subject.get("name").str())
            }
            _ => subject.get("name").str().to_owned(),
        })
        .collect();
    names.join(", ")
}
