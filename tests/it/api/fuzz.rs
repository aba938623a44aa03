//! What must hold of any input holds of the samples, of recorded requests, and of what chance makes
//! of both; the same functions are fuzzed with coverage by `tests/fuzz/run.sh`, which asks this
//! file for its seeds.

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use rk::api::codec::{json, protobuf};
use rk::api::registry::Resource;
use rk::api::tree::Value;

use super::custom;
use super::mutate::{Dice, mutate, tear};
use super::walk::samples;
use crate::http::rules;
use targets::{DIVIDER, KINDS, TARGETS};

/// Changed inputs that each function gets.
const CHANGED: usize = 600;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/api/rules");

/// Inputs that once broke something, and what else is worth keeping, by function.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus");

const WORDS: &[&str] = &[
    "100m",
    "1.5Gi",
    "2e3",
    "-0.000000001",
    "+12E",
    "*/5 * * * 1-5",
    "@every 1h",
    "0 0 29 2 *",
    "TZ=UTC 1 2 3 4 5",
    "2021-03-04T05:06:07.123456+02:00",
    "1970-01-01T00:00:00Z",
    ".a.b[0]",
    ".status.conditions[?(@.type==\"Ready\")].status",
    "['a\\'b']",
    "..b[*]",
    ".a[-1:3:2]",
];

const SELECTORS: &[&str] = &[
    "a=b,c!=d,e in (f,g),h notin (i),j,!k",
    "a==b",
    "x>1,y<2",
    "metadata.name=a,spec.nodeName!=b",
    "a in (),b",
    "status.phase=a\\,b\\=c",
    "example.com/a=",
    "",
];

/// What stays as it is when chance makes one input of another.
struct Seed {
    head: Vec<u8>,
    texts: Vec<Vec<u8>>,
}

impl Seed {
    fn of(kind: Option<usize>, texts: Vec<Vec<u8>>) -> Self {
        let head = kind.map_or_else(Vec::new, |at| (at as u16).to_le_bytes().to_vec());
        Self { head, texts }
    }

    fn input(&self) -> Vec<u8> {
        [&*self.head, &self.texts.join(DIVIDER)].concat()
    }

    /// The same with something changed: values where it is an object, else bytes.
    fn changed(&self, dice: &mut Dice) -> Vec<u8> {
        let mut texts = self.texts.clone();
        let at = dice.roll(texts.len());
        match Value::parse(&texts[at]) {
            Ok(mut object) if dice.roll(4) > 0 => {
                mutate(&mut object, dice);
                texts[at] = object.encode();
            }
            _ => tear(&mut texts[at], dice),
        }
        [&*self.head, &texts.join(DIVIDER)].concat()
    }
}

/// A kind's place among all, by what an object says.
fn place(object: &Value) -> Option<usize> {
    KINDS.iter().position(|kind| {
        kind.api_version() == object.get("apiVersion").str()
            && kind.kind == object.get("kind").str()
    })
}

/// Objects with the objects that they were before.
fn pairs() -> Vec<(usize, Value, Value)> {
    let own = samples().into_values().map(|object| (object.clone(), object));
    let recorded = fs::read_dir(CASES).expect("recorded requests").flat_map(|entry| {
        let path = entry.expect("a file").path();
        let is_cases = path.extension().is_some_and(|end| end == "jsonl");
        let text = if is_cases { fs::read_to_string(path).expect("cases") } else { String::new() };
        text.lines().map(recorded).collect::<Vec<_>>()
    });
    let placed = |(old, new): (Value, Value)| Some((place(&new)?, old, new));
    own.chain(recorded).filter_map(placed).collect()
}

fn recorded(line: &str) -> (Value, Value) {
    let case = Value::parse(line.as_bytes()).expect("a case");
    let object = case.get("obj").clone();
    let old = case.get("old");
    (if old.is_null() { object.clone() } else { old.clone() }, object)
}

fn message(object: &Value, kind: &Resource) -> Option<Vec<u8>> {
    let object = json::decode(&object.encode(), &kind.schema).ok()?.value;
    protobuf::encode(&object, &kind.schema).ok()
}

