//! Strategic merge patch: a merge patch that merges lists by key, with directives.
//!
//! | directive | in | what it does |
//! |---|---|---|
//! | `$patch: replace` | an object or an item | the patch's value replaces the object or list |
//! | `$patch: delete` | an object or an item | empties the object, or removes that key's item |
//! | `$retainKeys: [k]` | an object | removes all other keys |
//! | `$deleteFromPrimitiveList/x: [v]` | beside list x | removes values |
//! | `$setElementOrder/x: [k]` | beside list x | orders the items |

use std::collections::{HashMap, HashSet};

use super::Error;
use super::order;
use crate::api::schema::{Kind, Node, Schema};
use crate::api::tree::{Map, Text, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Applies a patch to an object of a built-in kind.
pub(super) fn apply(object: Value, patch: &Value, schema: &Schema) -> Result<Value, Error> {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            merge_map(object, patch.clone(), schema.root()).map(Value::Object)
        }
        _ => Err(Error::BadRequest("invalid JSON document".to_owned())),
    }
}

fn bad_request<T>(what: &str) -> Result<T, Error> {
    Err(Error::BadRequest(what.to_owned()))
}

fn merge_map(mut object: Map, mut patch: Map, node: Node<'_>) -> Result<Map, Error> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => {
                patch.insert(DIRECTIVE, directive.clone());
                Err(bad_directive(&directive, &Value::Object(patch)))
            }
        };
    }
    if let Some(retained) = patch.remove(RETAIN_KEYS) {
        retain_keys(&mut object, &patch, &retained)?;
    }
    merge_ordered_lists(&mut object, &mut patch, node)?;
    for (key, change) in patch {
        match key.strip_prefix(DELETE_FROM) {
            None => merge_field(&mut object, key, change, node)?,
            Some(rest) => match rest.strip_prefix('/') {
                Some(key) => delete_values(&mut object, key, change, node)?,
                None => return bad_request("invalid patch format of primitive list"),
            },
        }
    }
    Ok(object)
}

fn bad_directive(directive: &Value, holder: &Value) -> Error {
    let directive = order::go_text(directive);
    Error::Merge(format!("unknown patch type: {directive} in map: {}", order::go_text(holder)))
}

/// Removes all keys of the object that are not listed; the patch may not set others.
fn retain_keys(object: &mut Map, patch: &Map, retained: &Value) -> Result<(), Error> {
    let broken = "invalid patch format of retainKeys";
    let Value::Array(retained) = retained else { return bad_request(broken) };
    let is_retained = |key: &str| retained.iter().any(|kept| kept.as_str() == Some(key));
    for (key, change) in patch.iter() {
        let directive = key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
        if !change.is_null() && !directive && !is_retained(key) {
            return bad_request(broken);
        }
    }
    object.retain(|key, _| is_retained(key));
    Ok(())
}

/// Merges one field of a patch into an object.
fn merge_field(object: &mut Map, key: Text, change: Value, node: Node<'_>) -> Result<(), Error> {
    if change.is_null() {
        object.remove(&key);
        return Ok(());
    }
    let merged = match (object.remove(&key), change) {
        (Some(Value::Object(inner)), Value::Object(change)) => {
            let field = lookup(node, &key)?;
            if field.strategy().replace() {
                Some(Value::Object(change))
            } else {
                Some(Value::Object(merge_map(inner, change, field)?))
            }
        }
        (Some(Value::Array(inner)), Value::Array(change)) => {
            let field = lookup(node, &key)?;
            Some(Value::Array(merge_list(inner, change, field)?.items))
        }
        (_, change) => without_directives(change),
    };
    if let Some(merged) = merged {
        object.insert(key, merged);
    }
    Ok(())
}

/// The node of a field whose value is to be merged.
fn lookup<'a>(node: Node<'a>, key: &str) -> Result<Node<'a>, Error> {
    let Some(ty) = node.fields_type() else {
        let kind = match node.kind() {
            Kind::Map => "map",
            Kind::List | Kind::Bytes => "slice",
            Kind::Any => "interface",
            kind => return Err(no_field(&format!("{kind:?}"), key)),
        };
        return Err(Error::Merge(format!(
            "merging an object in json but data type is not struct, instead is: {kind}"
        )));
    };
    ty.field(key).map(|field| field.node()).ok_or_else(|| no_field(ty.short_name(), key))
}

