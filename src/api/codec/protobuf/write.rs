//! Trees to protobuf messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::{Error, scalar, time_text};
use super::wire::Writer;
use crate::api::schema::{Field, Kind, Node, Schema, Type};
use crate::api::tree::{Map, Value};

/// An object's message, without envelope. The tree must be in the shape of its kind, as decoding
/// yields it.
///
/// # Errors
/// Values of another type than their field; kinds that have no protobuf form.
pub fn encode(object: &Value, schema: &Schema) -> Result<Vec<u8>, Error> {
    let mut out = Writer::with_capacity(1024);
    encode_into(&mut out, object, schema)?;
    Ok(out.finish())
}

/// Writes an object's message before what is there.
pub(super) fn encode_into(out: &mut Writer, object: &Value, schema: &Schema) -> Result<(), Error> {
    let (Some(ty), Value::Object(object)) = (schema.fields(), object) else {
        return Err(Error::Type("the object has no protobuf form".to_owned()));
    };
    message(out, ty, object)
}

static EMPTY: Map = Map::new();

fn message(out: &mut Writer, ty: Type<'_>, object: &Map) -> Result<(), Error> {
    for field in ty.own_fields().rev().filter(|field| field.number() > 0) {
        let number = field.number();
        match (field.is_inline(), field.node().fields_type()) {
            (true, Some(inner)) => out.nested(number, |out| message(out, inner, object))?,
            _ => {
                let value = object.get_bytes(field.name_bytes()).unwrap_or(&Value::Null);
                put_field(out, field, value).map_err(|fault| in_field(field, fault))?;
            }
        }
    }
    Ok(())
}

/// Names the field at which a value was wrong, from the inside to the outside.
fn in_field(field: Field<'_>, error: Error) -> Error {
    match error {
        Error::Type(what) => Error::Type(format!("{}: {what}", field.name())),
        error => error,
    }
}

fn put_field(out: &mut Writer, field: Field<'_>, value: &Value) -> Result<(), Error> {
    let node = field.node();
    let nothing = field.is_pointer() || matches!(node.kind(), Kind::Bytes | Kind::Any);
    if value.is_null() && nothing {
        return Ok(());
    }
    put(out, field.number(), node, value)
}

fn wrong(node: Node<'_>, value: &Value) -> Error {
    Error::Type(format!("cannot encode {} as {}", value.kind_name(), node.go_name()))
}

/// Writes a value; null is the zero value.
fn put(out: &mut Writer, number: u32, node: Node<'_>, value: &Value) -> Result<(), Error> {
    match (node.kind(), value) {
        (Kind::Any, _) => {}
        (Kind::Bool | Kind::Int32 | Kind::Int64, Value::Null) => out.int(number, 0),
        (Kind::Bool, Value::Bool(bool)) => out.int(number, i64::from(*bool)),
        (Kind::Int32 | Kind::Int64, Value::Int(int)) => out.int(number, *int),
        (Kind::Float, Value::Null) => out.double(number, 0.0),
        (Kind::Float, Value::Float(float)) => out.double(number, *float),
        #[allow(clippy::cast_precision_loss, reason = "the field is a float")]
        (Kind::Float, Value::Int(int)) => out.double(number, *int as f64),
        (Kind::String | Kind::Bytes, Value::Null) => out.bytes(number, b""),
        (Kind::String, Value::Str(text)) => out.bytes(number, text.as_bytes()),
        (Kind::Bytes, Value::Str(text)) => {
            out.bytes(number, &STANDARD.decode(text).map_err(|_| wrong(node, value))?);
        }
        (Kind::List, Value::Null) if node.is_wrapped() => out.bytes(number, b""),
        (Kind::List | Kind::Map, Value::Null) => {}
        (Kind::List, Value::Array(items)) if node.is_wrapped() => {
            out.nested(number, |out| put_items(out, 1, node, items))?;
        }
        (Kind::List, Value::Array(items)) => put_items(out, number, node, items)?,
        (Kind::Map, Value::Object(entries)) => put_entries(out, number, node, entries)?,
        (Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Float, _)
        | (Kind::String | Kind::Bytes | Kind::List | Kind::Map, _) => {
            return Err(wrong(node, value));
        }
        _ => out.nested(number, |out| put_message(out, node, value))?,
    }
    Ok(())
}

