//! YAML text to trees, in the flavour that Kubernetes reads: YAML 1.1 booleans, octal numbers with
//! a leading zero, merge keys. One document per text; aliases are bounded.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::{Decoded, Error, source, typed};
use crate::api::schema::Schema;
use crate::api::tree::Value;
use crate::limits;

/// Decodes one object. A duplicate key is a finding in the words of Go's YAML library.
///
/// # Errors
/// As [`super::json::decode`].
pub fn decode(text: &[u8], schema: &Schema) -> Result<Decoded, Error> {
    let (value, duplicate) = parse(text)?;
    let mut decoded = typed::decode(source::Tree::new(value), schema.root())?;
    decoded.findings.splice(0..0, duplicate);
    Ok(decoded)
}

/// A text as a tree without a schema, and its first duplicate key. The empty text is null.
///
/// # Errors
/// Text that is no YAML, has several documents, or is beyond the limits.
pub fn parse(text: &[u8]) -> Result<(Value, Option<String>), Error> {
    let text = std::str::from_utf8(text)
        .map_err(|_| Error::Syntax("yaml: invalid leading UTF-8 octet".to_owned()))?;
    match read(text, DuplicateKeyPolicy::Error) {
        Ok(value) => Ok((value, None)),
        Err(error) => match duplicate(&error) {
            Some(finding) => {
                let value = read(text, DuplicateKeyPolicy::LastWins).map_err(syntax)?;
                Ok((value, Some(finding)))
            }
            None => Err(syntax(error)),
        },
    }
}

fn read(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
        with_snippet: false,
        ignore_binary_tag_for_string: true,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits::YAML_EVENTS_MAX,
        },
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_events: limits::YAML_EVENTS_MAX,
            max_nodes: limits::TREE_VALUES_MAX,
            max_depth: limits::TREE_DEPTH_MAX,
        },
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map(|node| node.0)
}

/// What a duplicate key is called, if that is what the error is about.
fn duplicate(error: &serde_saphyr::Error) -> Option<String> {
    let serde_saphyr::Error::DuplicateMappingKey { key, location } = error else { return None };
    let key = super::scalar::quote(key.as_deref().unwrap_or_default());
    let line = location.line();
    Some(format!("yaml: unmarshal errors:\n  line {line}: key {key} already set in map"))
}

fn syntax(error: serde_saphyr::Error) -> Error {
    let text = error.to_string();
    // The library tells bounds by the names of its own types.
    let why = match text.as_str() {
        text if text.contains("Documents {") => {
            "there are several documents, where one is expected"
        }
        text if text.starts_with("budget breached") => {
            "document is too large or too deep once its aliases are expanded"
        }
        text if text.starts_with("recursive references") => "anchor value contains itself",
        text => text,
    };
    Error::Syntax(format!("error converting YAML to JSON: yaml: {why}"))
}

/// A tree that takes any scalar as a key.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Self)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Value, E> {
        Ok(Value::Int(int))
    }

    #[allow(clippy::cast_precision_loss, reason = "numbers beyond i64 are floats by contract")]
    fn visit_u64<E>(self, int: u64) -> Result<Value, E> {
        Ok(i64::try_from(int).map_or(Value::Float(int as f64), Value::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, float: f64) -> Result<Value, E> {
        if !float.is_finite() {
            return Err(E::custom("json: unsupported value: not a finite number"));
        }
        // JSON, through which Kubernetes reads YAML, does not tell 1.0 from 1.
        let value = Value::Float(float);
        Ok(value.as_int().map_or(value, Value::Int))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Node(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((Node(key), Node(value))) = access.next_entry()? {
            let key = match key {
                Value::Str(key) => key,
                Value::Bool(_) | Value::Int(_) | Value::Float(_) => key.to_string().into(),
                key => {
                    let kind = key.kind_name();
                    return Err(A::Error::custom(format!("unsupported map key of type: {kind}")));
                }
            };
            fields.push((key, value));
        }
        Ok(Value::Object(fields.into_iter().collect()))
    }
}
