//! One step of a field path, as text: the keys of `FieldsV1`.
//!
//! | text | means |
//! |---|---|
//! | `f:name` | the field or map entry `name` |
//! | `k:{"port":80}` | the list item with these key fields |
//! | `v:"a"` | the item of a set with this value |
//! | `i:3` | the item at an index (never made here, but read) |
//!
//! The text is canonical (keys sorted, whole numbers without a fraction), so that two steps are the
//! same step if and only if their texts are equal.

use std::cmp::Ordering;

use super::shape::{List, Relation};
use crate::api::codec::quote;
use crate::api::tree::{Text, Value};

/// A step in its canonical text.
pub(super) type Element = Text;

/// What the text of a step says.
#[derive(Debug, PartialEq)]
pub(super) enum Step<'t> {
    /// A field's name.
    Field(&'t str),
    /// The key fields of a list item.
    Key(Value),
    /// A value in a set.
    Value(Value),
    /// A place in a list.
    Index(i64),
}

/// The step to a field.
pub(super) fn field(name: &str) -> Element {
    let mut text = Text::const_new("f:");
    text.push_str(name);
    text
}

/// The name of a field's step.
pub(super) fn field_name(element: &str) -> Option<&str> {
    element.strip_prefix("f:")
}

/// The step to an item of a list whose items are told apart.
///
/// # Errors
/// Upstream's words for an item that has no identity.
pub(super) fn of_item(list: &List<'_>, item: &Value) -> Result<Element, String> {
    match &list.relation {
        Relation::Keyed(_) => of_keyed(list, item),
        Relation::Set => of_value(item),
        Relation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
    }
}

fn of_keyed(list: &List<'_>, item: &Value) -> Result<Element, String> {
    let Some(fields) = item.as_object() else {
        let what = if item.is_null() { "a null element" } else { "non-map elements" };
        return Err(format!("associative list with keys may not have {what}"));
    };
    let names = list.keys();
    let mut pairs: Vec<(&str, Value)> = Vec::with_capacity(names.len());
    for name in &names {
        match fields.get(name) {
            Some(value) => pairs.push((name, value.clone())),
            None => pairs.extend(list.key_default(name).map(|value| (*name, value))),
        }
    }
    if pairs.is_empty() {
        let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't \
             have default values for any key fields)",
            names.join(" ")
        ));
    }
    pairs.sort_by(|a, b| a.0.cmp(b.0));
    Ok(key_text(pairs.iter().map(|(name, value)| (*name, value))))
}

fn key_text<'v>(pairs: impl Iterator<Item = (&'v str, &'v Value)>) -> Element {
    let mut text = "k:{".to_owned();
    for (at, (name, value)) in pairs.enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(name).to_string());
        text.push(':');
        text.push_str(&value_text(value));
    }
    text.push('}');
    text.into()
}

/// A value as Go's JSON encoder writes it, which escapes what HTML would understand.
fn value_text(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

fn of_value(item: &Value) -> Result<Element, String> {
    let what = match item {
        Value::Object(_) => "associative list without keys has an element that's a map type",
        Value::Array(_) => "not supported: associative list with lists as elements",
        Value::Null => "associative list without keys has an element that's an explicit null",
        value => return Ok(["v:", &value_text(value)].concat().into()),
    };
    Err(what.to_owned())
}

/// Reads a step, `None` if it is of a kind that is not known (which upstream ignores).
///
/// # Errors
/// Text that is no step.
pub(super) fn parse(text: &str) -> Result<Option<Step<'_>>, String> {
    let Some((kind, rest)) = text.split_once(':').filter(|(kind, _)| kind.len() == 1) else {
        return Err(if text.len() < 2 {
            "key must be 2 characters long:".to_owned()
        } else {
            format!("missing colon: {text}")
        });
    };
    let json = || Value::parse(rest.as_bytes()).map_err(|error| error.to_string());
    Ok(match kind {
        "f" => Some(Step::Field(rest)),
        "v" => Some(Step::Value(json()?)),
        "k" => match json()? {
            value @ Value::Object(_) => Some(Step::Key(value)),
            _ => return Err(format!("not an object: {rest}")),
        },
        "i" => {
            let syntax = |_| format!("strconv.Atoi: parsing {}: invalid syntax", quote(rest));
            Some(Step::Index(rest.parse().map_err(syntax)?))
        }
        _ => None,
    })
}

