//! CustomResourceDefinitions: defaults, what one must satisfy, and what its status begins with.
//!
//! What becomes of a definition (accepted names, routes, clean-up) is the API server's part.

mod rules;
mod structural;
mod versions;

use super::check::{self, At, Rule, required};
use super::text::{self, Format};
use super::{not_yet, table};
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
            if names.get(key).is_empty() && !kind.is_empty() {
                names.set(key, made);
            }
        }
        if spec.get("conversion").is_null() {
            spec.entry("conversion").set("strategy", "None");
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        let nothing = Value::from([("kind", "".into()), ("plural", "".into())]);
        let stored = storage_version(object).map(|version| vec![Value::from(version)]);
        let status = Value::from([
            ("conditions", Value::Null),
            ("acceptedNames", nothing),
            ("storedVersions", stored.map_or(Value::Null, Into::into)),
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
        named(object, errors);
        spec_of(object, &Value::Null, errors);
        surroundings(object, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        spec_of(object, old, errors);
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
        surroundings(object, errors);
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
fn spec_of(object: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let spec = root.field("spec");
    group(spec.field("group"), errors);
    Rule::RequiredOneOf(&["Cluster", "Namespaced"]).check(spec.field("scope"), errors);
    let (now, before) = (spec.field("versions"), old.at(&["spec", "versions"]));
    versions::check(now, before, errors);
    versions::first_name(now.value().items(), errors);
    let names = spec.field("names");
    for name in ["plural", "singular", "kind", "listKind"] {
        required(names.field(name), "", errors);
    }
    self::names(names, errors);
    versions::check_shared(now.value().items(), before, errors);
    let conversion = spec.field("conversion");
    Rule::RequiredOneOf(&["None", "Webhook"]).check(conversion.field("strategy"), errors);
}

/// What must hold beside the spec and before it: the status, and what needs an approval.
fn surroundings(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let (spec, status) = (root.field("spec"), root.field("status"));
    names(status.field("acceptedNames"), errors);
    stored_versions(spec, status.field("storedVersions"), errors);
    approved(root, spec, errors);
    if spec.get("preserveUnknownFields").is_true() {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                   spec.versions[*].schema instead";
        errors.invalid(spec.field("preserveUnknownFields"), &true.into(), why);
    }
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

fn named(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec");
    let wanted = format!("{}.{}", spec.at(&["names", "plural"]).str(), spec.get("group").str());
    let name = object.name();
    if !name.is_empty() && name != wanted {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid("metadata.name", &name.into(), why);
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
    let before = errors.len();
    check::formatted_as_one(at, text::dns_subdomain, errors);
    if errors.len() == before && !at.str().contains('.') {
        errors.invalid(at, &at, "should be a domain with at least one dot");
    }
}

/// Kinds are labels but for their capitals.
fn kind(name: &str) -> Vec<String> {
    let faults = text::dns_1035_label(&name.to_lowercase());
    match faults.is_empty() {
        true => faults,
        false => {
            let faults = faults.join(",");
            vec![format!("may have mixed case, but should otherwise match: {faults}")]
        }
    }
}

/// The names that a definition asks for or has got, where they are there.
fn names(at: At<'_>, errors: &mut Errors) {
    const NAMES: [(&str, Format); 4] = [
        ("plural", text::dns_1035_label),
        ("singular", text::dns_1035_label),
        ("kind", kind),
        ("listKind", kind),
    ];
    for (name, format) in NAMES {
        let name = at.field(name);
        if !name.is_empty() {
            check::formatted_as_one(name, format, errors);
        }
    }
    let labels = |list: &str, errors: &mut Errors| {
        let list = at.field(list);
        list.items().for_each(|item| {
            check::formatted_as_one(item, text::dns_1035_label, errors);
        });
    };
    labels("shortNames", errors);
    let list = at.field("listKind");
    if !list.is_empty() && list.value() == at.get("kind") {
        errors.invalid(list, &list, "kind and listKind may not be the same");
    }
    labels("categories", errors);
}

/// Versions in which objects may still be stored cannot go.
fn stored_versions(spec: At<'_>, at: At<'_>, errors: &mut Errors) {
    if at.is_empty() {
        return errors.invalid(at, &Value::Null, "must have at least one stored version");
    }
    let there = spec.get("versions").items();
    for stored in at.items() {
        if !there.iter().any(|version| version.get("name") == stored.value()) {
            let name = stored.str();
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must \
                 remain in spec.versions until a storage migration ensures no data remains \
                 persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.invalid(stored, &stored, &why);
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
        Definition.prepare_create(&mut object, Context { now: crate::util::clock::Wall(0) });
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
            let field = "spec.selectableFields[0].jsonPath: Invalid value";
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
        assert!(errors.into_causes()[0].message.contains("v1 was previously a storage version"));
    }
}
