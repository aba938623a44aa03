//! Server-side apply and the owners of fields, compared with Kubernetes' own.

use rk::api::codec;
use rk::api::patch::apply::{self, Applied, Context, Reset, Versioned};
use rk::api::schema::Schema;
use rk::api::tree::{Map, Value};

use super::codec::{schema, seeds};
use super::mutate::Dice;
use super::oracle::{Gvk, Oracle};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One kind, its types and the objects that cases are made of.
struct Kind {
    gvk: Gvk,
    schema: Schema,
    /// The OpenAPI models for the oracle, for custom resources.
    models: Value,
    pool: Vec<Value>,
}

/// One write.
struct Step {
    object: Value,
    manager: &'static str,
    subresource: &'static str,
    applies: bool,
    force: bool,
    now: String,
}

impl Kind {
    fn api_version(&self) -> String {
        let (group, version, _) = &self.gvk;
        if group.is_empty() { version.clone() } else { format!("{group}/{version}") }
    }

    fn conform(&self, object: Value) -> Result<Value, String> {
        let decoded = codec::conform(object, &self.schema).map_err(|error| error.to_string())?;
        Ok(decoded.value)
    }

    fn typed(&self) -> Value {
        Value::from([
            ("apiVersion", self.api_version().into()),
            ("kind", self.gvk.2.as_str().into()),
        ])
    }

    /// A random write to a live object.
    fn step(&self, live: Option<&Value>, at: usize, dice: &mut Dice) -> Step {
        let applies = dice.roll(5) > 1;
        let other = dice.pick(&self.pool).clone();
        let mut object = match live {
            _ if applies => part(&other, dice),
            Some(live) => blend(live, &other, dice),
            None => other.clone(),
        };
        if !matches!(object, Value::Object(_)) {
            object = Value::object();
        }
        for (key, value) in self.typed().fields() {
            object.set(key, value.clone());
        }
        let metadata = object.entry("metadata");
        if !matches!(metadata, Value::Object(_)) {
            *metadata = Value::object();
        }
        metadata.set("name", "a");
        if applies {
            metadata.remove("managedFields");
        } else {
            metadata.set("uid", "u");
            if dice.roll(4) == 0 {
                let noted = part(&other, dice);
                note(metadata, noted, &self.typed());
            }
            if dice.roll(3) == 0 {
                metadata.remove("managedFields");
            }
            object = self.conform(object).expect("a blend of two objects is one");
        }
        Step {
            object,
            manager: dice.pick::<&str>(&["kubectl", "a", "b", "c"]),
            subresource: if dice.roll(6) == 0 { "status" } else { "" },
            applies,
            force: dice.roll(2) == 0,
            now: format!("2001-01-01T00:00:{at:02}Z"),
        }
    }

    fn ours(&self, live: Option<&Value>, step: &Step) -> Result<Value, String> {
        let empty = self.conform(self.typed())?;
        let api_version = self.api_version();
        let none = |_: &Value, _: &str| -> Option<Versioned> { None };
        let context = Context {
            schema: &self.schema,
            api_version: &api_version,
            kind: &self.gvk.2,
            subresource: step.subresource,
            reset: Reset::of("things", step.subresource, true, false),
            now: &step.now,
            empty: &empty,
            convert: &none,
            schema_of: &|_| None,
        };
        let live = live.unwrap_or(&empty);
        let managers = apply::owners_before(live, &step.object, step.subresource);
        let (mut bare, mut object) = (live.clone(), step.object.clone());
        let forget = |object: &mut Value| drop(object.entry("metadata").remove("managedFields"));
        forget(&mut bare);
        let managers = if step.applies {
            let managers = apply::Managers::of(live);
            let (name, force) = (step.manager, step.force);
            let result = apply::apply(&bare, &object, managers, name, force, &context);
            let Applied { object: applied, managers, .. } = result.map_err(|e| e.to_string())?;
            object = self.conform(applied)?;
            managers
        } else {
            forget(&mut object);
            apply::update(&bare, &object, managers, step.manager, &context)
        };
        managers.put(&mut object);
        Ok(object)
    }

