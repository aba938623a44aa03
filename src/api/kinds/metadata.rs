//! The rules of `ObjectMeta`, the same for all kinds but for the form of names.
//!
//! The engine calls these around a kind's own rules: `prepare_update` before the kind's, and
//! `validate_*` before the kind's, so that metadata's faults come first, as upstream lists them.

use super::check::{self, At, Rule};
use super::text;
use crate::api::meta::{Meta, split_api_version};
use crate::api::registry::{Errors, Resource};
use crate::api::tree::Value;

/// Annotations together may not be larger: etcd's limit on an object leaves room for the rest.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// The longest name that `generate_name` makes, that of a DNS label.
const GENERATED_NAME_MAX: usize = 63;
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// A name from `generateName` and a random suffix; the base is cut so that a label's length holds.
pub fn generate_name(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(GENERATED_NAME_MAX.saturating_sub(suffix.len()));
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

/// What an object's metadata must satisfy on create. The name has been generated already.
pub fn validate_create(resource: &Resource, object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let metadata = root.field("metadata");
    name(resource, metadata, errors);
    namespace(resource, metadata, errors);
    check::not_negative(metadata.field("generation"), errors);
    common(metadata, errors);
    finalizers(resource, metadata.field("finalizers"), errors);
}

/// What an update must satisfy in metadata.
pub fn validate_update(resource: &Resource, object: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let metadata = root.field("metadata");
    namespace(resource, metadata, errors);
    if old.is_deleting() {
        no_new_finalizers(metadata.field("finalizers"), &old.finalizers(), errors);
    }
    if metadata.get("resourceVersion").is_empty() {
        errors.invalid(
            metadata.field("resourceVersion"),
            &"".into(),
            "must be specified for an update",
        );
    }
    if object.generation() < old.generation() {
        let at = metadata.field("generation");
        errors.invalid(at, &at, "must not be decremented");
    }
    for field in IMMUTABLE {
        check::immutable(metadata.field(field), old.metadata().get(field), errors);
    }
    common(metadata, errors);
    finalizers(resource, metadata.field("finalizers"), errors);
}

/// Metadata that no update changes.
const IMMUTABLE: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Restores in an update the metadata that clients may leave out or cannot change.
pub fn prepare_update(object: &mut Value, old: &Value) {
    let stored = old.metadata();
    let metadata = object.entry("metadata");
    if metadata.get("uid").is_empty() {
        keep(metadata, stored, "uid");
    }
    for field in ["generation", "creationTimestamp"] {
        keep(metadata, stored, field);
    }
    if !stored.get("deletionTimestamp").is_null() {
        keep(metadata, stored, "deletionTimestamp");
    }
    if metadata.get("deletionGracePeriodSeconds").is_null() {
        keep(metadata, stored, "deletionGracePeriodSeconds");
    }
}

fn keep(metadata: &mut Value, stored: &Value, field: &str) {
    match stored.get(field) {
        Value::Null => drop(metadata.remove(field)),
        value => metadata.set(field, value.clone()),
    }
}

fn name(resource: &Resource, metadata: At<'_>, errors: &mut Errors) {
    let format = resource.rules.name_format();
    if check::required(metadata.field("name"), "name or generateName is required", errors) {
        let before = errors.len();
        check::formatted(metadata.field("name"), format, errors);
        if errors.len() == before {
            check::formatted(metadata.field("name"), text::path_segment, errors);
        }
    }
}

fn namespace(resource: &Resource, metadata: At<'_>, errors: &mut Errors) {
    let at = metadata.field("namespace");
    if resource.namespaced() {
        Rule::RequiredText(text::dns_label).check(at, errors);
    } else if !at.is_empty() {
        errors.forbidden(at, "not allowed on this type");
    }
}

fn common(metadata: At<'_>, errors: &mut Errors) {
    labels(metadata.field("labels"), errors);
    annotations(metadata.field("annotations"), errors);
    owners(metadata.field("ownerReferences"), errors);
    managers(metadata.field("managedFields"), errors);
}

/// Labels, also those of pod templates and selectors: keys and values reported under the map.
pub fn labels(at: At<'_>, errors: &mut Errors) {
    for (key, value) in at.value().fields() {
        for fault in text::label_key(key) {
            errors.invalid(at, &key.into(), &fault);
        }
        for fault in text::label_value(value.str()) {
            errors.invalid(at, value, &fault);
        }
    }
}

/// Annotations: keys are label keys in any case; the total size is bounded.
pub fn annotations(at: At<'_>, errors: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in at.value().fields() {
        bytes += key.len() + value.str().len();
        for fault in text::label_key(&key.to_lowercase()) {
            errors.invalid(at, &key.into(), &fault);
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(at, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(at: At<'_>, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in at.items() {
        owner_reference(owner, errors);
        if !owner.get("controller").is_true() {
            continue;
        }
        let this = format!("{}/{}", owner.get("kind").str(), owner.get("name").str());
        match &controller {
            None => controller = Some(this),
            Some(first) => errors.invalid(
                at,
                &at,
                &format!(
                    "Only one reference can have Controller set to true. Found \"true\" in \
                     references for {first} and {this}"
                ),
            ),
        }
    }
}

fn owner_reference(owner: At<'_>, errors: &mut Errors) {
    let version = owner.field("apiVersion");
    let parsed = split_api_version(version.str());
    if check::required(version, "must not be empty", errors)
        && (parsed.1.is_empty() || parsed.1.contains('/'))
    {
        errors.invalid(version, &version, "must be <group>/<version> or <version>");
    }
    for field in ["kind", "name", "uid"] {
        check::required(owner.field(field), "must not be empty", errors);
    }
    if parsed == ("", "v1") && owner.get("kind").str() == "Event" {
        errors.invalid(owner, &owner, "/v1, Kind=Event is disallowed from being an owner");
    }
}

/// Groups whose objects may have finalizers with neither a domain nor a meaning.
const LOOSE: [&str; 2] = ["apiextensions.k8s.io", "coordination.k8s.io"];

/// Finalizers are qualified names, or those without a domain that Kubernetes knows.
fn finalizers(resource: &Resource, at: At<'_>, errors: &mut Errors) {
    let strict = !resource.custom && !LOOSE.contains(&resource.group.as_str());
    for item in at.items().filter(|item| strict && !item.str().contains('/')) {
        if !matches!(item.str(), "kubernetes" | ORPHAN | FOREGROUND) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(item, &item, why);
        }
    }
    for finalizer in at.value().items() {
        for fault in text::label_key(finalizer.str()) {
            errors.invalid(at, finalizer, &fault);
        }
    }
    let has = |name: &str| at.value().items().iter().any(|f| f.str() == name);
    if has(ORPHAN) && has(FOREGROUND) {
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.invalid(at, &at, &why);
    }
}

fn no_new_finalizers(at: At<'_>, old: &[&str], errors: &mut Errors) {
    let mut new: Vec<String> = at
        .value()
        .items()
        .iter()
        .filter(|f| !old.contains(&f.str()))
        .map(|f| format!("{:?}", f.str()))
        .collect();
    new.sort();
    if !new.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers \
             []string{{{}}}",
            new.join(", ")
        );
        errors.forbidden(at, &why);
    }
}