/// The canonical text of what a client wrote.
///
/// # Errors
/// As [`parse`].
pub(super) fn canonical(text: &str) -> Result<Option<Element>, String> {
    if is_plain(text) {
        return Ok(Some(text.into()));
    }
    Ok(parse(text)?.map(|step| match step {
        Step::Field(_) => text.into(),
        Step::Key(key) => key_text(key.fields()),
        Step::Value(value) => ["v:", &value_text(&value)].concat().into(),
        Step::Index(index) => format!("i:{index}").into(),
    }))
}

/// Whether a text is surely canonical: a field, or one key whose name and value are plain, as
/// nearly all are.
fn is_plain(text: &str) -> bool {
    let Some(pair) = text.strip_prefix("k:{\"") else { return text.starts_with("f:") };
    let pair = pair.strip_suffix("\"}").and_then(|pair| pair.split_once("\":\""));
    let plain =
        |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c));
    pair.is_some_and(|(name, value)| plain(name) && plain(value))
}

/// Writes a step as messages show it: `.spec`, `[name="a"]`, `[="a"]`.
pub(super) fn show(element: &str, out: &mut String) {
    match parse(element) {
        Ok(Some(Step::Field(name))) => {
            out.push('.');
            out.push_str(name);
        }
        Ok(Some(Step::Key(key))) => {
            let pairs = key.fields().map(|(name, value)| format!("{name}={}", shown(value)));
            out.push_str(&format!("[{}]", pairs.collect::<Vec<_>>().join(",")));
        }
        Ok(Some(Step::Value(value))) => out.push_str(&format!("[={}]", shown(&value))),
        Ok(Some(Step::Index(index))) => out.push_str(&format!("[{index}]")),
        _ => out.push_str("{{invalid path element}}"),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => quote(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect()
        }
        value => value.to_string(),
    }
}

/// The order in which upstream lists steps: fields, keys, values, indices; each by its content.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let rank = |step: &Step<'_>| match step {
        Step::Field(_) => 0,
        Step::Key(_) => 1,
        Step::Value(_) => 2,
        Step::Index(_) => 3,
    };
    let (Ok(Some(left)), Ok(Some(right))) = (parse(a), parse(b)) else { return a.cmp(b) };
    match (&left, &right) {
        (Step::Field(left), Step::Field(right)) => left.cmp(right),
        (Step::Key(left), Step::Key(right)) => {
            left.fields().zip(right.fields()).fold(Ordering::Equal, |order, (l, r)| {
                order.then_with(|| l.0.cmp(r.0)).then_with(|| compare_values(l.1, r.1))
            })
        }
        (Step::Value(left), Step::Value(right)) => compare_values(left, right),
        (Step::Index(left), Step::Index(right)) => left.cmp(right),
        _ => rank(&left).cmp(&rank(&right)),
    }
    .then_with(|| a.cmp(b))
}

fn compare_values(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Float(_) | Value::Int(_) => 0,
        Value::Str(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_canonical() {
        for (given, canon) in [
            ("f:a:b", "f:a:b"),
            (r#"k:{"protocol":"TCP", "port":80.0}"#, r#"k:{"port":80,"protocol":"TCP"}"#),
            (r#"v: "a<b""#, r#"v:"a\u003cb""#),
            ("i:007", "i:7"),
        ] {
            assert_eq!(canonical(given).unwrap().as_deref(), Some(canon), "{given}");
        }
        assert_eq!(canonical("x:new"), Ok(None));
        for broken in ["", "f", "name", "k:[]", "k:{", "i:x", "v:"] {
            assert!(canonical(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn steps_are_shown_and_ordered_as_upstream_does() {
        let mut steps = [
            "v:\"b\"",
            "v:10",
            "v:9",
            "i:1",
            r#"k:{"port":443}"#,
            r#"k:{"port":80}"#,
            "f:b",
            "f:a.b",
        ];
        steps.sort_by(|a, b| compare(a, b));
        let mut shown = String::new();
        steps.iter().for_each(|step| show(step, &mut shown));
        assert_eq!(shown, r#".a.b.b[port=80][port=443][=9][=10][="b"][1]"#);
    }
}
