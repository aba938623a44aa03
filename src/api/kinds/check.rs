//! Validation as tables of small rules over paths.
//!
//! A rule looks at one value and reports what is wrong with it under its full path. Trees may have
//! any shape: a value of the wrong type reads as absent, and no rule panics on it.

use std::fmt;
use std::ops::Deref;

use super::text::{self, Format};
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// A value and where it stands in its object. Absent values read as null and have a path too.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    value: &'a Value,
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    /// The object itself, or the path at which it is embedded.
    Root(&'a str),
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> At<'a> {
    /// The object itself.
    pub const fn root(value: &'a Value) -> Self {
        Self { value, parent: None, step: Step::Root("") }
    }

    /// A value whose path is known otherwise.
    pub const fn path(path: &'a str, value: &'a Value) -> Self {
        Self { value, parent: None, step: Step::Root(path) }
    }

    /// The value alone.
    pub const fn value(&self) -> &'a Value {
        self.value
    }

    /// A field of this value.
    pub fn field<'b>(&'b self, name: &'b str) -> At<'b> {
        At { value: self.value.get(name), parent: Some(self), step: Step::Field(name) }
    }

    /// A key of this map, `path[key]`.
    pub fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        At { value: self.value.get(key), parent: Some(self), step: Step::Key(key) }
    }

    /// The items of this list; none if it is none.
    pub fn items<'b>(&'b self) -> impl DoubleEndedIterator<Item = At<'b>> {
        let item = |(index, value)| At { value, parent: Some(self), step: Step::Index(index) };
        self.value.items().iter().enumerate().map(item)
    }

    /// The entries of this map as keys; none if it is none.
    pub fn keys<'b>(&'b self) -> impl Iterator<Item = (&'b str, At<'b>)> {
        let entry = |(key, value)| (key, At { value, parent: Some(self), step: Step::Key(key) });
        self.value.fields().map(entry)
    }

    /// Hands each value to `then` that `path` (`spec.containers[].name`) reaches below this one.
    /// Below what is marked as optional (`spec.service?.name`) there is nothing where it is absent.
    pub fn descend(&self, path: &str, then: &mut dyn FnMut(At<'_>)) {
        let (step, rest) = path.split_once('.').unwrap_or((path, ""));
        if step.is_empty() {
            return then(*self);
        }
        if let Some(field) = step.strip_suffix('?') {
            let at = self.field(field);
            if !at.is_null() {
                at.descend(rest, then);
            }
            return;
        }
        match step.strip_suffix("[]") {
            None => self.field(step).descend(rest, then),
            Some(list) => self.field(list).items().for_each(|item| item.descend(rest, then)),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.write(f)?;
        }
        match self.step {
            Step::Root(path) => f.write_str(path),
            Step::Field(name) if self.is_first() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }

    fn is_first(&self) -> bool {
        self.parent.is_none_or(|parent| matches!(parent.step, Step::Root("")))
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl Deref for At<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.value
    }
}

impl From<At<'_>> for String {
    fn from(at: At<'_>) -> Self {
        at.to_string()
    }
}

