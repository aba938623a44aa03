//! What a node may do: read what its pods need, and write its own node, lease and pods' status.
//!
//! Which secrets and other objects a node may read follows from the pods that are bound to it. The
//! index holds only which pods those are; what they refer to is read off them when a node asks.
//!
//! Unlike upstream's, nodes may read all Node objects: the network between nodes needs them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use super::feed::{Change, Feed};
use super::{Attributes, Decision, Rule, policy};
use crate::api::meta::{GroupResource, Key, Meta};
use crate::api::tree::Value;
use crate::history::History;

/// The namespace of nodes' heartbeats.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Namespace and name of a pod.
type Place = (Arc<str>, Arc<str>);

/// Decides for users that are nodes; has no opinion on others.
pub struct NodeAuthorizer {
    history: Arc<History>,
    pods: GroupResource,
    bound: RwLock<Bound>,
    /// What every node may do, once the checks here are passed.
    rules: Vec<Rule>,
}

struct Bound {
    /// Everything up to this revision is in the index.
    revision: u64,
    feed: Feed,
    by_node: HashMap<Arc<str>, HashSet<Place>>,
}

/// An object that pods refer to by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Referent {
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
}

impl NodeAuthorizer {
    /// An authoriser over a history.
    pub fn new(history: Arc<History>) -> Self {
        let pods = GroupResource::new("", "pods");
        let feed = Feed::new(pods.clone());
        let bound = RwLock::new(Bound { revision: 0, feed, by_node: HashMap::new() });
        Self { history, pods, bound, rules: policy::node_rules() }
    }

    /// Whether a node may do what it asks; no opinion on users that are not nodes.
    pub fn authorize(&self, request: &Attributes<'_>) -> Decision {
        let Some(node) = request.user.as_node() else {
            return Decision::NoOpinion(String::new());
        };
        let checked = match (request.group, request.resource) {
            ("", "secrets") => self.read_named(request, node, Referent::Secret),
            ("", "configmaps") => self.read_named(request, node, Referent::ConfigMap),
            ("", "persistentvolumeclaims") => self.claim(request, node),
            ("", "serviceaccounts") => self.token(request, node),
            ("", "pods") => self.pod(request, node),
            ("coordination.k8s.io", "leases") => lease(request, node),
            ("storage.k8s.io", "csinodes") => own(request, node),
            _ => Ok(()),
        };
        match checked {
            Err(reason) => Decision::NoOpinion(reason),
            Ok(()) if self.rules.iter().any(|rule| rule.allows(request)) => {
                Decision::Allow(String::new())
            }
            Ok(()) => Decision::NoOpinion(String::new()),
        }
    }

    fn read_named(
        &self,
        request: &Attributes<'_>,
        node: &str,
        wanted: Referent,
    ) -> Result<(), String> {
        if !matches!(request.verb, "get" | "list" | "watch") {
            return Err("can only read resources of this type".into());
        }
        if !request.subresource.is_empty() {
            return Err("cannot read subresource".into());
        }
        if request.namespace.is_empty() {
            return Err("can only read namespaced object of this type".into());
        }
        self.related(request, node, wanted)
    }

    fn claim(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        match (request.verb, request.subresource) {
            ("get", "") | ("get" | "update" | "patch", "status") => {
                self.related(request, node, Referent::Claim)
            }
            (_, "status") => Err("can only get/update/patch this type".into()),
            _ => Err("can only get individual resources of this type".into()),
        }
    }

    fn token(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        match (request.verb, request.subresource) {
            ("create", "token") => self.related(request, node, Referent::ServiceAccount),
            _ => Err("can only create tokens for individual service accounts".into()),
        }
    }

