//! CustomResourceDefinitions: defaults, what one must satisfy, and what its status begins with.
//!
//! What becomes of a definition (accepted names, routes, clean-up) is the API server's part.

mod rules;
mod structural;

use std::collections::BTreeSet;

use super::check::{self, At, Rule, required};
use super::text::{self, Format};
use super::{not_yet, table};
use crate::api::jsonpath::Path;
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules};
use crate::api::time;
use crate::api::tree::Value;

/// Holds a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// By which owners of protected groups say that they mean it.
const APPROVED: &str = "api-approved.kubernetes.io";

/// The rules of CustomResourceDefinitions.
pub struct Definition;

impl Rules for Definition {
    fn default(&self, object: &mut Value) {
        let spec = object.entry("spec");
        let names = spec.entry("names");
        let kind = names.get("kind").str().to_owned();
        for (key, made) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))]
        {
            if names.get(key).is_empty() {
                names.set(key, made);
            }
        }
        if spec.at(&["conversion", "strategy"]).is_empty() {
            spec.entry("conversion").set("strategy", "None");
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        let nothing = Value::from([("kind", "".into()), ("plural", "".into())]);
        let stored: Vec<Value> = storage_version(object).into_iter().map(Into::into).collect();
        let status = Value::from([
            ("conditions", Value::Null),
            ("acceptedNames", nothing),
            ("storedVersions", stored.into()),
        ]);
        object.set("status", status);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
        let stored = object.at(&["status", "storedVersions"]).items();
        let missing = storage_version(object).filter(|v| !stored.iter().any(|s| s.str() == v));
        if let Some(version) = missing {
            let mut stored = stored.to_vec();
            stored.push(version.into());
            object.entry("status").set("storedVersions", stored);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        whole(object, &Value::Null, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        whole(object, old, errors);
        let root = At::root(object);
        let spec = root.field("spec");
        if is_established(old) {
            check::immutable(spec.field("scope"), old.at(&["spec", "scope"]), errors);
            let (now, before) = (spec.field("names"), old.at(&["spec", "names"]));
            check::immutable(now.field("kind"), before.get("kind"), errors);
        }
        check::immutable(spec.field("group"), old.at(&["spec", "group"]), errors);
        let (now, before) = (spec.field("names"), old.at(&["spec", "names"]));
        check::immutable(now.field("plural"), before.get("plural"), errors);
        kept_versions(root, errors);
    }

    /// A deletion waits for the loop that removes the definition's objects.
    fn holds_deletion(&self, object: &Value) -> bool {
        !object.is_deleting()
    }

    fn begin_deletion(&self, object: &mut Value) {
        let mut finalizers: Vec<Value> = object.finalizers().into_iter().map(Into::into).collect();
        if !finalizers.iter().any(|f| f.str() == CLEANUP) {
            finalizers.push(CLEANUP.into());
            object.entry("metadata").set("finalizers", finalizers);
        }
    }

    fn columns(&self) -> Vec<Column> {
        table::columns(&[
            table::NAME,
            ("Scope", "string", 0, "Cluster/Namespaced"),
            ("Versions", "string", 0, "Served versions"),
            ("Created At", "date", 0, table::AGE.3),
            ("Group", "string", 1, "API group"),
            ("Kind", "string", 1, "CustomResource kind"),
            ("ShortNames", "string", 1, "Short names"),
            ("Established", "boolean", 1, "Established status"),
        ])
    }

    fn row(&self, object: &Value, _context: Context) -> Vec<Value> {
        let created = object.created().map(time::format).unwrap_or_default();
        let spec = object.get("spec");
        let names = spec.get("names");
        let short: Vec<&str> = names.get("shortNames").items().iter().map(Value::str).collect();
        vec![
            object.name().into(),
            spec.get("scope").str().into(),
            served_versions(spec).into(),
            created.into(),
            spec.get("group").str().into(),
            names.get("kind").str().into(),
            short.join(",").into(),
            is_established(object).into(),
        ]
    }
}

/// What a definition must satisfy; schemas that an update leaves as they were are not judged anew.
fn whole(object: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let spec = root.field("spec");
    named(root, spec, errors);
    approved(root, spec, errors);
    group(spec.field("group"), errors);
    check::one_of(spec.field("scope"), &["Cluster", "Namespaced"], errors);
    names(spec.field("names"), errors);
    versions(spec.field("versions"), old.at(&["spec", "versions"]), errors);
    if spec.get("preserveUnknownFields").is_true() {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                   spec.versions[*].schema instead";
        errors.invalid(spec.field("preserveUnknownFields"), &true.into(), why);
    }
    check::one_of(spec.field("conversion").field("strategy"), &["None", "Webhook"], errors);
    not_yet::refuse(not_yet::DEFINITION, spec, errors);
}

/// `v1(storage),v2`: the versions that are served.
fn served_versions(spec: &Value) -> String {
    let versions = spec.get("versions").items().iter();
    let served = versions.filter(|version| version.get("served").as_bool() == Some(true));
    let mut labels: Vec<String> = served
        .map(|version| match version.get("storage").as_bool() {
            Some(true) => format!("{}(storage)", version.get("name").str()),
            _ => version.get("name").str().to_owned(),
        })
        .collect();
    labels.sort();
    labels.join(",")
}

/// Whether a condition of an object is true.
pub fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object.at(&["status", "conditions"]).items();
    let found = conditions.iter().find(|c| c.get("type").str() == condition);
    found.is_some_and(|condition| condition.get("status").str() == "True")
}

