//! Values that are no lists or objects: which tokens fit which type, and their canonical text.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::source::{Number, Token};
use super::time_text;
use crate::api::quantity::Quantity;
use crate::api::schema::{Kind, Node, builtin};
use crate::api::tree::Value;

/// Why a token does not fit a type.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    /// What is wrong.
    pub(super) what: Fault<'a>,
    /// Whether this came from a type's own decoder: that ends Go's reading, so that the error goes
    /// before those of plain types.
    pub(super) ends: bool,
}

/// What is wrong with a token.
#[derive(Debug)]
pub(super) enum Fault<'a> {
    /// It is of another type.
    Type { found: String, go_type: &'a str },
    /// It is of the right type and yet refused; the whole message.
    Value(String),
}

/// The node of CRDs' `JSONSchemaProps`.
pub(super) fn schema_props() -> Option<Node<'static>> {
    let validation =
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceValidation";
    Some(builtin().type_named(validation)?.field("openAPIV3Schema")?.node())
}

/// Decodes a token as a value of the type `node`. It is not null, nor a text for a field of text.
pub(super) fn decode<'a>(node: Node<'a>, token: &Token<'_>) -> Result<Value, Refused<'a>> {
    let own = |result: Result<Value, String>| {
        result.map_err(|message| Refused { what: Fault::Value(message), ends: true })
    };
    match (node.kind(), token) {
        (Kind::SchemaOrBool, Token::Bool(bool)) => Ok(Value::Bool(*bool)),
        (Kind::SchemaOrBool, _) => own(Err("boolean or JSON schema expected".to_owned())),
        // Decoders of their own that silently take these for nothing.
        (Kind::SchemaOrArray | Kind::SchemaOrStrings, _) => Ok(Value::Null),
        (Kind::IntOrString, Token::Str(text)) => Ok((&**text).into()),
        (Kind::IntOrString, Token::Number(number)) if int32(*number).is_some() => {
            Ok(int32(*number).unwrap_or_default())
        }
        (Kind::IntOrString, _) => Err(wrong(token, "int32", true)),
        (Kind::Quantity, token) => own(quantity(token)),
        (Kind::Time, Token::Str(text)) => own(time_text::time(text)),
        (Kind::MicroTime, Token::Str(text)) => own(time_text::micro(text)),
        (Kind::Duration, Token::Str(text)) => own(time_text::duration(text)),
        (Kind::Time | Kind::MicroTime | Kind::Duration, _) => Err(wrong(token, "string", true)),
        (Kind::Bytes, Token::Str(text)) => {
            bytes(text).map_err(|message| Refused { what: Fault::Value(message), ends: false })
        }
        (kind, token) => plain(kind, token).ok_or_else(|| wrong(token, node.go_name(), false)),
    }
}

/// Values of Go's own types.
fn plain(kind: Kind, token: &Token<'_>) -> Option<Value> {
    match (kind, token) {
        (Kind::Bool, Token::Bool(bool)) => Some(Value::Bool(*bool)),
        (Kind::Int32, Token::Number(number)) => int32(*number),
        (Kind::Int64, Token::Number(number)) => int64(*number),
        (Kind::Float, Token::Number(number)) => match number.value() {
            Value::Float(float) if !float.is_finite() => None,
            value => Some(value),
        },
        _ => None,
    }
}

fn wrong<'a>(token: &Token<'_>, go_type: &'a str, ends: bool) -> Refused<'a> {
    Refused { what: Fault::Type { found: found(token, go_type), go_type }, ends }
}

/// A token as Go's JSON errors call it. Numbers are told with their text where an integer or float
/// is wanted and this one does not fit.
fn found(token: &Token<'_>, go_type: &str) -> String {
    match token {
        Token::Null => "null".to_owned(),
        Token::Bool(_) => "bool".to_owned(),
        Token::Str(_) => "string".to_owned(),
        Token::Array => "array".to_owned(),
        Token::Object => "object".to_owned(),
        Token::Number(number) if matches!(go_type, "int32" | "int64" | "int" | "float64") => {
            format!("number {}", number.text())
        }
        Token::Number(_) => "number".to_owned(),
    }
}

fn int64(number: Number<'_>) -> Option<Value> {
    match number {
        Number::Text(text) => text.parse().ok().map(Value::Int),
        number => number.value().as_int().map(Value::Int),
    }
}

fn int32(number: Number<'_>) -> Option<Value> {
    int64(number).filter(|value| value.as_int().is_some_and(|int| i32::try_from(int).is_ok()))
}

/// One byte of a list of bytes, or what was found instead. Null is zero.
pub(super) fn byte(token: &Token<'_>) -> Result<u8, String> {
    match token {
        Token::Null => Ok(0),
        Token::Number(number) => {
            let byte = int64(*number).and_then(|value| u8::try_from(value.as_int()?).ok());
            byte.ok_or_else(|| format!("number {}", number.text()))
        }
        token => Err(found(token, "uint8")),
    }
}

/// Bytes as text.
pub(super) fn pack(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

/// Base64, padded; line breaks are ignored as Go does.
fn bytes(text: &str) -> Result<Value, String> {
    let packed: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    match STANDARD.decode(&packed) {
        Ok(_) => Ok(String::from_utf8(packed).unwrap_or_default().into()),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => packed.len(),
            };
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}

fn quantity(token: &Token<'_>) -> Result<Value, String> {
    let text = match token {
        Token::Str(text) => text.trim().to_owned(),
        Token::Number(number) => number.text(),
        // Reads as no number.
        _ => String::new(),
    };
    text.parse::<Quantity>()
        .map(|quantity| quantity.to_string().into())
        .map_err(|error| error.to_string())
}

/// Bytes as text; each byte that is no UTF-8 becomes U+FFFD, as Go does.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    let mut rest = match std::str::from_utf8(bytes) {
        Ok(text) => return Cow::Borrowed(text),
        Err(_) => bytes,
    };
    let mut out = String::with_capacity(bytes.len() + 8);
    loop {
        match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                return Cow::Owned(out);
            }
            Err(error) => {
                let (valid, broken) = rest.split_at(error.valid_up_to());
                out.push_str(std::str::from_utf8(valid).unwrap_or_default());
                out.push(char::REPLACEMENT_CHARACTER);
                rest = &broken[1..];
            }
        }
    }
}

/// A text in quotes as Go's `%q` writes it.
pub(in crate::api) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            char if (char as u32) < 0x20 || char == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", char as u32));
            }
            char if char.is_control() => out.push_str(&format!("\\u{:04x}", char as u32)),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}
