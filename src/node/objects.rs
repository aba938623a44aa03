//! The ConfigMaps and Secrets that pods refer to, each watched by itself and once for all pods; the
//! bundles of trust, all together where a pod wants any; and the requests for pods' certificates.
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
use crate::client::{
    CLUSTERTRUSTBUNDLES, CONFIGMAPS, Client, Gvr, PODCERTIFICATEREQUESTS, SECRETS, View,
};
use crate::history::Object;

/// Namespace and object.
type Place = (String, Reference);

/// All objects that are watched.
pub struct Objects {
    client: Arc<dyn Client>,
    node: String,
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
        Kind::CertificateRequests => &PODCERTIFICATEREQUESTS,
    }
}

impl Objects {
    /// Objects as `client`, which is this node's, sees them.
    pub fn new(client: Arc<dyn Client>, node: &str) -> Self {
        Self { client, node: node.to_owned(), watched: Mutex::default() }
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

    fn watch(&self, namespace: &str, reference: &Reference) -> Arc<Watched> {
        let (kind, name) = reference;
        let selector = match kind {
            Kind::TrustBundles => String::new(),
            Kind::CertificateRequests => of_node(&self.node),
            _ => format!("metadata.namespace={namespace},metadata.name={name}"),
        };
        let view = self.client.view(resource(*kind), &selector);
        let (changed, changes) = watch::channel(0);
        let place = (namespace.to_owned(), reference.clone());
        let task = tokio::spawn(follow(view.clone(), place, changed)).abort_handle();
        Arc::new(Watched { view, changes, task })
    }
}

/// Selects the PodCertificateRequests that a node may see: its own.
pub fn of_node(node: &str) -> String {
    format!("spec.nodeName={node}")
}

/// Whether an object is one of those that a reference is to.
fn is_of(object: &Object, (namespace, (kind, name)): &Place) -> bool {
    let key = &object.header.key;
    match kind {
        Kind::TrustBundles => true,
        Kind::CertificateRequests => {
            *key.namespace == **namespace && object.header.field("spec.podName") == Some(name)
        }
        Kind::ConfigMap | Kind::Secret => *key.namespace == **namespace && *key.name == **name,
    }
}

/// Counts the changes of what a reference is to, until the task is ended.
async fn follow(view: View, place: Place, changed: watch::Sender<u64>) {
    view.synced().await;
    loop {
        let (_, mut cursor) = view.follow();
        // What came before the cursor may differ from what was read then.
        changed.send_modify(|count| *count += 1);
        while let Ok(events) = cursor.next(64).await {
            if events.iter().any(|event| is_of(&event.object, &place)) {
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
            match reference.0 {
                Kind::TrustBundles => {
                    let snapshot = object.view.snapshot();
                    let trees = snapshot.iter().filter_map(|object| object.tree().ok());
                    trees.for_each(|bundle| sources.add_bundle(bundle));
                }
                Kind::CertificateRequests => {}
                Kind::ConfigMap | Kind::Secret => {
                    let found = object.view.get(&self.namespace, &reference.1);
                    if let Some(tree) = found.and_then(|object| object.tree().ok()) {
                        sources.add(reference.clone(), Arc::new(Content::of(reference.0, &tree)));
                    }
                }
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
        let objects = Objects::new(cluster.client(), "node");
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

    #[tokio::test]
    async fn a_pod_s_requests_for_certificates_wake_it() {
        let cluster = Cluster::new();
        let objects = Objects::new(cluster.client(), "node");
        let references = BTreeSet::from([(Kind::CertificateRequests, "p".to_owned())]);
        let mut held = objects.hold("n", &references);
        held.changed().await;
        let put = |namespace: &str, pod: &str| {
            let json = format!(r#"{{"spec":{{"podName":"{pod}"}}}}"#);
            cluster.put("certificates.k8s.io", "podcertificaterequests", namespace, "r", &json);
        };
        put("other", "p");
        put("n", "q");
        let brief = std::time::Duration::from_millis(50);
        assert!(
            tokio::time::timeout(brief, held.changed()).await.is_err(),
            "none of it is its own"
        );
        put("n", "p");
        held.changed().await;
    }
}
