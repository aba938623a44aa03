//! The ordered history of the cluster, in memory.
//!
//! One log of revisions over already-encoded objects. Lists, watches, controllers, scheduler and
//! node are views of it: a [`Snapshot`] is the state of one resource at a revision, a [`Cursor`]
//! reads what came after. There is no channel that can overflow: a cursor that falls off the ring
//! gets [`Gone`]. Order is promised within a resource; nothing may rely on order between two.
//!
//! Invariant: only the store (on a server) or the far client's feed (on an agent) publishes, and it
//! publishes revisions in strictly increasing order.
//!
//! It must not know disks, sockets or what any kind means.

mod cow;
mod cursor;
mod object;
mod ring;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::api::meta::{GroupResource, Key};
use crate::api::tree::Value;
pub use cow::CowMap;
pub use cursor::{Cursor, Gone};
pub use object::{Draft, Fields, Header, Object};
use ring::Budget;
pub use ring::Event;

/// An object in JSON as the history encodes it: kind and apiVersion first, then the other fields by
/// name.
pub fn encode(tree: &Value) -> Vec<u8> {
    object::encode(tree).0
}

/// The objects of one resource at one revision. Cheap to make and to hold.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The store's revision that this state belongs to.
    pub revision: u64,
    objects: CowMap,
}

impl Snapshot {
    /// The object `name` of `namespace`.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.objects.get(namespace, name)
    }

    /// All objects, in order of namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.iter()
    }

    /// The objects of one namespace, in order of name; of all, where `namespace` is empty.
    pub fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> Box<dyn Iterator<Item = &'a Arc<Object>> + Send + 'a> {
        if namespace.is_empty() {
            return Box::new(self.objects.iter());
        }
        let same = move |object: &&Arc<Object>| &*object.header.key.namespace == namespace;
        Box::new(self.objects.range_from(namespace, "").take_while(same))
    }

    /// The objects from (`namespace`, `name`) on, in order: where a page continues.
    pub fn range_from<'a>(
        &'a self,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + Send + use<'a> {
        self.objects.range_from(namespace, name)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.len() == 0
    }
}

/// What one write did, as the store hands it over.
#[derive(Debug, Clone)]
pub enum Change {
    /// The object as it is now.
    Put(Arc<Object>),
    /// The object's last state, carrying the revision of its deletion.
    Delete(Arc<Object>),
}

impl Change {
    /// The object that changed.
    pub const fn object(&self) -> &Arc<Object> {
        match self {
            Self::Put(object) | Self::Delete(object) => object,
        }
    }
}

/// State and recent past of one resource.
struct Line {
    objects: CowMap,
    ring: ring::Ring,
    wake: watch::Sender<u64>,
}

struct State {
    revision: u64,
    /// Cursors from before this revision get [`Gone`]: the history before it is unknown.
    floor: u64,
    /// States from before this revision are not read any more.
    oldest_state: u64,
    lines: HashMap<GroupResource, Line>,
    budget: Budget,
}

/// The revision log.
pub struct History {
    /// A plain lock: held for map look-ups and pointer swaps only, never over I/O or an await.
    state: RwLock<State>,
}

impl History {
    /// A history that starts empty at `revision`; the ring holds at most `ring_bytes_max` bytes.
    pub fn new(revision: u64, ring_bytes_max: usize) -> Arc<Self> {
        let budget = Budget::new(ring_bytes_max);
        let state =
            State { revision, floor: revision, oldest_state: 0, lines: HashMap::new(), budget };
        Arc::new(Self { state: RwLock::new(state) })
    }

    /// The newest revision that is visible.
    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.read().lines.values().map(|line| line.objects.len()).sum()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The current state of a resource; empty where nothing was ever stored.
    pub fn snapshot(&self, resource: &GroupResource) -> Snapshot {
        let state = self.state.read();
        let objects = state.lines.get(resource).map(|line| line.objects.clone());
        Snapshot { revision: state.revision, objects: objects.unwrap_or_default() }
    }

    /// The state of a resource as it was at `revision`, as far back as the ring reaches: what pages
    /// of a list and exact reads are cut from. A revision yet to come reads as the present one.
    ///
    /// # Errors
    /// [`Gone`] when events since then have left the ring, or were never in it, or when that state
    /// was given up.
    pub fn at(&self, resource: &GroupResource, revision: u64) -> Result<Snapshot, Gone> {
        let (mut objects, since) = {
            let state = self.state.read();
            let floor = state.floor.max(state.oldest_state);
            let Some(line) = state.lines.get(resource) else {
                ring::Ring::default().check(revision, floor)?;
                return Ok(Snapshot { revision, objects: CowMap::default() });
            };
            line.ring.check(revision, floor)?;
            (line.objects.clone(), line.ring.after(revision, usize::MAX))
        };
        for event in since.iter().rev() {
            let key = &event.object.header.key;
            match &event.previous {
                Some(previous) => drop(objects.insert(Arc::clone(previous))),
                None => drop(objects.remove(&key.namespace, &key.name)),
            }
        }
        Ok(Snapshot { revision, objects })
    }

