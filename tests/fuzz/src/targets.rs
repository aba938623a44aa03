//! What must hold of any bytes: no panic, no endless work, and what was read once reads the same
//! again.
//!
//! An input that is about a kind begins with two bytes that choose it. Several texts in one input
//! are divided by a line `---`. The ordinary tests run the same functions on mutated samples, the
//! fuzzer on whatever reaches new code.

use std::sync::LazyLock;

use rk::api::cel::{CALL_COST_MAX, Environment, shape::Shape, value::Val};
use rk::api::codec::{self, json, protobuf, yaml};
use rk::api::cron::Schedule;
use rk::api::jsonpath;
use rk::api::kinds::{custom, metadata};
use rk::api::meta::Meta;
use rk::api::patch::Patch;
use rk::api::patch::apply::{self, Applied, Managers, Reset, Versioned};
use rk::api::quantity::Quantity;
use rk::api::registry::{Context, Errors, Resource, builtin};
use rk::api::selector::{FieldSelector, LabelSelector};
use rk::api::tree::Value;
use rk::util::clock::Wall;

/// A function that panics where something does not hold.
pub type Target = fn(&[u8]);

/// All of them, by the names under which they are asked for.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", |input| decoded(input, json::decode)),
    ("yaml", |input| decoded(input, yaml::decode)),
    ("protobuf", from_protobuf),
    ("json-patch", |input| patched(input, Patch::json)),
    ("merge-patch", |input| patched(input, Patch::merge)),
    ("strategic-merge-patch", |input| patched(input, Patch::strategic)),
    ("apply", applied),
    ("rules", ruled),
    ("definition", defined),
    ("cel", evaluated),
    ("selectors", selected),
    ("words", read),
];

/// Divides the texts of an input.
pub const DIVIDER: &[u8] = b"\n---\n";

/// What is served with objects of its own, in a fixed order.
pub static KINDS: LazyLock<Vec<std::sync::Arc<Resource>>> = LazyLock::new(|| {
    let mut all: Vec<_> = builtin().iter().cloned().collect();
    all.sort_by_key(|kind| (kind.group.clone(), kind.version.clone(), kind.plural.clone()));
    all
});

/// A fixed time.
const CONTEXT: Context = Context { now: Wall(1_600_000_000_000_000_000) };

/// The kind that an input begins with, and the rest.
fn kind(input: &[u8]) -> Option<(&'static Resource, &[u8])> {
    let (head, rest) = input.split_first_chunk::<2>()?;
    Some((&KINDS[usize::from(u16::from_le_bytes(*head)) % KINDS.len()], rest))
}

/// The two texts of an input.
fn halves(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = input.windows(DIVIDER.len()).position(|window| window == DIVIDER)?;
    Some((&input[..at], &input[at + DIVIDER.len()..]))
}

type Decode = fn(&[u8], &rk::api::schema::Schema) -> Result<codec::Decoded, codec::Error>;

/// What is read is in the one shape that reads the same again, and is the same in protobuf.
fn decoded(input: &[u8], decode: Decode) {
    let Some((kind, text)) = kind(input) else { return };
    if let Ok(decoded) = decode(text, &kind.schema) {
        is_settled(&decoded.value, kind);
    }
}

fn is_settled(object: &Value, kind: &Resource) {
    let again = json::decode(&object.encode(), &kind.schema);
    let again = again.unwrap_or_else(|error| panic!("{error} in {object}"));
    assert_eq!(again.findings, Vec::<String>::new(), "{object}");
    assert_eq!(again.value.to_string(), object.to_string());
    if kind.custom {
        return;
    }
    let Ok(sealed) = protobuf::encode(object, &kind.schema) else { return };
    let back = protobuf::decode(&sealed, &kind.schema);
    let mut back = back.unwrap_or_else(|error| panic!("{error} from {object}"));
    for name in ["apiVersion", "kind"] {
        if !object.get(name).is_null() {
            back.set(name, object.get(name).clone());
        }
    }
    assert_eq!(back.to_string(), object.to_string());
}

