//! Types as OpenAPI schemas, in the words of version 3 or of version 2.

use super::descriptions::Descriptions;
use crate::api::schema::{Field, Kind, ListType, MapType, Node, Type, builtin};
use crate::api::tree::Value;

/// The two versions of OpenAPI that clients read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAPI 3.0, a document per group and version.
    V3,
    /// Swagger 2.0, one document.
    V2,
}

impl Dialect {
    /// How a definition is referred to.
    pub(super) fn reference(self, name: &str) -> Value {
        let place = match self {
            Self::V3 => "#/components/schemas/",
            Self::V2 => "#/definitions/",
        };
        Value::from([("$ref", format!("{place}{name}").into())])
    }
}

/// The definition's name of a type that has a JSON form of its own.
fn special_name(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Kind::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Kind::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Kind::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Kind::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        Kind::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        Kind::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        Kind::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        Kind::SchemaOrArray => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        }
        Kind::SchemaOrBool => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        }
        Kind::SchemaOrStrings => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        _ => return None,
    })
}

/// The name of the definition that a value refers to.
pub(super) fn target<'a>(node: Node<'a>) -> Option<&'a str> {
    match node.fields_type() {
        Some(ty) => Some(ty.name()),
        None => special_name(node.kind()),
    }
}

/// The definitions that a type refers to directly.
pub(super) fn targets<'a>(ty: Type<'a>) -> impl Iterator<Item = &'a str> {
    ty.fields().filter_map(|field| {
        let mut node = field.node();
        while let Some(elem) = node.elem() {
            node = elem;
        }
        target(node)
    })
}

/// A type as a definition.
pub(super) fn definition(ty: Type<'_>, dialect: Dialect, texts: &Descriptions) -> Value {
    let mut schema = special(ty.name(), dialect);
    set_text(&mut schema, texts.get(ty.description()));
    if !matches!(schema.get("type"), Value::Null) || special_kind(ty.name()).is_some() {
        return schema;
    }
    schema.set("type", "object");
    if ty.required().len() > 0 {
        schema.set("required", ty.required().map(Value::from).collect::<Vec<_>>());
    }
    let properties =
        ty.fields().map(|field| (field.name().to_owned(), property(field, dialect, texts)));
    let properties: crate::api::tree::Map = properties.collect();
    if !properties.is_empty() {
        schema.set("properties", properties);
    }
    set_map_type(&mut schema, ty.map_type());
    if let Ok(Value::Object(more)) = Value::parse(ty.extensions().as_bytes()) {
        more.into_iter().for_each(|(key, value)| schema.set(&key, value));
    }
    schema
}

fn special_kind(name: &str) -> Option<Kind> {
    let kinds = [
        Kind::Quantity,
        Kind::IntOrString,
        Kind::Time,
        Kind::MicroTime,
        Kind::Duration,
        Kind::FieldsV1,
        Kind::RawExtension,
        Kind::Json,
        Kind::SchemaOrArray,
        Kind::SchemaOrBool,
        Kind::SchemaOrStrings,
    ];
    kinds.into_iter().find(|kind| special_name(*kind) == Some(name))
}

/// The schema of a type that has a JSON form of its own; empty for all others.
fn special(name: &str, dialect: Dialect) -> Value {
    let mut schema = Value::object();
    let one_of = |types: [&str; 2]| -> Value {
        types.map(|name| Value::from([("type", name.into())])).to_vec().into()
    };
    match special_kind(name) {
        Some(Kind::Quantity) if dialect == Dialect::V3 => {
            schema.set("oneOf", one_of(["string", "number"]));
        }
        Some(Kind::IntOrString) => {
            schema.set("format", "int-or-string");
            match dialect {
                Dialect::V3 => schema.set("oneOf", one_of(["integer", "string"])),
                Dialect::V2 => schema.set("type", "string"),
            }
        }
        Some(Kind::Time | Kind::MicroTime) => {
            schema.set("type", "string");
            schema.set("format", "date-time");
        }
        Some(Kind::Quantity | Kind::Duration) => schema.set("type", "string"),
        Some(Kind::FieldsV1 | Kind::RawExtension) => schema.set("type", "object"),
        _ => {}
    }
    schema
}

fn set_text(schema: &mut Value, text: &str) {
    if !text.is_empty() {
        schema.set("description", text);
    }
}

fn set_map_type(schema: &mut Value, map_type: MapType) {
    match map_type {
        MapType::Atomic => schema.set("x-kubernetes-map-type", "atomic"),
        MapType::Granular => schema.set("x-kubernetes-map-type", "granular"),
        MapType::Unset => {}
    }
}