/// Whether the definition's resources are served.
pub fn is_established(definition: &Value) -> bool {
    is_true(definition, "Established")
}

fn storage_version(object: &Value) -> Option<String> {
    let versions = object.at(&["spec", "versions"]).items();
    let stored = versions.iter().find(|version| version.get("storage").is_true());
    stored.map(|version| version.get("name").str().to_owned())
}

fn named(root: At<'_>, spec: At<'_>, errors: &mut Errors) {
    let wanted = format!("{}.{}", spec.at(&["names", "plural"]).str(), spec.get("group").str());
    let metadata = root.field("metadata");
    let name = metadata.field("name");
    if name.str() != wanted {
        errors.invalid(name, &name, "must be spec.names.plural+\".\"+spec.group");
    }
}

/// Groups of the Kubernetes project are for what it has agreed on.
fn approved(root: At<'_>, spec: At<'_>, errors: &mut Errors) {
    let group = spec.get("group").str();
    let protected = ["k8s.io", "kubernetes.io"].iter().any(|owner| {
        group == *owner || group.strip_suffix(owner).is_some_and(|rest| rest.ends_with('.'))
    });
    let metadata = root.field("metadata");
    let annotations = metadata.field("annotations");
    let approval = annotations.key(APPROVED);
    if !protected || approval.str().starts_with("unapproved") || approval.str().contains("://") {
        return;
    }
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    if approval.is_empty() {
        let why = format!("protected groups must have approval annotation {APPROVED:?}, {see}");
        errors.required(approval, &why);
    } else {
        let why = format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a \
             reason starting with \"unapproved\", {see}"
        );
        errors.invalid(approval, &approval, &why);
    }
}

fn group(at: At<'_>, errors: &mut Errors) {
    if !required(at, "", errors) {
        return;
    }
    check::formatted(at, text::dns_subdomain, errors);
    if !at.str().contains('.') {
        errors.invalid(at, &at, "should be a domain with at least one dot");
    }
}

/// Kinds are labels but for their capitals.
fn kind(name: &str) -> Vec<String> {
    let faults = text::dns_1035_label(&name.to_lowercase()).into_iter();
    faults
        .map(|fault| format!("may have mixed case, but should otherwise match: {fault}"))
        .collect()
}

fn names(at: At<'_>, errors: &mut Errors) {
    const NAMES: [(&str, Format); 4] = [
        ("plural", text::dns_1035_label),
        ("singular", text::dns_1035_label),
        ("kind", kind),
        ("listKind", kind),
    ];
    for (name, format) in NAMES {
        Rule::RequiredText(format).check(at.field(name), errors);
    }
    let list = at.field("listKind");
    if !list.is_empty() && list.value() == at.get("kind") {
        errors.invalid(list, &list, "kind and listKind may not be the same");
    }
    for texts in ["shortNames", "categories"] {
        at.field(texts)
            .items()
            .for_each(|item| check::formatted(item, text::dns_1035_label, errors));
    }
}

fn versions(at: At<'_>, old: &Value, errors: &mut Errors) {
    let all = at.value().items();
    for version in at.items() {
        check::formatted(version.field("name"), text::dns_1035_label, errors);
        one_version(version, errors);
    }
    let schemas: Vec<&Value> = all.iter().map(open_api).collect();
    match schemas.first() {
        // Upstream keeps one schema for all versions apart from them, and so names its place.
        Some(one) if !one.is_null() && schemas.iter().all(|schema| schema == one) => {
            schema(At::path("spec.validation.openAPIV3Schema", one), old, errors);
        }
        _ => {
            for version in at.items() {
                let parent = version.field("schema");
                schema(parent.field("openAPIV3Schema"), old, errors);
            }
        }
    }
    let names: BTreeSet<&str> = all.iter().map(|version| version.get("name").str()).collect();
    if names.len() < all.len() {
        errors.invalid(at, &at, "must contain unique version names");
    }
    if all.iter().filter(|version| version.get("storage").is_true()).count() != 1 {
        errors.invalid(at, &at, "must have exactly one version marked as storage version");
    }
}

