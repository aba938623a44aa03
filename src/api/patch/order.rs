//! The order of a merged list, and how Go prints and compares values.

use std::collections::{HashMap, HashSet};

use super::Error;
use crate::api::tree::Value;

/// What tells one item of a list from the others: its merge key's value, or the item itself.
type Identity = Vec<u8>;

/// The merge key's value of an item, as comparable text.
pub(super) fn key_of(item: &Value, key: &str) -> Result<Identity, Error> {
    match item.as_object() {
        Some(fields) => fields.get(key).map(Value::encode).ok_or_else(|| {
            let item = go_text(item);
            Error::Merge(format!("map: {item} does not contain declared merge key: {key}"))
        }),
        None => Err(not_a_map(item)),
    }
}

fn identity(item: &Value, key: Option<&str>) -> Result<Identity, Error> {
    key.map_or_else(|| Ok(item.encode()), |key| key_of(item, key))
}

fn identities(items: &[Value], key: Option<&str>) -> Result<Vec<Identity>, Error> {
    items.iter().map(|item| identity(item, key)).collect()
}

/// Places by identity; the first counts.
fn places(identities: &[Identity]) -> HashMap<&Identity, usize> {
    let mut places = HashMap::with_capacity(identities.len());
    for (at, identity) in identities.iter().enumerate() {
        places.entry(identity).or_insert(at);
    }
    places
}

/// Go's list of unique scalars: a later duplicate's place is taken by the last item.
pub(super) fn without_duplicates(mut items: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    let mut at = 0;
    while at < items.len() {
        if seen.insert(items[at].encode()) {
            at += 1;
        } else {
            items.swap_remove(at);
        }
    }
    items
}

/// Checks that a patch's items stand in the order that the patch itself asks for. Items with
/// directives have no place in it; upstream refuses one that stands behind all others, unless it
/// deletes.
pub(super) fn check(patch: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), Error> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut wanted_left = wanted.iter();
    for item in patch {
        if key.is_some() && !matches!(item, Value::Object(_)) {
            return Err(not_a_map(item));
        }
        match item.get("$patch") {
            Value::Str(directive) if directive == "delete" => continue,
            Value::Null => {}
            _ if wanted_left.len() > 0 => continue,
            _ => return Err(out_of_order(patch, wanted)),
        }
        let sought = identity(item, key);
        loop {
            let next = wanted_left.next().ok_or_else(|| out_of_order(patch, wanted))?;
            if sought.clone()? == identity(next, key)? {
                break;
            }
        }
    }
    Ok(())
}

fn out_of_order(patch: &[Value], wanted: &[Value]) -> Error {
    let [patch, wanted] = [patch, wanted].map(|list| go_text(&Value::Array(list.to_vec())));
    Error::Merge(format!(
        "The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{wanted}\n"
    ))
}

fn not_a_map(item: &Value) -> Error {
    let received = go_type(item);
    Error::Merge(format!("expected a map[string]interface {{}}, but received a {received}"))
}

/// Orders a merged list: what `wanted` names in its order, the rest in the order of the `live`
/// list, the two woven into each other as the live list had them.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    live: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, Error> {
    let wanted = identities(wanted, key)?;
    let live = identities(live, key)?;
    let (wanted, live) = (places(&wanted), places(&live));
    let mut named = Vec::new();
    let mut rest = Vec::new();
    for item in merged {
        let identity = identity(&item, key)?;
        let side = if wanted.contains_key(&identity) { &mut named } else { &mut rest };
        side.push((identity, item));
    }
    sort(&mut named, &wanted);
    sort(&mut rest, &live);
    Ok(weave(rest, named, &live))
}

fn sort(items: &mut [(Identity, Value)], order: &HashMap<&Identity, usize>) {
    items.sort_by_key(|(identity, _)| order.get(identity).copied().unwrap_or(0));
}

/// Puts each item of `left` before the first item of `right` that the live list has behind it.
fn weave(
    left: Vec<(Identity, Value)>,
    right: Vec<(Identity, Value)>,
    live: &HashMap<&Identity, usize>,
) -> Vec<Value> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let mut left = left.into_iter().peekable();
    for (identity, item) in right {
        while let Some((other, _)) = left.peek() {
            match (live.get(other), live.get(&identity)) {
                (Some(l), Some(r)) if l < r => out.extend(left.next().map(|(_, item)| item)),
                _ => break,
            }
        }
        out.push(item);
    }
    out.extend(left.map(|(_, item)| item));
    out
}

/// A value as Go's `%v` prints it.
pub(super) fn go_text(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Float(_) => value.to_string(),
        Value::Str(text) => text.to_string(),
        Value::Array(items) => format!("[{}]", join(items.iter().map(go_text).collect())),
        Value::Object(fields) => {
            let field = |(key, value)| format!("{key}:{}", go_text(value));
            format!("map[{}]", join(fields.iter().map(field).collect()))
        }
    }
}

/// The Go type of a value in a tree, as errors name it.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