/// A field as a property.
pub(super) fn property(field: Field<'_>, dialect: Dialect, texts: &Descriptions) -> Value {
    let node = field.node();
    let mut schema = value(node, dialect);
    set_text(&mut schema, texts.get(field.description()));
    if dialect == Dialect::V3
        && let Some(default) = default(field)
    {
        schema.set("default", default);
    }
    set_merge_rules(&mut schema, node);
    // A reference in version 3 may have no neighbours.
    if dialect == Dialect::V3 && schema.as_object().is_some_and(|fields| fields.len() > 1) {
        let reference = schema.remove("$ref");
        if !reference.is_null() {
            schema.set("allOf", vec![Value::from([("$ref", reference)])]);
        }
    }
    schema
}

fn set_merge_rules(schema: &mut Value, node: Node<'_>) {
    match node.list_type() {
        ListType::Atomic => schema.set("x-kubernetes-list-type", "atomic"),
        ListType::Set => schema.set("x-kubernetes-list-type", "set"),
        ListType::Map => schema.set("x-kubernetes-list-type", "map"),
        ListType::Unset => {}
    }
    if node.keys().len() > 0 {
        let keys: Vec<Value> = node.keys().map(Value::from).collect();
        schema.set("x-kubernetes-list-map-keys", keys);
    }
    set_map_type(schema, node.own_map_type());
    if !node.merge_key().is_empty() {
        schema.set("x-kubernetes-patch-merge-key", node.merge_key());
    }
    let strategy = node.strategy();
    let words = [
        (strategy.merge(), "merge"),
        (strategy.replace(), "replace"),
        (strategy.retain_keys(), "retainKeys"),
    ];
    let words: Vec<&str> = words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect();
    if !words.is_empty() {
        schema.set("x-kubernetes-patch-strategy", words.join(","));
    }
}

/// A value's type, without what the field says of it.
fn value(node: Node<'_>, dialect: Dialect) -> Value {
    if let Some(name) = target(node) {
        return dialect.reference(name);
    }
    let mut schema = Value::object();
    let (name, format) = match node.kind() {
        Kind::Bool => ("boolean", ""),
        Kind::Int32 => ("integer", "int32"),
        // `int` has 64 bits, and yet upstream documents it so.
        Kind::Int64 if node.go_name() == "int" => ("integer", "int32"),
        Kind::Int64 => ("integer", "int64"),
        Kind::Float => ("number", "double"),
        Kind::String => ("string", ""),
        Kind::Bytes => ("string", "byte"),
        Kind::List => ("array", ""),
        Kind::Map => ("object", ""),
        _ => ("object", ""),
    };
    schema.set("type", name);
    if !format.is_empty() {
        schema.set("format", format);
    }
    if node.values().len() > 0 {
        schema.set("enum", node.values().map(Value::from).collect::<Vec<_>>());
    }
    if let Some(elem) = node.elem() {
        let key = if node.kind() == Kind::List { "items" } else { "additionalProperties" };
        schema.set(key, value(elem, dialect));
    }
    schema
}

/// The default that the sources declare, or the zero value of what is always written.
fn default(field: Field<'_>) -> Option<Value> {
    let node = field.node();
    if !node.default_text().is_empty() {
        return Value::parse(node.default_text().as_bytes()).ok();
    }
    if field.is_pointer() {
        return None;
    }
    match node.kind() {
        Kind::Struct if !field.omits_zero() => Some(Value::object()),
        _ if field.omits_empty() || field.omits_zero() => None,
        Kind::Bool => Some(Value::Bool(false)),
        Kind::Int32 | Kind::Int64 | Kind::Float => Some(Value::Int(0)),
        Kind::String => Some("".into()),
        _ => None,
    }
}

/// All kinds that a type is the root of, as `x-kubernetes-group-version-kind` lists them.
pub(super) fn kinds_of(name: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for (group, version, kind, node) in builtin().kinds() {
        if node.fields_type().is_some_and(|ty| ty.name() == name) {
            let group = if group == "meta.k8s.io" { "" } else { group };
            found.push(group_version_kind(group, version, kind));
        }
    }
    found
}

/// `x-kubernetes-group-version-kind` of one kind.
pub(super) fn group_version_kind(group: &str, version: &str, kind: &str) -> Value {
    Value::from([("group", group.into()), ("kind", kind.into()), ("version", version.into())])
}