fn open_api(version: &Value) -> &Value {
    version.at(&["schema", "openAPIV3Schema"])
}

/// What a version's schema must satisfy, and then its rules; `old` are the versions before.
fn schema(at: At<'_>, old: &Value, errors: &mut Errors) {
    let before = errors.len();
    structural::check(at, errors);
    let known = old.items().iter().any(|version| open_api(version) == at.value());
    if !known && errors.len() == before {
        rules::check(at, errors);
    }
}

fn one_version(version: At<'_>, errors: &mut Errors) {
    let parent = version.field("schema");
    if open_api(version.value()).is_null() {
        errors.required(parent.field("openAPIV3Schema"), "schemas are required");
    }
    if !version.get("deprecationWarning").is_null() && !version.get("deprecated").is_true() {
        let at = version.field("deprecationWarning");
        errors.invalid(at, &at, "can only be set for deprecated versions");
    }
    let subresources = version.field("subresources");
    if !subresources.get("scale").is_null() {
        scale(subresources.field("scale"), errors);
    }
    selectable(version, errors);
    version.field("additionalPrinterColumns").items().for_each(|item| printer(item, errors));
}

/// Selectable fields lead to single values that the schema knows (KEP-4358).
fn selectable(version: At<'_>, errors: &mut Errors) {
    const MAX: usize = 8;
    let list = version.field("selectableFields");
    let count = list.value().items().len();
    if count > MAX {
        errors.too_many(list, count, MAX);
    }
    let mut seen = BTreeSet::new();
    for field in list.items() {
        let path = field.field("jsonPath");
        if !required(path, "", errors) {
            continue;
        }
        let names = path.str().strip_prefix('.').filter(|rest| !rest.contains(['[', '*', '\\']));
        let schema = version.at(&["schema", "openAPIV3Schema"]);
        let leaf = names.map(|names| {
            names.split('.').fold(schema, |schema, name| schema.at(&["properties", name]))
        });
        match leaf.map(|leaf| leaf.get("type").str()) {
            _ if path.str().starts_with(".metadata") => {
                errors.invalid(path, &path, "must not point to fields in metadata");
            }
            Some("string" | "integer" | "boolean") => {}
            Some(_) => {
                let why = "must point to a field of type string, boolean or integer. Enum string \
                           fields and strings with formats are allowed.";
                errors.invalid(path, &path, why);
            }
            None => errors.invalid(path, &path, "is an invalid path"),
        }
        if !seen.insert(path.value().str().to_owned()) {
            errors.duplicate(path, &path);
        }
    }
}

fn scale(at: At<'_>, errors: &mut Errors) {
    path_under(at.field("specReplicasPath"), ".spec.", ".spec", true, errors);
    path_under(at.field("statusReplicasPath"), ".status.", ".status", true, errors);
    let selector = at.field("labelSelectorPath");
    if !selector.str().starts_with(".spec.") {
        path_under(selector, ".status.", ".spec or .status", false, errors);
    }
}

/// A simple path below one of the object's parts.
fn path_under(at: At<'_>, prefix: &str, part: &str, must: bool, errors: &mut Errors) {
    if at.is_empty() {
        if must {
            errors.required(at, "");
        }
        return;
    }
    if Path::parse(at.str()).is_err() || at.str().contains(['[', '*']) {
        errors.invalid(at, &at, "must be a json path in the dot notation");
    } else if !at.str().starts_with(prefix) {
        errors.invalid(at, &at, &format!("should be a json path under {part}"));
    }
}

fn printer(at: At<'_>, errors: &mut Errors) {
    const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    const FORMATS: &[&str] =
        &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    required(at.field("name"), "", errors);
    Rule::RequiredOneOf(TYPES).check(at.field("type"), errors);
    Rule::OneOf(FORMATS).check(at.field("format"), errors);
    let path = at.field("jsonPath");
    if !required(path, "", errors) {
        return;
    }
    if !path.str().starts_with('.') {
        errors.invalid(path, &path, "must be a simple json path starting with .");
    } else if let Err(why) = Path::parse(path.str()) {
        errors.invalid(path, &path, &why);
    }
}