    fn theirs(
        &self,
        oracle: &mut Oracle,
        live: Option<&Value>,
        step: &Step,
    ) -> Result<Value, String> {
        let reset = if step.subresource.is_empty() { "status" } else { "spec" };
        let mut writing = Value::from([
            ("manager", step.manager.into()),
            ("subresource", step.subresource.into()),
            ("applies", step.applies.into()),
            ("force", step.force.into()),
            ("now", step.now.as_str().into()),
            ("reset", vec![Value::from(vec![reset.into()])].into()),
        ]);
        if !self.models.is_null() {
            writing.set("models", self.models.clone());
        }
        let asked = [
            ("original", live.cloned().unwrap_or_default()),
            ("patch", step.object.clone()),
            ("writing", writing),
        ];
        let answer = oracle.ask_kind("manage", &self.gvk, asked);
        answer.object().cloned().map_err(str::to_owned)
    }
}

/// What `kubectl apply` notes in an object.
fn note(metadata: &mut Value, mut noted: Value, typed: &Value) {
    if !matches!(noted, Value::Object(_)) {
        noted = Value::object();
    }
    typed.fields().for_each(|(key, value)| noted.set(key, value.clone()));
    let annotations = metadata.entry("annotations");
    if !matches!(annotations, Value::Object(_)) {
        *annotations = Value::object();
    }
    annotations.set(LAST_APPLIED, noted.to_string());
}

/// Some of an object, as someone who applies would write it.
fn part(value: &Value, dice: &mut Dice) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| {
                // Mostly what tells items apart stays.
                let key = matches!(*key, "name" | "key" | "containerPort" | "port" | "type");
                dice.roll(if key { 30 } else { 3 }) > 0
            });
            let kept: Vec<(String, Value)> =
                kept.map(|(key, value)| (key.to_owned(), value.clone())).collect();
            let kept = kept.into_iter().map(|(key, value)| (key, part(&value, dice)));
            Value::Object(kept.collect::<Map>())
        }
        Value::Array(items) => {
            let items: Vec<&Value> = items.iter().filter(|_| dice.roll(4) > 0).collect();
            let mut items: Vec<Value> = items.into_iter().map(|item| part(item, dice)).collect();
            if dice.roll(4) == 0 {
                items.reverse();
            }
            items.into()
        }
        Value::Int(_) if dice.roll(6) == 0 => Value::Int(7),
        value if dice.roll(60) == 0 => {
            let odd = [Value::Null, 1.into(), "x".into(), true.into(), Value::object()];
            let _ = value;
            dice.pick(&odd).clone()
        }
        value => value.clone(),
    }
}

/// An object with some of another one in it.
fn blend(mine: &Value, other: &Value, dice: &mut Dice) -> Value {
    match (mine, other) {
        (Value::Object(mine), Value::Object(other)) => {
            let mut out = mine.clone();
            for (key, theirs) in other.iter() {
                let mixed = match (mine.get(key), dice.roll(6)) {
                    (_, 0 | 1) => theirs.clone(),
                    (Some(ours), 2) => blend(ours, theirs, dice),
                    (Some(_), 3) if key != "managedFields" => {
                        out.remove(key);
                        continue;
                    }
                    _ => continue,
                };
                out.insert(key.to_owned(), mixed);
            }
            Value::Object(out)
        }
        (Value::Array(mine), Value::Array(other)) => {
            let mut items = mine.clone();
            for item in other.iter().filter(|item| !mine.contains(item)) {
                items.insert(dice.roll(items.len() + 1), item.clone());
            }
            if dice.roll(3) == 0 && !items.is_empty() {
                items.remove(dice.roll(items.len()));
            }
            items.into()
        }
        (mine, _) => mine.clone(),
    }
}

/// Several writes in a row to one object. What both make of each write must be the same.
fn play(kind: &Kind, oracle: &mut Oracle, dice: &mut Dice, tally: &mut Tally) {
    let mut live: Option<Value> = None;
    for at in 0..8 {
        let step = kind.step(live.as_ref(), at, dice);
        let theirs = kind.theirs(oracle, live.as_ref(), &step);
        if theirs.as_ref().is_err_and(|error| error.contains("no type found matching")) {
            tally.unknown.push(kind.gvk.2.clone());
            return;
        }
        let ours = kind.ours(live.as_ref(), &step);
        tally.count(&ours);
        if !same(&ours, &theirs) {
            let text = |result: &Result<Value, String>| match result {
                Ok(object) => object.to_string(),
                Err(error) => error.clone(),
            };
            let live = live.as_ref().map(Value::to_string).unwrap_or_default();
            let Step { manager, subresource, applies, force, .. } = step;
            tally.faults.push(format!(
                "{:?} {manager} {subresource} applies={applies} force={force}\nlive   {live}\n\
                 given  {}\nours   {}\ntheirs {}",
                kind.gvk,
                step.object,
                text(&ours),
                text(&theirs)
            ));
            return;
        }
        if let Ok(mut object) = theirs {
            object.entry("metadata").set("uid", "u");
            live = Some(object);
        }
    }
}

