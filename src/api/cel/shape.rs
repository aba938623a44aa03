//! What the values of an object are, as its OpenAPI schema says: their types, and how large they
//! can be at most, from which the cost of a rule is estimated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::parse::RESERVED;
use crate::api::tree::Value;

/// The largest request that the estimates reckon with, in bytes: upstream's, so that rules which
/// pass there pass here.
const REQUEST_BYTES: u64 = 3 * 1024 * 1024;
/// How deep a schema is followed; deeper parts are not accessible.
const DEPTH_MAX: usize = 100;

/// What a value is.
#[derive(Debug, PartialEq)]
pub struct Shape {
    /// Its type.
    pub kind: Kind,
    /// How many items, entries, or bytes it can have.
    pub max: u64,
    /// The fewest bytes that it takes in JSON.
    pub size_min: u64,
}

/// The type of a value.
#[derive(Debug, PartialEq)]
pub enum Kind {
    /// Anything: an int-or-string, or what no schema speaks of.
    Dyn,
    /// `boolean`
    Bool,
    /// `integer`
    Int,
    /// `number`
    Double,
    /// `string`
    Str,
    /// `string` of format `byte`
    Bytes,
    /// `string` of format `duration`
    Duration,
    /// `string` of format `date` or `date-time`
    Timestamp,
    /// `array`
    List(Arc<Shape>, Merge),
    /// `object` with `additionalProperties`
    Map(Arc<Shape>),
    /// `object` with `properties`
    Object(Object),
}

/// The fields of an object.
#[derive(Debug, PartialEq)]
pub struct Object {
    /// What the type is called in messages.
    pub name: String,
    /// Fields by the names that expressions know them by.
    pub fields: BTreeMap<String, Field>,
}

impl Object {
    /// A field by the name that expressions know it by, or by its own where the grammar has it.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let escaped = || self.fields.get(&escape(name)?).filter(|field| field.json == name);
        self.fields.get(name).or_else(escaped)
    }
}

/// A field of an object.
#[derive(Debug, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub json: String,
    /// What it is.
    pub shape: Arc<Shape>,
}

/// How lists are compared and added.
#[derive(Debug, PartialEq, Clone)]
pub enum Merge {
    /// In order.
    Atomic,
    /// As sets.
    Set,
    /// As maps, by these keys of their items.
    Keys(Vec<String>),
}

/// What no schema speaks of.
pub static DYN: Shape = Shape { kind: Kind::Dyn, max: REQUEST_BYTES - 2, size_min: 1 };

const fn simple(kind: Kind, max: u64, size_min: u64) -> Shape {
    Shape { kind, max, size_min }
}

impl Shape {
    /// The shape that a schema describes; none where expressions cannot reach. `name` is what
    /// messages call it; a `resource` has apiVersion, kind and a name in any case.
    pub fn of(schema: &Value, name: &str, resource: bool) -> Option<Self> {
        made(schema, name, resource, DEPTH_MAX)
    }

    /// Anything.
    pub fn any() -> Arc<Self> {
        Arc::new(simple(Kind::Dyn, DYN.max, DYN.size_min))
    }

    /// A text of any length.
    pub const fn text() -> Self {
        simple(Kind::Str, REQUEST_BYTES - 2, 2)
    }

    /// A simple value: `Kind::Bool`, `Kind::Int` or `Kind::Timestamp`.
    pub const fn plain(kind: Kind) -> Self {
        simple(kind, 32, 1)
    }

    /// A list of any length.
    pub fn list(inner: Self) -> Self {
        let max = (REQUEST_BYTES - 2) / (inner.size_min + 1);
        simple(Kind::List(Arc::new(inner), Merge::Atomic), max, 2)
    }

    /// A map of any size.
    pub fn map(inner: Self) -> Self {
        let max = (REQUEST_BYTES - 2) / (inner.size_min + 6);
        simple(Kind::Map(Arc::new(inner)), max, 2)
    }