fn from_protobuf(input: &[u8]) {
    let Some((kind, message)) = kind(input) else { return };
    let _ = protobuf::open(message).map(|envelope| envelope.message.len());
    let Ok(object) = protobuf::decode(message, &kind.schema) else { return };
    let Ok(sealed) = protobuf::encode(&object, &kind.schema) else { return };
    assert_eq!(protobuf::decode(&sealed, &kind.schema), Ok(object));
}

/// A patch makes of an object one that can be brought into its kind's shape, or is refused.
fn patched(input: &[u8], read: fn(&[u8]) -> Result<Patch, rk::api::patch::Error>) {
    let Some((kind, texts)) = kind(input) else { return };
    let Some((object, patch)) = halves(texts) else { return };
    let Ok(decoded) = json::decode(object, &kind.schema) else { return };
    let Ok(patch) = read(patch) else { return };
    let Ok(changed) = patch.apply(decoded.value, &kind.schema) else { return };
    if let Ok(conforming) = codec::conform(changed, &kind.schema) {
        is_settled(&conforming.value, kind);
    }
}

/// Who applies twice has changed nothing the second time, and owns the same.
fn applied(input: &[u8]) {
    let Some((kind, texts)) = kind(input) else { return };
    let Some((live, config)) = halves(texts) else { return };
    let Ok(live) = json::decode(live, &kind.schema) else { return };
    let Ok(config) = apply::Config::read(config) else { return };
    let managers = Managers::of(&live.value);
    let mut bare = live.value;
    bare.entry("metadata").remove("managedFields");
    let Ok(first) = apply(&bare, &config.object, managers, kind) else { return };
    let Ok(object) = codec::conform(first.object, &kind.schema) else { return };
    let again = apply(&object.value, &config.object, first.managers.clone(), kind);
    let again = again.unwrap_or_else(|error| panic!("{error} applying {:?} again", config.object));
    let Ok(second) = codec::conform(again.object, &kind.schema) else { panic!("no object") };
    assert_eq!(second.value, object.value);
    assert_eq!(again.managers, first.managers);
}

fn apply(
    live: &Value,
    config: &Value,
    managers: Managers,
    kind: &Resource,
) -> Result<Applied, apply::Error> {
    let empty = Value::from([
        ("apiVersion", kind.api_version().into()),
        ("kind", kind.kind.as_str().into()),
    ]);
    let none = |_: &Value, _: &str| -> Option<Versioned> { None };
    let context = apply::Context {
        schema: &kind.schema,
        api_version: &kind.api_version(),
        kind: &kind.kind,
        subresource: "",
        reset: Reset::of(&kind.plural, "", true, false),
        now: "2001-01-01T00:00:00Z",
        empty: &empty,
        convert: &none,
        schema_of: &|_| None,
    };
    apply::apply(live, config, managers, "fuzz", true, &context)
}

/// Two objects go through all rules of their kind, the second as an update of the first.
fn ruled(input: &[u8]) {
    let Some((kind, texts)) = kind(input) else { return };
    let Some((old, new)) = halves(texts) else { return };
    let read = |text| json::decode(text, &kind.schema).map(|decoded| decoded.value);
    let (Ok(mut old), Ok(new)) = (read(old), read(new)) else { return };
    if create(kind, &mut old) {
        change(kind, &old, new);
    }
}

/// Whether an object may be made.
fn create(kind: &Resource, object: &mut Value) -> bool {
    let rules = &kind.rules;
    rules.default(object);
    rules.prepare_create(object, CONTEXT);
    if rules.identify(object) {
        rules.default(object);
    }
    let mut errors = Errors::default();
    metadata::validate_create(kind, object, &mut errors);
    rules.validate(object, &mut errors);
    rules.warnings(object, &Value::Null);
    errors.is_empty() && {
        shown(kind, object);
        true
    }
}