fn no_field(holder: &str, key: &str) -> Error {
    let key = crate::api::codec::quote(key);
    Error::Merge(format!("unable to find api field in struct {holder} for the json field {key}"))
}

/// What a patch puts where nothing was: without nulls and directives; `None` if it is a directive.
fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(fields) if fields.contains(DIRECTIVE) => return None,
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            let kept = kept.filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Value::Object(kept.collect())
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().filter_map(without_directives).collect())
        }
        value => value,
    })
}

/// Removes values from a list of scalars. Objects are merged instead, as upstream.
fn delete_values(object: &mut Map, key: &str, values: Value, node: Node<'_>) -> Result<(), Error> {
    let (Some(Value::Array(items)), Value::Array(values)) = (object.get_mut(key), values) else {
        return Ok(());
    };
    if items_are_maps([items, &values])? {
        *items = merge_items_of(std::mem::take(items), values, lookup(node, key)?)?.items;
        return Ok(());
    }
    let gone: HashSet<Vec<u8>> = values.iter().map(Value::encode).collect();
    items.retain(|item| !gone.contains(&item.encode()));
    Ok(())
}

/// Whether the items of these lists are objects; all must be of one type, and no lists.
fn items_are_maps(lists: [&[Value]; 2]) -> Result<bool, Error> {
    let mut items = lists.iter().flat_map(|list| list.iter());
    let Some(first) = items.next() else { return Ok(false) };
    if matches!(first, Value::Array(_)) {
        return Err(Error::Unprocessable("lists of lists are not supported".to_owned()));
    }
    if items.any(|item| std::mem::discriminant(item) != std::mem::discriminant(first)) {
        let [left, right] = lists.map(|list| order::go_text(&Value::Array(list.to_vec())));
        return Err(Error::Merge(format!(
            "list element types are not identical: [{left} {right}]"
        )));
    }
    Ok(matches!(first, Value::Object(_)))
}

/// A merged list, and the live list by which its items are ordered once more where the patch sets
/// an order: upstream merges in the live list's own array, where an added item takes the place of
/// a deleted one.
struct Merged {
    items: Vec<Value>,
    live: Vec<Value>,
}

fn merge_list(items: Vec<Value>, patch: Vec<Value>, field: Node<'_>) -> Result<Merged, Error> {
    if field.strategy().merge() {
        merge_items_of(items, patch, field)
    } else {
        Ok(Merged { items: patch, live: items })
    }
}

fn merge_items_of(items: Vec<Value>, patch: Vec<Value>, field: Node<'_>) -> Result<Merged, Error> {
    if items.is_empty() && patch.is_empty() {
        return Ok(Merged { items, live: Vec::new() });
    }
    if !items_are_maps([&items, &patch])? {
        let merged = order::without_duplicates(items.iter().chain(&patch).cloned().collect());
        return Ok(Merged { items: order::arrange(merged, &patch, &items, None)?, live: items });
    }
    let key = field.merge_key();
    if key.is_empty() {
        let kind = field.elem().map_or("", |elem| match elem.kind() {
            Kind::Struct => "struct",
            Kind::Map => "map",
            _ => "interface",
        });
        return Err(Error::Merge(format!("cannot merge lists without merge key for {kind}")));
    }
    let count = items.len();
    let (items, patch) = obey_directives(items, patch, key)?;
    let merged = merge_items(items.clone(), &patch, key, field)?;
    let live = merged.iter().take(count).cloned().collect();
    Ok(Merged { items: order::arrange(merged, &patch, &items, Some(key))?, live })
}

