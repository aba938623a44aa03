//! Environment variables and the references that they, and downward API volumes, make.

use crate::api::kinds::check::{self, At, Rule, required};
use crate::api::kinds::text;
use crate::api::quantity::Quantity;
use crate::api::registry::Errors;

/// The fields of a pod that a variable can show.
const SHOWN: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The amounts of a container that a variable or a file can show.
const AMOUNTS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const BYTE_UNITS: &[&str] =
    &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

const SOURCES: &[&str] =
    &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

const SEVERAL: &str = "may not have more than one field specified at a time";

/// Checks the variables of a container.
pub fn variables(env: At<'_>, errors: &mut Errors) {
    for variable in env.items() {
        Rule::RequiredText(text::env_name).check(variable.field("name"), errors);
        let from = variable.field("valueFrom");
        if !from.is_null() {
            value_from(from, !variable.get("value").is_empty(), errors);
        }
    }
}

fn value_from(from: At<'_>, has_value: bool, errors: &mut Errors) {
    let field = from.field("fieldRef");
    if !field.is_null() {
        field_reference(field, SHOWN, errors);
    }
    let resource = from.field("resourceFieldRef");
    if !resource.is_null() {
        resource_reference(resource, false, errors);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let key = from.field(kind);
        if !key.is_null() {
            check::formatted(key.field("name"), text::dns_subdomain, errors);
            Rule::RequiredText(text::config_key).check(key.field("key"), errors);
        }
    }
    let why = match SOURCES.iter().filter(|source| !from.get(source).is_null()).count() {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
             `secretKeyRef` or `fileKeyRef`"
        }
        _ if has_value => "may not be specified when `value` is not empty",
        1 => return,
        _ => SEVERAL,
    };
    errors.invalid(from, &"".into(), why);
}

/// Checks the config maps and secrets of which all keys become variables.
pub fn sources(list: At<'_>, errors: &mut Errors) {
    for source in list.items() {
        Rule::Text(text::env_name).check(source.field("prefix"), errors);
        let given = ["configMapRef", "secretRef"].into_iter().filter(|k| !source.get(k).is_null());
        let mut count = 0;
        for kind in given {
            count += 1;
            let reference = source.field(kind);
            Rule::RequiredText(text::dns_subdomain).check(reference.field("name"), errors);
        }
        match count {
            0 => {
                let why = "must specify one of: `configMapRef` or `secretRef`";
                errors.invalid(list, &"".into(), why);
            }
            1 => {}
            _ => errors.invalid(list, &"".into(), SEVERAL),
        }
    }
}

/// A reference to a field of the pod, `metadata.labels['app']`.
pub fn field_reference(at: At<'_>, shown: &[&str], errors: &mut Errors) {
    let path = at.field("fieldPath");
    if !(required(at.field("apiVersion"), "", errors) && required(path, "", errors)) {
        return;
    }
    if at.get("apiVersion").str() != "v1" {
        let version = at.get("apiVersion").str();
        let why = format!("error converting fieldPath: unsupported pod version: {version}");
        return errors.invalid(path, &path, &why);
    }
    match subscript(path.str()) {
        Some(("metadata.annotations", key)) => qualified(at, &key.to_lowercase(), errors),
        Some(("metadata.labels", key)) => qualified(at, key, errors),
        Some(_) => {
            let why = "error converting fieldPath: field label does not support subscript: ";
            errors.invalid(path, &path, &format!("{why}{}", path.str()));
        }
        None if !known(path.str()) => {
            let why =
                format!("error converting fieldPath: field label not supported: {}", path.str());
            errors.invalid(path, &path, &why);
        }
        None if !shown.contains(&path.str()) => errors.not_supported(path, &path, shown),
        None => {}
    }
}

fn qualified(at: At<'_>, key: &str, errors: &mut Errors) {
    for fault in text::label_key(key) {
        errors.invalid(at, &key.into(), &fault);
    }
}

/// Splits `metadata.labels['app']` into the map's path and the key.
pub fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

/// Whether the downward API has the field at all, be it not for this use.
fn known(path: &str) -> bool {
    SHOWN.contains(&path)
        || matches!(path, "metadata.labels" | "metadata.annotations" | "spec.restartPolicy")
        || matches!(path, "spec.schedulerName" | "status.phase")
}

/// A reference to an amount of a container; a file must say of which one.
pub fn resource_reference(at: At<'_>, in_volume: bool, errors: &mut Errors) {
    let resource = at.field("resource");
    let huge = |name: &str| {
        name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-")
    };
    if in_volume && at.get("containerName").is_empty() {
        errors.required(at.field("containerName"), "");
    } else if required(resource, "", errors) && !huge(resource.str()) {
        check::one_of(resource, AMOUNTS, errors);
    }
    divisor(at, errors);
}

fn divisor(at: At<'_>, errors: &mut Errors) {
    let divisor = at.field("divisor");
    let Ok(quantity) = Quantity::of(&divisor) else { return };
    if quantity.is_zero() {
        return;
    }
    let (resource, shown) = (at.get("resource"), quantity.to_string());
    let bytes = match resource.str().split_once('.').map(|(_, name)| name) {
        Some("cpu") if !matches!(shown.as_str(), "1m" | "1") => {
            let why = "only divisor's values 1m and 1 are supported with the cpu resource";
            return errors.invalid(divisor, resource, why);
        }
        Some("memory") => "memory",
        Some("ephemeral-storage") => "local ephemeral storage",
        Some(name) if name.starts_with("hugepages-") => "hugepages",
        _ => return,
    };
    if !BYTE_UNITS.contains(&shown.as_str()) {
        let units = BYTE_UNITS.join(", ");
        let why = format!("only divisor's values {units} are supported with the {bytes} resource");
        errors.invalid(divisor, resource, &why);
    }
}
