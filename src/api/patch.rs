//! JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch over trees.
//!
//! A [`Patch`] is read once from a request's body and can be applied again and again, to newer
//! versions of the object when a write lost a race. The result is a tree in no particular shape:
//! it has to go through [`super::codec::conform`], which checks it as if it had come from a client.
//!
//! Behaviour and error texts are those of Kubernetes' API server, peculiarities included.

use super::codec::{self, json};
use super::schema::Schema;
use super::status::{Cause, Details, Status};
use super::tree::{Map, Value};

pub mod apply;
mod operations;
mod order;
mod strategic;

/// Why a patch is not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch itself is broken: 400.
    #[error("{0}")]
    BadRequest(String),
    /// More operations than are allowed: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The patch does not fit the object: 422.
    #[error("{0}")]
    Unprocessable(String),
    /// A list cannot be merged: 500, as upstream.
    #[error("{0}")]
    Merge(String),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::BadRequest(message) => Status::bad_request(message),
            Error::TooLarge(message) => Status::too_large(message),
            // Upstream's message does not say why, and clients know it; so a cause says it.
            Error::Unprocessable(why) => {
                let message = "the server rejected our request due to an error in our request";
                let mut status = Status::new(422, "Invalid", message);
                let cause =
                    Cause { reason: "FieldValueInvalid", message: why, field: "patch".to_owned() };
                let causes = vec![cause];
                status.details = Some(Box::new(Details { causes, ..Details::default() }));
                status
            }
            Error::Merge(message) => Status::new(500, "", message),
        }
    }
}

/// The refusal of a patch whose result is no object of its kind.
pub fn invalid_result(result: &Value, error: &codec::Error) -> Status {
    let value = codec::quote(&result.to_string());
    let cause = Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {value}: {error}"),
        field: "patch".to_owned(),
    };
    Status::invalid("", "", "", vec![cause])
}

/// A patch of one of the three kinds that need no field ownership.
#[derive(Debug, Clone)]
pub struct Patch {
    kind: Kind,
    /// Unknown and duplicate fields of the patch document itself.
    findings: Vec<String>,
}

#[derive(Debug, Clone)]
enum Kind {
    Operations(Vec<operations::Operation>),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads a JSON patch.
    ///
    /// # Errors
    /// Text that is no list of operations, or too many of them.
    pub fn json(text: &[u8]) -> Result<Self, Error> {
        let (operations, findings) = operations::read(text)?;
        Ok(Self { kind: Kind::Operations(operations), findings })
    }

    /// Reads a merge patch.
    ///
    /// # Errors
    /// Text that is no JSON object.
    pub fn merge(text: &[u8]) -> Result<Self, Error> {
        let refused = |error: codec::Error| format!("error decoding patch: {error}");
        let (patch, findings) = read_map(text).map_err(|e| Error::BadRequest(refused(e)))?;
        Ok(Self { kind: Kind::Merge(patch), findings })
    }

    /// Reads a strategic merge patch. Custom resources do not take them: the caller answers 415.
    ///
    /// # Errors
    /// Text that is no JSON object.
    pub fn strategic(text: &[u8]) -> Result<Self, Error> {
        let (patch, findings) = read_map(text).map_err(|e| Error::BadRequest(e.to_string()))?;
        Ok(Self { kind: Kind::Strategic(patch), findings })
    }

    /// Unknown and duplicate fields of the patch document: warnings or a refusal, as the request's
    /// field validation wants it, before those of the patched object.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The object as the patch wants it.
    ///
    /// # Errors
    /// A patch that does not fit the object.
    pub fn apply(&self, object: Value, schema: &Schema) -> Result<Value, Error> {
        match &self.kind {
            Kind::Operations(operations) => operations::apply(object, operations),
            Kind::Merge(patch) => Ok(merge(object, patch)),
            Kind::Strategic(patch) => strategic::apply(object, patch, schema),
        }
    }
}

/// A JSON object and what is wrong with it.
fn read_map(text: &[u8]) -> Result<(Value, Vec<String>), codec::Error> {
    let decoded = json::decode(text, &Schema::default())?;
    match decoded.value {
        value @ Value::Object(_) => Ok((value, decoded.findings)),
        value => Err(codec::Error::Type(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            value.kind_name().trim_end_matches("ean").replace("integer", "number")
        ))),
    }
}

/// RFC 7386: null removes, objects merge, anything else replaces.
fn merge(object: Value, patch: &Value) -> Value {
    match (object, patch) {
        (Value::Object(mut object), Value::Object(patch)) => {
            for (key, change) in patch.iter() {
                match object.get_mut(key) {
                    _ if change.is_null() => {
                        object.remove(key);
                    }
                    Some(inner) if !inner.is_null() => *inner = merge(inner.take(), change),
                    _ => {
                        object.insert(key, without_nulls(change));
                    }
                }
            }
            Value::Object(object)
        }
        (Value::Object(_), patch) => patch.clone(),
        (_, patch) => without_nulls(patch),
    }
}

/// A value without the null fields of its objects.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            let kept = kept.map(|(key, value)| (key.to_owned(), without_nulls(value)));
            Value::Object(kept.collect::<Map>())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests;
