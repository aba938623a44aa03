//! Defaults that the schema itself names.

use super::{Kind, Node, Schema};
use crate::api::tree::{Map, Value};

impl Schema {
    /// Fills in the defaults that the schema names: for built-in kinds the few static ones (a
    /// port's protocol), for custom resources those of the structural schema. There nulls are
    /// dropped where they are no value, as upstream does before it fills in.
    pub fn set_defaults(&self, object: &mut Value) {
        set(object, self.root());
    }
}

fn set(value: &mut Value, node: Node<'_>) {
    match (value, node.kind()) {
        (Value::Object(fields), Kind::Struct) => set_fields(fields, node),
        (Value::Object(entries), Kind::Map) => {
            let Some(elem) = node.elem() else { return };
            drop_or_replace_nulls(entries, elem);
            entries.iter_mut().for_each(|(_, value)| set(value, elem));
        }
        (Value::Array(items), Kind::List) => {
            let Some(elem) = node.elem() else { return };
            for item in items {
                if item.is_null() && elem.is_structural() && !elem.is_nullable() {
                    *item = default_of(elem).unwrap_or_default();
                }
                set(item, elem);
            }
        }
        _ => {}
    }
}

fn set_fields(fields: &mut Map, node: Node<'_>) {
    let Some(ty) = node.fields_type() else { return };
    for field in ty.fields() {
        let inner = field.node();
        let kept_null = inner.is_nullable() || !inner.is_structural();
        let absent = match fields.get(field.name()) {
            None => true,
            Some(Value::Null) => !kept_null,
            Some(_) => false,
        };
        if absent {
            match default_of(inner) {
                // Zero values of plain fields are written as absent ones.
                Some(default)
                    if inner.is_structural() || field.is_pointer() || !default.is_empty() =>
                {
                    fields.insert(field.name(), default);
                }
                _ if inner.is_structural() => drop(fields.remove(field.name())),
                _ => {}
            }
        }
        if let Some(value) = fields.get_mut(field.name()) {
            set(value, inner);
        }
    }
}

fn drop_or_replace_nulls(entries: &mut Map, elem: Node<'_>) {
    if !elem.is_structural() || elem.is_nullable() {
        return;
    }
    let default = default_of(elem);
    entries.retain(|_, value| {
        if value.is_null() {
            *value = default.clone().unwrap_or_default();
        }
        !value.is_null()
    });
}

fn default_of(node: Node<'_>) -> Option<Value> {
    match node.default_text() {
        "" => None,
        text => Value::parse(text.as_bytes()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn built_in_kinds_have_a_few() {
        let mut service = value(r#"{"spec":{"ports":[{"port":80},{"port":53,"protocol":"UDP"}]}}"#);
        Schema::of("", "v1", "Service").unwrap().set_defaults(&mut service);
        assert_eq!(service.at(&["spec", "ports"]).items()[0].get("protocol").str(), "TCP");
        assert_eq!(service.at(&["spec", "ports"]).items()[1].get("protocol").str(), "UDP");
    }

    #[test]
    fn custom_resources_have_those_of_their_schema() {
        let schema = value(
            r#"{"type":"object","properties":{"spec":{"type":"object","default":{},"properties":{
                "a":{"type":"integer","default":1},
                "b":{"type":"string","nullable":true,"default":"x"},
                "c":{"type":"string"},
                "d":{"type":"array","items":{"type":"object","properties":{
                    "e":{"type":"boolean","default":true}}}}}}}}"#,
        );
        let schema = Schema::custom(&schema, false).unwrap();
        let mut object = value("{}");
        schema.set_defaults(&mut object);
        assert_eq!(object, value(r#"{"spec":{"a":1,"b":"x"}}"#));
        let mut object = value(r#"{"spec":{"a":null,"b":null,"c":null,"d":[{}]}}"#);
        schema.set_defaults(&mut object);
        assert_eq!(object, value(r#"{"spec":{"a":1,"b":null,"d":[{"e":true}]}}"#));
    }
}
