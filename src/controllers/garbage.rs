//! Deletes what belongs to something that is gone, and carries out foreground and orphaning
//! deletion.
//!
//! An index from owners to dependents is kept in step with the history; everything else is decided
//! from the objects as they are when their turn comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::calls;
use super::everything::Everything;
use super::meters::Meters;
use super::queue::{Outcome, Queue};
use crate::api::meta::{Key, Meta, Owner};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::{Call, Client, Gvr};
use crate::history::{Event, Object};

/// Set on an owner that goes after its dependents.
const FOREGROUND: &str = "foregroundDeletion";
/// Set on an owner that leaves its dependents behind.
const ORPHAN: &str = "orphan";

/// Runs until the future is dropped.
pub async fn run(client: Arc<dyn Client>, everything: Arc<Everything>, meters: Meters) {
    let collector = Collector {
        client,
        everything: &everything,
        queue: Queue::named("garbage_collector", &meters),
        graph: Mutex::default(),
    };
    let follow = everything.follow(|event| collector.see(event));
    let workers = (0..crate::limits::RECONCILE_WORKERS).map(|_| collector.work());
    tokio::join!(follow, futures_util::future::join_all(workers));
}

/// Who depends on whom.
#[derive(Default)]
struct Graph {
    /// By the owner's UID.
    dependents: HashMap<Arc<str>, HashSet<Key>>,
}

impl Graph {
    fn link(&mut self, object: &Object) {
        for owner in &object.header.owners {
            let key = object.header.key.clone();
            self.dependents.entry(Arc::clone(&owner.uid)).or_default().insert(key);
        }
    }

    fn unlink(&mut self, object: &Object) {
        for owner in &object.header.owners {
            if let Some(keys) = self.dependents.get_mut(&owner.uid) {
                keys.remove(&object.header.key);
                if keys.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    fn of(&self, uid: &str) -> Vec<Key> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }
}

struct Collector<'a> {
    client: Arc<dyn Client>,
    everything: &'a Everything,
    queue: Queue,
    /// Held for look-ups only, never over an await.
    graph: Mutex<Graph>,
}

/// What is to become of a dependent.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Somebody still owns it, and all its owners are there.
    Stays,
    /// Nobody owns it any more.
    Goes,
    /// Some owners are gone: these UIDs are dropped from its references.
    Loses(Vec<Arc<str>>),
}

/// What is known of one owner.
enum State {
    Absent,
    Solid,
    /// It is being deleted and waits for its dependents.
    WaitsForDependents,
}

