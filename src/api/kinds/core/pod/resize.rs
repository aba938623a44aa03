//! Resizing a pod in place: what `pods/resize` takes over, and what it must satisfy.

use crate::api::kinds::check::At;
use crate::api::meta::Meta;
use crate::api::registry::Errors;
use crate::api::tree::Value;

use super::resources;
use super::update::MIRROR;

/// The lists of containers that can be resized.
const LISTS: [&str; 2] = ["containers", "initContainers"];
/// What of a container is resized.
const RESIZED: [&str; 2] = ["resources", "resizePolicy"];
const RESOURCES: [&str; 2] = ["cpu", "memory"];
const POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];

/// Checks a container's `resizePolicy`.
pub fn policies(list: At<'_>, pod_restarts: &str, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    // Upstream reports faults of one under the list, but for what is there twice.
    for (index, policy) in list.value().items().iter().enumerate() {
        let (name, restart) = (policy.get("resourceName"), policy.get("restartPolicy"));
        if seen.contains(&name.str()) {
            errors.duplicate(format!("{list}[{index}]"), name);
        }
        seen.push(name.str());
        for (value, known) in [(name, RESOURCES), (restart, POLICIES)] {
            match value.str() {
                "" => errors.required(list, ""),
                text if !known.contains(&text) => errors.not_supported(list, value, &known),
                _ => {}
            }
        }
        if pod_restarts == "Never" && restart.str() != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.invalid(list, restart, why);
        }
    }
}

/// An init container that must end is not begun anew to resize it.
pub fn init_policies(list: At<'_>, errors: &mut Errors) {
    for policy in list.items() {
        let restart = policy.field("restartPolicy");
        if restart.str() == "RestartContainer" {
            let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            errors.invalid(restart, &restart, why);
        }
    }
}

/// Takes from a write what a resize may change, and leaves the rest as it was. Where containers
/// came, went or changed places it takes the wish as it is, which validation refuses.
pub fn prepare(pod: &mut Value, old: &Value) {
    let wish = std::mem::replace(pod, old.clone());
    let (wish, spec) = (wish.get("spec"), pod.entry("spec"));
    let count = |spec: &Value, list: &str| spec.get(list).items().len();
    if LISTS.iter().any(|list| count(wish, list) != count(spec, list)) {
        return *spec = wish.clone();
    }
    copy(spec, wish, "resources");
    for list in LISTS {
        let wished = wish.get(list);
        let items = spec.get_mut(list).map(Value::items_mut).unwrap_or_default();
        let same = |(own, other): (&Value, &Value)| own.get("name") == other.get("name");
        if !items.iter().zip(wished.items()).all(same) {
            spec.set(list, wished.clone());
            continue;
        }
        for (own, wished) in items.iter_mut().zip(wished.items()) {
            RESIZED.iter().for_each(|field| copy(own, wished, field));
        }
    }
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Value::Null => drop(to.remove(field)),
        value => to.set(field, value.clone()),
    }
}

/// What a resize must satisfy besides the spec's own rules.
pub fn validate(pod: &Value, old: &Value, errors: &mut Errors) {
    if old.annotation(MIRROR).is_some() {
        return errors.forbidden("[]", "static pods cannot be resized");
    }
    if old.at(&["spec", "os", "name"]).str() == "windows" {
        return errors.forbidden("[]", "windows pods cannot be resized");
    }
    let root = At::root(pod);
    let (spec, before) = (root.field("spec"), old.get("spec"));
    class(spec, old, errors);
    if !is_supported(old) {
        errors.forbidden(spec, "Pod running on node without support for resize");
    }
    let known = errors.len();
    LISTS.iter().for_each(|list| order(spec.field(list), before.get(list), list, errors));
    if errors.len() > known {
        return;
    }
    for list in ["initContainers", "containers"] {
        for (container, before) in spec.field(list).items().zip(before.get(list).items()) {
            kept(container.field("resources"), before.get("resources"), errors);
            mutable(spec, container, before, list, errors);
        }
    }
}

fn class(spec: At<'_>, old: &Value, errors: &mut Errors) {
    let reported = old.at(&["status", "qosClass"]).str();
    let before = match reported {
        "" => resources::qos_class(old.get("spec")),
        class => class,
    };
    if before != resources::qos_class(spec.value()) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.invalid(spec, &reported.into(), why);
    }
}

/// A node that can resize says what its running containers have.
fn is_supported(pod: &Value) -> bool {
    let statuses = pod.at(&["status", "containerStatuses"]).items();
    let running = statuses.iter().find(|status| !status.at(&["state", "running"]).is_null());
    running.is_none_or(|status| !status.get("resources").is_null())
}

fn order(list: At<'_>, old: &Value, what: &str, errors: &mut Errors) {
    let (new, old) = (list.value().items(), old.items());
    if new.len() != old.len() {
        let why = format!("{what} may not be added or removed on resize");
        return errors.forbidden(list, &why);
    }
    for (container, before) in list.items().zip(old) {
        if container.get("name") != before.get("name") {
            let why = format!("{what} may not be renamed or reordered on resize");
            errors.forbidden(container.field("name"), &why);
        }
    }
}

/// What was asked for may change, but not be taken away.
fn kept(resources: At<'_>, old: &Value, errors: &mut Errors) {
    for list in ["requests", "limits"] {
        let gone = |(name, _): (&str, &Value)| resources.value().at(&[list, name]).is_null();
        if old.get(list).fields().any(gone) {
            errors.forbidden(resources.field(list), &format!("resource {list} cannot be removed"));
        }
    }
}

fn mutable(spec: At<'_>, container: At<'_>, old: &Value, list: &str, errors: &mut Errors) {
    let (new, init) = (container.value(), list == "initContainers");
    if fixed(new) != fixed(old) {
        match init {
            true => errors.forbidden(
                container,
                "only cpu and memory resources for init or sidecar containers are mutable",
            ),
            false => errors.forbidden(spec, "only cpu and memory resources are mutable"),
        }
    }
    let restarts = |policy: &Value| policy.get("restartPolicy").str() == "RestartContainer";
    let ends = init && new.get("restartPolicy").str() != "Always";
    if ends && new != old && new.get("resizePolicy").items().iter().any(restarts) {
        let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be \
                   resized";
        errors.forbidden(container, why);
    }
}

/// A container without what a resize may change.
fn fixed(container: &Value) -> Value {
    let mut fixed = container.clone();
    let resources = fixed.entry("resources");
    for list in ["limits", "requests"] {
        if let Some(amounts) = resources.get_mut(list) {
            RESOURCES.iter().for_each(|name| drop(amounts.remove(name)));
        }
        if resources.get(list).is_empty() {
            resources.remove(list);
        }
    }
    if resources.is_empty() {
        fixed.remove("resources");
    }
    fixed
}
