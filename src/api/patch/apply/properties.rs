//! What holds for any sets, any objects, and any nonsense that clients send.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::api::codec::conform;

/// Any JSON of few names, so that two of them often meet.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (0..3_i64).prop_map(Value::Int),
        "[ab<]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            fields(inner).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn fields(
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = std::collections::BTreeMap<String, Value>> {
    const NAMES: [&str; 9] =
        ["a", "b", "items", "set", "name", "whole", "spec", "status", "metadata"];
    btree_map(proptest::sample::select(&NAMES[..]).prop_map(str::to_owned), value, 0..5)
}

fn set() -> impl Strategy<Value = Set> {
    let step = proptest::sample::select(&["f:a", "f:b", r#"k:{"name":"a"}"#, "v:1", "i:2"][..]);
    let leaf = Just(Value::object());
    let json = leaf.prop_recursive(4, 24, 3, move |inner| {
        let key = prop_oneof![4 => step.clone(), 1 => Just(".")];
        btree_map(key.prop_map(str::to_owned), inner, 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    });
    json.prop_map(|json| fields::decode(&json).unwrap())
}

/// A definition with every way to merge.
fn schema() -> Schema {
    let text = r#"{"type":"object","properties":{
        "spec":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{
            "a":{"type":"string"},"b":{"type":"object","additionalProperties":{"type":"integer"}},
            "whole":{"type":"object","x-kubernetes-map-type":"atomic"},
            "set":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"integer"}},
            "items":{"type":"array","x-kubernetes-list-type":"map",
                "x-kubernetes-list-map-keys":["name"],"items":{"type":"object",
                    "x-kubernetes-preserve-unknown-fields":true,
                    "properties":{"name":{"type":"string"}}}}}},
        "status":{"x-kubernetes-preserve-unknown-fields":true}}}"#;
    Schema::custom(&Value::parse(text.as_bytes()).unwrap(), false).unwrap()
}

fn shaped(mut object: Value, schema: &Schema) -> Value {
    if !matches!(object, Value::Object(_)) {
        object = Value::object();
    }
    object.set("apiVersion", "example.com/v1");
    object.set("kind", "Thing");
    if let Ok(decoded) = conform(object.clone(), schema) { decoded.value } else { Value::object() }
}

fn with_context<T>(schema: &Schema, then: impl FnOnce(&Context<'_>) -> T) -> T {
    let empty = shaped(Value::object(), schema);
    then(&Context {
        schema,
        api_version: "example.com/v1",
        kind: "Thing",
        subresource: "",
        reset: Reset::of("things.example.com", "", true, true),
        now: "2026-01-01T00:00:00Z",
        empty: &empty,
        convert: &|_, _| None,
        schema_of: &|_| None,
    })
}

/// Who has what was there before anything was applied.
const BEFORE: &str = "before-first-apply";

#[test]
fn an_empty_list_is_owned_by_who_was_before() {
    let schema = schema();
    let config = shaped(Value::parse(br#"{"spec":{"items":[]}}"#).unwrap(), &schema);
    let live = shaped(Value::object(), &schema);
    let applied = |live: &Value, managers: Managers| {
        with_context(&schema, |context| apply(live, &config, managers, "me", false, context))
    };
    let first = applied(&live, Managers::default()).unwrap();
    assert_eq!(first.managers, Managers::default());
    let second = applied(&first.object, first.managers).unwrap();
    let mut told = Value::object();
    second.managers.put(&mut told);
    let entries = told.at(&["metadata", "managedFields"]).items();
    assert_eq!((entries.len(), entries[0].get("manager").str()), (1, BEFORE));
    assert_eq!(entries[0].get("fieldsV1").to_string(), r#"{"f:spec":{".":{},"f:items":{}}}"#);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(512)
    })]

    #[test]
    fn sets_obey_the_laws_of_sets(a in set(), b in set(), c in set()) {
        prop_assert_eq!(fields::decode(&fields::encode(&a)), Ok(a.clone()));
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.intersection(&b).union(&a.difference(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.without(&b).difference(&a), Set::default());
        prop_assert!(a.paths().iter().all(|path| a.has(path)));
        prop_assert_eq!(a.paths().len(), a.difference(&b).paths().len()
            + a.intersection(&b).paths().len());
    }

    #[test]
    fn what_is_applied_twice_is_applied_once(live in json(), config in json(), force: bool) {
        let schema = schema();
        let (live, config) = (shaped(live, &schema), shaped(config, &schema));
        let first = with_context(&schema, |context| {
            apply(&live, &config, Managers::default(), "me", force, context)
        });
        let Ok(first) = first else { return Ok(()) };
        let second = with_context(&schema, |context| {
            apply(&first.object, &config, first.managers.clone(), "me", false, context)
        });
        let second = second.unwrap();
        prop_assert!(!second.changed);
        prop_assert_eq!(&second.object, &first.object);
        // Where the configuration owns nothing (an empty list), the second finds an object without
        // owners, and gives it to who was before: so does upstream's code.
        let wanted = match first.managers == Managers::default() {
            true => with_context(&schema, |context| {
                update(context.empty, &first.object, Managers::default(), BEFORE, context)
            }),
            false => first.managers,
        };
        prop_assert_eq!(&second.managers, &wanted);
        let third = with_context(&schema, |context| {
            apply(&second.object, &config, second.managers.clone(), "me", false, context)
        });
        prop_assert_eq!(third.unwrap().managers, wanted);
    }

    #[test]
    fn every_change_has_an_owner(before in json(), after in json()) {
        let schema = schema();
        let (before, mut after) = (shaped(before, &schema), shaped(after, &schema));
        let owners = with_context(&schema, |context| {
            update(context.empty, &before, Managers::default(), "first", context)
        });
        after.entry("metadata").set("uid", "u");
        let owners = with_context(&schema, |context| {
            update(&before, &after, owners, "second", context)
        });
        let there = collect::collect(&after, Type::root(schema.root()));
        for path in there.paths() {
            let tracked = &*path[0] == "f:spec" && matches!(at(&after, &path), Some((_, true)));
            let owned = owners.entries.values().any(|owned| owned.set.has(&path));
            prop_assert!(owned || !tracked, "nobody owns {} of {after}", set::show(&path));
        }
        for (manager, owned) in &owners.entries {
            for path in owned.set.paths() {
                let gone = at(&after, &path).is_some_and(|(there, _)| !there);
                prop_assert!(!gone, "{manager:?} owns {} of {after}", set::show(&path));
            }
        }
    }

    #[test]
    fn nonsense_is_refused_and_nothing_worse(
        text in "\\PC{0,60}",
        live in json(),
        config in json(),
        managed in json(),
    ) {
        let _ = Config::read(text.as_bytes());
        let schema = schema();
        let live = shaped(live, &schema);
        let mut config = config;
        if let Value::Object(_) = config {
            config.set("apiVersion", "example.com/v1");
            config.set("kind", "Thing");
        }
        let managers = Managers::decode(&managed).unwrap_or_default();
        let _ = with_context(&schema, |context| {
            apply(&live, &config, managers, "me", true, context).map(|applied| applied.changed)
        });
    }
}

/// Whether there is something at a path, and whether that is a scalar; `None` for a path through a
/// list.
fn at(object: &Value, path: &[element::Element]) -> Option<(bool, bool)> {
    let mut value = Some(object);
    for step in path {
        let name = element::field_name(step)?;
        value = value.and_then(|value| value.as_object()?.get(name));
    }
    let scalar = |value: &Value| !matches!(value, Value::Null | Value::Array(_) | Value::Object(_));
    Some((value.is_some(), value.is_some_and(scalar)))
}
