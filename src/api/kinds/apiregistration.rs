//! APIServices: who serves a group's version. rk serves all that it knows itself, and passes
//! requests on to nobody yet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::check::{self, At, Rule};
use super::fallback::Fallback;
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text;
use crate::api::meta::Meta;
use crate::api::registry::{Context, Errors};
use crate::api::time;
use crate::api::tree::Value;

/// APIServices.
pub const API_SERVICE: Tabled = Tabled {
    name: text::path_segment,
    defaults: &[("spec.service.port", Fallback::NumberIfAbsent(443))],
    rules: &[
        ("spec.service?.name", Rule::Required("")),
        ("spec.service?.namespace", Rule::Required("")),
    ],
    check: service,
    status: true,
    begin,
    columns: &[
        (NAME, Cell::Name),
        (("Service", "string", 0, "Who serves it."), Cell::Made(server)),
        (("Available", "string", 0, "Whether it answers."), Cell::Made(available)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores APIServices, but passes no requests on to their services yet",
    ..Tabled::PLAIN
};

/// What rk serves itself is there at once.
fn begin(object: &mut Value, context: Context) {
    if !object.at(&["spec", "service"]).is_null() {
        return;
    }
    let condition = Value::from([
        ("type", "Available".into()),
        ("status", "True".into()),
        ("lastTransitionTime", time::format(context.now).into()),
        ("reason", "Local".into()),
        ("message", "Local APIServices are always available".into()),
    ]);
    object.entry("status").set("conditions", vec![condition]);
}

fn service(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    let (group, version) = (spec.get("group").str(), spec.get("version").str());
    let wanted = format!("{version}.{group}");
    let name = root.value().name();
    if !name.is_empty() && name != wanted {
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.invalid("metadata.name", &name.into(), &why);
    }
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.required(spec.field("group"), why);
    }
    Rule::Text(text::dns_subdomain).check(spec.field("group"), errors);
    check::formatted(spec.field("version"), text::dns_1035_label, errors);
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let given = spec.get(field).as_int().unwrap_or(0);
        if !(1..=most).contains(&given) {
            let why = format!("must be positive and less than {most}");
            errors.invalid(spec.field(field), &given.into(), &why);
        }
    }
    let (insecure, bundle) = (spec.field("insecureSkipTLSVerify"), spec.field("caBundle"));
    let port = spec.field("service").field("port").as_int();
    if spec.get("service").is_null() {
        if !bundle.is_empty() {
            let size = STANDARD.decode(bundle.str()).map_or(bundle.str().len(), |b| b.len());
            let shown = format!("{size} bytes");
            errors.invalid(bundle, &shown.into(), "local APIServices may not have a caBundle");
        }
        if insecure.is_true() {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid(insecure, &insecure, why);
        }
        return;
    }
    if let Some(port) = port.filter(|port| !(1..=65_535).contains(port)) {
        let why = format!("port is not valid: {}", text::between(1, 65_535));
        errors.invalid("spec.service.port", &port.into(), &why);
    }
    if insecure.is_true() && !spec.get("caBundle").is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry::Rules;

    #[test]
    fn what_is_served_here_is_available_at_once() {
        let context = Context { now: crate::util::clock::now() };
        let shown = |spec: &str| {
            let text = format!(r#"{{"metadata":{{"name":"v1.a"}},"spec":{spec}}}"#);
            let mut object = Value::parse(text.as_bytes()).unwrap();
            API_SERVICE.prepare_create(&mut object, context);
            available(&object).str().to_owned()
        };
        assert_eq!(shown("{}"), "True");
        assert_eq!(shown(r#"{"service":{"name":"a","namespace":"b"}}"#), "Unknown");
    }
}
