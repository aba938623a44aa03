//! A custom resource's structural schema, made into a table of the same form as the built-in one.
//!
//! What is kept is what decoding, pruning, defaulting and merging need. Validation and OpenAPI use
//! the CustomResourceDefinition's own JSON schema.

use std::borrow::Cow;
use std::collections::HashMap;

use super::table::{
    FIELD_WORDS, FORMAT, HEADER_BYTES, Kind, MAGIC, NODE_WORDS, TYPE_WORDS, Table, builtin,
    field_flag, node_flag,
};
use crate::api::tree::Value;

/// The words of a node; what is 0 is not said.
#[derive(Default, Clone, Copy)]
struct NodeWords {
    kind: u32,
    list: u32,
    mapping: u32,
    reference: u32,
    flags: u32,
    keys: u32,
    default: u32,
}

#[derive(Default)]
struct Builder {
    texts: Vec<u8>,
    known_texts: HashMap<String, u32>,
    lists: Vec<u32>,
    types: Vec<u32>,
    fields: Vec<u32>,
    nodes: Vec<u32>,
    /// A name or default does not fit the format.
    too_long: bool,
}

/// Makes a table of `open_api`, a `JSONSchemaProps`, and gives it with the index of its root.
///
/// `preserve` keeps all unknown fields, wherever they are. What is not structural is taken for
/// "anything"; the CustomResourceDefinition has been refused for it before.
pub(super) fn custom(open_api: &Value, preserve: bool) -> Option<(Table, u32)> {
    let mut builder = Builder::default();
    builder.text("");
    builder.list(&[]);
    builder.push_node(NodeWords { kind: Kind::Any as u32, ..NodeWords::default() });
    let root = builder.object(open_api, true, preserve);
    builder.finish().map(|table| (table, root))
}

impl Builder {
    fn text(&mut self, text: &str) -> u32 {
        if let Some(known) = self.known_texts.get(text) {
            return *known;
        }
        let id = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let len = u16::try_from(text.len()).unwrap_or_else(|_| {
            self.too_long = true;
            0
        });
        self.texts.extend_from_slice(&len.to_le_bytes());
        self.texts.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
        self.known_texts.insert(text.to_owned(), id);
        id
    }

    fn list(&mut self, items: &[u32]) -> u32 {
        let id = len_of(&self.lists, 1);
        self.lists.push(len_of(items, 1));
        self.lists.extend_from_slice(items);
        id
    }

    fn push_node(&mut self, node: NodeWords) -> u32 {
        let id = len_of(&self.nodes, NODE_WORDS);
        let head = node.kind | node.list << 8 | node.mapping << 16;
        let words = [head, node.reference, node.flags, node.keys, 0, 0, node.default, 0];
        self.nodes.extend_from_slice(&words);
        id
    }

    /// The node of a schema.
    fn node(&mut self, schema: &Value, preserve: bool) -> u32 {
        if schema.get("x-kubernetes-int-or-string").is_true() {
            return self.leaf(schema, Kind::IntOrString);
        }
        match schema.get("type").str() {
            "object" => self.object(schema, false, preserve),
            "array" => self.array(schema, preserve),
            "string" => self.leaf(schema, Kind::String),
            "integer" => self.leaf(schema, Kind::Int64),
            "number" => self.leaf(schema, Kind::Float),
            "boolean" => self.leaf(schema, Kind::Bool),
            _ if !schema.get("properties").is_null() => self.object(schema, false, preserve),
            _ => self.leaf(schema, Kind::Any),
        }
    }

    /// What every node has: flags, the default and the map type.
    fn common(&mut self, schema: &Value, kind: Kind) -> NodeWords {
        let mut flags = node_flag::STRUCTURAL;
        for (key, flag) in [
            ("nullable", node_flag::NULLABLE),
            ("x-kubernetes-embedded-resource", node_flag::EMBEDDED),
        ] {
            if schema.get(key).is_true() {
                flags |= flag;
            }
        }
        let mapping = match schema.get("x-kubernetes-map-type").str() {
            "atomic" => 1,
            "granular" => 2,
            _ => 0,
        };
        let default = match schema.get("default") {
            Value::Null => 0,
            default => self.text(&default.to_string()),
        };
        NodeWords { kind: kind as u32, flags, mapping, default, ..NodeWords::default() }
    }

    fn leaf(&mut self, schema: &Value, kind: Kind) -> u32 {
        let node = self.common(schema, kind);
        self.push_node(node)
    }

