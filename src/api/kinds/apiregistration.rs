//! APIServices: who serves a group's version. rk serves all that it knows itself, and passes
//! requests on to nobody yet.

use super::check::{At, Rule};
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text;
use crate::api::meta::Meta;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// APIServices.
pub const API_SERVICE: Tabled = Tabled {
    name: text::path_segment,
    rules: &[
        ("spec.version", Rule::Required("")),
        ("spec.service?.name", Rule::Required("")),
        ("spec.service?.namespace", Rule::Required("")),
    ],
    check: service,
    status: true,
    columns: &[
        (NAME, Cell::Name),
        (("Service", "string", 0, "Who serves it."), Cell::Made(server)),
        (("Available", "string", 0, "Whether it answers."), Cell::Made(available)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores APIServices, but passes no requests on to their services yet",
    ..Tabled::PLAIN
};

fn service(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    let (group, version) = (spec.get("group").str(), spec.get("version").str());
    let wanted = format!("{version}.{group}");
    if root.value().name() != wanted {
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.invalid("metadata.name", &root.value().name().into(), &why);
    }
    Rule::Between(1, 20_000).check(spec.field("groupPriorityMinimum"), errors);
    Rule::Between(1, 1000).check(spec.field("versionPriority"), errors);
    let insecure = spec.field("insecureSkipTLSVerify");
    if spec.get("service").is_null() {
        if insecure.is_true() {
            errors.invalid(insecure, &insecure, "must be false when there is no service");
        }
    } else if insecure.is_true() && !spec.get("caBundle").is_empty() {
        errors.invalid(insecure, &insecure, "may not be true if caBundle is present");
    }
}

fn server(object: &Value) -> Value {
    let service = object.at(&["spec", "service"]);
    match service.is_null() {
        true => "Local".into(),
        false => format!("{}/{}", service.get("namespace").str(), service.get("name").str()).into(),
    }
}

fn available(object: &Value) -> Value {
    let conditions = object.at(&["status", "conditions"]).items();
    let found = conditions.iter().find(|condition| condition.get("type").str() == "Available");
    match found.map(|condition| (condition.get("status").str(), condition.get("reason").str())) {
        None => "Unknown".into(),
        Some(("True", _)) => "True".into(),
        Some((status, reason)) => format!("{status} ({reason})").into(),
    }
}
