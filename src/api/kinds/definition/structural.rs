//! Whether a schema is structural: each field has one type that is known without looking at values,
//! so that pruning, defaulting and merging are defined.

use regex::Regex;

use crate::api::codec::conform;
use crate::api::kinds::check::At;
use crate::api::kinds::custom::validate::Validator;
use crate::api::registry::Errors;
use crate::api::schema::Schema;
use crate::api::tree::Value;

/// Keys that structural schemas may not have at all.
const FORBIDDEN: &[(&str, &str)] = &[
    ("$ref", "$ref is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("id", "id is not supported"),
    ("$schema", "$schema is not supported"),
];

/// Keys that say something of structure: not within `allOf` and its like.
const STRUCTURE: &[&str] = &[
    "type",
    "additionalProperties",
    "default",
    "description",
    "title",
    "nullable",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
];

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// How deep schemas may be.
const DEPTH_MAX: usize = 100;

/// Where in a schema we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Reports what is not structural below `at`, a version's `openAPIV3Schema`.
pub(super) fn check(at: At<'_>, errors: &mut Errors) {
    schema(at, Level::Root, DEPTH_MAX, errors);
}

fn schema(at: At<'_>, level: Level, depth: usize, errors: &mut Errors) {
    if depth == 0 {
        return errors.invalid(at, &Value::Null, "is nested too deep");
    }
    common(at, errors);
    typed(at, level, errors);
    extensions(at, errors);
    metadata(at, level, errors);
    default(at, errors);
    let properties = at.field("properties");
    for (_, property) in properties.keys() {
        schema(property, Level::Field, depth - 1, errors);
    }
    let additional = at.field("additionalProperties");
    if additional.as_object().is_some() {
        schema(additional, Level::Field, depth - 1, errors);
    }
    if additional.as_object().is_some() && !properties.is_null() {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(additional, why);
    }
    if !at.get("items").is_null() {
        schema(at.field("items"), Level::Item, depth - 1, errors);
    }
    combined(at, depth, errors);
}

/// What holds everywhere, within `allOf` and its like too.
fn common(at: At<'_>, errors: &mut Errors) {
    for (key, why) in FORBIDDEN {
        if !at.get(key).is_empty() {
            errors.forbidden(at.field(key), why);
        }
    }
    if at.get("uniqueItems").is_true() {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(at.field("uniqueItems"), why);
    }
    let pattern = at.field("pattern");
    if let Err(error) = Regex::new(pattern.str()) {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.invalid(pattern, &pattern, &why);
    }
    if !at.get("items").items().is_empty() {
        errors.forbidden(at.field("items"), "items must be a schema object and not an array");
    }
}

fn typed(at: At<'_>, level: Level, errors: &mut Errors) {
    let (given, kind) = (at.get("type").str(), at.field("type"));
    let either = at.get("x-kubernetes-int-or-string").is_true();
    let anything = at.get("x-kubernetes-preserve-unknown-fields").is_true();
    match given {
        "" if either || (anything && level != Level::Root) => {}
        "" => {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Field => "must not be empty for specified object fields",
                Level::Item => "must not be empty for specified array items",
            };
            errors.required(kind, why);
        }
        "object" => {}
        other if level == Level::Root || !TYPES.contains(&other) => {
            if level == Level::Root {
                errors.invalid(kind, &other.into(), "must be object at the root");
            }
            if !TYPES.contains(&other) {
                errors.not_supported(kind, &other.into(), TYPES);
            }
        }
        "array" if at.get("items").is_null() => {
            errors.required(at.field("items"), "must be specified");
        }
        _ => {}
    }
    if either && !given.is_empty() {
        let why = "must be empty if x-kubernetes-int-or-string is true";
        errors.invalid(kind, &kind, why);
    }
    if level == Level::Root && at.get("nullable").is_true() {
        errors.forbidden(at.field("nullable"), "nullable cannot be true at the root");
    }
}

fn extensions(at: At<'_>, errors: &mut Errors) {
    let given = at.get("type").str();
    let (list, keys) = (at.field("x-kubernetes-list-type"), at.field("x-kubernetes-list-map-keys"));
    if !list.is_empty() {
        crate::api::kinds::check::one_of(list, &["atomic", "map", "set"], errors);
        if given != "array" {
            let why = "must be array if x-kubernetes-list-type is specified";
            errors.invalid(at.field("type"), at.get("type"), why);
        }
    }
    if list.str() == "map" {
        map_keys(at, keys, errors);
    } else if !keys.is_empty() {
        errors.invalid(list, &list, "must be map if x-kubernetes-list-map-keys is non-empty");
    }
    let map = at.field("x-kubernetes-map-type");
    if !map.is_empty() {
        crate::api::kinds::check::one_of(map, &["atomic", "granular"], errors);
        if given != "object" {
            let why = "must be object if x-kubernetes-map-type is specified";
            errors.invalid(at.field("type"), at.get("type"), why);
        }
    }
    if at.get("x-kubernetes-embedded-resource").is_true() && given != "object" {
        errors.invalid(
            at.field("type"),
            at.get("type"),
            "must be object if x-kubernetes-embedded-resource is true",
        );
    }
    let preserve = at.field("x-kubernetes-preserve-unknown-fields");
    if preserve.as_bool() == Some(false) {
        errors.invalid(preserve, &preserve, "must be true or undefined");
    }
}

