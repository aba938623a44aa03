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
    /// The object in JSON in its storage version, `resourceVersion` included; `kind` and
    /// `apiVersion` come first, then the other fields by name.
    pub body: Bytes,
}

/// Encodes an object as Kubernetes' own encoders order it: kind and apiVersion, then the other
/// fields by name. Returns the text and where its `metadata.resourceVersion` ends.
///
/// With the type in front, a list item is the text without a prefix that its resource fixes.
pub(super) fn encode(tree: &Value) -> (Vec<u8>, usize) {
    const TYPE: [&str; 2] = ["kind", "apiVersion"];
    let mut out = Vec::with_capacity(1024);
    let mut slot = 0;
    let first = TYPE.into_iter().map(|key| (key, tree.get(key))).filter(|(_, v)| !v.is_null());
    out.push(b'{');
    for (key, value) in first.chain(tree.fields().filter(|(key, _)| !TYPE.contains(key))) {
        field(&mut out, key);
        match key {
            "metadata" => slot = metadata(&mut out, value),
            _ => write(&mut out, value),
        }
    }
    out.push(b'}');
    (out, slot)
}

fn metadata(out: &mut Vec<u8>, metadata: &Value) -> usize {
    let mut slot = 0;
    out.push(b'{');
    for (key, value) in metadata.fields() {
        field(out, key);
        write(out, value);
        if key == "resourceVersion" {
            slot = out.len() - 1;
        }
    }
    out.push(b'}');
    slot
}

/// Writes a field's name, and a comma where one is due.
fn field(out: &mut Vec<u8>, key: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write(out, key);
    out.push(b':');
}

fn write(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    #[allow(clippy::expect_used, reason = "writing JSON to memory cannot fail")]
    serde_json::to_writer(out, value).expect("invariant: JSON to memory");
}

impl Object {
    /// An object from its tree: encodes it with its revision.
    pub fn new(key: Key, mut tree: Value, revision: u64, fields: Fields) -> Self {
        tree.entry("metadata").set("resourceVersion", revision.to_string());
        let header = Header::of(key, &tree, revision, fields);
        // Boxed, since the object may stay for years and shall hold no room to grow.
        Self { header, body: encode(&tree).0.into_boxed_slice().into() }
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

    /// About how many bytes the object holds in memory, what the allocator adds included.
    pub fn size(&self) -> usize {
        const fn text(text: &str) -> usize {
            size_of::<Arc<str>>() + 16 + text.len()
        }
        let Header { key, uid, labels, owners, fields, .. } = &self.header;
        let labels: usize = labels.iter().map(|(name, value)| text(name) + text(value)).sum();
        let fields: usize = fields.iter().map(|(_, value)| 24 + text(value)).sum();
        let names = text(&key.name) + text(&key.namespace) + text(uid);
        size_of::<Self>() + self.body.len() + 16 + names + labels + fields + owners.len() * 200
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
        let (json, slot) = encode(&tree);
        Self { header, json: json.into(), slot }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::meta::GroupResource;

    fn key() -> Key {
        Key::new(&GroupResource::new("", "configmaps"), "default", "a")
    }

    #[test]
    fn the_type_comes_first() {
        let tree = Value::parse(br#"{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap"}"#);
        let object = Object::new(key(), tree.unwrap(), 7, Vec::new());
        let text = r#"{"kind":"ConfigMap","apiVersion":"v1","data":{"a":"b"},"metadata":{"resourceVersion":"7"}}"#;
        assert_eq!(object.body, text.as_bytes());
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
        assert!(object.body.starts_with(br#"{"apiVersion":"v1","data":"#));
        assert_eq!(object.header.label("a"), Some("b"));
    }
}
