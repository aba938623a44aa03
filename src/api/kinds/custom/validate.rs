//! Whether a value is as an OpenAPI v3 schema says, in the words of upstream's validator.

use std::collections::BTreeMap;

use regex::Regex;

use super::format;
use super::rules::{counterpart, list_keys};
use crate::api::kinds::check::At;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// A schema whose patterns are compiled.
pub struct Validator {
    schema: Value,
    patterns: BTreeMap<String, Regex>,
}

/// How deep schemas are followed; the tree of an object is no deeper.
const DEPTH_MAX: usize = crate::limits::TREE_DEPTH_MAX;

impl Validator {
    /// For a schema that has been found good; patterns that do not compile match nothing.
    pub fn new(schema: Value) -> Self {
        let mut patterns = BTreeMap::new();
        collect(&schema, DEPTH_MAX, &mut patterns);
        Self { schema, patterns }
    }

    /// The schema itself.
    pub const fn schema(&self) -> &Value {
        &self.schema
    }

    /// Reports everything about a whole object that is not as the schema says. What an update
    /// leaves as it was in `old` is not held against it (KEP-4008).
    pub fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let walk = Walk { patterns: &self.patterns };
        walk.value(&self.schema, (At::root(object), old), DEPTH_MAX, errors);
    }

    /// Reports what is not right about a value that stands at `path`, such as a default.
    pub fn check_at(&self, path: &str, value: &Value, errors: &mut Errors) {
        let walk = Walk { patterns: &self.patterns };
        walk.value(&self.schema, (At::path(path, value), None), DEPTH_MAX, errors);
    }
}

fn collect(schema: &Value, depth: usize, patterns: &mut BTreeMap<String, Regex>) {
    if let Some(pattern) = schema.get("pattern").as_str()
        && let Ok(regex) = Regex::new(pattern)
    {
        patterns.insert(pattern.to_owned(), regex);
    }
    if depth > 0 {
        schema.items().iter().for_each(|inner| collect(inner, depth - 1, patterns));
        schema.fields().for_each(|(_, inner)| collect(inner, depth - 1, patterns));
    }
}

struct Walk<'p> {
    patterns: &'p BTreeMap<String, Regex>,
}

/// A value and where it stands, and what it was before an update, where that can be told.
type Now<'a> = (At<'a>, Option<&'a Value>);

