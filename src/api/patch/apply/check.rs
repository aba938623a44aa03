//! Whether a value fits its type, in structured-merge-diff's words: what an applied configuration
//! must pass before anything else looks at it.

use std::collections::HashSet;

use super::element;
use super::shape::{List, Mapping, Scalar, Type};
use crate::api::codec::quote;
use crate::api::patch::order::{go_text, go_type};
use crate::api::tree::{Map, Value};

/// Checks a whole object; lists may hold an item twice where `duplicates` are allowed.
///
/// # Errors
/// All that does not fit, as one text.
pub(super) fn check(value: &Value, ty: Type<'_>, duplicates: bool) -> Result<(), String> {
    let mut check = Check { duplicates, path: String::new(), errors: Vec::new() };
    check.value(value, ty);
    match &*check.errors {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => {
            let lines = many.iter().map(|error| format!("\n  {error}"));
            Err(["errors:".to_owned()].into_iter().chain(lines).collect())
        }
    }
}

struct Check {
    duplicates: bool,
    path: String,
    errors: Vec<String>,
}

impl Check {
    fn refuse(&mut self, why: &str) {
        let path = &self.path;
        let error = if path.is_empty() { why.to_owned() } else { format!("{path}: {why}") };
        self.errors.push(error);
    }

    fn value(&mut self, value: &Value, ty: Type<'_>) {
        let atom = ty.atom_for(Some(value));
        match (atom.map, atom.scalar, atom.list) {
            (_, _, _) if value.is_null() => {}
            (Some(map), ..) => match value.as_object() {
                Some(fields) => self.map(fields, &map),
                None => self.refuse(&format!("expected map, got {}", go_pointer(value))),
            },
            (None, Some(scalar), _) => self.scalar(value, scalar),
            (None, None, Some(list)) => match value {
                Value::Array(items) => self.list(items, &list),
                _ => self.refuse(&format!("expected list, got {}", go_pointer(value))),
            },
            _ => self.refuse("schema error: invalid atom: inlined"),
        }
    }

    fn below(&mut self, step: &str, value: &Value, ty: Type<'_>) {
        let len = self.path.len();
        element::show(step, &mut self.path);
        self.value(value, ty);
        self.path.truncate(len);
    }

    fn map(&mut self, fields: &Map, map: &Mapping<'_>) {
        for (name, value) in fields.iter() {
            let (ty, _) = map.entry(name);
            let step = element::field(name);
            if ty.is_known() {
                self.below(&step, value, ty);
                continue;
            }
            let len = self.path.len();
            element::show(&step, &mut self.path);
            self.refuse("field not declared in schema");
            self.path.truncate(len);
            // Upstream looks no further in this map.
            return;
        }
    }

    fn list(&mut self, items: &[Value], list: &List<'_>) {
        let mut seen = HashSet::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let step = if list.is_atomic() {
                format!("i:{at}").into()
            } else {
                match element::of_item(list, item) {
                    Ok(step) => step,
                    Err(why) => return self.refuse(&format!("element {at}: {why}")),
                }
            };
            self.below(&step, item, list.elem);
            if !self.duplicates && !seen.insert(step.clone()) {
                let mut shown = String::new();
                element::show(&step, &mut shown);
                self.refuse(&format!("duplicate entries for key {shown}"));
            }
        }
    }

    fn scalar(&mut self, value: &Value, scalar: Scalar) {
        let number = matches!(value, Value::Int(_) | Value::Float(_));
        let (fits, wanted, got) = match scalar {
            Scalar::Numeric => (number, "numeric (int or float)", go_type(value).to_owned()),
            Scalar::Text => (value.as_str().is_some(), "string", go_syntax(value)),
            Scalar::Boolean => (value.as_bool().is_some(), "boolean", go_pointer(value)),
            Scalar::Any => {
                let fits = !matches!(value, Value::Array(_) | Value::Object(_));
                (fits, "any scalar", go_pointer(value))
            }
        };
        if !fits {
            self.refuse(&format!("expected {wanted}, got {got}"));
        }
    }
}

/// A value as Go's `%v` prints the pointer that upstream hands to it.
fn go_pointer(value: &Value) -> String {
    format!("&{{{}}}", go_text(value))
}

/// The same for `%#v`.
fn go_syntax(value: &Value) -> String {
    let shown = match value {
        Value::Str(text) => quote(text),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(key, value)| format!("{}:{}", quote(key), literal(value)));
            format!("map[string]interface {{}}{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let items = items.iter().map(literal);
            format!("[]interface {{}}{{{}}}", items.collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    };
    format!("&value.valueUnstructured{{Value:{shown}}}")
}

fn literal(value: &Value) -> String {
    let whole = go_syntax(value);
    let inner = whole.strip_prefix("&value.valueUnstructured{Value:");
    inner.and_then(|inner| inner.strip_suffix('}')).unwrap_or(&whole).to_owned()
}