/// Takes the items with directives out of a patch and does what they say.
fn obey_directives(
    mut items: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    let mut deleted = HashSet::new();
    for item in patch {
        if !item.as_object().is_some_and(|fields| fields.contains(DIRECTIVE)) {
            plain.push(item);
            continue;
        }
        match item.get(DIRECTIVE).as_str() {
            Some("delete") => {
                deleted.insert(order::key_of(&item, key)?);
            }
            Some("replace") => replace = true,
            Some("merge") => {
                let why = "merging lists cannot yet be specified in the patch";
                return Err(Error::Merge(why.to_owned()));
            }
            _ => return Err(bad_directive(item.get(DIRECTIVE), &item)),
        }
    }
    if !deleted.is_empty() {
        items.retain(|item| order::key_of(item, key).is_ok_and(|key| !deleted.contains(&key)));
    }
    // The patch's items stand for the whole list then.
    Ok(if replace { (plain, Vec::new()) } else { (items, plain) })
}

/// Merges the patch's items into those of the same key; the others are appended.
fn merge_items(
    mut items: Vec<Value>,
    patch: &[Value],
    key: &str,
    field: Node<'_>,
) -> Result<Vec<Value>, Error> {
    let elem = field.elem().unwrap_or(field);
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        if let Ok(key) = order::key_of(item, key) {
            places.entry(key).or_insert(at);
        }
    }
    for change in patch {
        let value = order::key_of(change, key)?;
        match places.get(&value).copied() {
            Some(at) => {
                if let (Value::Object(inner), Value::Object(change)) = (items[at].take(), change) {
                    items[at] = Value::Object(merge_map(inner, change.clone(), elem)?);
                }
            }
            None => {
                places.insert(value, items.len());
                items.push(change.clone());
            }
        }
    }
    Ok(items)
}

/// Merges the lists for which the patch gives an order, and takes them out of the patch.
fn merge_ordered_lists(object: &mut Map, patch: &mut Map, node: Node<'_>) -> Result<(), Error> {
    let broken = "invalid patch format of setElementOrder list";
    let directives: Vec<String> = patch
        .iter()
        .map(|(key, _)| key)
        .filter(|k| k.starts_with(SET_ORDER))
        .map(str::to_owned)
        .collect();
    for directive in directives {
        let wanted = patch.remove(&directive).unwrap_or_default();
        let Value::Array(wanted) = wanted else { return Err(not_a_list(&wanted)) };
        let key = directive.strip_prefix(SET_ORDER).and_then(|rest| rest.strip_prefix('/'));
        let Some(key) = key else { return bad_request(broken) };
        let items = take_list(object.get(key))?;
        let change = take_list(patch.get(key))?;
        let field = lookup(node, key)?;
        let merge_key = Some(field.merge_key()).filter(|key| !key.is_empty());
        order::check(change.as_deref().unwrap_or_default(), &wanted, merge_key)?;
        let merged = match (items.clone(), change.clone()) {
            (None, None) => continue,
            (Some(items), None) => Merged { live: items.clone(), items },
            (None, Some(change)) => Merged {
                items: change.into_iter().filter_map(without_only_directives).collect(),
                live: Vec::new(),
            },
            (Some(items), Some(change)) => merge_list(items, change, field)?,
        };
        let both = [items.unwrap_or_default(), change.unwrap_or_default()];
        if both.iter().all(Vec::is_empty) {
            return Err(Error::Merge("no elements in any of the given slices".to_owned()));
        }
        let maps = items_are_maps([&both[0], &both[1]])?;
        // Objects without a merge key have no order to speak of: the empty key is refused.
        let key_of_items = if maps { Some(field.merge_key()) } else { None };
        let arranged = order::arrange(merged.items, &wanted, &merged.live, key_of_items)?;
        object.insert(key, Value::Array(arranged));
        patch.remove(key);
    }
    Ok(())
}

fn not_a_list(value: &Value) -> Error {
    let received = order::go_type(value);
    Error::Merge(format!("expected a []interface {{}}, but received a {received}"))
}

fn take_list(value: Option<&Value>) -> Result<Option<Vec<Value>>, Error> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(value) => Err(not_a_list(value)),
    }
}

/// As [`without_directives`], but nulls stay.
fn without_only_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(fields) if fields.contains(DIRECTIVE) => return None,
        Value::Object(fields) => {
            let kept = fields.into_iter();
            let kept = kept.filter_map(|(key, value)| Some((key, without_only_directives(value)?)));
            Value::Object(kept.collect())
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().filter_map(without_only_directives).collect())
        }
        value => value,
    })
}