fn managers(at: At<'_>, errors: &mut Errors) {
    const RULES: &[(&str, Rule)] = &[
        ("operation", Rule::Required("must not be empty")),
        ("operation", Rule::OneOf(&["Apply", "Update"])),
        (
            "fieldsType",
            Rule::Each(|at, errors| {
                if at.str() != "FieldsV1" {
                    errors.invalid(at, &at, "must be `FieldsV1`");
                }
            }),
        ),
    ];
    at.items().for_each(|entry| check::apply(RULES, entry, errors));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry;

    fn faults(kind: &str, object: &str, old: Option<&str>) -> Vec<String> {
        let resource = registry::builtin().by_kind("", "v1", kind).unwrap().clone();
        let object = Value::parse(object.as_bytes()).unwrap();
        let mut errors = Errors::default();
        match old {
            None => validate_create(&resource, &object, &mut errors),
            Some(old) => {
                let old = Value::parse(old.as_bytes()).unwrap();
                validate_update(&resource, &object, &old, &mut errors);
            }
        }
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn names_and_namespaces() {
        assert!(
            faults("ConfigMap", r#"{"metadata":{"name":"a.b","namespace":"n"}}"#, None).is_empty()
        );
        assert_eq!(
            faults("ConfigMap", "{}", None),
            [
                "metadata.name: Required value: name or generateName is required",
                "metadata.namespace: Required value",
            ]
        );
        assert_eq!(
            faults("Namespace", r#"{"metadata":{"name":"a","namespace":"n"}}"#, None),
            ["metadata.namespace: Forbidden: not allowed on this type"]
        );
        let found = faults("Namespace", r#"{"metadata":{"name":"a.b","generateName":"a-"}}"#, None);
        assert_eq!(found, [r#"metadata.name: Invalid value: "a.b": must not contain dots"#]);
    }

    #[test]
    fn labels_annotations_owners_finalizers() {
        let found = faults(
            "Namespace",
            r#"{"metadata":{"name":"a","labels":{"a":"-"},"annotations":{"A/b/c":""},
                "finalizers":["a/b","orphan","foregroundDeletion"],
                "ownerReferences":[{"apiVersion":"v1","kind":"Event","name":"e","uid":"u"}]}}"#,
            None,
        );
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with(r#"metadata.labels: Invalid value: "-": a valid label must"#));
        assert!(found[1].starts_with(r#"metadata.annotations: Invalid value: "A/b/c": a valid"#));
        assert!(found[2].ends_with("/v1, Kind=Event is disallowed from being an owner"));
        assert!(found[3].ends_with("orphan and foregroundDeletion cannot be both set"));
    }

    #[test]
    fn updates_keep_what_cannot_change() {
        let old = r#"{"metadata":{"name":"a","uid":"u","creationTimestamp":"t","generation":2}}"#;
        let found = faults(
            "Namespace",
            r#"{"metadata":{"name":"b","uid":"v","resourceVersion":"1","generation":2}}"#,
            Some(old),
        );
        assert_eq!(
            found,
            [
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.uid: Invalid value: \"v\": field is immutable",
                "metadata.creationTimestamp: Invalid value: null: field is immutable",
            ]
        );
        let mut object = Value::parse(br#"{"metadata":{"name":"a","generation":9}}"#).unwrap();
        prepare_update(&mut object, &Value::parse(old.as_bytes()).unwrap());
        assert_eq!(
            object.to_string(),
            old.replace(
                r#""name":"a","uid":"u","creationTimestamp":"t","generation":2"#,
                r#""creationTimestamp":"t","generation":2,"name":"a","uid":"u""#
            )
        );
    }

    #[test]
    fn deleting_objects_get_no_new_finalizers() {
        let old = r#"{"metadata":{"name":"a","deletionTimestamp":"t","finalizers":["a/b"]}}"#;
        let new = r#"{"metadata":{"name":"a","deletionTimestamp":"t","resourceVersion":"1","finalizers":["c/d"]}}"#;
        assert_eq!(
            faults("Namespace", new, Some(old)),
            ["metadata.finalizers: Forbidden: no new finalizers can be added if the object is \
              being deleted, found new finalizers []string{\"c/d\"}"]
        );
    }

    #[test]
    fn generated_names_fit_a_label() {
        assert_eq!(generate_name("web-", "abcde"), "web-abcde");
        assert_eq!(generate_name(&"a".repeat(70), "abcde").len(), 63);
        assert_eq!(generate_name(&"é".repeat(40), "abcde").len(), 63);
    }
}
