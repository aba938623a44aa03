//! Rules in CEL: the `x-kubernetes-validations` of a custom resource's schema.
//!
//! They stand anywhere in the schema, and speak of the value there. A rule that names `oldSelf` is
//! one of transitions: it holds only where there is a value to compare with. What a rule says of
//! a value that an update does not change is not held against the update.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::cel::shape::{Shape, escape};
use crate::api::cel::types::Type;
use crate::api::cel::value::{Text, Val};
use crate::api::cel::{CALL_COST_MAX, Environment, Program, Stop};
use crate::api::kinds::check::At;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// What all rules together may cost for one object.
const BUDGET: u64 = 10_000_000;
/// How long a message may be that an expression makes.
const MESSAGE_MAX: usize = 5 * 1024;
/// How deep a schema is followed.
const DEPTH_MAX: usize = 100;
/// The field of a schema that has the rules.
pub const FIELD: &str = "x-kubernetes-validations";

/// The rules of a schema, in its form: only the parts that have some below them.
#[derive(Debug, Default)]
pub struct Rules {
    here: Vec<Rule>,
    shape: Option<Arc<Shape>>,
    kind: String,
    /// By which keys items are found again after an update.
    keys: Option<Vec<String>>,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    values: Option<Box<Rules>>,
    all_of: Vec<Rules>,
}

/// One rule, ready to run.
#[derive(Debug)]
pub struct Rule {
    text: String,
    /// What must hold, or why it cannot be run.
    pub program: Result<Program, String>,
    /// What makes the message.
    pub message: Option<Result<Program, String>>,
    fixed_message: String,
    reason: String,
    path: String,
    optional_old: bool,
    /// Whether it speaks of the value before the update.
    pub uses_old: bool,
}

impl Rule {
    /// Makes a rule of a schema ready, which speaks of values of a shape.
    pub fn new(given: &Value, schema: &Value, shape: &Arc<Shape>) -> Self {
        let text = |key: &str| given.get(key).str().to_owned();
        let optional_old = given.get("optionalOldSelf").is_true();
        let environment = Environment::default().with_shape("self", shape);
        let environment = match optional_old {
            true => environment.with_optional("oldSelf", shape),
            false => environment.with_shape("oldSelf", shape),
        };
        let program = compile(&environment, given.get("rule").str());
        let message = given.get("messageExpression").as_str().filter(|text| !text.is_empty());
        Self {
            text: text("rule").trim().to_owned(),
            uses_old: program.as_ref().is_ok_and(|program| program.reads("oldSelf")),
            program,
            message: message.map(|text| compile_message(&environment, text)),
            fixed_message: text("message").trim().to_owned(),
            reason: text("reason"),
            path: field_path(given.get("fieldPath").str(), schema).unwrap_or_default(),
            optional_old,
        }
    }

    /// What the rule is called in messages.
    fn name(&self) -> &str {
        if self.fixed_message.is_empty() { &self.text } else { &self.fixed_message }
    }

    fn failed(&self) -> String {
        match self.fixed_message.is_empty() {
            true => format!("failed rule: {}", self.text),
            false => self.fixed_message.clone(),
        }
    }
}

fn compile(environment: &Environment, text: &str) -> Result<Program, String> {
    let program = environment.compile(text).map_err(|why| format!("compilation failed: {why}"))?;
    match program.result() {
        Type::Bool => Ok(program),
        _ => Err("cel expression must evaluate to a bool".to_owned()),
    }
}

fn compile_message(environment: &Environment, text: &str) -> Result<Program, String> {
    let program = environment
        .compile(text)
        .map_err(|why| format!("messageExpression compilation failed: {why}"))?;
    match program.result() {
        Type::Str => Ok(program),
        _ => Err("messageExpression must evaluate to a string".to_owned()),
    }
}