fn same(ours: &Result<Value, String>, theirs: &Result<Value, String>) -> bool {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => ours.to_string() == theirs.to_string(),
        (Err(ours), Err(theirs)) => {
            // Of several faults upstream tells some first, by chance; the server words the
            // refusal of values of the wrong type elsewhere.
            let several = ours.contains("errors:") || theirs.contains("errors:");
            let conflicts = ours.starts_with("Apply failed with");
            let undeclared = ours.ends_with("not declared in schema")
                || theirs.ends_with("not declared in schema");
            ours == theirs
                || several
                || undeclared
                || !conflicts && !theirs.starts_with("failed to create typed")
        }
        _ => false,
    }
}

#[derive(Default)]
struct Tally {
    done: usize,
    conflicts: usize,
    refused: usize,
    unknown: Vec<String>,
    faults: Vec<String>,
}

impl Tally {
    fn count(&mut self, result: &Result<Value, String>) {
        match result {
            Ok(_) => self.done += 1,
            Err(error) if error.starts_with("Apply failed with") => self.conflicts += 1,
            Err(_) => self.refused += 1,
        }
    }

    fn report(mut self, done_min: usize, conflicts_min: usize) {
        let few: Vec<String> = self.faults.drain(..).take(3).collect();
        assert!(few.is_empty(), "differ:\n{}", few.join("\n\n"));
        let Self { done, conflicts, refused, .. } = self;
        println!("{done} writes, {conflicts} conflicts, {refused} refused");
        assert!(done >= done_min && conflicts >= conflicts_min, "{done} {conflicts} {refused}");
    }
}

#[test]
fn built_in_kinds_have_the_owners_that_upstream_gives_them() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut tally = Tally::default();
    for gvk in oracle.kinds() {
        let schema = schema(&gvk);
        for seed in 0..seeds() {
            let pool = (0..3).map(|at| {
                let seed = Value::Int(seed * 3 + at);
                let answer = oracle.ask_kind("generate", &gvk, [("seed", seed)]);
                let mut object = answer.object().expect("an object").clone();
                object.entry("metadata").remove("managedFields");
                object
            });
            let pool = pool.collect();
            let kind = Kind { gvk: gvk.clone(), schema: schema.clone(), models: Value::Null, pool };
            #[allow(clippy::cast_sign_loss, reason = "any number is a seed")]
            play(&kind, &mut oracle, &mut Dice::new(seed as u64), &mut tally);
        }
    }
    // The oracle's types are those that client-go can apply: lists and reviews are not.
    for stored in ["Deployment", "Pod", "Service", "Node", "Ingress", "ResourceSlice"] {
        assert!(!tally.unknown.iter().any(|kind| kind == stored), "no types for {stored}");
    }
    tally.report(900, 100);
}

