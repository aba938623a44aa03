//! Bytes to trees and back: JSON, YAML and protobuf, strict, driven by a kind's [`Schema`].
//!
//! Decoding a built-in kind yields the tree in one canonical shape, the one in which Kubernetes
//! would write the object: nulls, empty lists and zero values that Go's `omitempty` leaves out are
//! gone, fields that are always written are there, quantities, times and durations are in their
//! canonical text. Two requests that mean the same become equal trees.
//!
//! Custom resources keep their values as they are; unknown fields are pruned in the same walk.
//!
//! What a client may want to know but is no error for everybody (unknown and duplicate fields) is
//! collected in [`Decoded::findings`]; [`Decoded::accept`] turns it into warnings or a refusal.

use super::schema::Schema;
use super::tree::Value;

pub mod json;
pub mod protobuf;
mod scalar;
pub(super) use scalar::quote;
mod source;
mod time_text;
mod typed;
pub mod yaml;

/// Why bytes are not an object of their kind. The texts are those of Kubernetes' API server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON or YAML.
    #[error("{0}")]
    Syntax(String),
    /// A value has another type than its field.
    #[error("{0}")]
    Type(String),
    /// Nesting, number or size of values beyond `limits`.
    #[error("{0}")]
    Limit(&'static str),
    /// Unknown or duplicate fields, where the client asked to refuse them.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

/// What becomes of unknown and duplicate fields: the request's `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped with a warning each.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; the empty text is the default. `None` for an unknown word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "Ignore" => Some(Self::Ignore),
            "" | "Warn" => Some(Self::Warn),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A decoded object and what was found on the way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// The object, without its unknown fields.
    pub value: Value,
    /// `unknown field "spec.foo"`, `duplicate field "spec.bar"`, in the order of the text.
    pub findings: Vec<String>,
    /// The paths of lists and maps that were given but empty, and how they were written. They are
    /// not in the object; only an error may want to show them.
    pub empties: Vec<(String, &'static str)>,
}

impl Decoded {
    /// The object and the warnings for the client.
    ///
    /// # Errors
    /// [`Error::Strict`] when there are findings and the client asked to refuse them.
    pub fn accept(self, validation: FieldValidation) -> Result<(Value, Vec<String>), Error> {
        match validation {
            FieldValidation::Strict if !self.findings.is_empty() => {
                Err(Error::Strict(self.findings))
            }
            FieldValidation::Ignore => Ok((self.value, Vec::new())),
            _ => Ok((self.value, self.findings)),
        }
    }
}

/// Brings a tree into the canonical shape of its kind, as decoding its text would: what a patch or
/// a webhook made is checked by this.
///
/// # Errors
/// As decoding, but for syntax.
pub fn conform(value: Value, schema: &Schema) -> Result<Decoded, Error> {
    typed::decode(source::Tree::new(value), schema.root())
}

#[cfg(test)]
mod tests;
