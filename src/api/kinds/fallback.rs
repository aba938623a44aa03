//! Defaults as tables: a path, and what stands there when the client gave nothing.
//!
//! A default is applied where its parent is there. Rows are applied in order, so that a row may
//! make the parent of a later one.

use crate::api::tree::Value;

/// What a field gets when the client left it out.
#[derive(Clone, Copy)]
pub enum Fallback {
    /// A text, also in place of the empty one.
    Text(&'static str),
    /// A text where the field is absent; an empty one stays.
    TextIfAbsent(&'static str),
    /// A number, also in place of 0.
    Number(i64),
    /// A number where the field is absent; 0 stays.
    NumberIfAbsent(i64),
    /// A boolean where the field is absent.
    Flag(bool),
    /// An empty map where the field is absent.
    Map,
    /// Null where the field is absent: a list that is always written.
    Null,
}

impl Fallback {
    fn value(self) -> Value {
        match self {
            Self::Text(text) | Self::TextIfAbsent(text) => text.into(),
            Self::Number(number) | Self::NumberIfAbsent(number) => number.into(),
            Self::Flag(flag) => flag.into(),
            Self::Map => Value::object(),
            Self::Null => Value::Null,
        }
    }

    fn replaces(self, given: &Value) -> bool {
        match self {
            Self::Text(_) => given.is_null() || given.as_str() == Some(""),
            Self::Number(_) => given.is_null() || given.as_int() == Some(0),
            _ => given.is_null(),
        }
    }
}

/// Applies defaults at their paths, as `spec.containers[].ports[].protocol`.
pub fn apply(object: &mut Value, table: &[(&str, Fallback)]) {
    for (path, fallback) in table {
        at_each(object, path, &mut |parent, field| {
            if fallback.replaces(parent.get(field)) {
                parent.set(field, fallback.value());
            }
        });
    }
}

/// Calls `visit` with each parent (a map) that the path reaches and the path's last field.
pub fn at_each(value: &mut Value, path: &str, visit: &mut dyn FnMut(&mut Value, &str)) {
    let Some((step, rest)) = path.split_once('.') else {
        if value.as_object().is_some() {
            visit(value, path);
        }
        return;
    };
    match step.strip_suffix("[]") {
        None => {
            if let Some(child) = value.get_mut(step) {
                at_each(child, rest, visit);
            }
        }
        Some(list) => {
            let items = value.get_mut(list).map(Value::items_mut).into_iter().flatten();
            items.for_each(|item| at_each(item, rest, visit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_only_what_is_missing() {
        let mut value =
            Value::parse(br#"{"a":[{"p":""},{"p":"UDP"},{"n":0}],"zero":0,"none":null,"odd":"x"}"#)
                .unwrap();
        apply(
            &mut value,
            &[
                ("a[].p", Fallback::Text("TCP")),
                ("zero", Fallback::NumberIfAbsent(1)),
                ("none", Fallback::Map),
                ("none.flag", Fallback::Flag(true)),
                ("a[].n", Fallback::Number(3)),
                ("odd.x", Fallback::Number(3)),
                ("absent.x", Fallback::Number(3)),
            ],
        );
        assert_eq!(
            value.to_string(),
            r#"{"a":[{"n":3,"p":"TCP"},{"n":3,"p":"UDP"},{"n":3,"p":"TCP"}],"none":{"flag":true},"odd":"x","zero":0}"#
        );
    }
}
