//! Patches compared with Kubernetes' own.

use rk::api::patch::Patch;
use rk::api::schema::{Kind, Node, Schema};
use rk::api::tree::{Map, Value};

use super::codec::{schema, seeds};
use super::mutate::{Dice, mutate};
use super::oracle::{Answer, Oracle};

/// What we and the oracle make of one case, and what was asked.
fn compare(ours: Result<Value, String>, theirs: &Answer, asked: &str, faults: &mut Vec<String>) {
    let same = match (&ours, theirs.object()) {
        (Ok(ours), Ok(theirs)) => ours.to_string() == theirs.to_string(),
        // Upstream's maps have no order, so that of two errors either may be told.
        (Err(_), Err(_)) => true,
        // To upstream a null that was copied is an empty object.
        (Err(error), _) if error.starts_with("copy operation") => true,
        _ => false,
    };
    if !same {
        let ours = ours.map_or_else(|error| error, |value| value.to_string());
        let theirs = theirs.object().map_or_else(str::to_owned, Value::to_string);
        faults.push(format!("{asked}\nours   {ours}\ntheirs {theirs}"));
    }
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} differ:\n{}", faults.len(), faults.join("\n\n"));
}

/// A random strategic merge patch for a value of type `node`.
fn random_patch(value: &Value, other: &Value, node: Node<'_>, dice: &mut Dice) -> Value {
    let (Some(fields), Value::Object(other)) = (value.as_object(), other) else {
        return other.clone();
    };
    let mut patch = Map::new();
    for (key, theirs) in other.iter().filter(|(key, _)| !matches!(*key, "kind" | "apiVersion")) {
        let inner = node.fields_type().and_then(|ty| ty.field(key)).map(|field| field.node());
        let change = match (dice.roll(6), fields.get(key), inner) {
            (0, ..) => Value::Null,
            (1 | 2, ..) => continue,
            (3, ..) => theirs.clone(),
            (_, Some(ours @ Value::Object(_)), Some(inner)) => {
                random_patch(ours, theirs, inner, dice)
            }
            (_, Some(Value::Array(ours)), Some(inner)) => {
                random_list(key, ours, theirs, inner, &mut patch, dice)
            }
            _ => theirs.clone(),
        };
        patch.insert(key.to_owned(), change);
    }
    if dice.roll(12) == 0 {
        patch.insert("$patch", (*dice.pick(&["replace", "delete", "merge"])).into());
    }
    if dice.roll(8) == 0 {
        let keys = fields.iter().map(|(key, _)| key).chain(patch.iter().map(|(key, _)| key));
        let keys: Vec<Value> = keys.filter(|_| dice.roll(10) > 0).map(Value::from).collect();
        patch.insert("$retainKeys", Value::Array(keys));
    }
    Value::Object(patch)
}

fn random_list(
    name: &str,
    ours: &[Value],
    theirs: &Value,
    node: Node<'_>,
    patch: &mut Map,
    dice: &mut Dice,
) -> Value {
    let key = node.merge_key();
    let is_map = node.elem().is_some_and(|elem| elem.kind() == Kind::Struct);
    let mut items: Vec<Value> = theirs.items().to_vec();
    for item in ours {
        match dice.roll(4) {
            0 => items.push(item.clone()),
            1 if is_map => {
                let mut gone = Value::from([("$patch", "delete".into())]);
                gone.set(key, item.get(key).clone());
                items.insert(dice.roll(items.len() + 1), gone);
            }
            2 if is_map && !items.is_empty() => {
                let mut change = items[dice.roll(items.len())].clone();
                change.set(key, item.get(key).clone());
                items.push(change);
            }
            3 if !is_map => {
                let list = Value::Array(vec![item.clone()]);
                patch.insert(format!("$deleteFromPrimitiveList/{name}"), list);
            }
            _ => {}
        }
    }
    if dice.roll(10) == 0 && is_map {
        items.push(Value::from([("$patch", "replace".into())]));
    }
    if dice.roll(3) > 0 {
        let kept = |item: &&Value| item.get("$patch").is_null();
        let mut order: Vec<Value> = items.iter().filter(kept).cloned().collect();
        order.extend(ours.iter().filter(|_| dice.roll(2) == 0).cloned());
        if is_map {
            let named = |item: &Value| {
                let mut name = Value::object();
                name.set(key, item.get(key).clone());
                name
            };
            order = order.iter().map(named).collect();
        }
        order.dedup();
        patch.insert(format!("$setElementOrder/{name}"), Value::Array(order));
    }
    Value::Array(items)
}