/// The path of a field that a rule is about, as it follows the path of the rule's value; none if
/// the schema has no such field.
pub fn field_path(path: &str, schema: &Value) -> Option<String> {
    let (mut out, mut rest, mut schema) = (String::new(), path, schema);
    while !rest.is_empty() {
        let (name, behind) = match rest.strip_prefix('.') {
            Some(name) => {
                let end = name.find(['.', '[', ']']).unwrap_or(name.len());
                (name[..end].to_owned(), &name[end..])
            }
            None => quoted(rest.strip_prefix('[')?)?,
        };
        let properties = schema.get("properties");
        schema = match properties.is_null() {
            false => {
                out.push_str(if out.is_empty() { "" } else { "." });
                out.push_str(&name);
                properties.as_object().and_then(|map| map.get(&name))?
            }
            true => {
                out.push_str(&format!("[{name}]"));
                Some(schema.get("additionalProperties")).filter(|v| !v.is_null())?
            }
        };
        rest = behind;
    }
    Some(out)
}

/// Reads `'name']`: the name, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('\'')?;
    let mut name = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Some((name, inner[at + 1..].strip_prefix(']')?)),
            '\\' => name.push(match chars.next()?.1 {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                c @ ('\'' | '\\') => c,
                _ => return None,
            }),
            c => name.push(c),
        }
    }
    None
}

impl Rules {
    /// The rules of a resource's schema; none if there are none.
    pub fn of(schema: &Value) -> Option<Self> {
        if !schema.to_string().contains(FIELD) {
            return None;
        }
        let shape = Shape::of(schema, "selfType", true).map(Arc::new);
        Self::made(schema, schema, shape, DEPTH_MAX)
    }

    /// The rules that `rules` has, which speak of values of `schema`: the same, but within `allOf`.
    fn made(
        rules: &Value,
        schema: &Value,
        shape: Option<Arc<Shape>>,
        depth: usize,
    ) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let inner = |key: &str| {
            let (rules, schema) = (rules.get(key), schema.get(key));
            let shape = shape.as_ref().and_then(|shape| shape.inner().cloned());
            let both = rules.as_object().is_some() && schema.as_object().is_some();
            both.then(|| Self::made(rules, schema, shape, depth)).flatten().map(Box::new)
        };
        let property = |(name, rules): (&str, &Value)| {
            let schema = schema.get("properties").as_object()?.get(name)?;
            let part = part(shape.as_ref(), name, schema);
            Some((name.to_owned(), Self::made(rules, schema, part, depth)?))
        };
        let here = |shape: &Arc<Shape>| {
            rules.get(FIELD).items().iter().map(|rule| Rule::new(rule, schema, shape)).collect()
        };
        let made = Self {
            here: shape.as_ref().map(here).unwrap_or_default(),
            kind: schema.get("type").str().to_owned(),
            keys: list_keys(schema),
            properties: rules.get("properties").fields().filter_map(property).collect(),
            items: inner("items"),
            values: inner("additionalProperties"),
            all_of: rules
                .get("allOf")
                .items()
                .iter()
                .filter_map(|rules| Self::made(rules, schema, shape.clone(), depth))
                .collect(),
            shape,
        };
        let some = !(made.here.is_empty()
            && made.properties.is_empty()
            && made.items.is_none()
            && made.values.is_none()
            && made.all_of.is_empty());
        some.then_some(made)
    }

    /// Reports every rule that an object does not keep to; `old` is what it was before an update.
    pub fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let mut check = Check { budget: BUDGET, errors };
        // Of the rest nothing is told: it was told that the budget is spent.
        let _ = check.value(self, At::root(object), old, old.is_some_and(|old| old == object));
    }
}

/// The shape of a property: its part of the object's, or its own where its name cannot be written.
fn part(shape: Option<&Arc<Shape>>, name: &str, schema: &Value) -> Option<Arc<Shape>> {
    match escape(name) {
        Some(_) => shape?.field(name).cloned(),
        None => {
            let resource = schema.get("x-kubernetes-embedded-resource").is_true();
            Shape::of(schema, "selfType", resource).map(Arc::new)
        }
    }
}

/// The keys by which items are found again; none for lists whose items are not.
pub fn list_keys(schema: &Value) -> Option<Vec<String>> {
    let keys = schema.get("x-kubernetes-list-map-keys").items().iter();
    let map = schema.get("x-kubernetes-list-type").str() == "map";
    map.then(|| keys.map(|key| key.str().to_owned()).collect())
}

/// The item of an old list that has the keys of a new item.
pub fn counterpart<'v>(item: &Value, old: &'v Value, keys: Option<&[String]>) -> Option<&'v Value> {
    let keys = keys?;
    old.items().iter().find(|old| keys.iter().all(|key| old.get(key) == item.get(key)))
}

