//! A map from field names to values: a vector sorted by key, smaller than any tree of nodes.

use super::{Text, Value};

/// With more entries than this a binary search is faster than a comparison with each, which ends
/// mostly at the length.
const SCAN_MAX: usize = 8;

/// Field names to values, in key order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    /// Sorted by key, each key once.
    entries: Vec<(Text, Value)>,
}

impl Map {
    /// An empty map.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// How many fields there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no fields.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|(k, _)| k.as_bytes().cmp(key))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.get_bytes(key.as_bytes())
    }

    /// The value of a key by its UTF-8 bytes.
    pub fn get_bytes(&self, key: &[u8]) -> Option<&Value> {
        if self.entries.len() <= SCAN_MAX {
            let entry = self.entries.iter().find(|(k, _)| k.as_bytes() == key);
            return entry.map(|(_, value)| value);
        }
        self.find(key).ok().map(|at| &self.entries[at].1)
    }

    /// A map of entries in any order; of equal keys the last wins.
    pub(super) fn of(mut entries: Vec<(Text, Value)>) -> Self {
        // What is read is mostly in order, since what is written is.
        if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            entries.reverse();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.dedup_by(|later, kept| later.0 == kept.0);
        }
        Self { entries }
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.find(key.as_bytes()).ok().map(|i| &mut self.entries[i].1)
    }

    /// Whether `key` is there, be it null.
    pub fn contains(&self, key: &str) -> bool {
        self.find(key.as_bytes()).is_ok()
    }

    /// The value of `key`, made null where absent.
    pub fn entry(&mut self, key: &str) -> &mut Value {
        let at = self.find(key.as_bytes()).unwrap_or_else(|at| {
            self.entries.insert(at, (Text::new(key), Value::Null));
            at
        });
        &mut self.entries[at].1
    }

    /// Sets `key` and returns what it was.
    pub fn insert(&mut self, key: impl Into<Text>, value: Value) -> Option<Value> {
        let key = key.into();
        match self.find(key.as_bytes()) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at].1, value)),
            Err(at) => {
                self.entries.insert(at, (key, value));
                None
            }
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.find(key.as_bytes()).ok().map(|at| self.entries.remove(at).1)
    }

    /// Keeps only the fields for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.entries.retain_mut(|(k, v)| keep(k, v));
    }

    /// The fields in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The fields in key order, values to change.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&str, &mut Value)> {
        self.entries.iter_mut().map(|(k, v)| (k.as_str(), v))
    }
}

/// Sorts; of equal keys the last wins.
impl<K: Into<Text>> FromIterator<(K, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(fields: I) -> Self {
        Self::of(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl IntoIterator for Map {
    type Item = (Text, Value);
    type IntoIter = std::vec::IntoIter<(Text, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