impl Collector<'_> {
    /// Keeps the graph and queues whom an event concerns.
    fn see(&self, event: &Event) {
        let mut graph = self.graph.lock();
        if let Some(previous) = &event.previous {
            graph.unlink(previous);
        }
        let header = &event.object.header;
        if event.deleted {
            graph.unlink(&event.object);
            // Dependents lost an owner; an owner may have waited for this dependent.
            let owners = header.owners.iter().filter_map(|owner| self.key_of(owner, header));
            owners.chain(graph.of(&header.uid)).for_each(|key| self.queue.add(key));
            return;
        }
        graph.link(&event.object);
        if !header.owners.is_empty() || header.deleting && header.finalizers {
            self.queue.add(header.key.clone());
        }
        let freed = event.previous.iter().flat_map(|previous| &previous.header.owners);
        let left = freed.filter(|old| !header.owners.contains(old));
        left.filter_map(|owner| self.key_of(owner, header)).for_each(|key| self.queue.add(key));
    }

    /// Where an owner would be stored: in the dependent's namespace, or nowhere's.
    fn key_of(&self, owner: &Owner, dependent: &crate::history::Header) -> Option<Key> {
        let served = self.everything.of_kind(owner.group(), &owner.kind)?;
        let namespace = if served.namespaced { &*dependent.key.namespace } else { "" };
        Some(Key::new(&served.resource.group_resource(), namespace, &owner.name))
    }

    async fn work(&self) {
        loop {
            let (key, _) = self.queue.take().await;
            let outcome = self.collect(&key).await;
            let outcome = outcome.map_or_else(Outcome::Failed, |()| Outcome::Done(None));
            self.queue.done(&key, outcome);
        }
    }

    fn resource(&self, key: &Key) -> Option<Gvr> {
        let resources = self.everything.resources();
        let found = resources.into_iter().find(|s| s.resource.group_resource() == key.resource);
        found.map(|served| served.resource)
    }

    fn get(&self, key: &Key) -> Option<Arc<Object>> {
        let resource = self.resource(key)?;
        self.client.view(&resource, "").get(&key.namespace, &key.name)
    }

    async fn collect(&self, key: &Key) -> Result<(), Status> {
        let (Some(resource), Some(object)) = (self.resource(key), self.get(key)) else {
            return Ok(());
        };
        if object.header.deleting {
            let tree = object.tree().map_err(|error| Status::internal(error.to_string()))?;
            if tree.finalizers().contains(&ORPHAN) {
                return self.orphan(&resource, &object).await;
            }
            if tree.finalizers().contains(&FOREGROUND) {
                self.finish_foreground(&resource, &object).await?;
            }
            return Ok(());
        }
        self.decide(&resource, &object).await
    }

    async fn decide(&self, resource: &Gvr, object: &Object) -> Result<(), Status> {
        let header = &object.header;
        let states: Vec<(Arc<str>, bool, State)> = header
            .owners
            .iter()
            .map(|owner| {
                (Arc::clone(&owner.uid), owner.block_owner_deletion, self.state(owner, header))
            })
            .collect();
        match fate(&states) {
            Fate::Stays => Ok(()),
            Fate::Goes => {
                let waited = states.iter().any(|(_, _, s)| matches!(s, State::WaitsForDependents));
                let dependents = self.graph.lock().of(&header.uid);
                let foreground = waited && !dependents.is_empty();
                if waited && self.any_deleting(&dependents) {
                    // A circle: each would wait for the other for ever.
                    done(self.client.call(unblock(resource, object)?).await)?;
                }
                let policy = if foreground { "Foreground" } else { "Background" };
                let options = Value::from([("propagationPolicy", policy.into())]);
                let call = calls::delete_with(resource, &header.key, &header.uid, options);
                done(self.client.call(call).await)
            }
            Fate::Loses(uids) => {
                let call = drop_owners(resource, object, &uids)?;
                done(self.client.call(call).await)
            }
        }
    }

    fn any_deleting(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| self.get(key).is_some_and(|object| object.header.deleting))
    }

    fn state(&self, owner: &Owner, dependent: &crate::history::Header) -> State {
        // A kind that is not served cannot be judged: its objects may be there again tomorrow.
        let Some(key) = self.key_of(owner, dependent) else { return State::Solid };
        match self.get(&key) {
            Some(object) if object.header.uid == owner.uid => {
                let waits = object.header.deleting
                    && object.header.finalizers
                    && object.tree().is_ok_and(|tree| tree.finalizers().contains(&FOREGROUND));
                if waits { State::WaitsForDependents } else { State::Solid }
            }
            _ => State::Absent,
        }
    }

    /// Takes the owner off its dependents, then lets it go.
    async fn orphan(&self, resource: &Gvr, owner: &Object) -> Result<(), Status> {
        let uid = Arc::clone(&owner.header.uid);
        let dependents = self.graph.lock().of(&uid);
        for key in dependents {
            let (Some(of), Some(object)) = (self.resource(&key), self.get(&key)) else { continue };
            let call = drop_owners(&of, &object, std::slice::from_ref(&uid))?;
            done(self.client.call(call).await)?;
        }
        self.remove_finalizer(resource, owner, ORPHAN).await
    }

    /// Lets an owner go once no dependent blocks it; until then sees to it that they go.
    async fn finish_foreground(&self, resource: &Gvr, owner: &Object) -> Result<(), Status> {
        let dependents = self.graph.lock().of(&owner.header.uid);
        let mut blocked = false;
        for key in dependents {
            let Some(object) = self.get(&key) else { continue };
            let mut owners = object.header.owners.iter();
            blocked |= owners.any(|o| o.uid == owner.header.uid && o.block_owner_deletion);
            if !object.header.deleting {
                self.queue.add(key);
            }
        }
        if blocked { Ok(()) } else { self.remove_finalizer(resource, owner, FOREGROUND).await }
    }

    async fn remove_finalizer(
        &self,
        resource: &Gvr,
        object: &Object,
        finalizer: &str,
    ) -> Result<(), Status> {
        let tree = object.tree().map_err(|error| Status::internal(error.to_string()))?;
        let rest: Vec<Value> =
            tree.finalizers().into_iter().filter(|f| *f != finalizer).map(Value::from).collect();
        let metadata = Value::from([
            ("resourceVersion", object.header.revision.to_string().into()),
            ("uid", (&*object.header.uid).into()),
            ("finalizers", rest.into()),
        ]);
        let patch = Value::from([("metadata", metadata)]);
        done(self.client.call(calls::merge(resource, &object.header.key, patch)).await)
    }
}

