//! Protobuf messages to trees.

use super::super::typed::{entry_or_zero, fill, or_zero};
use super::super::{Error, scalar, time_text};
use super::wire::{Raw, Reader};
use crate::api::quantity::Quantity;
use crate::api::schema::{Field, Kind, Node, Schema, Type};
use crate::api::tree::{Map, Value};
use crate::limits;

/// Decodes an object's message, without envelope, to the shape that decoding JSON would yield;
/// `apiVersion` and `kind` are not in it.
///
/// # Errors
/// Malformed messages, and what is beyond the limits.
pub fn decode(message: &[u8], schema: &Schema) -> Result<Value, Error> {
    let ty =
        schema.fields().ok_or_else(|| Error::Type("the object has no protobuf form".to_owned()))?;
    let mut object = Map::new();
    Walk { depth: 0, values: 0 }.message(message, ty, &mut object)?;
    Ok(Value::Object(object))
}

struct Walk {
    depth: usize,
    values: usize,
}

impl Walk {
    fn counted(&mut self, count: usize) -> Result<(), Error> {
        self.values += count;
        if self.values > limits::TREE_VALUES_MAX {
            return Err(Error::Limit("the object has too many values"));
        }
        Ok(())
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == limits::TREE_DEPTH_MAX {
            return Err(Error::Limit("exceeded max depth"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Reads a message into an object, which may have fields from a message before it.
    fn message(&mut self, message: &[u8], ty: Type<'_>, object: &mut Map) -> Result<(), Error> {
        self.fields(message, ty, object)?;
        let added = fill(object, ty);
        self.counted(added)
    }

    fn fields(&mut self, message: &[u8], ty: Type<'_>, object: &mut Map) -> Result<(), Error> {
        let mut reader = Reader::new(message);
        while let Some((number, raw)) = reader.field()? {
            let Some(field) = ty.by_number(number) else { continue };
            self.counted(1)?;
            match (field.is_inline(), field.node().fields_type()) {
                (true, Some(inner)) => {
                    let message = raw.bytes(number)?;
                    self.deeper(|walk| walk.fields(message, inner, object))?;
                }
                _ => self.field(field, raw, object)?,
            }
        }
        Ok(())
    }

    fn field(&mut self, field: Field<'_>, raw: Raw<'_>, object: &mut Map) -> Result<(), Error> {
        let (node, number) = (field.node(), field.number());
        let slot = object.entry(field.name());
        match node.kind() {
            Kind::List if !node.is_wrapped() => {
                let Some(elem) = node.elem() else { return Ok(()) };
                let item = self.deeper(|walk| walk.value(elem, number, raw, Value::Null))?;
                if !matches!(slot, Value::Array(_)) {
                    *slot = Value::Array(Vec::new());
                }
                if let Value::Array(items) = slot {
                    items.push(or_zero(elem, item));
                }
            }
            Kind::Map => {
                let Some(elem) = node.elem() else { return Ok(()) };
                let (key, value) = self.deeper(|walk| walk.entry(elem, raw.bytes(number)?))?;
                slot.set(&key, value);
            }
            _ => {
                let before = slot.take();
                *slot = self.deeper(|walk| walk.value(node, number, raw, before))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, elem: Node<'_>, message: &[u8]) -> Result<(String, Value), Error> {
        let (mut key, mut value) = (String::new(), Value::Null);
        let mut reader = Reader::new(message);
        while let Some((number, raw)) = reader.field()? {
            match number {
                1 => key = raw.text(number)?,
                2 => value = self.value(elem, number, raw, Value::Null)?,
                _ => {}
            }
        }
        Ok((key, entry_or_zero(elem, value)))
    }

    /// Reads one value. A struct is read into the value that was there before.
    #[allow(clippy::cast_possible_truncation, reason = "Go truncates 32-bit fields too")]
    fn value(
        &mut self,
        node: Node<'_>,
        number: u32,
        raw: Raw<'_>,
        before: Value,
    ) -> Result<Value, Error> {
        Ok(match node.kind() {
            Kind::Any => Value::Null,
            Kind::Bool => Value::Bool(raw.int(number)? != 0),
            Kind::Int32 => Value::Int(i64::from(raw.int(number)? as i32)),
            Kind::Int64 => Value::Int(raw.int(number)?),
            Kind::Float => {
                let value = Value::Float(raw.double(number)?);
                value.as_int().map_or(value, Value::Int)
            }
            Kind::String => raw.text(number)?.into(),
            Kind::Bytes => scalar::pack(raw.bytes(number)?),
            Kind::Struct => {
                let mut object = match before {
                    Value::Object(object) => object,
                    _ => Map::new(),
                };
                if let Some(ty) = node.fields_type() {
                    self.message(raw.bytes(number)?, ty, &mut object)?;
                }
                Value::Object(object)
            }
            Kind::List | Kind::Map => self.wrapped(node, raw.bytes(number)?)?,
            Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings => {
                self.schema(node, raw.bytes(number)?)?
            }
            _ => special(node, raw.bytes(number)?)?,
        })
    }

    /// A list that is a message with one field.
    fn wrapped(&mut self, node: Node<'_>, message: &[u8]) -> Result<Value, Error> {
        let Some(elem) = node.elem() else { return Ok(Value::Null) };
        let mut items = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((number, raw)) = reader.field()? {
            if number == 1 {
                self.counted(1)?;
                let item = self.deeper(|walk| walk.value(elem, number, raw, Value::Null))?;
                items.push(or_zero(elem, item));
            }
        }
        Ok(Value::Array(items))
    }

    /// The three types of CRDs that hold a schema or something else.
    fn schema(&mut self, node: Node<'_>, message: &[u8]) -> Result<Value, Error> {
        let Some(schema) = scalar::schema_props() else { return Ok(Value::Null) };
        let is_bool = node.kind() == Kind::SchemaOrBool;
        let (mut inner, mut allows, mut items) = (Value::Null, false, Vec::new());
        let mut reader = Reader::new(message);
        while let Some((number, raw)) = reader.field()? {
            self.counted(1)?;
            match (number, node.kind()) {
                (1, Kind::SchemaOrBool) => allows = raw.int(number)? != 0,
                (1, _) | (2, Kind::SchemaOrBool) => {
                    let before = inner.take();
                    inner = self.deeper(|walk| walk.value(schema, number, raw, before))?;
                }
                (2, Kind::SchemaOrStrings) => items.push(raw.text(number)?.into()),
                (2, _) => {
                    let item = self.deeper(|walk| walk.value(schema, number, raw, Value::Null))?;
                    items.push(item);
                }
                _ => {}
            }
        }
        Ok(match inner {
            _ if !items.is_empty() => Value::Array(items),
            Value::Null if is_bool => Value::Bool(allows),
            inner => inner,
        })
    }
}

/// A type that JSON has as one value.
fn special(node: Node<'_>, message: &[u8]) -> Result<Value, Error> {
    let (mut first, mut second, mut bytes) = (0, 0, None);
    let mut reader = Reader::new(message);
    while let Some((number, raw)) = reader.field()? {
        match (number, raw) {
            (1, Raw::Varint(_)) => first = raw.int(number)?,
            (2, Raw::Varint(_)) => second = raw.int(number)?,
            (1 | 3, Raw::Bytes(content)) => bytes = Some(content),
            _ => {}
        }
    }
    let text = || scalar::text(bytes.unwrap_or_default()).into_owned();
    Ok(match node.kind() {
        Kind::Quantity => match bytes {
            None => "0".into(),
            Some(_) => {
                let quantity: Quantity = text().parse().map_err(|e| Error::Type(format!("{e}")))?;
                quantity.to_string().into()
            }
        },
        Kind::IntOrString if first == 1 => text().into(),
        #[allow(clippy::cast_possible_truncation, reason = "Go truncates 32-bit fields too")]
        Kind::IntOrString => Value::Int(i64::from(second as i32)),
        Kind::Time if message.is_empty() => Value::Null,
        Kind::MicroTime if message.is_empty() => Value::Null,
        Kind::Time => time_text::from_timestamp(first, 0, false).map_err(Error::Type)?,
        Kind::MicroTime => time_text::from_timestamp(first, second, true).map_err(Error::Type)?,
        Kind::Duration => time_text::format_duration(first).into(),
        _ => bytes.map_or(Ok(Value::Null), embedded)?,
    })
}

/// A foreign object in JSON, or in an envelope of its own.
fn embedded(bytes: &[u8]) -> Result<Value, Error> {
    if !bytes.starts_with(super::MAGIC) {
        return Ok(super::super::json::decode(bytes, &Schema::default())?.value);
    }
    let envelope = super::open(bytes)?;
    let (group, version) = crate::api::meta::split_api_version(&envelope.api_version);
    let schema = Schema::of(group, version, &envelope.kind)
        .or_else(|| Schema::of("meta.k8s.io", "v1", &envelope.kind))
        .ok_or_else(|| Error::Type(format!("no kind {} in protobuf", envelope.kind)))?;
    let mut value = decode(envelope.message, &schema)?;
    value.set("apiVersion", envelope.api_version);
    value.set("kind", envelope.kind);
    Ok(value)
}