fn put_items(out: &mut Writer, number: u32, node: Node<'_>, items: &[Value]) -> Result<(), Error> {
    let Some(elem) = node.elem() else { return Ok(()) };
    items.iter().rev().try_for_each(|item| put(out, number, elem, item))
}

fn put_entries(out: &mut Writer, number: u32, node: Node<'_>, entries: &Map) -> Result<(), Error> {
    let Some(elem) = node.elem() else { return Ok(()) };
    entries.iter().rev().try_for_each(|(key, value)| {
        out.nested(number, |out| {
            put(out, 2, elem, value)?;
            out.bytes(1, key.as_bytes());
            Ok(())
        })
    })
}

/// Writes the content of a message: a struct, or a type with a form of its own.
fn put_message(out: &mut Writer, node: Node<'_>, value: &Value) -> Result<(), Error> {
    match (node.kind(), value) {
        (Kind::Struct, Value::Null | Value::Object(_)) => {
            let object = value.as_object().unwrap_or(&EMPTY);
            node.fields_type().map_or(Ok(()), |ty| message(out, ty, object))?;
        }
        (Kind::Quantity, Value::Null) => out.bytes(1, b"0"),
        (Kind::Quantity, Value::Str(text)) => out.bytes(1, text.as_bytes()),
        (Kind::IntOrString, Value::Null | Value::Int(_) | Value::Str(_)) => {
            out.bytes(3, value.str().as_bytes());
            out.int(2, value.as_int().unwrap_or(0));
            out.int(1, i64::from(matches!(value, Value::Str(_))));
        }
        (Kind::Duration, Value::Null) => out.int(1, 0),
        (Kind::Duration, Value::Str(text)) => {
            out.int(1, time_text::parse_duration(text).map_err(Error::Type)?);
        }
        (Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings, _) => {
            put_schema(out, node, value)?;
        }
        (_, Value::Null) => {}
        (Kind::Time | Kind::MicroTime, Value::Str(text)) => {
            let micro = node.kind() == Kind::MicroTime;
            let (seconds, nanos) = time_text::timestamp(text, micro).map_err(Error::Type)?;
            out.int(2, nanos);
            out.int(1, seconds);
        }
        (Kind::FieldsV1 | Kind::RawExtension | Kind::Json, _) => out.bytes(1, &value.encode()),
        _ => return Err(wrong(node, value)),
    }
    Ok(())
}

/// The three types of CRDs that hold a schema or something else.
fn put_schema(out: &mut Writer, node: Node<'_>, value: &Value) -> Result<(), Error> {
    let Some(schema) = scalar::schema_props() else { return Ok(()) };
    let number = if node.kind() == Kind::SchemaOrBool { 2 } else { 1 };
    match value {
        Value::Object(_) => {
            put(out, number, schema, value)?;
            if node.kind() == Kind::SchemaOrBool {
                out.int(1, 1);
            }
        }
        Value::Bool(bool) if node.kind() == Kind::SchemaOrBool => out.int(1, i64::from(*bool)),
        Value::Array(items) => {
            for item in items.iter().rev() {
                match (node.kind(), item) {
                    (Kind::SchemaOrStrings, Value::Str(text)) => out.bytes(2, text.as_bytes()),
                    (Kind::SchemaOrArray, Value::Object(_)) => put(out, 2, schema, item)?,
                    _ => return Err(wrong(node, item)),
                }
            }
        }
        Value::Null => {}
        _ => return Err(wrong(node, value)),
    }
    Ok(())
}
