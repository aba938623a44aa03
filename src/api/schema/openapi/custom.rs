//! Custom resources' definitions, from the CustomResourceDefinition's own JSON schema.

use super::definitions::{Dialect, group_version_kind, property};
use super::descriptions::Descriptions;
use crate::api::registry::Resource;
use crate::api::schema::builtin;
use crate::api::tree::{Map, Value};

/// What a schema may say, of all that a `JSONSchemaProps` may.
const KEPT: &[&str] = &[
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "description",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "externalDocs",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "nullable",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "uniqueItems",
];

/// What version 2 does not know.
const V3_ONLY: &[&str] = &["allOf", "anyOf", "default", "not", "nullable", "oneOf"];

/// The name of a definition: the group's parts reversed, the version and the kind.
pub(super) fn name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

/// `ObjectMeta` or `ListMeta` as the `metadata` of an object.
fn metadata(holder: &str, dialect: Dialect, texts: &Descriptions) -> Value {
    field(holder, "metadata", dialect, texts)
}

/// A property of a built-in type, without the default that only Go's zero value is.
fn field(holder: &str, name: &str, dialect: Dialect, texts: &Descriptions) -> Value {
    let holder = builtin().type_named(&super::paths::meta(holder));
    let mut schema = holder
        .and_then(|ty| ty.field(name))
        .map_or_else(Value::object, |field| property(field, dialect, texts));
    schema.remove("default");
    schema
}

fn set_type(schema: &mut Value, dialect: Dialect, texts: &Descriptions) {
    for name in ["apiVersion", "kind"] {
        let property = field("PartialObjectMetadata", name, dialect, texts);
        schema.entry("properties").set(name, property);
    }
}

/// The definition of one object.
pub(super) fn object(resource: &Resource, dialect: Dialect, texts: &Descriptions) -> Value {
    let open = resource.schema.open_api().and_then(|text| Value::parse(text.as_bytes()).ok());
    let open = &open.unwrap_or_default();
    let unknown = open.get("x-kubernetes-preserve-unknown-fields").is_true();
    let mut schema = match (open, dialect) {
        // kubectl takes any property that stands here for the only one that may.
        (Value::Object(_), Dialect::V2) if unknown => Value::from([("type", "object".into())]),
        (Value::Object(_), _) => {
            let mut schema = convert(open, dialect, texts);
            let metadata = metadata("PartialObjectMetadata", dialect, texts);
            schema.entry("properties").set("metadata", metadata);
            set_type(&mut schema, dialect, texts);
            schema
        }
        _ => Value::from([("type", "object".into())]),
    };
    let kind = group_version_kind(&resource.group, &resource.version, &resource.kind);
    schema.set("x-kubernetes-group-version-kind", vec![kind]);
    schema
}

/// The definition of a list.
pub(super) fn list(resource: &Resource, dialect: Dialect, texts: &Descriptions) -> Value {
    let item = name(&resource.group, &resource.version, &resource.kind);
    let about = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/\
         sig-architecture/api-conventions.md",
        resource.plural
    );
    let items = Value::from([
        ("description", about.into()),
        ("items", dialect.reference(&item)),
        ("type", "array".into()),
    ]);
    let mut schema = Value::from([
        ("description", format!("{} is a list of {}", resource.list_kind, resource.kind).into()),
        ("required", vec!["items".into()].into()),
        ("type", "object".into()),
    ]);
    schema.entry("properties").set("items", items);
    let metadata = metadata("PartialObjectMetadataList", dialect, texts);
    schema.entry("properties").set("metadata", metadata);
    set_type(&mut schema, dialect, texts);
    let kind = group_version_kind(&resource.group, &resource.version, &resource.list_kind);
    schema.set("x-kubernetes-group-version-kind", vec![kind]);
    schema
}

/// A `JSONSchemaProps` in the words of a dialect. Version 2 is what old versions of kubectl can
/// cope with: no alternatives, and no type where null or unknown fields may stand.
fn convert(schema: &Value, dialect: Dialect, texts: &Descriptions) -> Value {
    let unknown = schema.get("x-kubernetes-preserve-unknown-fields").is_true();
    let untyped = dialect == Dialect::V2 && (unknown || schema.get("nullable").is_true());
    let mut out = Map::new();
    for (key, value) in schema.fields() {
        let known = KEPT.contains(&key) || key.starts_with("x-kubernetes-");
        let unsaid = dialect == Dialect::V2 && V3_ONLY.contains(&key);
        let unsaid = unsaid || (untyped && matches!(key, "items" | "properties" | "type"));
        if !known || unsaid || *value == Value::Bool(false) || value.is_null() {
            continue;
        }
        let value = match key {
            "properties" => {
                let inner = value.fields().map(|(k, v)| (k.to_owned(), convert(v, dialect, texts)));
                Value::Object(inner.collect())
            }
            "items" | "additionalProperties" | "not" if value.as_object().is_some() => {
                convert(value, dialect, texts)
            }
            "allOf" | "anyOf" | "oneOf" => {
                value.items().iter().map(|v| convert(v, dialect, texts)).collect::<Vec<_>>().into()
            }
            "required" if dialect == Dialect::V2 => required(schema),
            _ => value.clone(),
        };
        out.insert(key, value);
    }
    let mut out = Value::Object(out);
    if out.get("required").items().is_empty() {
        out.remove("required");
    }
    if out.get("type").str() == "array" && out.get("items").is_null() {
        out.remove("type");
    }
    if schema.get("x-kubernetes-embedded-resource").is_true() && !untyped {
        let metadata = metadata("PartialObjectMetadata", dialect, texts);
        out.entry("properties").set("metadata", metadata);
        set_type(&mut out, dialect, texts);
    }
    out
}

/// What is required, but for what may be null.
fn required(schema: &Value) -> Value {
    let nullable =
        |name: &Value| schema.get("properties").get(name.str()).get("nullable").is_true();
    let names = schema.get("required").items().iter().filter(|name| !nullable(name));
    names.cloned().collect::<Vec<_>>().into()
}
