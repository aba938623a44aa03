//! What a node may do: read what its pods need, and write its own node, lease and pods' status.
//!
//! Which secrets and other objects a node may read follows from the pods that are bound to it: what
//! they name, the volumes that their claims are bound to, and the secrets that those name. The
//! index holds only which pods those are; what they refer to is read off them when a node asks.
//!
//! Unlike upstream's, nodes may read all Node objects: the network between nodes needs them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use super::feed::{Change, Feed};
use super::references::{self, Referent};
use super::{Attributes, Decision, Rule, policy};
use crate::api::meta::{GroupResource, Key};
use crate::api::tree::Value;
use crate::history::History;

/// The namespace of nodes' heartbeats.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Namespace and name of a pod.
type Place = (Arc<str>, Arc<str>);

/// Decides for users that are nodes; has no opinion on others.
pub struct NodeAuthorizer {
    history: Arc<History>,
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

impl NodeAuthorizer {
    /// An authoriser over a history.
    pub fn new(history: Arc<History>) -> Self {
        let feed = Feed::new(GroupResource::new("", "pods"));
        let bound = RwLock::new(Bound { revision: 0, feed, by_node: HashMap::new() });
        Self { history, bound, rules: policy::node_rules() }
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
            ("", "persistentvolumes") => self.volume(request, node),
            ("", "serviceaccounts") => self.account(request, node),
            ("", "pods") => self.pod(request, node),
            ("coordination.k8s.io", "leases") => lease(request, node),
            ("storage.k8s.io", "csinodes") => own(request, node),
            ("storage.k8s.io", "volumeattachments") => self.attachment(request, node),
            ("resource.k8s.io", "resourceclaims") => {
                only_get(request).and_then(|()| self.related(request, node, Referent::DeviceClaim))
            }
            // These are decided here alone: the role does not know them, as upstream's.
            ("resource.k8s.io", "resourceslices") => return decided(self.slice(request, node)),
            ("certificates.k8s.io", "podcertificaterequests") => {
                return decided(self.pod_certificate(request, node));
            }
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
            ("update" | "patch", "status") => {}
            (_, "status") => return Err("can only get/update/patch this type".into()),
            _ => only_get(request)?,
        }
        self.related(request, node, Referent::Claim)
    }

    /// A volume is related by the claim that it is bound to.
    fn volume(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        only_get(request)?;
        let volume = self.named(request, ("", "persistentvolumes"))?;
        let claim = volume.as_ref().map(|volume| volume.at(&["spec", "claimRef"]));
        let bound = claim.is_some_and(|claim| {
            let (namespace, name) = (claim.get("namespace").str(), claim.get("name").str());
            !name.is_empty() && self.refer(node, namespace, Referent::Claim, name)
        });
        if bound { Ok(()) } else { Err(unrelated(node)) }
    }

    fn attachment(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        only_get(request)?;
        let attachment = self.named(request, ("storage.k8s.io", "volumeattachments"))?;
        let own = attachment.is_some_and(|a| a.at(&["spec", "nodeName"]).str() == node);
        if own { Ok(()) } else { Err(unrelated(node)) }
    }