    fn pod(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        match (request.verb, request.subresource) {
            ("get", "") => {
                let bound = |pods: &HashSet<Place>| {
                    pods.contains(&(Arc::from(request.namespace), Arc::from(request.name)))
                };
                match self.with_pods(node, bound) {
                    true => Ok(()),
                    false => Err(unrelated(node)),
                }
            }
            ("list" | "watch", "") => {
                let selected = request.fields.and_then(|f| f.required("spec.nodeName"));
                match selected == Some(node) {
                    true => Ok(()),
                    false => {
                        Err("can only list/watch pods with spec.nodeName field selector".into())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether a pod of the node refers to what is asked for.
    fn related(
        &self,
        request: &Attributes<'_>,
        node: &str,
        wanted: Referent,
    ) -> Result<(), String> {
        if request.name.is_empty() {
            return Err("No Object name found".into());
        }
        let namespace = request.namespace;
        let here: Vec<Place> = self.with_pods(node, |pods| {
            pods.iter().filter(|(ns, _)| &**ns == namespace).cloned().collect()
        });
        let refers = here.iter().any(|(namespace, name)| {
            let pod = self.history.get(&Key::new(&self.pods, namespace, name));
            let tree = pod.and_then(|pod| pod.tree().ok());
            tree.is_some_and(|pod| refers(&pod, wanted, request.name))
        });
        if refers { Ok(()) } else { Err(unrelated(node)) }
    }

    /// Answers a question about the pods of a node as of the newest revision.
    fn with_pods<T>(&self, node: &str, ask: impl FnOnce(&HashSet<Place>) -> T) -> T {
        let revision = self.history.revision();
        let none = HashSet::new();
        {
            let bound = self.bound.read();
            if bound.revision >= revision && bound.revision > 0 {
                return ask(bound.by_node.get(node).unwrap_or(&none));
            }
        }
        let mut bound = self.bound.write();
        bound.refresh(&self.history, revision);
        ask(bound.by_node.get(node).unwrap_or(&none))
    }
}

impl Bound {
    fn refresh(&mut self, history: &Arc<History>, revision: u64) {
        let Self { feed, by_node, .. } = self;
        feed.drain(history, |change| match change {
            Change::Reset => by_node.clear(),
            Change::Put(pod) => {
                let key = &pod.header.key;
                let node = pod.header.field("spec.nodeName").unwrap_or_default();
                if node.is_empty() {
                    return;
                }
                if !by_node.contains_key(node) {
                    by_node.insert(node.into(), HashSet::new());
                }
                if let Some(pods) = by_node.get_mut(node) {
                    pods.insert((Arc::clone(&key.namespace), Arc::clone(&key.name)));
                }
            }
            Change::Delete(pod) => {
                let key = &pod.header.key;
                let node = pod.header.field("spec.nodeName").unwrap_or_default();
                let Some(pods) = by_node.get_mut(node) else { return };
                pods.remove(&(Arc::clone(&key.namespace), Arc::clone(&key.name)));
                if pods.is_empty() {
                    by_node.remove(node);
                }
            }
        });
        self.revision = self.revision.max(revision).max(1);
    }
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn lease(request: &Attributes<'_>, node: &str) -> Result<(), String> {
    if !matches!(request.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".into());
    }
    if request.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    // A create carries its name in the body only: NodeRestriction looks there.
    if request.verb != "create" && request.name != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn own(request: &Attributes<'_>, node: &str) -> Result<(), String> {
    if request.verb != "create" && request.name != node {
        return Err("can only access CSINode with the same name as the requesting node".into());
    }
    Ok(())
}

/// Whether a pod needs the object `name` of its namespace. A mirror pod, which its own node wrote,
/// needs nothing.
fn refers(pod: &Value, wanted: Referent, name: &str) -> bool {
    if pod.annotation("kubernetes.io/config.mirror").is_some() {
        return false;
    }
    let spec = pod.get("spec");
    match wanted {
        Referent::ServiceAccount => spec.get("serviceAccountName").str() == name,
        Referent::Claim => {
            volumes(spec, name, &[&["persistentVolumeClaim", "claimName"]], "") || {
                // A claim made for the pod is named after both.
                let volumes = spec.get("volumes").items().iter();
                let mut ephemeral = volumes.filter(|volume| !volume.get("ephemeral").is_null());
                ephemeral.any(|v| format!("{}-{}", pod.name(), v.get("name").str()) == name)
            }
        }
        Referent::ConfigMap => {
            volumes(spec, name, &[&["configMap", "name"]], "configMap")
                || env(spec, name, "configMapKeyRef", "configMapRef")
        }
        Referent::Secret => {
            let pull = spec.get("imagePullSecrets").items().iter();
            pull.map(|secret| secret.get("name").str()).any(|secret| secret == name)
                || volumes(spec, name, SECRET_VOLUMES, "secret")
                || env(spec, name, "secretKeyRef", "secretRef")
        }
    }
}

/// Where volumes name secrets.
const SECRET_VOLUMES: &[&[&str]] = &[
    &["secret", "secretName"],
    &["csi", "nodePublishSecretRef", "name"],
    &["azureFile", "secretName"],
    &["cephfs", "secretRef", "name"],
    &["cinder", "secretRef", "name"],
    &["flexVolume", "secretRef", "name"],
    &["iscsi", "secretRef", "name"],
    &["rbd", "secretRef", "name"],
    &["scaleIO", "secretRef", "name"],
    &["storageos", "secretRef", "name"],
];

/// Whether a volume names the object at one of `paths`, or as a projected source of that name.
fn volumes(spec: &Value, name: &str, paths: &[&[&str]], projected: &str) -> bool {
    spec.get("volumes").items().iter().any(|volume| {
        let sources = volume.at(&["projected", "sources"]).items();
        paths.iter().any(|path| volume.at(path).str() == name)
            || sources.iter().any(|source| source.at(&[projected, "name"]).str() == name)
    })
}

/// Whether a container takes its environment from the object.
fn env(spec: &Value, name: &str, key_ref: &str, whole_ref: &str) -> bool {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let mut containers = lists.iter().flat_map(|list| spec.get(list).items());
    containers.any(|container| {
        let keys = container.get("env").items().iter();
        let wholes = container.get("envFrom").items().iter();
        keys.map(|env| env.at(&["valueFrom", key_ref, "name"]).str()).any(|found| found == name)
            || wholes.map(|env| env.at(&[whole_ref, "name"]).str()).any(|found| found == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::selector::FieldSelector;
    use crate::auth::UserInfo;
    use crate::auth::testing::World;

    const POD: &str = r#"{"metadata":{"name":"p","namespace":"a"},"spec":{"nodeName":"n1",
        "serviceAccountName":"sa","imagePullSecrets":[{"name":"pull"}],
        "containers":[{"env":[{"valueFrom":{"secretKeyRef":{"name":"key"}}}],
                       "envFrom":[{"configMapRef":{"name":"whole"}}]}],
        "volumes":[{"secret":{"secretName":"mounted"}},
                   {"projected":{"sources":[{"configMap":{"name":"kube-root-ca.crt"}}]}},
                   {"name":"scratch","ephemeral":{}}]}}"#;

    fn world() -> (World, NodeAuthorizer) {
        let world = World::default();
        world.put_with("", "pods", POD, vec![("spec.nodeName", "n1".into())]);
        let node = NodeAuthorizer::new(Arc::clone(&world.history));
        (world, node)
    }

    fn get(node: &NodeAuthorizer, user: &UserInfo, resource: &str, name: &str) -> bool {
        let request =
            Attributes { namespace: "a", name, ..Attributes::resource(user, "get", "", resource) };
        node.authorize(&request).allowed()
    }

    #[test]
    fn a_node_reads_what_its_pods_need_and_nothing_else() {
        let (world, node) = world();
        let (own, other) = (UserInfo::node("n1"), UserInfo::node("n2"));
        for (resource, name) in [
            ("secrets", "pull"),
            ("secrets", "key"),
            ("secrets", "mounted"),
            ("configmaps", "whole"),
            ("configmaps", "kube-root-ca.crt"),
            ("persistentvolumeclaims", "p-scratch"),
            ("pods", "p"),
        ] {
            assert!(get(&node, &own, resource, name), "{resource} {name}");
            assert!(!get(&node, &other, resource, name), "{resource} {name}");
        }
        assert!(!get(&node, &own, "secrets", "whole"));
        assert!(!get(&node, &own, "serviceaccounts", "sa"));
        let refused = Attributes {
            namespace: "a",
            name: "x",
            ..Attributes::resource(&own, "get", "", "secrets")
        };
        assert_eq!(
            node.authorize(&refused).reason(),
            "no relationship found between node 'n1' and this object"
        );
        world.delete("", "pods", "a", "p");
        assert!(!get(&node, &own, "secrets", "key"));
    }

    #[test]
    fn lists_are_narrowed_by_selector_or_name() {
        let (_world, node) = world();
        let user = UserInfo::node("n1");
        let mine = FieldSelector::parse("spec.nodeName=n1").unwrap();
        let all = Attributes::resource(&user, "list", "", "pods");
        assert!(!node.authorize(&all).allowed());
        assert!(node.authorize(&Attributes { fields: Some(&mine), ..all }).allowed());
        let secrets =
            Attributes { namespace: "a", ..Attributes::resource(&user, "watch", "", "secrets") };
        assert!(!node.authorize(&secrets).allowed());
        assert!(node.authorize(&Attributes { name: "key", ..secrets }).allowed());
    }

    #[test]
    fn a_node_writes_its_own_lease_and_asks_for_its_pods_tokens() {
        let (_world, node) = world();
        let user = UserInfo::node("n1");
        let lease = |namespace, name| {
            let request = Attributes::resource(&user, "update", "coordination.k8s.io", "leases");
            node.authorize(&Attributes { namespace, name, ..request }).allowed()
        };
        assert!(lease("kube-node-lease", "n1"));
        assert!(!lease("kube-node-lease", "n2") && !lease("default", "n1"));
        let token = |name| {
            let request = Attributes::resource(&user, "create", "", "serviceaccounts");
            let request = Attributes { subresource: "token", namespace: "a", name, ..request };
            node.authorize(&request).allowed()
        };
        assert!(token("sa") && !token("other"));
    }

    #[test]
    fn others_are_none_of_its_business() {
        let (_world, node) = world();
        let user = UserInfo::system("system:node:n1", &[]);
        assert!(!get(&node, &user, "pods", "p"));
    }
}
