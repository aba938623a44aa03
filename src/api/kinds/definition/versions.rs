//! The versions of a definition: each by itself, and what they share.
//!
//! Upstream judges an inner form of definitions, in which what stands alike in all versions stands
//! once, beside them. Its faults name the places of that form and show values in it; so do these.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{rules, structural};
use crate::api::jsonpath::Path;
use crate::api::kinds::check::{self, At, required};
use crate::api::kinds::text;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// How many fields of a version can be selected by.
const SELECTABLE_MAX: usize = 8;

/// The value of a field that all versions have alike, be it null; none where they differ.
fn shared<'v>(versions: &'v [Value], field: &str) -> Option<&'v Value> {
    let (first, others) = versions.split_first()?;
    let value = first.get(field);
    others.iter().all(|version| version.get(field) == value).then_some(value)
}

/// What must hold of the list of versions, and of what they do not share.
pub(super) fn check(at: At<'_>, old: &Value, errors: &mut Errors) {
    let all = at.value().items();
    for version in at.items() {
        let parent = version.field("schema");
        if parent.get("openAPIV3Schema").is_null() {
            errors.required(parent.field("openAPIV3Schema"), "");
        }
    }
    let apart = |field: &str| shared(all, field).is_none();
    let parts = [apart("schema"), apart("subresources"), apart("additionalPrinterColumns")];
    let selects = apart("selectableFields");
    for version in at.items() {
        check::formatted_as_one(version.field("name"), text::dns_1035_label, errors);
        deprecation(version, errors);
        let parent = version.field("schema");
        let [schemas, subresources, columns] = parts;
        if schemas {
            schema(parent.field("openAPIV3Schema"), old, errors);
        }
        if subresources {
            scale(version.field("subresources"), errors);
        }
        if columns {
            version.field("additionalPrinterColumns").items().for_each(|c| column(c, errors));
        }
        if selects {
            selectable(version.field("selectableFields"), open_api(&version), errors);
        }
    }
    let names: BTreeSet<&str> = all.iter().map(|version| version.get("name").str()).collect();
    if names.len() < all.len() {
        errors.invalid_as(at, &shown(all), "must contain unique version names");
    }
    if all.iter().filter(|version| version.get("storage").is_true()).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.invalid_as(at, &shown(all), why);
    }
}

/// The name of the first version, which the inner form has once more.
pub(super) fn first_name(versions: &[Value], errors: &mut Errors) {
    let name = versions.first().map_or(&Value::Null, |version| version.get("name"));
    if !name.is_empty() {
        check::formatted_as_one(At::path("spec.version", name), text::dns_1035_label, errors);
    }
}

/// What must hold of what all versions share; `old` are the versions before.
pub(super) fn check_shared(versions: &[Value], old: &Value, errors: &mut Errors) {
    if let Some(parent) = shared(versions, "schema") {
        let at = At::path("spec.validation", parent);
        schema(at.field("openAPIV3Schema"), old, errors);
    }
    if let Some(subresources) = shared(versions, "subresources") {
        scale(At::path("spec.subresources", subresources), errors);
    }
    if let Some(columns) = shared(versions, "additionalPrinterColumns") {
        let at = At::path("spec.additionalPrinterColumns", columns);
        at.items().for_each(|item| column(item, errors));
    }
    if let (Some(fields), Some(first)) = (shared(versions, "selectableFields"), versions.first()) {
        selectable(At::path("spec.selectableFields", fields), open_api(first), errors);
    }
}

fn open_api(version: &Value) -> &Value {
    version.at(&["schema", "openAPIV3Schema"])
}

/// What a schema must satisfy, and then its rules.
fn schema(at: At<'_>, old: &Value, errors: &mut Errors) {
    if at.is_null() {
        return;
    }
    let before = errors.len();
    structural::check(at, errors);
    let known = old.items().iter().any(|version| open_api(version) == at.value());
    if !known && errors.len() == before {
        rules::check(at, errors);
    }
}

fn deprecation(version: At<'_>, errors: &mut Errors) {
    const MAX: usize = 256;
    let at = version.field("deprecationWarning");
    let Some(warning) = at.as_str() else { return };
    if !version.get("deprecated").is_true() {
        return errors.invalid(at, &at, "can only be set for deprecated versions");
    }
    if warning.len() > MAX {
        errors.invalid(at, &at, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(at, &at, "must not be an empty string");
    }
    if let Some(index) = warning.find(char::is_control) {
        let why = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index \
             {index}"
        );
        errors.invalid(at, &at, &why);
    }
}