/// No further rules are run.
struct Spent;

struct Check<'e> {
    budget: u64,
    errors: &'e mut Errors,
}

impl Check<'_> {
    /// Holds a value against the rules of its schema; `same` says that an update leaves it, or
    /// something that it is part of, as it was.
    fn value(
        &mut self,
        rules: &Rules,
        at: At<'_>,
        old: Option<&Value>,
        same: bool,
    ) -> Result<(), Spent> {
        if at.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        for rule in &rules.here {
            self.rule(rules, rule, at, old, same)?;
        }
        for rules in &rules.all_of {
            self.value(rules, at, old, same)?;
        }
        let same_part =
            |now: &Value, before: Option<&Value>| same || before.is_some_and(|b| b == now);
        if let Some(items) = &rules.items {
            for item in at.items() {
                let before = old.and_then(|old| counterpart(&item, old, rules.keys.as_deref()));
                self.value(items, item, before, same_part(&item, before))?;
            }
        }
        let before = |name: &str| old.and_then(|old| old.as_object()?.get(name));
        if let Some(values) = &rules.values {
            for (name, value) in at.keys() {
                let before = before(name);
                self.value(values, value, before, same_part(&value, before))?;
            }
        }
        for (name, inner) in &rules.properties {
            let value = at.field(name);
            let before = before(name);
            self.value(inner, value, before, same_part(&value, before))?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rules: &Rules,
        rule: &Rule,
        at: At<'_>,
        old: Option<&Value>,
        same: bool,
    ) -> Result<(), Spent> {
        let Some(shape) = &rules.shape else { return Ok(()) };
        if self.budget == 0 {
            return Err(self.spent(rules, at));
        }
        if rule.uses_old && old.is_none() && !rule.optional_old {
            return Ok(());
        }
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.invalid(rules, at, &format!("rule compile error: {why}"));
                return Ok(());
            }
        };
        let variables = variables(rule, at.value(), old, shape);
        let (answer, cost) = program.run(variables.clone(), CALL_COST_MAX);
        if cost > self.budget {
            return Err(self.spent(rules, at));
        }
        self.budget -= cost;
        match answer {
            Ok(Val::Bool(true)) => Ok(()),
            Ok(_) if same && !rule.uses_old => Ok(()),
            Ok(_) => self.broken(rules, rule, at, variables),
            Err(why) => self.stopped(rules, rule, at, &why),
        }
    }

    fn stopped(&mut self, rules: &Rules, rule: &Rule, at: At<'_>, why: &Stop) -> Result<(), Spent> {
        let name = rule.name();
        match why {
            Stop::Limit => {
                let detail = format!(
                    "'{why}': no further validation rules will be run due to call cost exceeds \
                     limit for rule: {name}"
                );
                self.invalid(rules, at, &detail);
                return Err(Spent);
            }
            Stop::Error(text) if text.starts_with("no such overload") => {
                let detail = format!(
                    "'{why}': call arguments did not match a supported operator, function or \
                     macro signature for rule: {name}"
                );
                self.invalid(rules, at, &detail);
            }
            Stop::Error(_) => self.invalid(rules, at, &format!("{why} evaluating rule: {name}")),
        }
        Ok(())
    }

    fn broken<'v>(
        &mut self,
        rules: &'v Rules,
        rule: &'v Rule,
        at: At<'v>,
        variables: Vec<(&'v str, Val<'v>)>,
    ) -> Result<(), Spent> {
        let detail = match &rule.message {
            Some(Ok(program)) => {
                let (answer, cost) = program.run(variables, CALL_COST_MAX);
                if cost > self.budget {
                    let why = "messageExpression evaluation failed due to running out of cost \
                               budget, no further validation rules will be run";
                    self.invalid(rules, at, why);
                    return Err(Spent);
                }
                self.budget -= cost;
                if matches!(answer, Err(Stop::Limit)) {
                    let why = "no further validation rules will be run due to call cost exceeds \
                               limit for messageExpression";
                    self.invalid(rules, at, why);
                    return Err(Spent);
                }
                usable(answer.ok())
            }
            _ => None,
        };
        self.tell(rule, at, &detail.unwrap_or_else(|| rule.failed()));
        Ok(())
    }

    fn tell(&mut self, rule: &Rule, at: At<'_>, detail: &str) {
        let here = at.to_string();
        let path = match (here.is_empty(), rule.path.is_empty()) {
            (true, true) => "<nil>".to_owned(),
            (true, false) => rule.path.clone(),
            (false, true) => here,
            (false, false) => format!("{here}.{}", rule.path),
        };
        let shown = !matches!(at.value(), Value::Object(_) | Value::Array(_));
        match (rule.reason.as_str(), shown) {
            ("FieldValueForbidden", _) => self.errors.forbidden(path, detail),
            ("FieldValueRequired", _) => self.errors.required(path, detail),
            ("FieldValueDuplicate", true) => self.errors.duplicate(path, at.value()),
            ("FieldValueDuplicate", false) => self.errors.duplicate_unshown(path),
            (_, true) => self.errors.invalid(path, at.value(), detail),
            (_, false) => self.errors.invalid_unshown(path, detail),
        }
    }

    /// A fault of the rule rather than of the value, which is named by its type.
    fn invalid(&mut self, rules: &Rules, at: At<'_>, detail: &str) {
        let here = at.to_string();
        let path = if here.is_empty() { "<nil>".to_owned() } else { here };
        self.errors.invalid(path, &rules.kind.as_str().into(), detail);
    }

    fn spent(&mut self, rules: &Rules, at: At<'_>) -> Spent {
        let why = "validation failed due to running out of cost budget, no further validation \
                   rules will be run";
        self.invalid(rules, at, why);
        Spent
    }
}