/// What is done to an object that is stored.
fn shown(kind: &Resource, object: &Value) {
    let rules = &kind.rules;
    // Upstream has a cell without a heading, too.
    assert!(rules.row(object, CONTEXT).len() >= rules.columns().len(), "{object}");
    rules.fields(object);
    rules.counts_generations(object);
    rules.grace_period_s(object, Some(object.generation()));
    rules.begin_deletion(&mut object.clone());
    let mut stored = object.clone();
    rules.to_storage(&mut stored);
    rules.of_storage(&mut stored);
    is_settled(&stored, kind);
}

fn change(kind: &Resource, old: &Value, new: Value) {
    let rules = &kind.rules;
    let mut object = new.clone();
    rules.default(&mut object);
    metadata::prepare_update(&mut object, old);
    rules.prepare_update(&mut object, old, CONTEXT);
    let mut errors = Errors::default();
    metadata::validate_update(kind, &object, old, &mut errors);
    rules.validate_update(&object, old, &mut errors);
    rules.warnings(&object, old);
    rules.raises_generation(&object, old);
    for below in &kind.subresources {
        let mut object = new.clone();
        rules.default(&mut object);
        rules.prepare_subresource(below.name, &mut object, old);
        rules.validate_subresource(below.name, &object, old, &mut Errors::default());
    }
}

/// A definition that is allowed makes a resource, and objects of it go through its rules.
fn defined(input: &[u8]) {
    let Some((definition, object)) = halves(input) else { return };
    let find = |kind: &&std::sync::Arc<Resource>| kind.kind == "CustomResourceDefinition";
    let Some(kind) = KINDS.iter().find(find) else { panic!("no definitions") };
    let Ok(decoded) = json::decode(definition, &kind.schema) else { return };
    let mut definition = decoded.value;
    if !create(kind, &mut definition) {
        return;
    }
    for resource in custom::resources(&definition) {
        let Ok(object) = json::decode(object, &resource.schema) else { continue };
        let mut object = object.value;
        if create(&resource, &mut object) {
            change(&resource, &object.clone(), object);
        }
    }
}

/// An expression runs over a value within its cost.
fn evaluated(input: &[u8]) {
    let Some((text, object)) = halves(input) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(object) = Value::parse(object) else { return };
    let shape = Shape::any();
    let environment = Environment::default().with_shape("self", &shape);
    let Ok(program) = environment.compile(text) else { return };
    let (_, cost) = program.run(vec![("self", Val::of(&object, &shape))], CALL_COST_MAX);
    assert!(cost <= CALL_COST_MAX * 2, "{text} cost {cost}");
}

/// A selector's own text is the same selector.
fn selected(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let again = LabelSelector::parse(&selector.to_text());
        let again = again.unwrap_or_else(|status| panic!("{text}: {status:?}"));
        assert_eq!(again.to_text(), selector.to_text());
        selector.matches(&Value::from([("a", "b".into())]));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        selector.matches(|_| Some("a"));
        selector.required("metadata.name");
    }
}

/// Small languages within fields.
fn read(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(quantity) = text.parse::<Quantity>() {
        let shown = quantity.to_string();
        let again = shown.parse::<Quantity>().map(|quantity| quantity.to_string());
        assert_eq!(again.as_ref(), Ok(&shown), "{text}");
    }
    if let Ok(schedule) = Schedule::parse(text)
        && let Some(next) = schedule.next(CONTEXT.now)
    {
        assert!(next > CONTEXT.now, "{text}");
    }
    if let Some(time) = rk::api::time::parse(text) {
        let shown = rk::api::time::format(time);
        let again = rk::api::time::parse(&shown).map(rk::api::time::format);
        assert_eq!(again, Some(shown), "{text}");
    }
    if let Ok(path) = jsonpath::Path::parse(text) {
        path.find(&Value::from([("a", Value::from([("b", Value::Array(vec![1.into()]))]))]));
    }
}