/// Selectable fields lead to single values that the schema knows (KEP-4358).
fn selectable(list: At<'_>, schema: &Value, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for field in list.items() {
        let path = field.field("jsonPath");
        if !required(path, "", errors) {
            continue;
        }
        let names = path.str().strip_prefix('.').filter(|rest| !rest.contains(['[', '*', '\\']));
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
        if !seen.insert(path.str().to_owned()) {
            errors.duplicate(path, &path);
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.too_many(list, seen.len(), SELECTABLE_MAX);
    }
}

fn scale(subresources: At<'_>, errors: &mut Errors) {
    let at = subresources.field("scale");
    if at.is_null() {
        return;
    }
    let [wanted, found] = ["specReplicasPath", "statusReplicasPath"].map(|name| at.field(name));
    for (path, part) in [(wanted, ".spec"), (found, ".status")] {
        if required(path, "", errors) {
            path_under(path, &[part], part, errors);
        }
    }
    let selector = at.field("labelSelectorPath");
    if !selector.is_empty() {
        path_under(selector, &[".spec", ".status"], "either .spec or .status", errors);
    }
}

/// A simple path below one of the object's parts.
fn path_under(at: At<'_>, parts: &[&str], named: &str, errors: &mut Errors) {
    if !simple_path(at, errors) {
        return;
    }
    let below = |part: &&str| at.str().strip_prefix(part).is_some_and(|rest| rest.starts_with('.'));
    if at.str().contains(['[', '*']) {
        errors.invalid(at, &at, "must be a json path in the dot notation");
    } else if !parts.iter().any(below) {
        errors.invalid(at, &at, &format!("should be a json path under {named}"));
    }
}

/// Reports what is no path from the object's root; true if it is one.
fn simple_path(at: At<'_>, errors: &mut Errors) -> bool {
    if !at.str().starts_with('.') {
        errors.invalid(at, &at, "must be a simple json path starting with .");
        return false;
    }
    let parsed = Path::parse(at.str());
    if let Err(why) = &parsed {
        errors.invalid(at, &at, why);
    }
    parsed.is_ok()
}

fn column(at: At<'_>, errors: &mut Errors) {
    const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    const FORMATS: &[&str] =
        &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    required(at.field("name"), "", errors);
    let one_of = |known: &[&str]| format!("must be one of {}", known.join(","));
    let (ty, format) = (at.field("type"), at.field("format"));
    if required(ty, &one_of(TYPES), errors) && !TYPES.contains(&ty.str()) {
        errors.invalid(ty, &ty, &one_of(TYPES));
    }
    if !format.is_empty() && !FORMATS.contains(&format.str()) {
        errors.invalid(format, &format, &one_of(FORMATS));
    }
    // Upstream spells the field so in its faults.
    let place = format!("{at}.JSONPath");
    let path = At::path(&place, at.value().get("jsonPath"));
    if required(path, "", errors) {
        simple_path(path, errors);
    }
}

/// The versions in the inner form, without what they share. Schemas that differ are shown as they
/// were written: in the inner form each would name all that it does not say.
fn shown(versions: &[Value]) -> String {
    if versions.is_empty() {
        return "null".to_owned();
    }
    let apart = |version: &Value, field: &str, form: fn(&Value) -> String| match (
        shared(versions, field),
        version.get(field),
    ) {
        (Some(_), _) | (_, Value::Null) => "null".to_owned(),
        (None, value) => form(value),
    };
    let one = |version: &Value| {
        let flag = |name: &str| Value::Bool(version.get(name).is_true());
        inner(&[
            ("Name", version.get("name").to_string()),
            ("Served", flag("served").to_string()),
            ("Storage", flag("storage").to_string()),
            ("Deprecated", flag("deprecated").to_string()),
            ("DeprecationWarning", version.get("deprecationWarning").to_string()),
            ("Schema", apart(version, "schema", shown_schema)),
            ("Subresources", apart(version, "subresources", shown_subresources)),
            ("AdditionalPrinterColumns", apart(version, "additionalPrinterColumns", shown_columns)),
            ("SelectableFields", apart(version, "selectableFields", shown_fields)),
        ])
    };
    list(versions, one)
}