    /// An object that no schema describes.
    pub fn object(name: &str, fields: Vec<(&str, Arc<Self>)>) -> Self {
        let field = |(json, shape): (&str, Arc<Self>)| {
            Some((escape(json)?, Field { json: json.to_owned(), shape }))
        };
        let fields = fields.into_iter().filter_map(field).collect();
        simple(Kind::Object(Object { name: name.to_owned(), fields }), 0, 2)
    }

    /// What messages call it, where it is an object.
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Object(object) => &object.name,
            _ => "object",
        }
    }

    /// The shape of a field of an object, by its name in JSON.
    pub fn field(&self, json: &str) -> Option<&Arc<Self>> {
        match &self.kind {
            Kind::Object(object) => object.fields.get(&escape(json)?).map(|field| &field.shape),
            _ => None,
        }
    }

    /// The shape of the items of a list, or the values of a map.
    pub const fn inner(&self) -> Option<&Arc<Self>> {
        match &self.kind {
            Kind::List(inner, _) | Kind::Map(inner) => Some(inner),
            _ => None,
        }
    }
}

fn made(schema: &Value, name: &str, resource: bool, depth: usize) -> Option<Shape> {
    let depth = depth.checked_sub(1)?;
    if schema.get("x-kubernetes-int-or-string").is_true() {
        let max = size(schema, "maxLength").map_or(REQUEST_BYTES - 2, |max| max.saturating_mul(4));
        return Some(simple(Kind::Dyn, max, 1));
    }
    match schema.get("type").str() {
        "array" => list(schema, name, depth),
        "object" => object(schema, name, resource, depth),
        "string" => Some(text(schema)),
        "boolean" => Some(simple(Kind::Bool, 0, 4)),
        "number" => Some(simple(Kind::Double, 0, 1)),
        "integer" => Some(simple(Kind::Int, 0, 1)),
        _ => None,
    }
}

fn list(schema: &Value, name: &str, depth: usize) -> Option<Shape> {
    let items = schema.get("items");
    let inner = made(items, &format!("{name}.@idx"), is_resource(items), depth)?;
    let max = size(schema, "maxItems").unwrap_or((REQUEST_BYTES - 2) / (inner.size_min + 1));
    let keys = || {
        let keys = schema.get("x-kubernetes-list-map-keys").items().iter();
        keys.map(|key| key.str().to_owned()).collect()
    };
    let merge = match schema.get("x-kubernetes-list-type").str() {
        "set" => Merge::Set,
        "map" => Merge::Keys(keys()),
        _ => Merge::Atomic,
    };
    Some(simple(Kind::List(Arc::new(inner), merge), max, 2))
}

fn is_resource(schema: &Value) -> bool {
    schema.get("x-kubernetes-embedded-resource").is_true()
}

fn object(schema: &Value, name: &str, resource: bool, depth: usize) -> Option<Shape> {
    let values = schema.get("additionalProperties");
    if values.as_object().is_some() && !resource {
        let inner = made(values, &format!("{name}.@elem"), is_resource(values), depth)?;
        let max =
            size(schema, "maxProperties").unwrap_or((REQUEST_BYTES - 2) / (inner.size_min + 6));
        return Some(simple(Kind::Map(Arc::new(inner)), max, 2));
    }
    let required: BTreeSet<&str> = schema.get("required").items().iter().map(Value::str).collect();
    let mut fields = BTreeMap::new();
    let mut size_min = 2;
    for (json, property) in schema.get("properties").fields() {
        let inner = format!("{name}.{json}");
        let Some(shape) = made(property, &inner, is_resource(property), depth) else { continue };
        if required.contains(json) && property.get("default").is_null() {
            size_min += json.len() as u64 + shape.size_min + 4;
        }
        if let Some(escaped) = escape(json) {
            fields.insert(escaped, Field { json: json.to_owned(), shape: Arc::new(shape) });
        }
    }
    if resource {
        identity(name, &mut fields);
    }
    Some(simple(Kind::Object(Object { name: name.to_owned(), fields }), 0, size_min))
}

