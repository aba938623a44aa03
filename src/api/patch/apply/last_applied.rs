//! The way from client-side to server-side apply: what `kubectl apply` noted in its annotation is
//! what `kubectl apply --server-side` may take over without a conflict.

use super::Context;
use super::check::check;
use super::collect::collect;
use super::compare::compare;
use super::set::Set;
use super::shape::Type;
use crate::api::tree::Value;

/// The manager for which this is done.
pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The most bytes that annotations may have together.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// The paths that the annotation of a live object names and that still have its values.
pub(super) fn allowed(live: &Value, context: &Context<'_>) -> Option<Set> {
    let text = annotation(live)?;
    let ty = Type::root(context.schema.root());
    check(live, ty, false).ok()?;
    let last = Value::parse(text.as_bytes()).ok()?;
    if last.get("apiVersion").str() != context.api_version {
        return None;
    }
    check(&last, ty, false).ok()?;
    let changes = compare(&last, live, ty);
    let set = collect(&last, ty);
    Some(set.difference(&changes.set()).difference(&changes.removed))
}

/// Keeps the annotation of an object in step with what was applied, where it has one.
pub(super) fn update(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.get_mut("metadata").and_then(|m| m.get_mut("annotations")) {
        annotations.remove(ANNOTATION);
    }
    let text = go_json(&config) + "\n";
    let annotations = object.entry_at(&["metadata", "annotations"]);
    annotations.set(ANNOTATION, text);
    let bytes: usize = annotations.fields().map(|(key, value)| key.len() + value.str().len()).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        annotations.remove(ANNOTATION);
    }
}

fn annotation(object: &Value) -> Option<&str> {
    let text = object.at(&["metadata", "annotations", ANNOTATION]).str();
    (!text.is_empty()).then_some(text)
}

/// JSON as Go's encoder writes it. The characters that it escapes stand only within texts.
fn go_json(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}
