//! What cells of Tables share: columns from short tables, and how kubectl shows common values.

use crate::api::meta::Meta;
use crate::api::registry::{AGE_DOC, Column, Context, NAME_DOC, column, since};
use crate::api::time;
use crate::api::tree::Value;

/// A column: heading, type, priority, description.
pub type Heading = (&'static str, &'static str, i32, &'static str);

/// The first column of nearly every kind.
pub const NAME: Heading = ("Name", "string", 0, NAME_DOC);
/// The age of the object.
pub const AGE: Heading = ("Age", "string", 0, AGE_DOC);

/// Columns from a table.
pub fn columns(headings: &[Heading]) -> Vec<Column> {
    headings.iter().map(|(name, kind, priority, doc)| column(name, kind, *priority, doc)).collect()
}

/// The columns of kinds that upstream prints by nothing but their metadata.
pub fn name_and_created() -> Vec<Column> {
    vec![columns(&[NAME]).remove(0), column("Created At", "date", 0, AGE_DOC)]
}

/// The row below [`name_and_created`].
pub fn created(object: &Value) -> Vec<Value> {
    vec![object.name().into(), object.metadata().get("creationTimestamp").str().into()]
}

/// How long ago the time in a field was; `<unknown>` without one.
pub fn ago(time: &Value, context: Context) -> String {
    time::parse(time.str()).map_or_else(|| "<unknown>".into(), |time| since(time, context))
}

/// Labels as `a=b,c=d`; `<none>` for none.
pub fn labels(map: &Value) -> String {
    let pairs: Vec<String> = map.fields().map(|(k, v)| format!("{k}={}", v.str())).collect();
    or_none(pairs.join(","))
}

/// A text, or `<none>` for the empty one.
pub fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".into() } else { text }
}

/// A number as a cell, 0 where absent.
pub fn number(value: &Value) -> Value {
    value.as_int().unwrap_or(0).into()
}
