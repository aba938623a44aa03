//! Dynamic resource allocation, and storage migrations: stored and served, and acted on by nothing
//! in rk yet.

use super::check::{self, At, Rule};
use super::fallback::{self, Fallback};
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text;
use crate::api::meta::Meta;
use crate::api::registry::{Context, Errors};
use crate::api::time;
use crate::api::tree::Value;

/// How long the name of a pool may be.
const POOL_NAME_MAX: usize = 253;

const UNSERVED: &str = "rk stores objects of resource.k8s.io, but allocates no devices yet";

/// DeviceClasses.
pub const DEVICE_CLASS: Tabled = Tabled {
    rules: &[("spec.config[].opaque?.driver", Rule::RequiredText(text::dns_subdomain))],
    check: |root, errors| {
        let spec = root.field("spec");
        let selectors = spec.field("selectors");
        selectors.items().for_each(|selector| cel_selector(selector, errors));
    },
    generations: true,
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

/// A selector is an expression in CEL.
fn cel_selector(at: At<'_>, errors: &mut Errors) {
    let cel = at.field("cel");
    if cel.is_null() {
        errors.required(cel, "");
    } else {
        check::required(cel.field("expression"), "", errors);
    }
}

/// ResourceClaims. Of a changed one only that it has not changed matters.
pub const RESOURCE_CLAIM: Tabled = Tabled {
    complete: |object| counts(object.get_mut("spec")),
    check_create: |root, errors| claim(root.field("spec"), errors),
    immutable: &["spec"],
    status: true,
    columns: &[
        (NAME, Cell::Name),
        (("State", "string", 0, "What has become of the claim."), Cell::Made(state)),
        (AGE, Cell::Age),
    ],
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

/// A request that says nothing else is for one device.
fn counts(spec: Option<&mut Value>) {
    fn count(wanted: &mut Value) {
        if wanted.get("allocationMode").is_empty() {
            wanted.set("allocationMode", "ExactCount");
        }
        let none = matches!(wanted.get("count").as_int(), None | Some(0));
        if wanted.get("allocationMode").str() == "ExactCount" && none {
            wanted.set("count", 1);
        }
        fallback::apply(wanted, &[("tolerations[].operator", Fallback::Text("Equal"))]);
    }
    let devices = spec.and_then(|spec| spec.get_mut("devices"));
    let requests = devices.and_then(|devices| devices.get_mut("requests"));
    for request in requests.map(Value::items_mut).into_iter().flatten() {
        if let Some(exactly) = request.get_mut("exactly").filter(|one| one.as_object().is_some()) {
            count(exactly);
        }
        let either = request.get_mut("firstAvailable").map(Value::items_mut);
        either.into_iter().flatten().for_each(count);
    }
}

/// Reports items whose name an earlier one has, each as `shown`.
fn twice(list: At<'_>, shown: fn(&Value) -> &Value, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for item in list.items() {
        let name = item.value().get("name").str();
        if seen.contains(&name) {
            errors.duplicate(item, shown(item.value()));
        }
        seen.push(name);
    }
}

fn claim(spec: At<'_>, errors: &mut Errors) {
    let devices = spec.field("devices");
    let requests = devices.field("requests");
    twice(requests, |request| request, errors);
    for request in requests.items() {
        check::formatted(request.field("name"), text::dns_label, errors);
        let (exactly, either) = (request.field("exactly"), request.field("firstAvailable"));
        let one = "exactly one of `exactly` or `firstAvailable` is required";
        match (exactly.is_null(), either.is_empty()) {
            (true, true) => errors.required(request, one),
            (false, false) => {
                let why = format!("{one}, but multiple fields are set");
                errors.invalid(request, &Value::Null, &why);
            }
            (false, true) => wanted(exactly, errors),
            (true, false) => {
                twice(either, |request| request, errors);
                for one in either.items() {
                    check::formatted(one.field("name"), text::dns_label, errors);
                    wanted(one, errors);
                }
            }
        }
    }
}

/// Which devices are asked for, and how many.
fn wanted(at: At<'_>, errors: &mut Errors) {
    Rule::RequiredText(text::dns_subdomain).check(at.field("deviceClassName"), errors);
    at.field("selectors").items().for_each(|selector| cel_selector(selector, errors));
    let (mode, count) = (at.field("allocationMode"), at.field("count"));
    match mode.str() {
        "All" if !count.is_empty() && count.as_int() != Some(0) => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.invalid(count, &count, why);
        }
        "ExactCount" if count.as_int().is_some_and(|count| count <= 0) => {
            errors.invalid(count, &count, "must be greater than zero");
        }
        "All" | "ExactCount" => {}
        _ => check::one_of(mode, &["All", "ExactCount"], errors),
    }
    at.field("tolerations").items().for_each(|one| toleration(one, errors));
}

