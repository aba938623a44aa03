//! What differs between two states of an object, path by path.

use std::collections::BTreeMap;

use super::element::{self, Element};
use super::reset::Reset;
use super::set::Set;
use super::shape::{Atom, List, Mapping, Type, equal};
use crate::api::tree::{Map, Value};

/// What a change did. No path is in two of the sets.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Changes {
    pub(super) removed: Set,
    pub(super) modified: Set,
    pub(super) added: Set,
}

impl Changes {
    /// The changes that a writer can have made at all.
    pub(super) fn filtered(self, reset: Reset) -> Self {
        Self {
            removed: reset.filter(self.removed),
            modified: reset.filter(self.modified),
            added: reset.filter(self.added),
        }
    }

    /// What holds another value now.
    pub(super) fn set(&self) -> Set {
        self.modified.union(&self.added)
    }
}

/// The changes from one object to another.
pub(super) fn compare(old: &Value, new: &Value, ty: Type<'_>) -> Changes {
    at(Some(old), Some(new), ty).below
}

/// What happened to a place, and below it.
#[derive(Default)]
struct Place {
    removed: bool,
    modified: bool,
    added: bool,
    below: Changes,
}

impl Place {
    /// A place that is taken as a whole.
    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.added = true,
            (_, None) => self.removed = true,
            (Some(old), Some(new)) => self.modified |= !equal(old, new),
        }
    }

    fn step(&mut self, step: &str, place: Place) {
        let Place { removed, modified, added, below } = place;
        self.below.removed.push(step, removed, below.removed);
        self.below.modified.push(step, modified, below.modified);
        self.below.added.push(step, added, below.added);
    }
}

fn at(old: Option<&Value>, new: Option<&Value>, ty: Type<'_>) -> Place {
    let mut place = Place::default();
    if let (Some(old), Some(new)) = (old, new)
        && equal(old, new)
    {
        return place;
    }
    let (left, right) = (ty.atom_for(old), ty.atom_for(new));
    let whole = if new.is_none() {
        handle(&left, old, new, &mut place)
    } else if old.is_none() || left.same_form(&right) {
        handle(&right, old, new, &mut place)
    } else {
        // A value that became another form of value: both are looked at.
        let mut first = Place::default();
        handle(&left, old, new, &mut first);
        let whole = handle(&right, old, new, &mut place);
        place.removed |= first.removed;
        place.modified |= first.modified;
        place.added |= first.added;
        place.below.removed = place.below.removed.union(&first.below.removed);
        place.below.modified = place.below.modified.union(&first.below.modified);
        place.below.added = place.below.added.union(&first.below.added);
        whole
    };
    if !whole {
        place.added |= old.is_none();
        place.removed |= old.is_some() && new.is_none();
    }
    place
}

/// Looks at a place in one form; whether it is taken as a whole.
fn handle(atom: &Atom<'_>, old: Option<&Value>, new: Option<&Value>, place: &mut Place) -> bool {
    if let Some(map) = &atom.map {
        let [l, r] = [old, new].map(|v| v.and_then(Value::as_object).filter(|m| !m.is_empty()));
        if !map.atomic && (l.is_some() || r.is_some()) {
            in_map(map, l, r, place);
            return false;
        }
    } else if atom.scalar.is_none()
        && let Some(list) = &atom.list
    {
        let [l, r] = [old, new].map(|v| v.map(Value::items).unwrap_or_default());
        if !list.is_atomic() && (!l.is_empty() || !r.is_empty()) {
            in_list(list, l, r, place);
            return false;
        }
    }
    place.leaf(old, new);
    true
}

fn in_map(map: &Mapping<'_>, old: Option<&Map>, new: Option<&Map>, place: &mut Place) {
    let mut names: BTreeMap<&str, [Option<&Value>; 2]> = BTreeMap::new();
    for (side, fields) in [old, new].into_iter().enumerate() {
        for (name, value) in fields.into_iter().flat_map(Map::iter) {
            names.entry(name).or_default()[side] = Some(value);
        }
    }
    for (name, [old, new]) in names {
        let found = at(old, new, map.entry(name).0);
        place.step(&element::field(name), found);
    }
}

fn in_list(list: &List<'_>, old: &[Value], new: &[Value], place: &mut Place) {
    let mut steps: BTreeMap<Element, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, items) in [old, new].into_iter().enumerate() {
        for item in items {
            // What has no identity has been refused before.
            if let Ok(step) = element::of_item(list, item) {
                steps.entry(step).or_default()[side].push(item);
            }
        }
    }
    for (step, [old, new]) in steps {
        place.step(&step, items(list, &old, &new));
    }
}

/// The items of one identity. Where there are several they are one leaf.
fn items(list: &List<'_>, old: &[&Value], new: &[&Value]) -> Place {
    let first = |items: &[&'_ Value]| items.first().map(|&item| item.clone());
    match (old, new) {
        ([] | [_], [] | [_]) => at(old.first().copied(), new.first().copied(), list.elem),
        ([_, _, ..], [_, _, ..]) => {
            let same = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| equal(a, b));
            Place { modified: !same, ..Place::default() }
        }
        ([_, _, ..], _) => {
            let found = first(new).map(|item| at(None, Some(&item), list.elem));
            Place { removed: true, ..found.unwrap_or_default() }
        }
        (_, [_, _, ..]) => {
            let found = first(old).map(|item| at(Some(&item), None, list.elem));
            Place { added: true, ..found.unwrap_or_default() }
        }
    }
}