fn variables<'v>(
    rule: &Rule,
    value: &'v Value,
    old: Option<&'v Value>,
    shape: &'v Shape,
) -> Vec<(&'v str, Val<'v>)> {
    let mut all = vec![("self", Val::of(value, shape))];
    match (old.map(|old| Val::of(old, shape)), rule.optional_old) {
        (Some(old), true) => all.push(("oldSelf", Val::some(old))),
        (None, true) => all.push(("oldSelf", Val::Optional(None))),
        (Some(old), false) => all.push(("oldSelf", old)),
        (None, false) => {}
    }
    all
}

/// A message that may be shown: one line, not too long.
fn usable(message: Option<Val<'_>>) -> Option<String> {
    let Some(Val::Str(text)) = message else { return None };
    let text: &str = match &text {
        Text::Of(text) => text,
        Text::Made(text) => text,
    };
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n');
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    fn faults(schema: &str, object: &str, old: Option<&str>) -> Vec<String> {
        let schema = format!(r#"{{"type":"object","properties":{{"spec":{schema}}}}}"#);
        let rules = Rules::of(&value(&schema)).unwrap();
        let (object, old) = (value(object), old.map(value));
        let mut errors = Errors::default();
        rules.check(&object, old.as_ref(), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    const PLAIN: &str = r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},
        "x-kubernetes-validations":[{"rule":"self.a <= self.b"}]}"#;

    #[test]
    fn broken_rules_are_told_with_their_place() {
        assert!(faults(PLAIN, r#"{"spec":{"a":1,"b":2}}"#, None).is_empty());
        let found = faults(PLAIN, r#"{"spec":{"a":3,"b":2}}"#, None);
        assert_eq!(found, ["spec: Invalid value: failed rule: self.a <= self.b"]);
        let found = faults(PLAIN, r#"{"spec":{"a":3}}"#, None);
        let wanted =
            r#"spec: Invalid value: "object": no such key: b evaluating rule: self.a <= self.b"#;
        assert_eq!(found, [wanted]);
    }

    #[test]
    fn messages_reasons_and_paths_are_the_rule_s() {
        let rule = r#"{"type":"object","properties":{"a":{"type":"integer"}},"x-kubernetes-validations":[
            {"rule":"self.a > 1","message":"too small","reason":"FieldValueForbidden","fieldPath":".a"},
            {"rule":"self.a > 2","messageExpression":"'a is ' + string(self.a)"},
            {"rule":"self.a > 3","messageExpression":"'a' + string(self.a / 0)","message":"small"}]}"#;
        let found = faults(rule, r#"{"spec":{"a":1}}"#, None);
        let wanted = [
            "spec.a: Forbidden: too small",
            "spec: Invalid value: a is 1",
            "spec: Invalid value: small",
        ];
        assert_eq!(found, wanted);
        let scalar = r#"{"type":"integer","x-kubernetes-validations":[{"rule":"self > 1"}]}"#;
        let found = faults(scalar, r#"{"spec":1}"#, None);
        assert_eq!(found, ["spec: Invalid value: 1: failed rule: self > 1"]);
    }

    #[test]
    fn transitions_are_compared_where_there_is_something_to_compare_with() {
        let rule = r#"{"type":"integer","x-kubernetes-validations":[{"rule":"self >= oldSelf"}]}"#;
        assert!(faults(rule, r#"{"spec":1}"#, None).is_empty());
        assert!(faults(rule, r#"{"spec":2}"#, Some(r#"{"spec":1}"#)).is_empty());
        assert_eq!(faults(rule, r#"{"spec":1}"#, Some(r#"{"spec":2}"#)).len(), 1);
        assert!(faults(rule, r#"{"spec":1}"#, Some("{}")).is_empty());
        let optional = r#"{"type":"integer","x-kubernetes-validations":[
            {"rule":"oldSelf.hasValue() || self == 0","optionalOldSelf":true}]}"#;
        assert_eq!(faults(optional, r#"{"spec":1}"#, None).len(), 1);
        assert!(faults(optional, r#"{"spec":1}"#, Some(r#"{"spec":0}"#)).is_empty());
    }

    #[test]
    fn items_of_lists_are_found_again_by_their_keys() {
        let list = r#"{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],
          "items":{"type":"object","properties":{"k":{"type":"string"},"v":{"type":"integer"}},
            "x-kubernetes-validations":[{"rule":"self.v >= oldSelf.v"}]}}"#;
        let old = r#"{"spec":[{"k":"a","v":1},{"k":"b","v":5}]}"#;
        let new = r#"{"spec":[{"k":"b","v":4},{"k":"a","v":2},{"k":"c","v":0}]}"#;
        let found = faults(list, new, Some(old));
        assert_eq!(found, ["spec[0]: Invalid value: failed rule: self.v >= oldSelf.v"]);
    }

    #[test]
    fn what_an_update_leaves_as_it_was_is_not_held_against_it() {
        let bad = r#"{"spec":{"a":3,"b":2}}"#;
        let other = r#"{"spec":{"a":3,"b":2},"x":1}"#;
        assert!(faults(PLAIN, other, Some(bad)).is_empty());
        assert_eq!(faults(PLAIN, r#"{"spec":{"a":4,"b":2}}"#, Some(bad)).len(), 1);
    }

    #[test]
    fn all_rules_together_have_a_budget() {
        let items = r#"{"type":"array","items":{"type":"array","items":{"type":"integer"},
            "x-kubernetes-validations":[{"rule":"self.all(a, self.all(b, a == b || a != b))"}]}}"#;
        let inner = format!("[{}]", vec!["1"; 190].join(","));
        let object = format!(r#"{{"spec":[{}]}}"#, vec![inner.as_str(); 60].join(","));
        let found = faults(items, &object, None);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("running out of cost budget"), "{found:?}");
        let inner = format!("[[{}]]", vec!["1"; 3000].join(","));
        let found = faults(items, &format!(r#"{{"spec":{inner}}}"#), None);
        assert!(found[0].contains("actual cost limit exceeded"), "{found:?}");
    }

    #[test]
    fn paths_lead_through_the_schema() {
        let schema = value(
            r#"{"properties":{"a":{"properties":{"b.c":{"type":"string"}}},
                "m":{"additionalProperties":{"properties":{"x":{}}}}}}"#,
        );
        let cases = [
            (".a", Some("a")),
            (".a['b.c']", Some("a.b.c")),
            (".m['k'].x", Some("m[k].x")),
            (".b", None),
            ("a", None),
            (".a[0]", None),
            (".a['x", None),
        ];
        for (path, wanted) in cases {
            assert_eq!(field_path(path, &schema).as_deref(), wanted, "{path}");
        }
    }
}
