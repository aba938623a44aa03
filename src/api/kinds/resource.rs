//! Dynamic resource allocation, and storage migrations: stored and served, and acted on by nothing
//! in rk yet.

use super::check::{self, At, Rule};
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text;
use crate::api::meta::Meta;
use crate::api::registry::Errors;
use crate::api::tree::Value;

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

/// ResourceClaims.
pub const RESOURCE_CLAIM: Tabled = Tabled {
    check: |root, errors| claim(root.field("spec"), errors),
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

fn claim(spec: At<'_>, errors: &mut Errors) {
    let devices = spec.field("devices");
    let requests = devices.field("requests");
    check::unique(requests, "name", errors);
    for request in requests.items() {
        Rule::RequiredText(text::dns_label).check(request.field("name"), errors);
        let exactly = request.field("exactly");
        let either = request.get("firstAvailable").is_empty();
        match (exactly.is_null(), either) {
            (true, true) => errors.required(request, "exactly one of `exactly` or `firstAvailable` is required"),
            (false, false) => errors.invalid(
                request,
                &request,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            ),
            (false, true) => {
                Rule::RequiredText(text::dns_subdomain).check(exactly.field("deviceClassName"), errors);
                let mode = exactly.field("allocationMode");
                Rule::OneOf(&["All", "ExactCount"]).check(mode, errors);
            }
            (true, false) => {}
        }
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
    check: |root, errors| {
        let spec = root.field("spec");
        claim(spec.field("spec"), errors);
    },
    immutable: &["spec"],
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

/// ResourceSlices.
pub const RESOURCE_SLICE: Tabled = Tabled {
    rules: &[
        ("spec.driver", Rule::RequiredText(text::dns_subdomain)),
        ("spec.pool.name", Rule::Required("")),
        ("spec.pool.resourceSliceCount", Rule::Positive),
        ("spec.pool.generation", Rule::NotNegative),
        ("spec.devices[].name", Rule::RequiredText(text::dns_label)),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        check::unique(spec.field("devices"), "name", errors);
        let where_ = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
        let given = where_.iter().filter(|field| {
            !spec.get(field).is_empty() && spec.get(field).as_bool() != Some(false)
        });
        if given.count() != 1 {
            errors.required(
                spec,
                "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            );
        }
    },
    immutable: &["spec.driver", "spec.nodeName"],
    generations: true,
    selectable: &["spec.nodeName", "spec.driver"],
    columns: &[
        (NAME, Cell::Name),
        (("Node", "string", 0, "Where the devices are."), Cell::Or("spec.nodeName", "<unset>")),
        (("Driver", "string", 0, "Whose they are."), Cell::At("spec.driver")),
        (("Pool", "string", 0, "The pool that they belong to."), Cell::At("spec.pool.name")),
        (AGE, Cell::Age),
    ],
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

/// DeviceTaintRules.
pub const DEVICE_TAINT_RULE: Tabled = Tabled {
    rules: &[
        ("spec.taint.key", Rule::RequiredText(text::label_key)),
        ("spec.taint.effect", Rule::RequiredOneOf(&["NoExecute", "NoSchedule", "None"])),
    ],
    status: true,
    generations: true,
    unserved: UNSERVED,
    ..Tabled::PLAIN
};

/// StorageVersionMigrations.
pub const STORAGE_VERSION_MIGRATION: Tabled = Tabled {
    rules: &[("spec.resource.resource", Rule::Required("resource is required to be set"))],
    immutable: &["spec"],
    status: true,
    columns: &[
        (NAME, Cell::Name),
        (("Resource", "string", 0, "What is migrated."), Cell::Made(migrated)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores StorageVersionMigrations, but does not run them yet",
    ..Tabled::PLAIN
};

fn migrated(object: &Value) -> Value {
    let resource = object.at(&["spec", "resource"]);
    let (group, name) = (resource.get("group").str(), resource.get("resource").str());
    if group.is_empty() { name.into() } else { format!("{name}.{group}").into() }
}
