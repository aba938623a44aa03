//! Amounts that containers ask for, and the class of service that follows from them.

use crate::api::kinds::check::At;
use crate::api::kinds::text;
use crate::api::quantity::Quantity;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// Names without a domain that mean something somewhere.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_compute(name: &str) -> bool {
    matches!(name, "cpu" | "memory")
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a name without a domain means something somewhere.
pub fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || is_huge(name) || name.starts_with("requests.hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is a device or the like, counted in whole numbers.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && text::label_key(&format!("requests.{name}")).is_empty()
}

/// Whether more may be promised than there is: not of huge pages and devices.
pub fn is_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

/// Checks a container's `resources`.
pub fn validate(at: At<'_>, errors: &mut Errors) {
    let (limits, requests) = (at.field("limits"), at.field("requests"));
    for (name, amount) in limits.keys().chain(requests.keys()) {
        container_resource(amount, name, errors);
        quantity(amount, name, errors);
    }
    for (name, request) in requests.value().fields() {
        request_within(limits, requests, name, request, errors);
    }
    let has = |test: fn(&str) -> bool| {
        limits.value().fields().chain(requests.value().fields()).any(|(name, _)| test(name))
    };
    if has(is_huge) && !has(is_compute) {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
}

/// Checks what a pod's class adds to its needs, under the path that upstream gives it.
pub fn overhead(path: &str, amounts: &Value, errors: &mut Errors) {
    let needs = Value::from([("limits", amounts.clone())]);
    validate(At::path(path, &needs), errors);
}

/// Checks the name of a resource that something in the cluster has; false where it is none.
pub fn resource_name(at: At<'_>, name: &str, errors: &mut Errors) -> bool {
    let shown = &name.into();
    let faults = text::label_key(name);
    for fault in &faults {
        errors.invalid(at, shown, fault);
    }
    if faults.is_empty() && !name.contains('/') && !is_standard(name) {
        errors.invalid(at, shown, "must be a standard resource type or fully qualified");
        return false;
    }
    faults.is_empty()
}

/// Checks the name of a resource that containers may ask for.
pub fn container_resource(at: At<'_>, name: &str, errors: &mut Errors) {
    resource_name(at, name, errors);
    let contained = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name);
    if !name.contains('/') {
        if !contained {
            errors.invalid(at, &name.into(), "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(at, &name.into(), "doesn't follow extended resource name standard");
    }
}

/// Checks one amount of a resource.
pub fn quantity(at: At<'_>, name: &str, errors: &mut Errors) {
    match Quantity::of(&at) {
        Err(error) => errors.invalid(at, &at, &error.to_string()),
        Ok(amount) if amount.is_negative() => {
            errors.invalid(at, &at, "must be greater than or equal to 0");
        }
        Ok(amount) if is_extended(name) && !amount.is_whole() => {
            errors.invalid(at, &at, "must be an integer");
        }
        Ok(_) => {}
    }
}

fn request_within(
    limits: At<'_>,
    requests: At<'_>,
    name: &str,
    request: &Value,
    errors: &mut Errors,
) {
    let limit = limits.get(name);
    let free = is_overcommitted(name);
    if limit.is_null() {
        if !free {
            errors.required(limits, "Limit must be set for non overcommitable resources");
        }
        return;
    }
    let (Ok(asked), Ok(limit)) = (Quantity::of(request), Quantity::of(limit)) else { return };
    let shown = &asked.to_string().into();
    if !free && asked != limit {
        errors.invalid(requests, shown, &format!("must be equal to {name} limit of {limit}"));
    } else if asked > limit {
        let why = format!("must be less than or equal to {name} limit of {limit}");
        errors.invalid(requests, shown, &why);
    }
}

/// A pod's class of service: `Guaranteed` if each container's request of CPU and memory is there
/// and equals its limit, `BestEffort` if there are none at all, else `Burstable`.
pub fn qos_class(spec: &Value) -> &'static str {
    let containers = ["initContainers", "containers"].into_iter();
    let pairs = containers.flat_map(|list| spec.get(list).items()).flat_map(|container| {
        let amount =
            |list, name| Quantity::of(container.at(&["resources", list, name])).unwrap_or_default();
        ["cpu", "memory"].map(|name| (amount("requests", name), amount("limits", name)))
    });
    let (mut bound, mut free) = (true, true);
    for (request, limit) in pairs {
        bound &= request == limit && !limit.is_zero();
        free &= request.is_zero() && limit.is_zero();
    }
    match (free, bound) {
        (true, _) => "BestEffort",
        (false, true) => "Guaranteed",
        (false, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<String> {
        let value = Value::parse(json.as_bytes()).unwrap();
        let mut errors = Errors::default();
        validate(At::path("resources", &value), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn requests_stay_within_limits() {
        assert_eq!(
            faults(
                r#"{"limits":{"cpu":"1","x.io/a":"1"},"requests":{"cpu":"1500m","x.io/b":"1"}}"#
            ),
            [
                r#"resources.requests: Invalid value: "1500m": must be less than or equal to cpu limit of 1"#,
                "resources.limits: Required value: Limit must be set for non overcommitable resources",
            ]
        );
        assert!(
            faults(r#"{"limits":{"cpu":"1"},"requests":{"cpu":"0.5","memory":"1Gi"}}"#).is_empty()
        );
    }

    #[test]
    fn names_and_amounts_are_checked() {
        assert_eq!(
            faults(r#"{"limits":{"cpu":"-1","gpu":"1","x.io/a":"0.5","memory":"1Q"}}"#).len(),
            5
        );
    }

    #[test]
    fn classes_follow_from_amounts() {
        let class = |resources: &[&str]| {
            let list: Vec<String> =
                resources.iter().map(|r| format!(r#"{{"resources":{r}}}"#)).collect();
            let spec = format!(r#"{{"containers":[{}]}}"#, list.join(","));
            qos_class(&Value::parse(spec.as_bytes()).unwrap())
        };
        let bound =
            r#"{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1","memory":"1Gi"}}"#;
        assert_eq!(class(&["{}", "{}"]), "BestEffort");
        assert_eq!(class(&[bound, bound]), "Guaranteed");
        assert_eq!(class(&[bound, "{}"]), "Burstable");
        assert_eq!(class(&[r#"{"limits":{"cpu":"1"}}"#]), "Burstable");
        assert_eq!(class(&[r#"{"requests":{"cpu":"0"}}"#]), "BestEffort");
    }
}
