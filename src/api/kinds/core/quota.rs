//! ResourceQuotas: how much the objects of a namespace may come to.
//!
//! What objects come to is counted in [`crate::api::quota`].

use crate::api::kinds::check::{self, At};
use crate::api::kinds::core::pod::{defaults, resources};
use crate::api::kinds::table::{AGE, NAME, columns};
use crate::api::meta::Meta;
use crate::api::quantity::Quantity;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of resource quotas.
pub struct ResourceQuota;

/// Resources that are counted in whole numbers.
const WHOLE: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Pairs of scopes that together hold nothing.
const CONFLICTS: [[&str; 2]; 2] =
    [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

impl Rules for ResourceQuota {
    fn default(&self, object: &mut Value) {
        for path in [["spec", "hard"], ["status", "hard"], ["status", "used"]] {
            if let Some(list) = object.get_mut(path[0]).and_then(|part| part.get_mut(path[1])) {
                defaults::amounts(list);
            }
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", Value::object());
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let spec = root.field("spec");
        amounts(spec.field("hard"), errors);
        scopes(spec, errors);
        if !spec.get("scopeSelector").is_null() {
            scope_selector(spec, errors);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        self.validate(object, errors);
        let root = At::root(object);
        let spec = root.field("spec");
        let sorted = |scopes: &Value| {
            let mut names: Vec<String> =
                scopes.items().iter().map(|scope| scope.str().to_owned()).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let (now, before) = (spec.field("scopes"), old.at(&["spec", "scopes"]));
        if sorted(&now) != sorted(before) {
            errors.invalid(now, &now, "field is immutable");
        }
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        let root = At::root(object);
        let status = root.field("status");
        amounts(status.field("hard"), errors);
        amounts(status.field("used"), errors);
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        match old {
            Value::Null => disorder(object.at(&["spec", "hard"])),
            _ => Vec::new(),
        }
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Request", "string", 0, "What is used of what may be, but for limits."),
            ("Limit", "string", 0, "What is used of the limits."),
            AGE,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let status = object.get("status");
        for (name, hard) in status.get("hard").fields() {
            let used = Quantity::of(status.at(&["used", name])).unwrap_or_default();
            let list = if name.starts_with("limits.") { &mut limits } else { &mut requests };
            list.push(format!("{name}: {used}/{}", hard.str()));
        }
        vec![
            object.name().into(),
            requests.join(", ").into(),
            limits.join(", ").into(),
            age(object, context),
        ]
    }
}

/// Checks amounts by the names that quotas know.
fn amounts(list: At<'_>, errors: &mut Errors) {
    for (name, amount) in list.keys() {
        resources::resource_name(amount, name, errors);
        if !name.contains('/') && !is_standard(name) {
            errors.invalid(amount, &name.into(), "must be a standard resource for quota");
        }
        let Ok(quantity) = Quantity::of(&amount) else { continue };
        if quantity.is_negative() {
            errors.invalid(amount, &amount, "must be greater than or equal to 0");
        }
        let whole = WHOLE.contains(&name) || resources::is_extended(name);
        if whole && !quantity.rounded_to_milli().is_whole() {
            errors.invalid(amount, &amount, "must be an integer");
        }
    }
}

/// Whether a name without a domain is one that quotas know.
fn is_standard(name: &str) -> bool {
    resources::is_standard(name) && name != "storage"
}

fn is_scope(name: &str) -> bool {
    const SCOPES: &[&str] = &[
        "Terminating",
        "NotTerminating",
        "BestEffort",
        "NotBestEffort",
        "PriorityClass",
        "VolumeAttributesClass",
        "CrossNamespacePodAffinity",
    ];
    SCOPES.contains(&name)
}

/// Whether a scope says something of a resource. Of names that quotas do not know it may.
fn applies(scope: &str, resource: &str) -> bool {
    const COMPUTE: &[&str] = &[
        "pods",
        "cpu",
        "memory",
        "limits.cpu",
        "limits.memory",
        "requests.cpu",
        "requests.memory",
    ];
    match scope {
        _ if !is_standard(resource) => true,
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => COMPUTE.contains(&resource),
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

fn conflicting(names: &[&str]) -> usize {
    CONFLICTS.iter().filter(|pair| pair.iter().all(|scope| names.contains(scope))).count()
}

fn scopes(spec: At<'_>, errors: &mut Errors) {
    let at = spec.field("scopes");
    let names: Vec<&str> = at.value().items().iter().map(Value::str).collect();
    for scope in &names {
        if !is_scope(scope) {
            errors.invalid(at, &at, "unsupported scope");
        }
        let odd = spec.get("hard").fields().filter(|(resource, _)| !applies(scope, resource));
        odd.for_each(|_| errors.invalid(at, &at, "unsupported scope applied to resource"));
    }
    (0..conflicting(&names)).for_each(|_| errors.invalid(at, &at, "conflicting scopes"));
}

fn scope_selector(spec: At<'_>, errors: &mut Errors) {
    let selector = spec.field("scopeSelector");
    let list = selector.field("matchExpressions");
    let mut names = Vec::new();
    for one in list.value().items() {
        let scope = one.get("scopeName").str();
        if !is_scope(scope) {
            errors.invalid(list.field("scopeName"), &scope.into(), "unsupported scope");
        }
        let odd = spec.get("hard").fields().filter(|(resource, _)| !applies(scope, resource));
        odd.for_each(|_| {
            errors.invalid(list, &selector, "unsupported scope applied to resource");
        });
        requirement(list, one, errors);
        names.push(scope);
    }
    let scopes = spec.get("scopes");
    let faults = 0..conflicting(&names);
    faults.for_each(|_| errors.invalid(list, scopes, "conflicting scopes"));
}

/// One requirement of a scope selector. Paths are upstream's, which leave the index out.
fn requirement(list: At<'_>, one: &Value, errors: &mut Errors) {
    let (operator, values) = (one.get("operator"), one.get("values"));
    let classes = matches!(one.get("scopeName").str(), "PriorityClass" | "VolumeAttributesClass");
    if is_scope(one.get("scopeName").str()) && !classes && operator.str() != "Exists" {
        let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                   ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                   ResourceQuotaScopeNotBestEffort or \
                   ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.invalid(list.field("operator"), operator, why);
    }
    match (operator.str(), values.items().is_empty()) {
        ("In" | "NotIn", true) => {
            let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope \
                       selector";
            check::required(At::path(&list.field("values").to_string(), values), why, errors);
        }
        ("Exists" | "DoesNotExist", false) => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope \
                       selector";
            errors.invalid(list.field("values"), values, why);
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
        _ => {
            errors.invalid(list.field("operator"), operator, "not a valid selector operator");
        }
    }
}

/// Warns of requests that may be more than the limits.
fn disorder(hard: &Value) -> Vec<String> {
    let amount = |name: &str| Quantity::of(hard.get(name)).ok();
    let mut warnings = Vec::new();
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let mut name = format!("requests.{resource}");
        if amount(&name).is_none() && matches!(resource, "cpu" | "memory") {
            resource.clone_into(&mut name);
        }
        let limit_name = format!("limits.{resource}");
        if let (Some(request), Some(limit)) = (amount(&name), amount(&limit_name))
            && request > limit
        {
            warnings.push(format!(
                "ResourceQuota {name} ({request}) should be less than {limit_name} ({limit})"
            ));
        }
    }
    warnings
}