fn shown_schema(value: &Value) -> String {
    inner(&[("OpenAPIV3Schema", value.get("openAPIV3Schema").to_string())])
}

fn shown_subresources(value: &Value) -> String {
    let scale = match value.get("scale") {
        Value::Null => "null".to_owned(),
        scale => inner(&[
            ("SpecReplicasPath", quoted(scale.get("specReplicasPath"))),
            ("StatusReplicasPath", quoted(scale.get("statusReplicasPath"))),
            ("LabelSelectorPath", scale.get("labelSelectorPath").to_string()),
        ]),
    };
    inner(&[("Status", value.get("status").to_string()), ("Scale", scale)])
}

fn shown_columns(value: &Value) -> String {
    list(value.items(), |column| {
        inner(&[
            ("Name", quoted(column.get("name"))),
            ("Type", quoted(column.get("type"))),
            ("Format", quoted(column.get("format"))),
            ("Description", quoted(column.get("description"))),
            ("Priority", column.get("priority").as_int().unwrap_or(0).to_string()),
            ("JSONPath", quoted(column.get("jsonPath"))),
        ])
    })
}

fn shown_fields(value: &Value) -> String {
    list(value.items(), |field| inner(&[("JSONPath", quoted(field.get("jsonPath")))]))
}

/// A text in JSON, empty where there is none.
fn quoted(text: &Value) -> String {
    Value::from(text.str()).to_string()
}

fn list(items: &[Value], form: impl Fn(&Value) -> String) -> String {
    format!("[{}]", items.iter().map(form).collect::<Vec<_>>().join(","))
}

/// An object in JSON whose fields keep their order.
fn inner(fields: &[(&str, String)]) -> String {
    let mut text = String::from("{");
    for (index, (name, value)) in fields.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a text cannot fail.
        let _ = write!(text, "{comma}\"{name}\":{value}");
    }
    text + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    fn told(check: impl FnOnce(&mut Errors)) -> Vec<String> {
        let mut errors = Errors::default();
        check(&mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn what_all_share_is_judged_once() {
        let column = r#""additionalPrinterColumns":[{"name":"a","type":"x","jsonPath":"a"}]"#;
        let same = format!(r#"[{{"name":"v1",{column}}},{{"name":"v2",{column}}}]"#);
        let same = versions(&same);
        let wanted = [
            r#"spec.additionalPrinterColumns[0].type: Invalid value: "x": must be one of boolean,date,integer,number,string"#,
            r#"spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with ."#,
        ];
        assert_eq!(told(|errors| check_shared(same.items(), &Value::Null, errors)), wanted);
        let other = versions(&format!(r#"[{{"name":"v1",{column}}},{{"name":"v2"}}]"#));
        assert!(told(|errors| check_shared(other.items(), &Value::Null, errors)).is_empty());
        let found = told(|errors| check(At::path("spec.versions", &other), &Value::Null, errors));
        let at = "spec.versions[0].additionalPrinterColumns[0].type: Invalid";
        assert!(found.iter().any(|fault| fault.starts_with(at)), "{found:#?}");
    }

    #[test]
    fn versions_are_shown_in_the_inner_form() {
        let one = versions(r#"[{"name":"v1","served":true,"schema":{"openAPIV3Schema":{}}}]"#);
        let wanted = r#"[{"Name":"v1","Served":true,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]"#;
        assert_eq!(shown(one.items()), wanted);
        let two = versions(r#"[{"name":"v1"},{"name":"v2","subresources":{"status":{}}}]"#);
        assert!(shown(two.items()).contains(r#""Subresources":{"Status":{},"Scale":null}"#));
        assert_eq!(shown(&[]), "null");
    }

    #[test]
    fn warnings_are_short_printable_and_of_deprecated_versions() {
        for (version, fault) in [
            (r#"{"deprecationWarning":"x"}"#, "can only be set for deprecated versions"),
            (r#"{"deprecated":true,"deprecationWarning":""}"#, "must not be an empty string"),
            (r#"{"deprecated":true,"deprecationWarning":"a\u0007"}"#, "found at index 1"),
        ] {
            let version = versions(version);
            let found = told(|errors| deprecation(At::root(&version), errors));
            assert!(found.concat().ends_with(fault), "{found:?}");
        }
        let good = versions(r#"{"deprecated":true,"deprecationWarning":"use v2"}"#);
        assert!(told(|errors| deprecation(At::root(&good), errors)).is_empty());
    }
}