/// What is gone already needs nothing more; a lost race is tried again with fresh eyes.
fn done(result: Result<Value, Status>) -> Result<(), Status> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// What becomes of a dependent, by its owners' UIDs, whether each would be blocked, and states.
fn fate(owners: &[(Arc<str>, bool, State)]) -> Fate {
    if owners.is_empty() {
        return Fate::Stays;
    }
    let solid = owners.iter().any(|(_, _, state)| matches!(state, State::Solid));
    let gone = owners.iter().filter(|(_, _, state)| !matches!(state, State::Solid));
    let gone: Vec<Arc<str>> = gone.map(|(uid, _, _)| Arc::clone(uid)).collect();
    match (solid, gone.is_empty()) {
        (_, true) => Fate::Stays,
        (true, false) => Fate::Loses(gone),
        (false, false) => Fate::Goes,
    }
}

/// The patch after which an object holds up none of its owners.
fn unblock(resource: &Gvr, object: &Object) -> Result<Call, Status> {
    let tree = object.tree().map_err(|error| Status::internal(error.to_string()))?;
    let mut owners = tree.metadata().get("ownerReferences").clone();
    owners.items_mut().iter_mut().for_each(|owner| owner.set("blockOwnerDeletion", false));
    Ok(calls::merge(resource, &object.header.key, owners_patch(object, owners)))
}

/// The patch that takes owners off an object, guarded by its revision.
fn drop_owners(resource: &Gvr, object: &Object, uids: &[Arc<str>]) -> Result<Call, Status> {
    let tree = object.tree().map_err(|error| Status::internal(error.to_string()))?;
    let stays = |owner: &&Value| !uids.iter().any(|uid| **uid == *owner.get("uid").str());
    let owners = tree.metadata().get("ownerReferences").items().iter();
    let rest: Vec<Value> = owners.filter(stays).cloned().collect();
    Ok(calls::merge(resource, &object.header.key, owners_patch(object, rest.into())))
}

fn owners_patch(object: &Object, owners: Value) -> Value {
    let metadata = Value::from([
        ("resourceVersion", object.header.revision.to_string().into()),
        ("uid", (&*object.header.uid).into()),
        ("ownerReferences", owners),
    ]);
    Value::from([("metadata", metadata)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str, state: State) -> (Arc<str>, bool, State) {
        (uid.into(), true, state)
    }

    #[test]
    fn a_dependent_stays_as_long_as_one_owner_does() {
        assert_eq!(fate(&[]), Fate::Stays);
        assert_eq!(fate(&[owner("a", State::Solid)]), Fate::Stays);
        assert_eq!(fate(&[owner("a", State::Absent)]), Fate::Goes);
        assert_eq!(fate(&[owner("a", State::WaitsForDependents)]), Fate::Goes);
        let both = [owner("a", State::Solid), owner("b", State::WaitsForDependents)];
        assert_eq!(fate(&both), Fate::Loses(vec!["b".into()]));
    }
}
