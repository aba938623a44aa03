//! The paths that an object names: what the one who applies it will own.

use std::collections::HashMap;

use super::element::{self, Element};
use super::set::Set;
use super::shape::{List, Mapping, Type};
use crate::api::tree::{Map, Value};

/// The paths of all leaves and list items of an object.
pub(super) fn collect(value: &Value, ty: Type<'_>) -> Set {
    below(value, ty).1
}

/// Whether the value itself is a leaf, and the paths below it.
fn below(value: &Value, ty: Type<'_>) -> (bool, Set) {
    let atom = ty.atom_for(Some(value));
    let inside = match (atom.map, atom.scalar, atom.list) {
        (Some(map), ..) if map.atomic => None,
        (Some(map), ..) => Some(value.as_object().map(|fields| in_map(fields, &map))),
        (None, Some(_), _) => None,
        (None, None, Some(list)) if list.is_atomic() => None,
        (None, None, Some(list)) => Some(match value {
            Value::Array(items) => Some(in_list(items, &list)),
            _ => None,
        }),
        (None, None, None) => Some(None),
    };
    match inside {
        None => (true, Set::default()),
        Some(inside) => (false, inside.unwrap_or_default()),
    }
}

fn in_map(fields: &Map, map: &Mapping<'_>) -> Set {
    let mut set = Set::default();
    for (name, value) in fields.iter() {
        let (ty, declared) = map.entry(name);
        let (leaf, children) = below(value, ty);
        let bare = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        set.push(&element::field(name), leaf || bare || !declared, children);
    }
    set
}

fn in_list(items: &[Value], list: &List<'_>) -> Set {
    let mut steps: Vec<(Element, &Value)> = Vec::with_capacity(items.len());
    let mut counts: HashMap<Element, usize> = HashMap::with_capacity(items.len());
    for item in items {
        // What has no identity has been refused before.
        let Ok(step) = element::of_item(list, item) else { continue };
        *counts.entry(step.clone()).or_default() += 1;
        steps.push((step, item));
    }
    steps.sort_by(|a, b| a.0.cmp(&b.0));
    steps.dedup_by(|later, first| later.0 == first.0);
    let mut set = Set::default();
    for (step, item) in steps {
        // Of an item that is there twice nobody can say whose fields are whose.
        let twice = counts.get(&step).is_some_and(|count| *count > 1);
        let children = if twice { Set::default() } else { below(item, list.elem).1 };
        set.push(&step, true, children);
    }
    set
}
