//! A sorted map whose copies are cheap: leaves of objects behind shared pointers.
//!
//! A write copies one leaf and the list of leaves, so that a snapshot held by a slow reader costs
//! the writer microseconds, not a copy of the whole resource. A persistent tree would copy less of
//! the list and pay with a pointer chase per level; at 150,000 objects the list has some 1,500
//! entries.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Object;

/// Objects per leaf before it is split.
const LEAF_MAX: usize = 128;

type Leaf = Arc<Vec<Arc<Object>>>;

/// Objects of one resource in order of namespace and name.
#[derive(Debug, Clone, Default)]
pub struct CowMap {
    /// Non-empty leaves in order.
    leaves: Arc<Vec<Leaf>>,
    len: usize,
}

fn compare(object: &Object, namespace: &str, name: &str) -> Ordering {
    let key = &object.header.key;
    (&*key.namespace, &*key.name).cmp(&(namespace, name))
}

impl CowMap {
    /// How many objects there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The leaf that holds, or would hold, the key, and the place within it.
    fn find(&self, namespace: &str, name: &str) -> (usize, Result<usize, usize>) {
        let after = self.leaves.partition_point(|leaf| {
            leaf.first().is_some_and(|first| compare(first, namespace, name).is_le())
        });
        let at = after.saturating_sub(1);
        let place = self.leaves.get(at).map_or(Err(0), |leaf| {
            leaf.binary_search_by(|object| compare(object, namespace, name))
        });
        (at, place)
    }

    /// The object of a namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        let (leaf, place) = self.find(namespace, name);
        place.ok().map(|at| &self.leaves[leaf][at])
    }

    /// Puts an object under its key and returns the one that was there.
    pub fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let key = &object.header.key;
        let (at, place) = self.find(&key.namespace, &key.name);
        let leaves = Arc::make_mut(&mut self.leaves);
        if leaves.is_empty() {
            leaves.push(Arc::default());
        }
        let leaf = Arc::make_mut(&mut leaves[at]);
        match place {
            Ok(i) => return Some(std::mem::replace(&mut leaf[i], object)),
            Err(i) => leaf.insert(i, object),
        }
        self.len += 1;
        if leaf.len() > LEAF_MAX {
            let upper = leaf.split_off(LEAF_MAX / 2);
            leaves.insert(at + 1, Arc::new(upper));
        }
        None
    }

    /// Removes the object of a namespace and name and returns it.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let (at, place) = self.find(namespace, name);
        let i = place.ok()?;
        let leaves = Arc::make_mut(&mut self.leaves);
        let leaf = Arc::make_mut(&mut leaves[at]);
        let removed = leaf.remove(i);
        if leaf.is_empty() {
            leaves.remove(at);
        }
        self.len -= 1;
        Some(removed)
    }

    /// All objects in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> + Send {
        self.leaves.iter().flat_map(|leaf| leaf.iter())
    }

    /// The objects from a key on, in order.
    pub fn range_from<'a>(
        &'a self,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + Send + use<'a> {
        let (at, place) = self.find(namespace, name);
        let skip = place.unwrap_or_else(|i| i);
        self.leaves[at.min(self.leaves.len())..].iter().flat_map(|leaf| leaf.iter()).skip(skip)
    }
}