/// Versions in which objects may still be stored cannot go.
fn kept_versions(root: At<'_>, errors: &mut Errors) {
    let there = root.at(&["spec", "versions"]).items();
    let status = root.field("status");
    for stored in status.field("storedVersions").items() {
        if !there.iter().any(|version| version.get("name") == stored.value()) {
            let why = "missing from spec.versions; must remain in spec.versions because it is in \
                       status.storedVersions";
            errors.invalid(stored, &stored, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"metadata":{"name":"tabs.example.com"},"spec":{
        "group":"example.com","scope":"Namespaced","names":{"plural":"tabs","kind":"Tab"},
        "versions":[{"name":"v1","served":true,"storage":true,
            "schema":{"openAPIV3Schema":{"type":"object"}}}]}}"#;

    fn good() -> Value {
        let mut object = Value::parse(GOOD.as_bytes()).unwrap();
        Definition.default(&mut object);
        object
    }

    fn faults(object: &Value) -> Vec<String> {
        let mut errors = Errors::default();
        Definition.validate(object, &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn a_plain_one_is_completed_and_good() {
        let mut object = good();
        assert_eq!(object.at(&["spec", "names", "listKind"]).str(), "TabList");
        assert!(faults(&object).is_empty(), "{:?}", faults(&object));
        let context = Context { now: crate::util::clock::Wall(0) };
        Definition.prepare_create(&mut object, context);
        assert_eq!(object.at(&["status", "storedVersions"]).to_string(), r#"["v1"]"#);
    }

    #[test]
    fn faults_are_told_with_their_paths() {
        let mut object = good();
        let spec = object.entry("spec");
        spec.set("group", "example");
        spec.set("scope", "Galaxy");
        spec.entry("versions").items_mut()[0].set("storage", false);
        let found = faults(&object);
        for wanted in [
            r#"metadata.name: Invalid value: "tabs.example.com": must be spec.names.plural+"."+spec.group"#,
            r#"spec.group: Invalid value: "example": should be a domain with at least one dot"#,
            r#"spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced""#,
            "must have exactly one version marked as storage version",
        ] {
            assert!(found.iter().any(|f| f.contains(wanted)), "{wanted}\n{found:#?}");
        }
    }

    #[test]
    fn selectable_fields_are_known_single_values() {
        let mut object = good();
        let version = &mut object.entry("spec").entry("versions").items_mut()[0];
        let schema = r#"{"type":"object","properties":{"spec":{"type":"object","properties":{
            "a":{"type":"string"},"b":{"type":"array","items":{"type":"string"}}}}}}"#;
        let schema = Value::parse(schema.as_bytes()).unwrap();
        version.entry("schema").set("openAPIV3Schema", schema);
        let path = |text: &str| Value::from([("jsonPath", text.into())]);
        version.set("selectableFields", vec![path(".spec.a")]);
        assert!(faults(&object).is_empty(), "{:?}", faults(&object));
        for wrong in [".spec.b", ".spec.none", ".metadata.name", ".spec.b[0]", "spec.a"] {
            let version = &mut object.entry("spec").entry("versions").items_mut()[0];
            version.set("selectableFields", vec![path(wrong)]);
            let field = "spec.versions[0].selectableFields[0].jsonPath: Invalid value";
            assert!(faults(&object)[0].starts_with(field), "{wrong}");
        }
    }

    #[test]
    fn protected_groups_want_an_approval() {
        let mut object = good();
        object.entry("spec").set("group", "x.k8s.io");
        object.entry("metadata").set("name", "tabs.x.k8s.io");
        assert!(faults(&object)[0].starts_with("metadata.annotations[api-approved.kubernetes.io]"));
        object.entry_at(&["metadata", "annotations"]).set(APPROVED, "unapproved, testing");
        assert!(faults(&object).is_empty());
    }

    #[test]
    fn stored_versions_stay_and_established_names_too() {
        let mut old = good();
        let context = Context { now: crate::util::clock::Wall(0) };
        Definition.prepare_create(&mut old, context);
        let mut new = old.clone();
        new.entry("spec").entry("versions").items_mut()[0].set("name", "v2");
        Definition.prepare_update(&mut new, &old, context);
        assert_eq!(new.at(&["status", "storedVersions"]).to_string(), r#"["v1","v2"]"#);
        let mut errors = Errors::default();
        Definition.validate_update(&new, &old, &mut errors);
        assert!(errors.into_causes()[0].message.contains("must remain in spec.versions"));
    }
}