/// What of a resource's own fields expressions may read.
fn identity(name: &str, fields: &mut BTreeMap<String, Field>) {
    let field = |json: &str, shape| Field { json: json.to_owned(), shape: Arc::new(shape) };
    let string = || simple(Kind::Str, REQUEST_BYTES - 2, 2);
    let named = |name: &str| (name.to_owned(), field(name, string()));
    let inner = [named("name"), named("generateName")].into_iter().collect();
    let kind = Kind::Object(Object { name: format!("{name}.metadata"), fields: inner });
    let given = fields.get("metadata").is_some_and(|metadata| {
        matches!(&metadata.shape.kind, Kind::Object(object)
            if ["name", "generateName"].iter().all(|name| object.fields.contains_key(*name)))
    });
    if !given {
        fields.insert("metadata".into(), field("metadata", simple(kind, 0, 2)));
    }
    for (name, field) in [named("apiVersion"), named("kind")] {
        fields.entry(name).or_insert(field);
    }
}

fn text(schema: &Value) -> Shape {
    let whole = REQUEST_BYTES - 2;
    let longest = || {
        let texts = schema.get("enum").items().iter().filter_map(Value::as_str);
        texts.map(|text| text.len() as u64).max()
    };
    match schema.get("format").str() {
        "byte" => simple(Kind::Bytes, size(schema, "maxLength").unwrap_or(whole), 2),
        "duration" => simple(Kind::Duration, 32, 3),
        "date" => simple(Kind::Timestamp, 12, 12),
        "date-time" => simple(Kind::Timestamp, 32, 21),
        _ => {
            let max = size(schema, "maxLength").map(|max| max.saturating_mul(4));
            simple(Kind::Str, max.or_else(longest).unwrap_or(whole), 2)
        }
    }
}

/// A limit that a schema names; a negative one is none at all.
fn size(schema: &Value, key: &str) -> Option<u64> {
    schema.get(key).as_int().map(|n| u64::try_from(n).unwrap_or(0))
}

/// Words that are reserved for the grammar itself.
const WORDS: [&str; 4] = ["true", "false", "null", "in"];

/// Whether the grammar has a name for itself, so that nothing else can be called so.
pub fn is_word(name: &str) -> bool {
    WORDS.contains(&name) || RESERVED.contains(&name)
}

/// The name by which expressions know a field; none for names that cannot be written.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if is_word(name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let (taken, made) = match first {
            '_' if rest.starts_with("__") => (2, "__underscores__"),
            '.' => (1, "__dot__"),
            '-' => (1, "__dash__"),
            '/' => (1, "__slash__"),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => (1, &rest[..1]),
            _ => return None,
        };
        out.push_str(made);
        rest = &rest[taken..];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let cases = [
            ("a-b", Some("a__dash__b")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("namespace", Some("__namespace__")),
            ("_x", Some("_x")),
            ("1a", None),
            ("a b", None),
            ("é", None),
            ("", None),
        ];
        for (name, wanted) in cases {
            assert_eq!(escape(name).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn sizes_come_from_the_schema_or_from_what_fits_a_request() {
        let schema = Value::parse(
            br#"{"type":"object","required":["a"],"properties":{
              "a":{"type":"string","maxLength":5},"b":{"type":"array","items":{"type":"integer"}},
              "c":{"x-kubernetes-preserve-unknown-fields":true},
              "d-e":{"type":"object","maxProperties":3,"additionalProperties":{"type":"string"}}}}"#,
        )
        .unwrap();
        let shape = Shape::of(&schema, "self", true).unwrap();
        assert_eq!(shape.size_min, 2 + 1 + 2 + 4);
        assert_eq!(shape.field("a").unwrap().max, 20);
        assert_eq!(shape.field("b").unwrap().max, (REQUEST_BYTES - 2) / 2);
        assert!(shape.field("c").is_none() && shape.field("kind").is_some());
        assert_eq!(shape.field("d-e").unwrap().max, 3);
    }
}
