//! A live object with an applied configuration laid over it.

use std::collections::{BTreeMap, HashSet};

use super::element::{self, Element};
use super::shape::{List, Mapping, Type};
use crate::api::tree::{Map, Value};

/// The live object with what the configuration says. Nothing is removed.
pub(super) fn merge(live: &Value, config: &Value, ty: Type<'_>) -> Value {
    at(Some(live), Some(config), ty).unwrap_or_default()
}

/// `None` where nothing is left to write.
fn at(live: Option<&Value>, config: Option<&Value>, ty: Type<'_>) -> Option<Value> {
    // Where the two have different forms the configuration's counts.
    let atom = ty.atom_for(config.or(live));
    if let Some(map) = &atom.map {
        let [l, r] = [live, config].map(|v| v.and_then(Value::as_object).filter(|m| !m.is_empty()));
        if !map.atomic && (l.is_some() || r.is_some()) {
            return in_map(map, l, r);
        }
    } else if atom.scalar.is_none()
        && let Some(list) = &atom.list
    {
        let [l, r] = [live, config].map(|v| v.map(Value::items).unwrap_or_default());
        if !list.is_atomic() && (!l.is_empty() || !r.is_empty()) {
            return in_list(list, l, r);
        }
    }
    config.or(live).cloned()
}

fn in_map(map: &Mapping<'_>, live: Option<&Map>, config: Option<&Map>) -> Option<Value> {
    let mut names: BTreeMap<&str, [Option<&Value>; 2]> = BTreeMap::new();
    for (side, fields) in [live, config].into_iter().enumerate() {
        for (name, value) in fields.into_iter().flat_map(Map::iter) {
            names.entry(name).or_default()[side] = Some(value);
        }
    }
    let merged = names.into_iter().filter_map(|(name, [live, config])| {
        Some((name.to_owned(), at(live, config, map.entry(name).0)?))
    });
    let merged: Map = merged.collect();
    (!merged.is_empty()).then_some(Value::Object(merged))
}

/// The items of one side by identity. Items that are there twice are not merged: they count as
/// null.
struct Side<'v> {
    steps: Vec<Element>,
    items: BTreeMap<Element, &'v Value>,
}

impl<'v> Side<'v> {
    fn of(list: &List<'_>, items: &'v [Value]) -> Self {
        const NULL: &Value = &Value::Null;
        let mut side = Self { steps: Vec::with_capacity(items.len()), items: BTreeMap::new() };
        for item in items {
            // What has no identity has been refused before.
            let Ok(step) = element::of_item(list, item) else { continue };
            side.items.entry(step.clone()).and_modify(|held| *held = NULL).or_insert(item);
            side.steps.push(step);
        }
        side
    }
}

/// The order is that of the configuration; what only the live list has keeps its place relative to
/// the items that both have.
fn in_list(list: &List<'_>, live: &[Value], config: &[Value]) -> Option<Value> {
    let (left, right) = (Side::of(list, live), Side::of(list, config));
    let mut shared = right.steps.iter().filter(|step| left.items.contains_key(*step));
    let mut next = shared.next();
    let mut done: HashSet<&Element> = HashSet::with_capacity(config.len());
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut r) = (0, 0);
    let both = |step: &Element| {
        at(left.items.get(step).copied(), right.items.get(step).copied(), list.elem)
    };
    while l < left.steps.len() || r < right.steps.len() {
        if let (Some(mine), Some(theirs)) = (left.steps.get(l), right.steps.get(r)) {
            if mine == theirs {
                done.insert(mine);
                out.extend(both(mine));
                (l, r) = (l + 1, r + 1);
                next = shared.next();
                continue;
            }
            if right.items.contains_key(mine) && next.is_some_and(|next| next != mine) {
                l += 1;
                continue;
            }
        }
        if let Some(mine) = left.steps.get(l) {
            if !right.items.contains_key(mine) {
                out.extend(at(live.get(l), None, list.elem));
                l += 1;
                continue;
            }
            if done.contains(mine) {
                l += 1;
            }
        }
        if let Some(theirs) = right.steps.get(r) {
            done.insert(theirs);
            out.extend(both(theirs));
            r += 1;
            if next == Some(theirs) {
                next = shared.next();
            }
        }
    }
    (!out.is_empty()).then_some(Value::Array(out))
}
