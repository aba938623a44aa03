//! A JSON value that is small, ordered and lossless enough for Kubernetes objects.
//!
//! Maps are vectors sorted by key: two equal objects encode to equal bytes, so a write that
//! changes nothing is found by comparison. Integers that fit are kept as integers; everything
//! else is a float, as in Kubernetes' own unstructured objects.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod map;
pub use map::Map;

/// The text of a key or a string: up to 24 bytes, as most are, stand in the value itself.
pub type Text = compact_str::CompactString;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`, also what an absent field reads as.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A number without fraction that fits 64 signed bits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Str(Text),
    /// A list.
    Array(Vec<Value>),
    /// A map.
    Object(Map),
}

/// What an absent field reads as.
static NULL: Value = Value::Null;

/// Text that is not JSON, or JSON that does not fit the asked type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(#[from] serde_json::Error);

impl Value {
    /// An empty map.
    pub const fn object() -> Self {
        Self::Object(Map::new())
    }

    /// Reads one JSON text. Of duplicate keys the last wins; strict reading is `codec::json`'s.
    ///
    /// # Errors
    /// When the text is not one JSON value.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        Ok(serde_json::from_slice(json)?)
    }

    /// Any serialisable value as a tree.
    ///
    /// # Errors
    /// When the value's own serialisation fails, as for a map whose keys are not strings.
    pub fn of<T: Serialize>(typed: &T) -> Result<Self, Error> {
        Self::parse(&serde_json::to_vec(typed)?)
    }

    /// The tree as a typed value.
    ///
    /// # Errors
    /// When the tree lacks what the type needs, or has it in another form.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.encode())?)
    }

    /// Compact canonical JSON: keys sorted, no spaces.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        #[allow(clippy::expect_used, reason = "writing JSON to memory cannot fail")]
        serde_json::to_writer(&mut out, self).expect("JSON to memory");
        out
    }

    /// The field `key` of a map; null for an absent field or another kind of value.
    pub fn get(&self, key: &str) -> &Value {
        match self {
            Self::Object(map) => map.get(key).unwrap_or(&NULL),
            _ => &NULL,
        }
    }

    /// The value at a path of field names; null when any step is absent.
    pub fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(self, |value, key| value.get(key))
    }

    /// The field `key`, made (and the value turned into a map) where absent.
    pub fn entry(&mut self, key: &str) -> &mut Value {
        if !matches!(self, Self::Object(_)) {
            *self = Self::object();
        }
        match self {
            Self::Object(map) => map.entry(key),
            _ => unreachable!("made a map above"),
        }
    }

    /// The value at a path of field names, made where absent.
    pub fn entry_at(&mut self, path: &[&str]) -> &mut Value {
        path.iter().fold(self, |value, key| value.entry(key))
    }

    /// The field `key`, if the value is a map that has it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut()?.get_mut(key)
    }

    /// Sets the field `key`; a value that is no map becomes one.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        *self.entry(key) = value.into();
    }

    /// Removes the field `key` and returns it; null when it was absent.
    pub fn remove(&mut self, key: &str) -> Value {
        self.as_object_mut().and_then(|map| map.remove(key)).unwrap_or_default()
    }

    /// Takes the value, leaving null.
    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }

    /// Whether this is null or absent.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether Go's `omitempty` would leave the value out: null, false, zero, or empty.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) | Self::Int(0) => true,
            Self::Bool(true) | Self::Int(_) => false,
            Self::Float(f) => *f == 0.0,
            Self::Str(s) => s.is_empty(),
            Self::Array(a) => a.is_empty(),
            Self::Object(m) => m.is_empty(),
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The string, or the empty one for any other value.
    pub fn str(&self) -> &str {
        self.as_str().unwrap_or_default()
    }

    /// The integer, if it is one (a float without fraction counts).
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(*i),
            #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
            Self::Float(f) if f.fract() == 0.0 && f.abs() < 9e18 => Some(*f as i64),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// Whether this is `true`.
    pub const fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// The items of a list; none for any other value.
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The items of a list, to change; none for any other value.
    pub fn items_mut(&mut self) -> &mut [Value] {
        match self {
            Self::Array(items) => items,
            _ => &mut [],
        }
    }

    /// The list itself, if it is one.
    pub const fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The map, if it is one.
    pub const fn as_object(&self) -> Option<&Map> {
        match self {
            Self::Object(map) => Some(map),
            _ => None,
        }
    }

    /// The map, to change, if it is one.
    pub const fn as_object_mut(&mut self) -> Option<&mut Map> {
        match self {
            Self::Object(map) => Some(map),
            _ => None,
        }
    }

    /// The fields of a map in key order; none for any other value.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.as_object().into_iter().flat_map(Map::iter)
    }

    /// What kind of JSON value this is, in Kubernetes' words.
    pub const fn kind_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "number",
            Self::Str(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

macro_rules! from {
    ($($from:ty => |$value:ident| $to:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self { $to }
        }
    )*};
}
from! {
    bool => |v| Self::Bool(v),
    i32 => |v| Self::Int(v.into()),
    u32 => |v| Self::Int(v.into()),
    i64 => |v| Self::Int(v),
    f64 => |v| Self::Float(v),
    &str => |v| Self::Str(Text::new(v)),
    String => |v| Self::Str(v.into()),
    Text => |v| Self::Str(v),
    Vec<Value> => |v| Self::Array(v),
    Map => |v| Self::Object(v),
}

impl<const N: usize> From<[(&str, Value); N]> for Value {
    fn from(fields: [(&str, Value); N]) -> Self {
        Self::Object(fields.into_iter().collect())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.encode()))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Int(i) => serializer.serialize_i64(*i),
            Self::Float(f) => serialize_float(*f, serializer),
            Self::Str(s) => serializer.serialize_str(s),
            Self::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| seq.serialize_element(item))?;
                seq.end()
            }
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(k, v)| map.serialize_entry(k, v))?;
                map.end()
            }
        }
    }
}

/// A whole float is written without its fraction, as Go does.
fn serialize_float<S: Serializer>(f: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if f.fract() == 0.0 && f.abs() < 1e15 {
        #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        return serializer.serialize_i64(f as i64);
    }
    serializer.serialize_f64(f)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v))
    }

    #[allow(clippy::cast_precision_loss, reason = "numbers beyond i64 are floats by contract")]
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Str(Text::new(v)))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::Str(v.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields: Vec<(Text, Value)> = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Value::Object(Map::of(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_canonically() {
        let value = Value::parse(br#"{"b":1,"a":[true,null,1.5,"x"],"c":2.0}"#).unwrap();
        assert_eq!(value.to_string(), r#"{"a":[true,null,1.5,"x"],"b":1,"c":2}"#);
    }

    #[test]
    fn absent_fields_read_as_null() {
        let value = Value::parse(br#"{"a":{"b":"x"}}"#).unwrap();
        assert_eq!(value.at(&["a", "b"]).str(), "x");
        assert!(value.at(&["a", "c", "d"]).is_null());
    }

    #[test]
    fn entries_are_made_where_absent() {
        let mut value = Value::Null;
        *value.entry_at(&["a", "b"]) = 1.into();
        value.set("c", "d");
        assert_eq!(value.to_string(), r#"{"a":{"b":1},"c":"d"}"#);
        assert_eq!(value.remove("c").str(), "d");
        assert!(value.remove("c").is_null());
    }

    #[test]
    fn the_last_of_duplicate_keys_wins() {
        assert_eq!(Value::parse(br#"{"a":1,"a":2}"#).unwrap().get("a").as_int(), Some(2));
    }

    #[test]
    fn numbers_beyond_i64_are_floats() {
        let value = Value::parse(b"18446744073709551615").unwrap();
        assert!(matches!(value, Value::Float(_)));
    }
}
