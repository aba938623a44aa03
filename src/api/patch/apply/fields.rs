//! `FieldsV1`: a set of paths as JSON. Each step is a key; `{}` below it means that the path is in
//! the set and nothing under it, `"."` that the path is in the set besides what is under it.

use super::element::{self};
use super::set::{Node, Set};
use crate::api::tree::{Map, Value};

/// The set as JSON.
pub(super) fn encode(set: &Set) -> Value {
    Value::Object(set.nodes.iter().map(encode_node).collect())
}

fn encode_node(node: &Node) -> (String, Value) {
    let mut below = encode(&node.children);
    if node.member && !node.children.is_empty() {
        below.set(".", Value::object());
    }
    (node.element.to_string(), below)
}

/// Reads a set. Steps of kinds that are not known are left out, as upstream does.
///
/// # Errors
/// What is no such JSON.
pub(super) fn decode(fields: &Value) -> Result<Set, String> {
    match fields {
        Value::Null => Ok(Set::default()),
        Value::Object(fields) => Ok(read(fields)?.0),
        other => Err(format!("expected an object of fields, got {}", other.kind_name())),
    }
}

/// What lies below a step, and whether the step itself is in the set.
fn read(fields: &Map) -> Result<(Set, bool), String> {
    let mut member = false;
    let mut nodes: Vec<Node> = Vec::with_capacity(fields.len());
    for (key, below) in fields.iter() {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = element::canonical(key)? else { continue };
        let (children, own) = match below {
            Value::Object(below) => read(below)?,
            Value::Null => (Set::default(), true),
            other => return Err(format!("expected an object at {key}, got {}", other.kind_name())),
        };
        if own || !children.is_empty() {
            nodes.push(Node { element, member: own, children });
        }
    }
    // Canonical texts may stand in another order than what was written, and twice.
    nodes.sort_by(|a, b| a.element.cmp(&b.element));
    nodes.dedup_by(|later, first| {
        let same = later.element == first.element;
        if same {
            first.member |= later.member;
            first.children = first.children.union(&later.children);
        }
        same
    });
    let set = Set { nodes };
    let member = member || set.is_empty();
    Ok((set, member))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let text = r#"{"f:a":{".":{},"f:b":{}},"f:c":{"k:{\"x\":1}":{".":{},"v:\"y\"":{}}}}"#;
        let set = decode(&value(text)).unwrap();
        assert_eq!(encode(&set).to_string(), text);
        assert!(set.has_fields(&["a"]) && set.has_fields(&["a", "b"]) && !set.has_fields(&["c"]));
        assert_eq!(encode(&decode(&value("{}")).unwrap()).to_string(), "{}");
    }

    #[test]
    fn other_spellings_are_one_and_unknown_steps_are_dropped() {
        let spelled = r#"{"k:{\"b\":1, \"a\":2}":{},"k:{\"a\":2.0,\"b\":1}":{"f:z":{}},"x:?":{}}"#;
        let set = decode(&value(spelled)).unwrap();
        assert_eq!(encode(&set).to_string(), r#"{"k:{\"a\":2,\"b\":1}":{".":{},"f:z":{}}}"#);
        for broken in [r#"{"a":{}}"#, r#"{"f:a":1}"#, "[]", r#"{"k:1":{}}"#] {
            assert!(decode(&value(broken)).is_err(), "{broken}");
        }
    }
}