impl Walk<'_> {
    fn value(&self, schema: &Value, now: Now<'_>, depth: usize, errors: &mut Errors) {
        let (at, old) = now;
        if depth == 0 || (at.is_null() && schema.get("nullable").is_true()) {
            return;
        }
        if old.is_some_and(|old| old == at.value()) {
            return;
        }
        if !typed(schema, at, errors) {
            return;
        }
        enumerated(schema, at, errors);
        match at.value() {
            Value::Str(text) => self.text(schema, at, text, errors),
            Value::Int(_) | Value::Float(_) => number(schema, at, errors),
            Value::Array(_) => self.list(schema, now, depth, errors),
            Value::Object(_) => self.object(schema, now, depth, errors),
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(schema, at, depth, errors);
    }

    /// Only a text's first fault is told, as upstream does.
    fn text(&self, schema: &Value, at: At<'_>, text: &str, errors: &mut Errors) {
        let length = text.chars().count();
        let (pattern, name) = (schema.get("pattern").str(), schema.get("format").str());
        let fits = || self.patterns.get(pattern).is_some_and(|regex| regex.is_match(text));
        if let Some(max) = size(schema, "maxLength").filter(|max| length > *max) {
            errors.too_long(at, max);
        } else if let Some(min) = size(schema, "minLength").filter(|min| length < *min) {
            said(at, &format!("should be at least {min} chars long"), errors);
        } else if !pattern.is_empty() && !fits() {
            said(at, &format!("should match '{pattern}'"), errors);
        } else if !format::holds(name, text) {
            errors.invalid(at, &at, &format!("{at} in body must be of type {name}: {text:?}"));
        }
    }

    fn list(&self, schema: &Value, (at, old): Now<'_>, depth: usize, errors: &mut Errors) {
        let length = at.value().items().len();
        let items = schema.get("items");
        let keys = old.and_then(|_| list_keys(schema));
        for item in at.items() {
            let before = old.and_then(|old| counterpart(&item, old, keys.as_deref()));
            self.value(items, (item, before), depth - 1, errors);
        }
        if let Some(max) = size(schema, "maxItems").filter(|max| length > *max) {
            errors.too_many(at, length, max);
        }
        if let Some(min) = size(schema, "minItems").filter(|min| length < *min) {
            let why = format!("{at} in body should have at least {min} items");
            errors.invalid(at, &count(length), &why);
        }
        distinct(schema, at, errors);
    }

    fn object(&self, schema: &Value, (at, old): Now<'_>, depth: usize, errors: &mut Errors) {
        let length = at.fields().count();
        if let Some(max) = size(schema, "maxProperties").filter(|max| length > *max) {
            errors.too_many(at, length, max);
        }
        if let Some(min) = size(schema, "minProperties").filter(|min| length < *min) {
            let why = format!("{at} in body should have at least {min} properties");
            errors.invalid(at, &count(length), &why);
        }
        for name in schema.get("required").items() {
            if at.as_object().is_some_and(|map| !map.contains(name.str())) {
                errors.required(at.field(name.str()), "");
            }
        }
        if schema.get("x-kubernetes-embedded-resource").is_true() {
            for name in ["apiVersion", "kind"].into_iter().filter(|name| at.get(name).is_empty()) {
                errors.required(at.field(name), "must not be empty");
            }
        }
        let (properties, rest) = (schema.get("properties"), schema.get("additionalProperties"));
        for (name, _) in at.fields() {
            let property = properties.as_object().and_then(|map| map.get(name));
            if let Some(inner) = property.or(Some(rest).filter(|rest| rest.as_object().is_some())) {
                let before = old.and_then(|old| old.as_object()?.get(name));
                self.value(inner, (at.field(name), before), depth - 1, errors);
            }
        }
    }

    fn combined(&self, schema: &Value, at: At<'_>, depth: usize, errors: &mut Errors) {
        let holds = |inner: &Value| self.faults(inner, at, depth).is_empty();
        for inner in schema.get("allOf").items() {
            self.value(inner, (at, None), depth - 1, errors);
        }
        let any = schema.get("anyOf").items();
        if !any.is_empty() && !any.iter().any(holds) {
            composite(at, "must validate at least one schema (anyOf)", errors);
            self.nearest(any, at, depth, errors);
        }
        let one = schema.get("oneOf").items();
        let count = one.iter().filter(|inner| holds(inner)).count();
        if !one.is_empty() && count == 0 {
            let why = "must validate one and only one schema (oneOf). Found none valid";
            composite(at, why, errors);
            self.nearest(one, at, depth, errors);
        } else if count > 1 {
            let why = "must validate one and only one schema (oneOf). Found";
            composite(at, &format!("{why} {count} valid alternatives"), errors);
        }
        let not = schema.get("not");
        if !not.is_null() && holds(not) {
            composite(at, "must not validate the schema (not)", errors);
        }
    }

    fn faults(&self, schema: &Value, at: At<'_>, depth: usize) -> Errors {
        let mut errors = Errors::default();
        self.value(schema, (at, None), depth - 1, &mut errors);
        errors
    }

    /// What is wrong by the alternative that comes nearest.
    fn nearest(&self, alternatives: &[Value], at: At<'_>, depth: usize, errors: &mut Errors) {
        let all = alternatives.iter().map(|inner| self.faults(inner, at, depth));
        if let Some(fewest) = all.min_by_key(Errors::len) {
            errors.append(fewest);
        }
    }
}

/// Reports a value of another type than the schema's; false if it is of another.
fn typed(schema: &Value, at: At<'_>, errors: &mut Errors) -> bool {
    let mut wanted = schema.get("type").str();
    let fits = match (wanted, at.value()) {
        _ if schema.get("x-kubernetes-int-or-string").is_true() => {
            wanted = "integer,string";
            matches!(at.value(), Value::Int(_) | Value::Str(_))
        }
        ("", _)
        | ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::Str(_))
        | ("boolean", Value::Bool(_))
        | ("number", Value::Int(_) | Value::Float(_)) => true,
        ("integer", value) => value.as_int().is_some(),
        _ => false,
    };
    if !fits {
        let found = at.kind_name();
        let place = if at.to_string().is_empty() { "\"\"".to_owned() } else { at.to_string() };
        let why = format!("{place} in body must be of type {wanted}: {found:?}");
        errors.type_invalid(at, &found.into(), &why);
    }
    fits
}

fn enumerated(schema: &Value, at: At<'_>, errors: &mut Errors) {
    let known = schema.get("enum").items();
    if !known.is_empty() && !known.contains(at.value()) {
        let texts: Vec<String> = known.iter().map(plain).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        errors.not_supported(at, &at, &texts);
    }
}

/// A value as it stands in a sentence: texts without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(schema: &Value, at: At<'_>, errors: &mut Errors) {
    let Some(n) = as_float(at.value()) else { return };
    for (limit, exclusive, within, words) in [
        ("maximum", "exclusiveMaximum", 1.0, ("less than", "less than or equal to")),
        ("minimum", "exclusiveMinimum", -1.0, ("greater than", "greater than or equal to")),
    ] {
        let Some(bound) = as_float(schema.get(limit)) else { continue };
        let strict = schema.get(exclusive).is_true();
        let beyond = (n - bound) * within;
        if beyond > 0.0 || (strict && beyond == 0.0) {
            let words = if strict { words.0 } else { words.1 };
            said(at, &format!("should be {words} {}", schema.get(limit)), errors);
        }
    }
    let factor = as_float(schema.get("multipleOf")).filter(|factor| *factor > 0.0);
    if let Some(factor) = factor
        && (n / factor).fract() != 0.0
    {
        said(at, &format!("should be a multiple of {}", schema.get("multipleOf")), errors);
    }
    let range = match schema.get("format").str() {
        "int32" => f64::from(i32::MIN)..=f64::from(i32::MAX),
        _ => return,
    };
    if !range.contains(&n) {
        let why = format!("Checked value must be of type {} with format int32", at.kind_name());
        errors.invalid(at, &at, &why);
    }
}

