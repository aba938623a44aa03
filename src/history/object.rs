//! An object in the history: a small header and a body of shared bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::api::meta::{Key, Meta, Owner};
use crate::api::selector::Labels;
use crate::api::tree::{Error, Value};

/// The few fields of its kind by which an object can be selected: path and value.
pub type Fields = Vec<(&'static str, Box<str>)>;

/// What selectors, garbage collection and most filters need to know of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where the object is stored.
    pub key: Key,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`: the store's revision of the write that made this state.
    pub revision: u64,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.labels`, in key order.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// `metadata.ownerReferences`.
    pub owners: Box<[Owner]>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Whether there are `metadata.finalizers`.
    pub finalizers: bool,
    /// The indexed fields of its kind.
    pub fields: Fields,
}

impl Header {
    /// Reads a header off an object's tree.
    pub fn of(key: Key, tree: &Value, revision: u64, fields: Fields) -> Self {
        let metadata = tree.metadata();
        let label = |(k, v): (&str, &Value)| (k.into(), v.str().into());
        Self {
            uid: tree.uid().into(),
            revision,
            generation: tree.generation(),
            labels: metadata.get("labels").fields().map(label).collect(),
            owners: tree.owners().into(),
            deleting: tree.is_deleting(),
            finalizers: !metadata.get("finalizers").items().is_empty(),
            fields,
            key,
        }
    }

    /// The indexed field at `path`; `metadata.name` and `metadata.namespace` always are.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(&self.key.name),
            "metadata.namespace" => Some(&self.key.namespace),
            _ => self.fields.iter().find(|(p, _)| *p == path).map(|(_, value)| &**value),
        }
    }

    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

impl Labels for Header {
    fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.labels[found].1)
    }
}

/// An object at one revision. Never changes; shared by everyone who reads it.
#[derive(Debug, Clone)]
pub struct Object {
    /// What most readers need.
    pub header: Header,
    /// The object in JSON in its storage version, `resourceVersion` included.
    pub body: Bytes,
}

/// The text before which a revision is put into an encoded object.
const SLOT: &[u8] = br#""resourceVersion":"""#;

impl Object {
    /// An object from its tree: encodes it with its revision.
    pub fn new(key: Key, mut tree: Value, revision: u64, fields: Fields) -> Self {
        tree.entry("metadata").set("resourceVersion", revision.to_string());
        let header = Header::of(key, &tree, revision, fields);
        Self { header, body: tree.encode().into() }
    }

    /// The object as a tree.
    ///
    /// # Errors
    /// When the body is not JSON: it never is anything else unless memory or disk is damaged.
    pub fn tree(&self) -> Result<Value, Error> {
        Value::parse(&self.body)
    }

    /// The object as a typed value.
    ///
    /// # Errors
    /// When the type asks for what the object does not have.
    pub fn to<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// The same object carrying another revision, as a deletion's last state does.
    ///
    /// # Errors
    /// As for [`Object::tree`].
    pub fn moved_to(&self, revision: u64) -> Result<Self, Error> {
        let header = self.header.clone();
        Ok(Self::new(header.key, self.tree()?, revision, header.fields))
    }

    /// About how many bytes the object holds in memory.
    pub fn size(&self) -> usize {
        let labels: usize = self.header.labels.iter().map(|(k, v)| k.len() + v.len() + 32).sum();
        size_of::<Self>() + self.body.len() + labels + self.header.owners.len() * 160
    }
}

/// An object encoded but for its revision, which only its commit decides.
#[derive(Debug, Clone)]
pub struct Draft {
    header: Header,
    /// JSON whose `resourceVersion` is empty.
    json: Bytes,
    /// Where the revision goes.
    slot: usize,
}

impl Draft {
    /// Encodes a tree, leaving room for the revision.
    pub fn new(key: Key, mut tree: Value, fields: Fields) -> Self {
        tree.entry("metadata").set("resourceVersion", "");
        let header = Header::of(key, &tree, 0, fields);
        let json = Bytes::from(tree.encode());
        let slot = slot(&json, &tree);
        Self { header, json, slot }
    }

    /// The object's key.
    pub const fn key(&self) -> &Key {
        &self.header.key
    }

    /// The encoded object, its `resourceVersion` empty: what goes to disk.
    pub const fn json(&self) -> &Bytes {
        &self.json
    }

    /// The object at the revision that its commit got.
    pub fn at(self, revision: u64) -> Object {
        let digits = revision.to_string();
        let mut body = Vec::with_capacity(self.json.len() + digits.len());
        body.extend_from_slice(&self.json[..self.slot]);
        body.extend_from_slice(digits.as_bytes());
        body.extend_from_slice(&self.json[self.slot..]);
        Object { header: Header { revision, ..self.header }, body: body.into() }
    }
}

/// Where the revision goes: the text may stand in a value too (in an annotation, escaped, it does
/// not), so the search starts where the metadata's own field must be.
fn slot(json: &[u8], tree: &Value) -> usize {
    let mut prefix = 1;
    for (key, value) in tree.fields().take_while(|(key, _)| *key != "metadata") {
        prefix += encoded_len(&key.into()) + 1 + encoded_len(value) + 1;
    }
    prefix += br#""metadata":{"#.len();
    for (key, value) in tree.metadata().fields().take_while(|(key, _)| *key != "resourceVersion") {
        prefix += encoded_len(&key.into()) + 1 + encoded_len(value) + 1;
    }
    debug_assert!(json[prefix..].starts_with(SLOT), "the slot is where canonical JSON puts it");
    prefix + SLOT.len() - 1
}

fn encoded_len(value: &Value) -> usize {
    value.encode().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::meta::GroupResource;

    fn key() -> Key {
        Key::new(&GroupResource::new("", "configmaps"), "default", "a")
    }

    #[test]
    fn the_revision_goes_into_the_metadata_and_nowhere_else() {
        let text = r#"{"apiVersion":"v1","data":{"x":"\"resourceVersion\":\"\""},"metadata":
            {"annotations":{"resourceVersion":""},"labels":{"a":"b"},"name":"a","uid":"u"}}"#;
        let tree = Value::parse(text.as_bytes()).unwrap();
        let object = Draft::new(key(), tree.clone(), Vec::new()).at(42);
        let back = object.tree().unwrap();
        assert_eq!(back.resource_version(), "42");
        assert_eq!(back.at(&["metadata", "annotations", "resourceVersion"]).str(), "");
        assert_eq!(back.get("data"), tree.get("data"));
        assert_eq!(object.body, Object::new(key(), tree, 42, Vec::new()).body);
        assert_eq!(object.header.label("a"), Some("b"));
    }
}