fn map_keys(at: At<'_>, keys: At<'_>, errors: &mut Errors) {
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        return errors.required(keys, why);
    }
    let item = at.get("items");
    for key in keys.items() {
        let property = item.at(&["properties", key.str()]);
        let always = item.get("required").items().contains(key.value());
        if property.is_null() {
            errors.invalid(key, &key, "must be a property name of the items");
        } else if !always && property.get("default").is_null() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or \
                       be a required property";
            errors.required(
                at.field("items").field("properties").key(key.str()).field("default"),
                why,
            );
        }
    }
}

/// Of metadata only names may be restricted.
fn metadata(at: At<'_>, level: Level, errors: &mut Errors) {
    let here = level == Level::Root || at.get("x-kubernetes-embedded-resource").is_true();
    let properties = at.field("properties");
    let metadata = properties.key("metadata");
    if !here || metadata.is_null() {
        return;
    }
    if metadata.get("type").str() != "object" {
        let why = "must be object";
        errors.invalid(metadata.field("type"), metadata.get("type"), why);
    }
    let why = "must not specify anything other than name and generateName, but metadata is \
               implicitly specified";
    if metadata.fields().any(|(key, _)| !matches!(key, "type" | "properties" | "description")) {
        errors.forbidden(metadata, why);
    }
    for (name, property) in metadata.field("properties").keys() {
        if !matches!(name, "name" | "generateName") {
            errors.forbidden(property, why);
        }
    }
}

/// A default must be what the schema allows.
fn default(at: At<'_>, errors: &mut Errors) {
    let default = at.field("default");
    if default.is_null() {
        return;
    }
    let path = default.to_string();
    let mut schema = at.value().clone();
    schema.remove("default");
    let pruned = Schema::custom(&schema, false)
        .filter(|_| default.as_object().is_some())
        .and_then(|schema| conform(default.value().clone(), &schema).ok());
    if pruned.is_some_and(|pruned| !pruned.findings.is_empty()) {
        errors.invalid(default, &default, "must not have unknown fields");
    }
    Validator::new(schema).check_at(&path, default.value(), errors);
}

fn combined(at: At<'_>, depth: usize, errors: &mut Errors) {
    for list in ["allOf", "anyOf", "oneOf"] {
        at.field(list).items().for_each(|inner| value_only(inner, depth - 1, errors));
    }
    if !at.get("not").is_null() {
        value_only(at.field("not"), depth - 1, errors);
    }
}

/// Within `allOf` and its like only values may be talked of.
fn value_only(at: At<'_>, depth: usize, errors: &mut Errors) {
    if depth == 0 {
        return errors.invalid(at, &Value::Null, "is nested too deep");
    }
    common(at, errors);
    for key in STRUCTURE.iter().filter(|key| !at.get(key).is_null()) {
        // An int-or-string says its two types so.
        if *key != "type" {
            errors.forbidden(at.field(key), "must be undefined to be structural");
        }
    }
    for (_, property) in at.field("properties").keys() {
        value_only(property, depth - 1, errors);
    }
    if !at.get("items").is_null() {
        value_only(at.field("items"), depth - 1, errors);
    }
    combined(at, depth, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(schema: &str) -> Vec<String> {
        let schema = Value::parse(schema.as_bytes()).unwrap();
        let mut errors = Errors::default();
        check(At::path("s", &schema), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn structural_schemas_pass() {
        let good = r#"{"type":"object","properties":{
            "a":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]},
            "b":{"x-kubernetes-preserve-unknown-fields":true},
            "c":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],
                 "items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"}}}},
            "d":{"type":"integer","default":1,"minimum":1},
            "metadata":{"type":"object","properties":{"name":{"type":"string","maxLength":3}}}}}"#;
        assert!(faults(good).is_empty(), "{:?}", faults(good));
    }

    #[test]
    fn others_are_refused_with_their_paths() {
        let cases = [
            ("{}", "s.type: Required value: must not be empty at the root"),
            (
                r#"{"type":"object","properties":{"a":{}}}"#,
                "s.properties[a].type: Required value: must not be empty for specified object fields",
            ),
            (r#"{"type":"array","items":{"type":"string"}}"#, "must be object at the root"),
            (
                r#"{"type":"object","properties":{"a":{"type":"array"}}}"#,
                "s.properties[a].items: Required value: must be specified",
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"integer","default":"x"}}}"#,
                "s.properties[a].default: Invalid value: \"string\"",
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"object","default":{"x":1}}}}"#,
                "s.properties[a].default: Invalid value: {\"x\":1}: must not have unknown fields",
            ),
            (r#"{"type":"object","$ref":"x"}"#, "s.$ref: Forbidden: $ref is not supported"),
            (
                r#"{"type":"object","properties":{"metadata":{"type":"object","properties":{"labels":{"type":"object"}}}}}"#,
                "s.properties[metadata].properties[labels]: Forbidden",
            ),
            (
                r#"{"type":"object","properties":{"metadata":{"type":"object","minProperties":1}}}"#,
                "s.properties[metadata]: Forbidden: must not specify anything other than name",
            ),
            (
                r#"{"type":"object","oneOf":[{"properties":{"a":{"default":1}}}]}"#,
                "s.oneOf[0].properties[a].default: Forbidden: must be undefined to be structural",
            ),
        ];
        for (schema, wanted) in cases {
            let found = faults(schema);
            assert!(found.iter().any(|fault| fault.contains(wanted)), "{schema}\n{found:#?}");
        }
    }
}
