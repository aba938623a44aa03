//! No rule panics, whatever shape an object has.
//!
//! Objects are grown along the kind's schema, so that they reach deep, and then spoiled: any value
//! may be of any type, absent, or a text that nothing expects.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::metadata;
use crate::api::registry::{Context, Errors, Resource, builtin};
use crate::api::schema::{Kind, Node};
use crate::api::tree::Value;
use crate::util::clock::Wall;

const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "..",
    "/",
    "-1",
    "0",
    "1Gi",
    "é",
    "a/b",
    "10.0.0.1",
    "Always",
    "None",
    "latest",
    "metadata.labels['",
    "2026-11-20T12:00:00Z",
    "50%",
    "*",
    "\u{0}",
    "a.b.c/d",
    "object",
    "status",
];
const DEPTH_MAX: usize = 24;

struct Grower {
    rng: TestRng,
}

impl Grower {
    fn chance(&mut self, of: u32) -> bool {
        self.rng.next_u32().is_multiple_of(of)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound
    }

    fn spoiled(&mut self) -> Value {
        let text = TEXTS[self.below(TEXTS.len())];
        match self.below(8) {
            0 => Value::Null,
            1 => Value::Bool(self.chance(2)),
            2 => Value::Int(i64::MIN),
            3 => Value::Int(self.rng.next_u32().into()),
            4 => Value::Float(-1.5),
            5 => Value::Array(vec![Value::Null, text.into(), Value::object()]),
            6 => [(text, Value::Null)].into(),
            _ => text.into(),
        }
    }

    fn grow(&mut self, node: Node<'_>, depth: usize) -> Value {
        if self.chance(12) || depth > DEPTH_MAX {
            return self.spoiled();
        }
        match node.kind() {
            Kind::Struct => {
                let Some(ty) = node.fields_type() else { return Value::Null };
                let mut object = Value::object();
                // The deeper, the fewer fields: trees stay small.
                let sparse = 2 + u32::try_from(depth).unwrap_or(0);
                for field in ty.fields() {
                    if !self.chance(sparse) && depth > 1 {
                        continue;
                    }
                    object.set(field.name(), self.grow(field.node(), depth + 1));
                }
                object
            }
            Kind::List => match node.elem() {
                Some(elem) => {
                    let count = self.below(3);
                    (0..count).map(|_| self.grow(elem, depth + 1)).collect::<Vec<_>>().into()
                }
                None => Value::Null,
            },
            Kind::Map => {
                let key = TEXTS[self.below(TEXTS.len())];
                let value = node.elem().map_or(Value::Null, |elem| self.grow(elem, depth + 1));
                [(key, value)].into()
            }
            _ if self.chance(2) => match node.values().len() {
                0 => self.spoiled(),
                count => {
                    let chosen = self.below(count);
                    node.values().nth(chosen).unwrap_or_default().into()
                }
            },
            _ => self.spoiled(),
        }
    }
}

/// Runs everything that a request for this resource may run.
fn exercise(resource: &Resource, object: &Value, old: &Value) {
    let context = Context { now: Wall::from_seconds(1_795_168_080) };
    let rules = &resource.rules;
    let mut errors = Errors::default();
    let mut created = object.clone();
    rules.default(&mut created);
    rules.prepare_create(&mut created, context);
    metadata::validate_create(resource, &created, &mut errors);
    rules.validate(&created, &mut errors);
    let mut updated = object.clone();
    rules.default(&mut updated);
    metadata::prepare_update(&mut updated, old);
    rules.prepare_update(&mut updated, old, context);
    metadata::validate_update(resource, &updated, old, &mut errors);
    rules.validate_update(&updated, old, &mut errors);
    for subresource in &resource.subresources {
        let mut changed = object.clone();
        rules.prepare_subresource(subresource.name, &mut changed, old);
        rules.stamp_subresource(&mut changed, old, context);
        rules.validate_subresource(subresource.name, &changed, old, &mut errors);
    }
    rules.warnings(object, old);
    rules.counts_generations(object);
    rules.raises_generation(object, old);
    rules.grace_period_s(object, None);
    rules.holds_deletion(object);
    rules.begin_deletion(&mut created);
    rules.to_storage(&mut updated);
    rules.of_storage(&mut updated);
    let yielded: Vec<&str> = rules.fields(object).into_iter().map(|(path, _)| path).collect();
    for named in rules.selectable() {
        assert!(yielded.contains(&rules.indexed(named)), "{} {named}", resource.kind);
    }
    assert!(rules.row(object, context).len() >= rules.columns().len(), "{}", resource.kind);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_rule_panics(seed in any::<[u8; 32]>()) {
        let mut grower = Grower { rng: TestRng::from_seed(RngAlgorithm::ChaCha, &seed) };
        for resource in builtin().iter() {
            let object = grower.grow(resource.schema.root(), 0);
            let old = grower.grow(resource.schema.root(), 0);
            exercise(resource, &object, &old);
        }
    }
}