#[test]
fn strategic_merge_patch_does_as_upstream() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut faults = Vec::new();
    for gvk in oracle.kinds() {
        let schema: Schema = schema(&gvk);
        for seed in 0..seeds() * 4 {
            let object = oracle.ask_kind("generate", &gvk, [("seed", seed.into())]);
            let other = oracle.ask_kind("generate", &gvk, [("seed", (seed + 1000).into())]);
            let (Ok(object), Ok(other)) = (object.object(), other.object()) else { continue };
            let patch = random_patch(object, other, schema.root(), &mut Dice::new(seed as u64));
            let asked = [("original", object.clone()), ("patch", patch.clone())];
            let theirs = oracle.ask_kind("strategic", &gvk, asked);
            let ours = Patch::strategic(&patch.encode())
                .and_then(|patch| patch.apply(object.clone(), &schema))
                .map_err(|error| error.to_string());
            let asked = format!("{gvk:?} {seed}\nobject {object}\npatch  {patch}");
            compare(ours, &theirs, &asked, &mut faults);
        }
    }
    report(&faults);
}

/// A random place in an object, as a JSON pointer; sometimes one that is not there.
fn random_pointer(value: &Value, dice: &mut Dice) -> String {
    let (step, inner) = match value {
        _ if dice.roll(5) == 0 => return format!("/{}", dice.pick(&["x", "-", "0", "9", "-1"])),
        Value::Object(fields) if !fields.is_empty() => {
            let at = dice.roll(fields.len());
            fields.iter().nth(at).map(|(key, value)| (key.to_owned(), value)).expect("a field")
        }
        Value::Array(items) if !items.is_empty() => {
            let at = dice.roll(items.len());
            (at.to_string(), &items[at])
        }
        _ => return String::new(),
    };
    let step = step.replace('~', "~0").replace('/', "~1");
    format!("/{step}{}", random_pointer(inner, dice))
}

fn random_operations(object: &Value, dice: &mut Dice) -> Value {
    let operation = |_| {
        let op = *dice.pick(&["add", "remove", "replace", "move", "copy", "test", "other"]);
        let mut operation = Value::from([("op", op.into())]);
        operation.set("path", random_pointer(object, dice));
        operation.set("from", random_pointer(object, dice));
        operation.set(
            "value",
            [Value::Null, 1.into(), "x".into(), Value::object()][dice.roll(4)].clone(),
        );
        operation
    };
    Value::Array((0..3).map(operation).collect())
}

#[test]
fn json_patch_does_as_upstream() {
    let Some(mut oracle) = Oracle::start() else { return };
    let pod = ("".into(), "v1".into(), "Service".into());
    let mut faults = Vec::new();
    for seed in 0..seeds() * 200 {
        let object = oracle.ask_kind("generate", &pod, [("seed", (seed % 7).into())]);
        let object = object.object().expect("an object").clone();
        let patch = random_operations(&object, &mut Dice::new(seed as u64));
        let asked = [("original", object.clone()), ("patch", patch.clone())];
        let theirs = oracle.ask("json-patch", asked);
        let ours = Patch::json(&patch.encode())
            .and_then(|patch| patch.apply(object.clone(), &Schema::default()))
            .map_err(|error| error.to_string());
        compare(ours, &theirs, &format!("{seed}\nobject {object}\npatch  {patch}"), &mut faults);
    }
    report(&faults);
}

#[test]
fn merge_patch_does_as_upstream() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut faults = Vec::new();
    for gvk in oracle.kinds() {
        for seed in 0..seeds() {
            let object = oracle.ask_kind("generate", &gvk, [("seed", seed.into())]);
            let patch = oracle.ask_kind("generate", &gvk, [("seed", (seed + 1000).into())]);
            let (Ok(object), Ok(patch)) = (object.object(), patch.object()) else { continue };
            let mut patch = patch.clone();
            mutate(&mut patch, &mut Dice::new(seed as u64));
            let asked = [("original", object.clone()), ("patch", patch.clone())];
            let theirs = oracle.ask("merge", asked);
            let ours = Patch::merge(&patch.encode())
                .and_then(|patch| patch.apply(object.clone(), &schema(&gvk)))
                .map_err(|error| error.to_string());
            let asked = format!("{gvk:?} {seed}\nobject {object}\npatch  {patch}");
            compare(ours, &theirs, &asked, &mut faults);
        }
    }
    report(&faults);
}