fn toleration(at: At<'_>, errors: &mut Errors) {
    let (operator, value) = (at.field("operator"), at.field("value"));
    Rule::Text(text::label_key).check(at.field("key"), errors);
    match operator.str() {
        "Exists" if !value.is_empty() => {
            errors.invalid(value, &value, "must be empty for operator `Exists`");
        }
        "Equal" => check::formatted(value, text::label_value, errors),
        _ => Rule::RequiredOneOf(&["Equal", "Exists"]).check(operator, errors),
    }
    Rule::OneOf(EFFECTS).check(at.field("effect"), errors);
}

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// Writes down since when a taint is there, where its writer does not.
fn stamp(taint: &mut Value, context: Context) {
    if taint.as_object().is_some() && taint.get("timeAdded").is_null() {
        taint.set("timeAdded", time::format(context.now));
    }
}

fn state(object: &Value) -> Value {
    let status = object.get("status");
    let mut states = Vec::new();
    if object.is_deleting() {
        states.push("deleted");
    }
    if !status.get("allocation").is_null() {
        states.push("allocated");
    }
    if !status.get("reservedFor").is_empty() {
        states.push("reserved");
    }
    if states.is_empty() { "pending".into() } else { states.join(",").into() }
}

/// ResourceClaimTemplates.
pub const RESOURCE_CLAIM_TEMPLATE: Tabled = Tabled {
    defaults: &[("spec.metadata", Fallback::Map)],
    complete: |object| counts(object.get_mut("spec").and_then(|spec| spec.get_mut("spec"))),
    check_create: |root, errors| {
        let spec = root.field("spec");
        claim(spec.field("spec"), errors);
    },
    immutable: &["spec"],
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

/// ResourceSlices.
pub const RESOURCE_SLICE: Tabled = Tabled {
    defaults: &[
        ("spec.pool.generation", Fallback::NumberIfAbsent(0)),
        ("spec.pool.resourceSliceCount", Fallback::NumberIfAbsent(0)),
    ],
    stamp: |object, _, context| {
        let devices = object.get_mut("spec").and_then(|spec| spec.get_mut("devices"));
        for device in devices.map(Value::items_mut).into_iter().flatten() {
            let taints = device.get_mut("taints").map(Value::items_mut);
            taints.into_iter().flatten().for_each(|taint| stamp(taint, context));
        }
    },
    check: |root, errors| slice(root.field("spec"), errors),
    immutable: &["spec.driver", "spec.nodeName", "spec.pool.name"],
    generations: true,
    selectable: &["spec.nodeName", "spec.driver"],
    columns: &[
        (NAME, Cell::Name),
        (("Node", "string", 0, "Where the devices are."), Cell::At("spec.nodeName")),
        (("Driver", "string", 0, "Whose they are."), Cell::At("spec.driver")),
        (("Pool", "string", 0, "The pool that they belong to."), Cell::At("spec.pool.name")),
        (AGE, Cell::Age),
    ],
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

fn slice(spec: At<'_>, errors: &mut Errors) {
    super::storage::csi_driver(spec.field("driver"), errors);
    pool(spec.field("pool"), errors);
    let every = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let unset = "must be either unset or set to a non-empty string";
    let given = places(spec, &every, unset, errors);
    let one = format!("exactly one of {} is required", every.map(|f| format!("`{f}`")).join(", "));
    match given.as_slice() {
        [] => errors.required(spec, &one),
        [_] => {}
        many => {
            let shown = format!("{{{}}}", many.join(", "));
            let why = format!("{one}, but multiple fields are set");
            errors.invalid(spec, &shown.into(), &why);
        }
    }
    let (devices, counters) = (spec.field("devices"), spec.field("sharedCounters"));
    if !devices.is_null() && !counters.is_null() {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.invalid(spec, &"".into(), why);
    }
    twice(devices, |device| device.get("name"), errors);
    twice(counters, |counter| counter, errors);
    let apart = spec.get("perDeviceNodeSelection").is_true();
    devices.items().for_each(|one| device(one, apart, errors));
}

fn pool(at: At<'_>, errors: &mut Errors) {
    let (name, count) = (at.field("name"), at.field("resourceSliceCount"));
    if check::required(name, "", errors) {
        if name.str().len() > POOL_NAME_MAX {
            errors.too_long(name, POOL_NAME_MAX);
        }
        for part in name.str().split('/') {
            for fault in text::dns_subdomain(part) {
                errors.invalid(name, &part.into(), &fault);
            }
        }
    }
    let slices = count.as_int().unwrap_or(0);
    if slices <= 0 {
        errors.invalid(count, &slices.into(), "must be greater than zero");
    }
    let generation = at.field("generation");
    if generation.as_int().is_some_and(|n| n < 0) {
        errors.invalid(generation, &generation, "must be greater than or equal to zero");
    }
}

/// Where devices are, as the fields that say so, in quotes.
fn places(at: At<'_>, fields: &[&str], unset: &str, errors: &mut Errors) -> Vec<String> {
    let mut given = Vec::new();
    for field in fields {
        let value = at.field(field);
        match value.value() {
            Value::Null => continue,
            Value::Str(name) if name.is_empty() => {
                errors.invalid(value, &value, unset);
                continue;
            }
            Value::Str(_) => check::formatted(value, text::dns_subdomain, errors),
            Value::Bool(false) => {
                errors.invalid(value, &value, "must be either unset or set to true");
                continue;
            }
            _ => {}
        }
        given.push(format!("`{field}`"));
    }
    given
}

/// A device, which says itself where it is if its slice does not.
fn device(at: At<'_>, apart: bool, errors: &mut Errors) {
    check::formatted(at.field("name"), text::dns_label, errors);
    for taint in at.field("taints").items() {
        self::taint(taint, errors);
    }
    let every = ["nodeName", "nodeSelector", "allNodes"];
    if !apart {
        if every.iter().any(|field| !at.get(field).is_null()) {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if \
                       `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.invalid(at, &Value::Null, why);
        }
        return;
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
               `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match places(at, &every, "must not be empty", errors).as_slice() {
        [] => errors.required(at, why),
        [_] => {}
        many => errors.invalid(at, &format!("{{{}}}", many.join(", ")).into(), why),
    }
}

fn taint(at: At<'_>, errors: &mut Errors) {
    check::formatted(at.field("key"), text::label_key, errors);
    Rule::Text(text::label_value).check(at.field("value"), errors);
    Rule::RequiredOneOf(EFFECTS).check(at.field("effect"), errors);
}

/// DeviceTaintRules. A taint whose effect changes is there since then.
pub const DEVICE_TAINT_RULE: Tabled = Tabled {
    stamp: |object, old, context| {
        let before = old.at(&["spec", "taint"]);
        let Some(taint) = object.get_mut("spec").and_then(|spec| spec.get_mut("taint")) else {
            return;
        };
        let kept = taint.get("timeAdded") == before.get("timeAdded");
        if !old.is_null() && taint.get("effect") != before.get("effect") && kept {
            taint.remove("timeAdded");
        }
        stamp(taint, context);
    },
    check: |root, errors| {
        let spec = root.field("spec");
        taint(spec.field("taint"), errors);
    },
    status: true,
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (("Key", "string", 0, "The taint's key."), Cell::At("spec.taint.key")),
        (("Value", "string", 0, "Its value."), Cell::At("spec.taint.value")),
        (("Effect", "string", 0, "What it does to pods."), Cell::At("spec.taint.effect")),
        (("TimeAdded", "string", 0, "Since when."), Cell::Ago("spec.taint.timeAdded")),
        (AGE, Cell::Age),
    ],
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

/// StorageVersionMigrations.
pub const STORAGE_VERSION_MIGRATION: Tabled = Tabled {
    check: |root, errors| {
        let spec = root.field("spec");
        let at = spec.field("resource");
        let (group, resource) = (at.field("group"), at.field("resource"));
        if check::required(resource, "resource is required to be set", errors) {
            check::formatted_as_one(resource, text::dns_1035_label, errors);
        }
        if !group.is_empty() {
            check::formatted_as_one(group, text::dns_subdomain, errors);
        }
    },
    immutable: &["spec"],
    status: true,
    columns: &[
        (NAME, Cell::Name),
        (("Resource", "string", 0, "What is migrated."), Cell::Made(migrated)),
        (("Status", "string", 0, "How far the migration is."), Cell::Made(migration_state)),
    ],
    formats: &[("Name", "")],
    unserved: "rk stores StorageVersionMigrations, but does not run them yet",
    ..Tabled::PLAIN
};

/// The last condition that is true and says how far a migration is.
fn migration_state(object: &Value) -> Value {
    let conditions = object.at(&["status", "conditions"]).items().iter();
    let told = conditions.filter(|condition| condition.get("status").str() == "True");
    let mut kinds = told.map(|condition| condition.get("type").str());
    let last = kinds.rfind(|kind| matches!(*kind, "Running" | "Failed" | "Succeeded"));
    last.unwrap_or("Unknown").into()
}

fn migrated(object: &Value) -> Value {
    let resource = object.at(&["spec", "resource"]);
    let (group, name) = (resource.get("group").str(), resource.get("resource").str());
    if group.is_empty() { name.into() } else { format!("{name}.{group}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry::Rules;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn migrations_tell_how_far_they_are() {
        let state = |conditions: &str| {
            let text = format!(r#"{{"status":{{"conditions":[{conditions}]}}}}"#);
            migration_state(&parse(&text)).str().to_owned()
        };
        let running = r#"{"type":"Running","status":"True"}"#;
        let failed = r#"{"type":"Failed","status":"False"}"#;
        let done = r#"{"type":"Succeeded","status":"True"}"#;
        assert_eq!(state(""), "Unknown");
        assert_eq!(state(&format!("{running},{failed}")), "Running");
        assert_eq!(state(&format!("{running},{done}")), "Succeeded");
    }

    #[test]
    fn taints_say_since_when_they_are_there() {
        let context = Context { now: crate::util::clock::now() };
        let now = time::format(context.now);
        let added = |rule: &Value| rule.at(&["spec", "taint", "timeAdded"]).str().to_owned();
        let rule = |effect: &str, rest: &str| {
            parse(&format!(r#"{{"spec":{{"taint":{{"key":"k","effect":"{effect}"{rest}}}}}}}"#))
        };
        let early = r#","timeAdded":"2020-01-01T00:00:00Z""#;
        let mut new = rule("NoExecute", "");
        DEVICE_TAINT_RULE.prepare_create(&mut new, context);
        assert_eq!(added(&new), now);
        for (effect, wanted) in [("NoExecute", "2020-01-01T00:00:00Z"), ("None", now.as_str())] {
            let mut changed = rule(effect, early);
            DEVICE_TAINT_RULE.prepare_update(&mut changed, &rule("NoExecute", early), context);
            assert_eq!(added(&changed), wanted, "{effect}");
        }
        let mut slice = parse(r#"{"spec":{"devices":[{"name":"a","taints":[{"key":"k"}]}]}}"#);
        RESOURCE_SLICE.prepare_create(&mut slice, context);
        let taints = slice.at(&["spec", "devices"]).items()[0].get("taints").clone();
        assert_eq!(taints.items()[0].get("timeAdded").str(), now);
    }
}
