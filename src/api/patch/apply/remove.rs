//! An object without some of its fields and items.

use super::element;
use super::set::{Node, Set};
use super::shape::{List, Mapping, Type};
use crate::api::tree::{Map, Value};

/// The object without what is in the set. What has nothing left becomes null.
pub(super) fn remove(value: &Value, gone: &Set, ty: Type<'_>) -> Value {
    let atom = ty.atom_for(Some(value));
    match (atom.map, atom.scalar, atom.list) {
        (Some(map), ..) => match value.as_object() {
            Some(fields) if !map.atomic => from_map(fields, gone, &map),
            _ => Value::Null,
        },
        (None, Some(_), _) => value.clone(),
        (None, None, Some(list)) => match value {
            Value::Array(items) if !list.is_atomic() => from_list(items, gone, &list),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

fn from_map(fields: &Map, gone: &Set, map: &Mapping<'_>) -> Value {
    let kept = fields.iter().filter_map(|(name, value)| {
        let left = match gone.node(&element::field(name)) {
            Some(node) if node.member => return None,
            Some(node) => remove(value, &node.children, map.entry(name).0),
            None => value.clone(),
        };
        Some((name.to_owned(), left))
    });
    let kept: Map = kept.collect();
    if kept.is_empty() { Value::Null } else { Value::Object(kept) }
}

fn from_list(items: &[Value], gone: &Set, list: &List<'_>) -> Value {
    let node = |item: &Value| -> Option<&Node> { gone.node(&element::of_item(list, item).ok()?) };
    let kept = items.iter().filter_map(|item| match node(item) {
        Some(node) if node.member => None,
        Some(node) => Some(remove(item, &node.children, list.elem)),
        None => Some(item.clone()),
    });
    let kept: Vec<Value> = kept.collect();
    if kept.is_empty() { Value::Null } else { Value::Array(kept) }
}

/// The set with the declared fields on the way to its members: sets of owned paths leave these out,
/// but who removes all of `spec.strategy` removes `spec.strategy`.
pub(super) fn with_parents(set: &Set, ty: Type<'_>) -> Set {
    let atom = ty.atom();
    let nodes = set.nodes.iter().map(|node| {
        let (below, declared) = match (element::field_name(&node.element), &atom.map) {
            (Some(name), Some(map)) => map.entry(name),
            (None, _) if node.element.starts_with("k:") => {
                (atom.list.as_ref().map_or(Type::Nothing, |list| list.elem), false)
            }
            _ => (Type::Nothing, false),
        };
        Node {
            element: node.element.clone(),
            member: node.member || declared && !node.children.is_empty(),
            children: with_parents(&node.children, below),
        }
    });
    Set { nodes: nodes.collect() }
}