    fn slice(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        if !request.subresource.is_empty() {
            return Err("cannot authorize ResourceSlice subresources".into());
        }
        match request.verb {
            // NodeRestriction looks at what is made.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => {
                let slice = self.named(request, ("resource.k8s.io", "resourceslices"))?;
                let own = slice.is_some_and(|slice| slice.at(&["spec", "nodeName"]).str() == node);
                if own { Ok(()) } else { Err(unrelated(node)) }
            }
            "list" | "watch" | "deletecollection" if selects(request, node) => Ok(()),
            "list" | "watch" | "deletecollection" => Err(
                "can only list/watch/deletecollection resourceslices with nodeName field selector"
                    .into(),
            ),
            _ => {
                Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, \
                      create, update, patch, delete, deletecollection"
                    .into())
            }
        }
    }

    fn pod_certificate(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        if !request.subresource.is_empty() {
            let why = "nodes may not access the status subresource of PodCertificateRequests";
            return Err(why.into());
        }
        match request.verb {
            "create" => Ok(()),
            "get" => {
                let what = ("certificates.k8s.io", "podcertificaterequests");
                let asked = self.named(request, what)?;
                let own = asked.is_some_and(|asked| asked.at(&["spec", "nodeName"]).str() == node);
                if own { Ok(()) } else { Err(unrelated(node)) }
            }
            "list" | "watch" if selects(request, node) => Ok(()),
            "list" | "watch" => {
                Err("can only list/watch podcertificaterequests with nodeName field selector"
                    .into())
            }
            verb => Err(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn account(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        match (request.verb, request.subresource) {
            ("get", "") => self.read_named(request, node, Referent::ServiceAccount),
            ("create", "token") => self.related(request, node, Referent::ServiceAccount),
            ("create", _) if !request.name.is_empty() => {
                Err("can only create token subresource of serviceaccount".into())
            }
            _ => Err("can only create tokens for individual service accounts".into()),
        }
    }

    /// The object that a request names, as it is stored.
    fn named(
        &self,
        request: &Attributes<'_>,
        (group, plural): (&str, &str),
    ) -> Result<Option<Value>, String> {
        if request.name.is_empty() {
            return Err("No Object name found".into());
        }
        Ok(self.find(group, plural, request.namespace, request.name))
    }

    fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(&GroupResource::new(group, plural), namespace, name);
        self.history.get(&key).and_then(|object| object.tree().ok())
    }

    fn pod(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        match (request.verb, request.subresource) {
            ("get", "") => self.bound(request, node),
            ("list" | "watch", "") if selects(request, node) => Ok(()),
            ("list" | "watch", "") if !request.name.is_empty() => self.bound(request, node),
            ("list" | "watch", "") => {
                Err("can only list/watch pods with spec.nodeName field selector".into())
            }
            _ => Ok(()),
        }
    }

    /// Whether the pod that a request names is the node's.
    fn bound(&self, request: &Attributes<'_>, node: &str) -> Result<(), String> {
        let place = (Arc::from(request.namespace), Arc::from(request.name));
        match self.with_pods(node, |pods| pods.contains(&place)) {
            true => Ok(()),
            false => Err(unrelated(node)),
        }
    }

    /// Whether a pod of the node, or a volume of one, refers to what is asked for.
    fn related(
        &self,
        request: &Attributes<'_>,
        node: &str,
        wanted: Referent,
    ) -> Result<(), String> {
        let (namespace, name) = (request.namespace, request.name);
        if name.is_empty() {
            return Err("No Object name found".into());
        }
        let related = self.refer(node, namespace, wanted, name)
            || wanted == Referent::Secret && self.of_volumes(node, namespace, name);
        if related { Ok(()) } else { Err(unrelated(node)) }
    }

    /// Whether a pod of the node in a namespace refers to an object.
    fn refer(&self, node: &str, namespace: &str, wanted: Referent, name: &str) -> bool {
        let here: Vec<Place> = self.with_pods(node, |pods| {
            pods.iter().filter(|(ns, _)| &**ns == namespace).cloned().collect()
        });
        here.iter().any(|(namespace, pod)| {
            let pod = self.find("", "pods", namespace, pod);
            pod.is_some_and(|pod| references::refers(&pod, wanted, &|found| found == name))
        })
    }

    /// Whether a volume that a pod of the node uses, by a claim, names a secret for nodes to read.
    /// The secret may be in any namespace: who makes volumes says in which.
    fn of_volumes(&self, node: &str, namespace: &str, secret: &str) -> bool {
        let all: Vec<Place> = self.with_pods(node, |pods| pods.iter().cloned().collect());
        let names = |(space, pod): &Place| {
            let pod = self.find("", "pods", space, pod).filter(|pod| !references::is_mirror(pod));
            let claims = pod.as_ref().map(references::claims).unwrap_or_default();
            claims.iter().any(|claim| {
                let volume = self.volume_of(space, claim);
                volume.is_some_and(|v| references::volume_names(&v, namespace, secret))
            })
        };
        all.iter().any(names)
    }

    /// The volume that a claim is bound to, as both say.
    fn volume_of(&self, namespace: &str, claim: &str) -> Option<Value> {
        let object = self.find("", "persistentvolumeclaims", namespace, claim)?;
        let name = object.at(&["spec", "volumeName"]).str();
        let volume = self.find("", "persistentvolumes", "", name)?;
        let bound = volume.at(&["spec", "claimRef"]);
        let both = bound.get("namespace").str() == namespace && bound.get("name").str() == claim;
        both.then_some(volume)
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
    if !request.subresource.is_empty() {
        return Err("cannot authorize CSINode subresources".into());
    }
    if !matches!(request.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".into());
    }
    if request.verb != "create" && request.name != node {
        return Err("can only access CSINode with the same name as the requesting node".into());
    }
    Ok(())
}

fn only_get(request: &Attributes<'_>) -> Result<(), String> {
    match (request.verb, request.subresource) {
        ("get", "") => Ok(()),
        ("get", _) => Err("cannot get subresource".into()),
        _ => Err("can only get individual resources of this type".into()),
    }
}

/// Whether a list asks for what is on one node only.
fn selects(request: &Attributes<'_>, node: &str) -> bool {
    request.fields.and_then(|fields| fields.required("spec.nodeName")) == Some(node)
}

fn decided(checked: Result<(), String>) -> Decision {
    checked.map_or_else(Decision::NoOpinion, |()| Decision::Allow(String::new()))
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
            ("serviceaccounts", "sa"),
            ("pods", "p"),
        ] {
            assert!(get(&node, &own, resource, name), "{resource} {name}");
            assert!(!get(&node, &other, resource, name), "{resource} {name}");
        }
        assert!(!get(&node, &own, "secrets", "whole"));
        assert!(!get(&node, &own, "serviceaccounts", "other"));
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
    fn a_claim_leads_to_its_volume_and_the_volume_to_its_secrets() {
        let (world, node) = world();
        let (own, other) = (UserInfo::node("n1"), UserInfo::node("n2"));
        let volume = r#"{"metadata":{"name":"v"},"spec":{
            "claimRef":{"namespace":"a","name":"p-scratch"},"csi":{
            "nodeStageSecretRef":{"namespace":"a","name":"stage"},
            "controllerPublishSecretRef":{"namespace":"a","name":"controller"}}}}"#;
        world.put("", "persistentvolumes", volume);
        let claim = r#"{"metadata":{"name":"p-scratch","namespace":"a"},
            "spec":{"volumeName":"v"}}"#;
        world.put("", "persistentvolumeclaims", claim);
        let volume = |user| {
            let request = Attributes::resource(user, "get", "", "persistentvolumes");
            node.authorize(&Attributes { name: "v", ..request }).allowed()
        };
        assert!(volume(&own) && !volume(&other));
        assert!(get(&node, &own, "secrets", "stage") && !get(&node, &other, "secrets", "stage"));
        assert!(!get(&node, &own, "secrets", "controller"), "that is not for nodes");
    }

    #[test]
    fn what_names_a_node_is_that_node_s() {
        let (world, node) = world();
        let (own, other) = (UserInfo::node("n1"), UserInfo::node("n2"));
        let mine = FieldSelector::parse("spec.nodeName=n1").unwrap();
        for (group, resource, namespace) in [
            ("storage.k8s.io", "volumeattachments", ""),
            ("resource.k8s.io", "resourceslices", ""),
            ("certificates.k8s.io", "podcertificaterequests", "a"),
        ] {
            let object = format!(
                r#"{{"metadata":{{"name":"x","namespace":"{namespace}"}},
                "spec":{{"nodeName":"n1"}}}}"#
            );
            world.put(group, resource, &object);
            let may = |user, verb, name, fields| {
                let request = Attributes::resource(user, verb, group, resource);
                node.authorize(&Attributes { namespace, name, fields, ..request }).allowed()
            };
            assert!(may(&own, "get", "x", None) && !may(&other, "get", "x", None), "{resource}");
            let lists = group != "storage.k8s.io";
            assert_eq!(may(&own, "list", "", Some(&mine)), lists, "{resource}");
            assert!(!may(&own, "list", "", None) && !may(&other, "list", "", Some(&mine)));
            let slices = resource == "resourceslices";
            assert_eq!(may(&own, "delete", "x", None), slices, "{resource}");
            assert_eq!(may(&own, "create", "", None), lists, "{resource}");
        }
    }

    #[test]
    fn others_are_none_of_its_business() {
        let (_world, node) = world();
        let user = UserInfo::system("system:node:n1", &[]);
        assert!(!get(&node, &user, "pods", "p"));
    }
}