fn seeds() -> BTreeMap<&'static str, Vec<Seed>> {
    let mut seeds: BTreeMap<&str, Vec<Seed>> = BTreeMap::new();
    for (at, old, new) in pairs() {
        let operations = Value::from([("op", "add".into()), ("path", "/spec".into())]);
        let mut operation = operations;
        operation.set("value", new.get("spec").clone());
        let (old, text) = (old.encode(), new.encode());
        let mut add = |name, texts| seeds.entry(name).or_default().push(Seed::of(Some(at), texts));
        add("json", vec![text.clone()]);
        add("yaml", vec![serde_saphyr::to_string(&new).expect("a YAML text").into_bytes()]);
        add("json-patch", vec![old.clone(), Value::Array(vec![operation]).encode()]);
        for name in ["merge-patch", "strategic-merge-patch", "apply", "rules"] {
            add(name, vec![old.clone(), text.clone()]);
        }
        if let Some(message) = message(&new, &KINDS[at]) {
            add("protobuf", vec![message]);
        }
    }
    seeds.insert("definition", definitions());
    let texts = |texts: &[&str]| -> Vec<Seed> {
        texts.iter().map(|text| Seed::of(None, vec![text.as_bytes().to_vec()])).collect()
    };
    seeds.insert("words", texts(WORDS));
    seeds.insert("selectors", texts(SELECTORS));
    seeds.insert("cel", expressions());
    seeds
}

/// Definitions, each with an object of it.
fn definitions() -> Vec<Seed> {
    let tab = custom::tab("a", "{cronSpec: '* * * * *', replicas: 2}");
    let gauge = rules::gauge("g", r#"{"low":1,"high":2,"size":"1Mi","note":"n"}"#);
    let json = |text: &str| serde_saphyr::from_str::<Value>(text).expect("a manifest").encode();
    [(custom::DEFINITION, &*tab), (rules::DEFINITION, &*gauge)]
        .map(|(definition, object)| Seed::of(None, vec![json(definition), json(object)]))
        .into()
}

/// Expressions over the object that they were recorded with.
fn expressions() -> Vec<Seed> {
    let read =
        |name: &str| fs::read_to_string(Path::new(CASES).join("cel").join(name)).expect(name);
    let object = read("objects.json").into_bytes();
    let expression = |line: &str| {
        let case = Value::parse(line.as_bytes()).expect("a case");
        Seed::of(None, vec![case.get("expr").str().as_bytes().to_vec(), object.clone()])
    };
    read("cases.jsonl").lines().map(expression).collect()
}

/// What is kept for a function.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let Ok(files) = fs::read_dir(Path::new(KEPT).join(name)) else { return Vec::new() };
    files.map(|file| fs::read(file.expect("a file").path()).expect("an input")).collect()
}

#[test]
fn what_holds_of_any_input_holds() {
    let seeds = seeds();
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let seeds = seeds.get(name).unwrap_or_else(|| panic!("no seeds for {name}"));
        let mut dice = Dice::new(5);
        let changed = (0..CHANGED).map(|_| dice.pick(seeds).changed(&mut dice));
        let changed: Vec<Vec<u8>> = changed.collect();
        let own = seeds.iter().map(Seed::input);
        for input in own.chain(kept(name)).chain(changed) {
            if catch_unwind(|| target(&input)).is_err() {
                broken.push(format!("{name}: {}", input.escape_ascii()));
            }
        }
    }
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn seeds_are_written_for_the_fuzzer() {
    let folder = tempfile::tempdir().expect("a folder");
    let asked = std::env::var("RK_FUZZ_SEEDS");
    let folder = asked.map_or_else(|_| folder.path().to_owned(), Into::into);
    for (name, seeds) in seeds() {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("make a folder");
        for (at, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(at.to_string()), seed.input()).expect("write a seed");
        }
        assert!(fs::read_dir(&folder).is_ok_and(|files| files.count() >= seeds.len()));
    }
}