/// Items of a set, or with the same keys, that are there twice.
fn distinct(schema: &Value, at: At<'_>, errors: &mut Errors) {
    let keys = schema.get("x-kubernetes-list-map-keys").items();
    let identity = |item: &Value| -> Value {
        if keys.is_empty() {
            return item.clone();
        }
        let key = |key: &Value| (key.str().to_owned(), item.get(key.str()).clone());
        Value::Object(keys.iter().map(key).collect())
    };
    if !matches!(schema.get("x-kubernetes-list-type").str(), "set" | "map") {
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    for item in at.items() {
        let identity = identity(item.value());
        if !seen.insert(identity.to_string()) {
            errors.duplicate(item, &identity);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "as upstream, which compares floats")]
fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(i) => Some(*i as f64),
        Value::Float(f) => Some(*f),
        _ => None,
    }
}

fn size(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).as_int().and_then(|n| usize::try_from(n).ok())
}

fn count(length: usize) -> Value {
    i64::try_from(length).unwrap_or(i64::MAX).into()
}

/// `Invalid value: x: PATH in body WHY`.
fn said(at: At<'_>, why: &str, errors: &mut Errors) {
    errors.invalid(at, &at, &format!("{at} in body {why}"));
}

fn composite(at: At<'_>, why: &str, errors: &mut Errors) {
    errors.invalid(at, &"".into(), &format!("\"{at}\" {why}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(schema: &str, object: &str) -> Vec<String> {
        let parse = |text: &str| Value::parse(text.as_bytes()).unwrap();
        let mut errors = Errors::default();
        Validator::new(parse(schema)).check(&parse(object), None, &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn spec(schema: &str, value: &str) -> Vec<String> {
        let schema = format!(r#"{{"type":"object","properties":{{"s":{schema}}}}}"#);
        faults(&schema, &format!(r#"{{"s":{value}}}"#))
    }

    #[test]
    fn faults_read_as_upstream_s() {
        let cases = [
            (
                r#"{"type":"integer"}"#,
                r#""x""#,
                r#"s: Invalid value: "string": s in body must be of type integer: "string""#,
            ),
            (
                r#"{"type":"integer","minimum":1}"#,
                "0",
                "s: Invalid value: 0: s in body should be greater than or equal to 1",
            ),
            (
                r#"{"type":"integer","maximum":9,"exclusiveMaximum":true}"#,
                "9",
                "s: Invalid value: 9: s in body should be less than 9",
            ),
            (
                r#"{"type":"string","pattern":"^a+$"}"#,
                r#""b""#,
                r#"s: Invalid value: "b": s in body should match '^a+$'"#,
            ),
            (
                r#"{"type":"string","enum":["a","b"]}"#,
                r#""c""#,
                r#"s: Unsupported value: "c": supported values: "a", "b""#,
            ),
            (
                r#"{"type":"string","maxLength":1}"#,
                r#""ab""#,
                "s: Too long: may not be more than 1 bytes",
            ),
            (r#"{"type":"object","required":["a"]}"#, "{}", "s.a: Required value"),
            (
                r#"{"type":"array","maxItems":1,"items":{"type":"integer"}}"#,
                "[1,2]",
                "s: Too many: 2: must have at most 1 item",
            ),
            (
                r#"{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}}"#,
                r#"["a","a"]"#,
                r#"s[1]: Duplicate value: "a""#,
            ),
            (
                r#"{"type":"string","format":"date-time"}"#,
                r#""today""#,
                r#"s: Invalid value: "today": s in body must be of type date-time: "today""#,
            ),
            (
                r#"{"x-kubernetes-int-or-string":true}"#,
                "true",
                r#"s: Invalid value: "boolean": s in body must be of type integer,string: "boolean""#,
            ),
        ];
        for (schema, value, wanted) in cases {
            assert_eq!(spec(schema, value), [wanted], "{schema} {value}");
        }
    }

    #[test]
    fn combinations_hold() {
        let one = r#"{"type":"object","oneOf":[{"required":["a"]},{"required":["b"]}]}"#;
        assert!(spec(one, r#"{"a":1}"#).is_empty());
        let both = spec(one, r#"{"a":1,"b":1}"#);
        assert!(both[0].contains("(oneOf). Found 2 valid alternatives"), "{both:?}");
        let none = spec(one, "{}");
        assert!(none[0].contains("(oneOf). Found none valid") && none.len() == 2, "{none:?}");
        let not = r#"{"type":"integer","not":{"enum":[3]}}"#;
        assert!(spec(not, "2").is_empty() && spec(not, "3").len() == 1);
        let nullable = r#"{"type":"string","nullable":true}"#;
        assert!(spec(nullable, "null").is_empty());
    }
}
