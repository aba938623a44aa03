//! A history for tests: objects written as JSON, revisions counted up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::meta::{GroupResource, Key, Meta};
use crate::api::tree::Value;
use crate::history::{Change, Fields, History, Object};

/// A small cluster that nobody stores.
pub struct World {
    /// Its history, whose ring holds little.
    pub history: Arc<History>,
    revision: AtomicU64,
}

impl Default for World {
    fn default() -> Self {
        Self { history: History::new(1, 64 << 10), revision: AtomicU64::new(1) }
    }
}

impl World {
    fn next(&self) -> u64 {
        self.revision.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Writes an object.
    pub fn put(&self, group: &str, plural: &str, json: &str) {
        self.put_with(group, plural, json, Vec::new());
    }

    /// Writes an object with indexed fields.
    pub fn put_with(&self, group: &str, plural: &str, json: &str, fields: Fields) {
        let tree = Value::parse(json.as_bytes()).unwrap();
        let key = Key::new(&GroupResource::new(group, plural), tree.namespace(), tree.name());
        let revision = self.next();
        let object = Arc::new(Object::new(key, tree, revision, fields));
        self.history.publish(vec![Change::Put(object)], revision);
    }

    /// Removes an object.
    pub fn delete(&self, group: &str, plural: &str, namespace: &str, name: &str) {
        let key = Key::new(&GroupResource::new(group, plural), namespace, name);
        let old = self.history.get(&key).unwrap();
        let revision = self.next();
        let tree = old.tree().unwrap();
        let last = Arc::new(Object::new(key, tree, revision, old.header.fields.clone()));
        self.history.publish(vec![Change::Delete(last)], revision);
    }

    /// Writes so much that every cursor from before falls off the ring.
    pub fn overflow(&self, group: &str, plural: &str) {
        let filler = "x".repeat(8 << 10);
        for _ in 0..20 {
            let json = format!(r#"{{"metadata":{{"name":"filler"}},"filler":"{filler}"}}"#);
            self.put(group, plural, &json);
        }
        self.delete(group, plural, "", "filler");
    }
}