/// A definition's schema with everything in it that apply cares for.
const CUSTOM: &str = r#"{"type":"object","properties":{
    "apiVersion":{"type":"string"},"kind":{"type":"string"},
    "metadata":{"type":"object","properties":{"name":{"type":"string"},"uid":{"type":"string"},
        "labels":{"type":"object","additionalProperties":{"type":"string"}},
        "annotations":{"type":"object","additionalProperties":{"type":"string"}},
        "managedFields":{"type":"array","x-kubernetes-list-type":"atomic",
            "items":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}},
    "spec":{"type":"object","properties":{
        "text":{"type":"string"},"number":{"type":"integer"},"flag":{"type":"boolean"},
        "either":{"x-kubernetes-int-or-string":true},
        "whole":{"type":"object","x-kubernetes-map-type":"atomic",
            "properties":{"a":{"type":"string"},"b":{"type":"integer"}}},
        "map":{"type":"object","additionalProperties":{"type":"string"}},
        "maps":{"type":"object","additionalProperties":{"type":"object",
            "properties":{"a":{"type":"string"},"b":{"type":"integer"}}}},
        "wholemap":{"type":"object","x-kubernetes-map-type":"atomic",
            "additionalProperties":{"type":"string"}},
        "list":{"type":"array","items":{"type":"string"}},
        "set":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
        "numbers":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"integer"}},
        "items":{"type":"array","x-kubernetes-list-type":"map",
            "x-kubernetes-list-map-keys":["key","port"],"items":{"type":"object","properties":{
                "key":{"type":"string"},"port":{"type":"integer","default":80},
                "value":{"type":"string"},
                "inner":{"type":"array","x-kubernetes-list-type":"set",
                    "items":{"type":"string"}}}}},
        "any":{"x-kubernetes-preserve-unknown-fields":true},
        "open":{"type":"object","x-kubernetes-preserve-unknown-fields":true,
            "properties":{"known":{"type":"object","properties":{"a":{"type":"string"}}}}}}},
    "status":{"type":"object","properties":{"phase":{"type":"string"}}}}}"#;

/// A random value of a definition's schema.
fn random(schema: &Value, dice: &mut Dice) -> Value {
    let few = |dice: &mut Dice| dice.roll(4);
    match schema.get("type").str() {
        "string" => (*dice.pick(&["a", "b", "c<d"])).into(),
        "integer" => Value::Int(dice.roll(3) as i64),
        "boolean" => (dice.roll(2) == 0).into(),
        "array" => {
            let mut items: Vec<Value> = Vec::new();
            for _ in 0..few(dice) {
                let item = random(schema.get("items"), dice);
                if !items.contains(&item) || dice.roll(20) == 0 {
                    items.push(item);
                }
            }
            items.into()
        }
        "object" => {
            let mut object = Value::object();
            for (name, property) in schema.get("properties").fields() {
                if dice.roll(3) > 0 {
                    object.set(name, random(property, dice));
                }
            }
            let unknown = schema.get("x-kubernetes-preserve-unknown-fields").is_true();
            for _ in 0..few(dice) {
                let name = *dice.pick(&["x", "y", "z"]);
                if unknown {
                    object.set(name, anything(dice));
                } else if !schema.get("additionalProperties").is_null() {
                    object.set(name, random(schema.get("additionalProperties"), dice));
                }
            }
            object
        }
        _ if schema.get("x-kubernetes-int-or-string").is_true() => {
            dice.pick(&[Value::from("50%"), Value::Int(7)]).clone()
        }
        _ => anything(dice),
    }
}

/// A random value of no type.
fn anything(dice: &mut Dice) -> Value {
    match dice.roll(6) {
        0 => Value::Int(dice.roll(3) as i64),
        1 => (*dice.pick(&["a", "b"])).into(),
        2 => Value::Null,
        3 => vec![Value::from("a"), Value::Int(1)].into(),
        _ => Value::from([("p", dice.pick(&[Value::Int(1), "q".into()]).clone())]),
    }
}

#[test]
fn custom_resources_have_the_owners_that_upstream_gives_them() {
    let Some(mut oracle) = Oracle::start() else { return };
    let open_api = Value::parse(CUSTOM.as_bytes()).expect("a schema");
    let gvk = ("example.com".to_owned(), "v1".to_owned(), "Thing".to_owned());
    let mut model = open_api.clone();
    let named = Value::from([
        ("group", gvk.0.as_str().into()),
        ("version", gvk.1.as_str().into()),
        ("kind", gvk.2.as_str().into()),
    ]);
    model.set("x-kubernetes-group-version-kind", vec![named]);
    let mut tally = Tally::default();
    for seed in 0..100 {
        let mut dice = Dice::new(seed);
        let pool = (0..3).map(|_| random(&open_api, &mut dice)).collect();
        let schema = Schema::custom(&open_api, false).expect("a structural schema");
        let models = Value::from([("thing", model.clone())]);
        let kind = Kind { gvk: gvk.clone(), schema, models, pool };
        play(&kind, &mut oracle, &mut dice, &mut tally);
    }
    tally.report(400, 30);
}