    fn array(&mut self, schema: &Value, preserve: bool) -> u32 {
        let reference = self.node(schema.get("items"), preserve);
        let list = match schema.get("x-kubernetes-list-type").str() {
            "atomic" => 1,
            "set" => 2,
            "map" => 3,
            _ => 0,
        };
        let keys = schema.get("x-kubernetes-list-map-keys").items();
        let keys: Vec<u32> = keys.iter().map(|key| self.text(key.str())).collect();
        let keys = if keys.is_empty() { 0 } else { self.list(&keys) };
        let node = NodeWords { reference, list, keys, ..self.common(schema, Kind::List) };
        self.push_node(node)
    }

    fn object(&mut self, schema: &Value, root: bool, preserve: bool) -> u32 {
        let preserve_here =
            preserve || schema.get("x-kubernetes-preserve-unknown-fields").is_true();
        let additional = schema.get("additionalProperties");
        if !root && !preserve_here && !matches!(additional, Value::Null | Value::Bool(false)) {
            // `true` says nothing of the values: what objects among them hold is pruned.
            let unknown = Value::from([("type", "object".into())]);
            let values = if additional.is_true() { &unknown } else { additional };
            let reference = self.node(values, preserve);
            let node = NodeWords { reference, ..self.common(schema, Kind::Map) };
            return self.push_node(node);
        }
        let mut node = self.common(schema, Kind::Struct);
        if preserve_here {
            node.flags |= node_flag::PRESERVE_UNKNOWN;
        }
        let embedded = root || node.flags & node_flag::EMBEDDED != 0;
        node.reference = self.fields(schema, embedded, preserve);
        self.push_node(node)
    }

    /// A struct type with the properties of a schema, sorted by name.
    fn fields(&mut self, schema: &Value, embedded: bool, preserve: bool) -> u32 {
        let required = schema.get("required").items();
        let mut fields: Vec<(&str, u32, u32)> = Vec::new();
        for (name, property) in schema.get("properties").fields() {
            if embedded && META_FIELDS.contains(&name) {
                continue;
            }
            let flags = u32::from(required.iter().any(|r| r.str() == name)) * field_flag::REQUIRED;
            let node = self.node(property, preserve);
            fields.push((name, node, flags));
        }
        if embedded {
            for name in META_FIELDS {
                let node = if name == "metadata" { self.metadata() } else { self.plain_string() };
                fields.push((name, node, 0));
            }
        }
        fields.sort_by_key(|(name, _, _)| *name);
        let first = len_of(&self.fields, FIELD_WORDS);
        let count = len_of(&fields, 1);
        for (name, node, flags) in fields {
            let name = self.text(name);
            self.fields.extend_from_slice(&[name, node, flags << 16, 0]);
        }
        let by_name: Vec<u32> = (first..first + count).collect();
        let by_name = self.list(&by_name);
        let id = len_of(&self.types, TYPE_WORDS);
        self.types.extend_from_slice(&[0, 0, first, count, by_name, 0, 0, 0, 0]);
        id
    }

    fn plain_string(&mut self) -> u32 {
        let flags = node_flag::STRUCTURAL;
        self.push_node(NodeWords { kind: Kind::String as u32, flags, ..NodeWords::default() })
    }

    /// `ObjectMeta` of the built-in table.
    fn metadata(&mut self) -> u32 {
        let name = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        let reference = builtin().type_named(name).map_or(0, |ty| ty.index());
        let flags = node_flag::EXTERNAL;
        self.push_node(NodeWords {
            kind: Kind::Struct as u32,
            reference,
            flags,
            ..NodeWords::default()
        })
    }

    fn finish(self) -> Option<Table> {
        if self.too_long {
            return None;
        }
        let sections = [Vec::new(), self.types, self.fields, self.nodes, self.lists];
        let mut words = vec![FORMAT, 0];
        let mut offset = u32::try_from(HEADER_BYTES).ok()?;
        for section in &sections {
            words.extend_from_slice(&[offset, len_of(section, 1)]);
            offset = offset.checked_add(len_of(section, 1).checked_mul(4)?)?;
        }
        words.extend_from_slice(&[offset, u32::try_from(self.texts.len()).ok()?]);
        let mut bytes = MAGIC.to_vec();
        for word in words.into_iter().chain(sections.into_iter().flatten()) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.texts);
        Table::new(Cow::Owned(bytes))
    }
}

/// The fields that every object has of its own.
const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// How many records of `words` words a section has.
fn len_of<T>(section: &[T], words: u32) -> u32 {
    u32::try_from(section.len()).unwrap_or(u32::MAX) / words
}
