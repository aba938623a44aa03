//! The ConfigMaps and Secrets that pods refer to, each watched by itself and once for all pods; and
//! the bundles of trust, all together where a pod wants any.
//!
//! Contract: [`Objects::hold`] gives a [`Held`]: what the objects hold now, and a wait for the next
//! change. A watch lives as long as somebody holds its object. A node may see these objects by name
//! only, and only while a pod of its own refers to them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use futures_util::future::select_all;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::source::{Content, Kind, Reference, Sources};
use crate::client::{CLUSTERTRUSTBUNDLES, CONFIGMAPS, Client, Gvr, SECRETS, View};
use crate::history::Object;

/// Namespace and object.
type Place = (String, Reference);

/// All objects that are watched.
pub struct Objects {
    client: Arc<dyn Client>,
    watched: Mutex<HashMap<Place, Weak<Watched>>>,
}

struct Watched {
    view: View,
    /// Counts changes.
    changes: watch::Receiver<u64>,
    task: tokio::task::AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The objects that one pod refers to.
pub struct Held {
    namespace: String,
    objects: Vec<(Reference, Arc<Watched>, watch::Receiver<u64>)>,
}

const fn resource(kind: Kind) -> &'static Gvr {
    match kind {
        Kind::ConfigMap => &CONFIGMAPS,
        Kind::Secret => &SECRETS,
        Kind::TrustBundles => &CLUSTERTRUSTBUNDLES,
    }
}

impl Objects {
    /// Objects as `client` sees them.
    pub fn new(client: Arc<dyn Client>) -> Self {
        Self { client, watched: Mutex::default() }
    }

    /// Watches the objects of a namespace that a pod refers to.
    pub fn hold(&self, namespace: &str, references: &BTreeSet<Reference>) -> Held {
        let mut watched = self.watched.lock();
        watched.retain(|_, object| object.strong_count() > 0);
        let hold = |reference: &Reference| {
            let namespace = if reference.0 == Kind::TrustBundles { "" } else { namespace };
            let place = (namespace.to_owned(), reference.clone());
            let known = watched.get(&place).and_then(Weak::upgrade);
            let object = known.unwrap_or_else(|| {
                let object = self.watch(namespace, reference);
                watched.insert(place, Arc::downgrade(&object));
                object
            });
            let changes = object.changes.clone();
            (reference.clone(), object, changes)
        };
        let objects = references.iter().map(hold).collect();
        Held { namespace: namespace.to_owned(), objects }
    }

    fn watch(&self, namespace: &str, (kind, name): &Reference) -> Arc<Watched> {
        let selector = match kind {
            Kind::TrustBundles => String::new(),
            _ => format!("metadata.namespace={namespace},metadata.name={name}"),
        };
        let view = self.client.view(resource(*kind), &selector);
        let (changed, changes) = watch::channel(0);
        let (namespace, name) = (namespace.to_owned(), name.clone());
        let task = tokio::spawn(follow(view.clone(), namespace, name, changed)).abort_handle();
        Arc::new(Watched { view, changes, task })
    }
}

/// Counts the changes of one object, or of all where it has no name, until the task is ended.
async fn follow(view: View, namespace: String, name: String, changed: watch::Sender<u64>) {
    view.synced().await;
    loop {
        let (_, mut cursor) = view.follow();
        // What came before the cursor may differ from what was read then.
        changed.send_modify(|count| *count += 1);
        let about = |object: &Object| {
            name.is_empty()
                || *object.header.key.namespace == *namespace && *object.header.key.name == *name
        };
        while let Ok(events) = cursor.next(64).await {
            if events.iter().any(|event| about(&event.object)) {
                changed.send_modify(|count| *count += 1);
            }
        }
    }
}

impl Held {
    /// What the objects hold now, once they have been seen.
    pub async fn sources(&self) -> Sources {
        let mut sources = Sources::default();
        for (reference, object, _) in &self.objects {
            object.view.synced().await;
            if reference.0 == Kind::TrustBundles {
                let snapshot = object.view.snapshot();
                snapshot.iter().filter_map(|o| o.tree().ok()).for_each(|o| sources.add_bundle(o));
                continue;
            }
            let found = object.view.get(&self.namespace, &reference.1);
            if let Some(tree) = found.and_then(|object| object.tree().ok()) {
                sources.add(reference.clone(), Arc::new(Content::of(reference.0, &tree)));
            }
        }
        sources
    }

    /// Waits until one of them changes; for ever where there are none. The first call may return
    /// at once.
    pub async fn changed(&mut self) {
        let waits = self.objects.iter_mut().map(|(_, _, changes)| Box::pin(changes.changed()));
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        if select_all(waits).await.0.is_err() {
            // The watch has ended, as when the process stops.
            std::future::pending::<()>().await;
        }
    }

    /// Whether these are the objects of `references`.
    pub fn is_of(&self, references: &BTreeSet<Reference>) -> bool {
        self.objects.iter().map(|(reference, ..)| reference).eq(references)
    }

    /// A second hold on the same objects.
    pub fn again(&self) -> Self {
        let again = |(reference, object, _): &(Reference, Arc<Watched>, _)| {
            (reference.clone(), Arc::clone(object), object.changes.clone())
        };
        let objects = self.objects.iter().map(again).collect();
        Self { namespace: self.namespace.clone(), objects }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::Cluster;

    #[tokio::test]
    async fn objects_are_seen_and_watched_once() {
        let cluster = Cluster::new();
        let objects = Objects::new(cluster.client());
        let references =
            BTreeSet::from([(Kind::ConfigMap, "m".to_owned()), (Kind::Secret, "s".to_owned())]);
        cluster.put("", "configmaps", "n", "m", r#"{"data":{"a":"1"}}"#);
        let mut held = objects.hold("n", &references);
        let other = objects.hold("n", &references);
        assert_eq!(objects.watched.lock().len(), 2);
        assert!(held.is_of(&references));
        let value = |sources: &Sources| {
            let content = sources.find(Kind::ConfigMap, "m", false).unwrap().unwrap();
            String::from_utf8(content.data["a"].clone()).unwrap()
        };
        assert_eq!(value(&held.sources().await), "1");
        assert!(held.sources().await.find(Kind::Secret, "s", false).is_err());

        // The first wait may be for the beginning of the watch.
        held.changed().await;
        cluster.put("", "configmaps", "n", "m", r#"{"data":{"a":"2"}}"#);
        while value(&held.sources().await) != "2" {
            held.changed().await;
        }
        cluster.put("", "configmaps", "n", "unrelated", r#"{"data":{}}"#);
        drop((held, other));
        objects.hold("n", &BTreeSet::new());
        assert!(objects.watched.lock().is_empty());
    }
}