/// What a value must satisfy. All but `Required` and `Each` let an absent value pass.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Must be there and not empty; the text says more where Kubernetes does.
    Required(&'static str),
    /// Must be one of these; the empty text passes.
    OneOf(&'static [&'static str]),
    /// Must be there, and one of these.
    RequiredOneOf(&'static [&'static str]),
    /// A number must be at least 0.
    NotNegative,
    /// A number must be above 0.
    Positive,
    /// A number must lie between these.
    Between(i64, i64),
    /// A text must have this format; the empty text passes.
    Text(Format),
    /// Must be there and have this format.
    RequiredText(Format),
    /// Anything else, applied where the value is there.
    Each(fn(At<'_>, &mut Errors)),
}

/// Applies rules to the values at their paths, as `spec.containers[].name`, below `at`.
pub fn apply(rules: &[(&str, Rule)], at: At<'_>, errors: &mut Errors) {
    for (path, rule) in rules {
        at.descend(path, &mut |value| rule.check(value, errors));
    }
}

impl Rule {
    /// Applies the rule to one value.
    pub fn check(&self, at: At<'_>, errors: &mut Errors) {
        match *self {
            Self::Required(why) => drop(required(at, why, errors)),
            Self::OneOf(known) if !at.is_empty() => one_of(at, known, errors),
            Self::RequiredOneOf(known) if required(at, "", errors) => one_of(at, known, errors),
            Self::NotNegative => not_negative(at, errors),
            Self::Positive if at.as_int().is_some_and(|n| n <= 0) => {
                errors.invalid(at, &at, "must be greater than 0");
            }
            Self::Between(low, high) => between(at, low, high, errors),
            Self::Text(format) if !at.is_empty() => formatted(at, format, errors),
            Self::RequiredText(format) if required(at, "", errors) => formatted(at, format, errors),
            Self::Each(check) if !at.is_null() => check(at, errors),
            _ => {}
        }
    }
}

/// Reports a value that is absent or empty; true if it is there.
pub fn required(at: At<'_>, why: &str, errors: &mut Errors) -> bool {
    let there = !at.is_null()
        && !matches!(at.value(), Value::Str(s) if s.is_empty())
        && !matches!(at.value(), Value::Array(items) if items.is_empty());
    if !there {
        errors.required(at, why);
    }
    there
}

/// Reports a value that is not among the known ones.
pub fn one_of(at: At<'_>, known: &[&str], errors: &mut Errors) {
    if !known.contains(&at.str()) {
        errors.not_supported(at, &at, known);
    }
}

/// Reports a number below 0.
pub fn not_negative(at: At<'_>, errors: &mut Errors) {
    if at.as_int().is_some_and(|n| n < 0) {
        errors.invalid(at, &at, "must be greater than or equal to 0");
    }
}

/// Reports a number that is not between `low` and `high`.
pub fn between(at: At<'_>, low: i64, high: i64, errors: &mut Errors) {
    if at.as_int().is_some_and(|n| !(low..=high).contains(&n)) {
        errors.invalid(at, &at, &text::between(low, high));
    }
}

/// Reports what is wrong with the form of a text, be it empty.
pub fn formatted(at: At<'_>, format: Format, errors: &mut Errors) {
    for fault in format(at.str()) {
        match at.value() {
            Value::Null => errors.invalid(at, &"".into(), &fault),
            given => errors.invalid(at, given, &fault),
        }
    }
}

/// The same as one fault, where upstream tells all that is wrong with a text at once.
pub fn formatted_as_one(at: At<'_>, format: Format, errors: &mut Errors) {
    let faults = format(at.str());
    if !faults.is_empty() {
        errors.invalid(at, &at.str().into(), &faults.join(","));
    }
}

/// Reports a value that differs from the stored one.
pub fn immutable(at: At<'_>, old: &Value, errors: &mut Errors) {
    if *at.value() != *old {
        errors.invalid(at, &at, "field is immutable");
    }
}

/// Reports items of a list whose `key` an earlier item has.
pub fn unique(list: At<'_>, key: &str, errors: &mut Errors) {
    let mut seen: Vec<&Value> = Vec::new();
    for item in list.items() {
        let name = item.value.get(key);
        if seen.contains(&name) && !name.is_empty() {
            errors.duplicate(item.field(key), name);
        }
        seen.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &[(&str, Rule)], json: &str) -> Vec<String> {
        let value = Value::parse(json.as_bytes()).unwrap();
        let mut errors = Errors::default();
        apply(rules, At::root(&value), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn rules_report_full_paths() {
        let rules = &[
            ("spec.kind", Rule::RequiredOneOf(&["A", "B"])),
            ("spec.items[].name", Rule::RequiredText(text::dns_label)),
            ("spec.items[].port", Rule::Between(1, 65535)),
            ("spec.n", Rule::NotNegative),
        ];
        let found =
            faults(rules, r#"{"spec":{"kind":"C","items":[{"name":"a","port":0},{}],"n":-1}}"#);
        assert_eq!(
            found,
            [
                r#"spec.kind: Unsupported value: "C": supported values: "A", "B""#,
                "spec.items[1].name: Required value",
                "spec.items[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.n: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        assert_eq!(faults(rules, "{}"), ["spec.kind: Required value"]);
        let optional = &[("a?.b", Rule::Required(""))];
        assert!(faults(optional, "{}").is_empty());
        assert_eq!(faults(optional, r#"{"a":{}}"#), ["a.b: Required value"]);
        assert_eq!(faults(rules, r#"{"spec":[1]}"#), ["spec.kind: Required value"]);
    }

    #[test]
    fn paths_have_keys_and_roots() {
        let value = Value::parse(br#"{"data":{"a.b":1}}"#).unwrap();
        let root = At::root(&value);
        assert_eq!(root.field("data").key("a.b").to_string(), "data[a.b]");
        let template = At::path("spec.template", &value);
        assert_eq!(template.field("spec").field("x").to_string(), "spec.template.spec.x");
        assert_eq!(At::root(&value).to_string(), "");
    }
}