    /// Gives up all states from before `revision`. Cursors go on reading the events since then.
    pub fn give_up(&self, revision: u64) {
        self.state.write().oldest_state = revision;
    }

    /// One object as it is now.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        let state = self.state.read();
        state.lines.get(&key.resource)?.objects.get(&key.namespace, &key.name).cloned()
    }

    /// All resources that have, or had, objects.
    pub fn resources(&self) -> Vec<GroupResource> {
        self.state.read().lines.keys().cloned().collect()
    }

    /// A cursor that reads the events of `resource` after revision `after`.
    ///
    /// # Errors
    /// [`Gone`] when events since then have left the ring, or were never in it.
    pub fn cursor(self: &Arc<Self>, resource: &GroupResource, after: u64) -> Result<Cursor, Gone> {
        let wake = {
            let mut state = self.state.write();
            let floor = state.floor;
            let line = state.line(resource);
            line.ring.check(after, floor)?;
            line.wake.subscribe()
        };
        Ok(Cursor::new(Arc::clone(self), resource.clone(), after, wake))
    }

    /// Loads an object at start, before anything is published: no event is made of it.
    pub fn load(&self, object: Arc<Object>) {
        let mut state = self.state.write();
        let resource = object.header.key.resource.clone();
        state.line(&resource).objects.insert(object);
    }

    /// Makes a batch of changes visible at once and wakes who waits for them.
    ///
    /// Revisions grow strictly within and between batches; `revision` is the batch's last.
    pub fn publish(&self, changes: Vec<Change>, revision: u64) {
        let mut woken: Vec<watch::Sender<u64>> = Vec::new();
        {
            let mut state = self.state.write();
            debug_assert!(revision >= state.revision, "revisions never go back");
            for change in changes {
                let wake = state.apply(change);
                if !woken.iter().any(|w| w.same_channel(&wake)) {
                    woken.push(wake);
                }
            }
            state.revision = revision;
            state.evict();
        }
        for wake in woken {
            wake.send_replace(revision);
        }
    }

    /// Forgets all objects and events of `resource` and ends its cursors with [`Gone`]: an agent
    /// re-lists, or the definition of a custom resource went away.
    pub fn reset(&self, resource: &GroupResource, revision: u64, objects: Vec<Arc<Object>>) {
        let wake = {
            let mut state = self.state.write();
            state.revision = state.revision.max(revision);
            let line = state.line(resource);
            line.objects = objects.into_iter().fold(CowMap::default(), |mut map, object| {
                map.insert(object);
                map
            });
            line.ring.reset(revision);
            line.wake.clone()
        };
        wake.send_replace(revision);
    }

    /// The events of `resource` after `after`, at most `max`; and the revision up to which that
    /// resource has been read when they have been consumed.
    fn read(
        &self,
        resource: &GroupResource,
        after: u64,
        max: usize,
    ) -> Result<(Vec<Arc<Event>>, u64), Gone> {
        let state = self.state.read();
        let Some(line) = state.lines.get(resource) else {
            return Ok((Vec::new(), state.revision));
        };
        line.ring.check(after, state.floor)?;
        let events = line.ring.after(after, max);
        let read = match events.last() {
            Some(last) if events.len() == max => last.revision,
            _ => state.revision,
        };
        Ok((events, read))
    }
}

impl State {
    fn line(&mut self, resource: &GroupResource) -> &mut Line {
        if !self.lines.contains_key(resource) {
            let line = Line {
                objects: CowMap::default(),
                ring: ring::Ring::default(),
                wake: watch::Sender::new(0),
            };
            self.lines.insert(resource.clone(), line);
        }
        #[allow(clippy::expect_used, reason = "inserted above when absent")]
        self.lines.get_mut(resource).expect("invariant: the line was just made")
    }

    /// Applies one change and returns whom to wake.
    fn apply(&mut self, change: Change) -> watch::Sender<u64> {
        let object = Arc::clone(change.object());
        let resource = object.header.key.resource.clone();
        let line = self.line(&resource);
        let deleted = matches!(change, Change::Delete(_));
        let previous = if deleted {
            line.objects.remove(&object.header.key.namespace, &object.header.key.name)
        } else {
            line.objects.insert(Arc::clone(&object))
        };
        let event = Event { revision: object.header.revision, object, previous, deleted };
        let size = event.size();
        line.ring.push(Arc::new(event));
        let wake = line.wake.clone();
        self.budget.add(resource, size);
        wake
    }

    /// Drops the oldest events while the ring is over its budget.
    fn evict(&mut self) {
        while let Some(resource) = self.budget.over() {
            if let Some(line) = self.lines.get_mut(&resource) {
                line.ring.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests;
