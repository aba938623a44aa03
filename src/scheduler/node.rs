//! A node as the scheduler sees it, kept up to date pod by pod.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::resources::{self, Amounts};
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;

/// A port of a node's own address: host IP (empty for all), protocol, number.
pub type HostPort = (String, String, i64);

/// What a pod takes of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    requests: Amounts,
    for_score: Amounts,
    ports: Vec<HostPort>,
    /// What spreads: the pod's namespace and the UID of what manages it.
    group: Option<(String, String)>,
}

impl Share {
    /// Reads a pod's share off its tree.
    pub fn of(pod: &Value) -> Self {
        let spec = pod.get("spec");
        Self {
            requests: resources::of_pod(pod),
            for_score: resources::of_pod_for_score(pod),
            ports: host_ports(spec),
            group: group(pod),
        }
    }

    /// What the pod asks for.
    pub const fn requests(&self) -> &Amounts {
        &self.requests
    }

    /// What the pod asks for, small where it asks for nothing.
    pub const fn for_score(&self) -> &Amounts {
        &self.for_score
    }

    /// The ports of the node that the pod takes.
    pub fn ports(&self) -> &[HostPort] {
        &self.ports
    }

    /// What the pod is spread with.
    pub const fn group(&self) -> Option<&(String, String)> {
        self.group.as_ref()
    }
}

fn group(pod: &Value) -> Option<(String, String)> {
    let owner = pod.controller()?;
    Some((pod.namespace().to_owned(), owner.uid.to_string()))
}

fn host_ports(spec: &Value) -> Vec<HostPort> {
    let containers = spec.get("containers").items().iter();
    let all = containers.chain(spec.get("initContainers").items());
    let ports = all.flat_map(|container| container.get("ports").items());
    ports
        .filter_map(|port| {
            let number = port.get("hostPort").as_int().filter(|number| *number > 0)?;
            let address = match port.get("hostIP").str() {
                "0.0.0.0" | "::" => "",
                address => address,
            };
            let protocol = port.get("protocol").as_str().unwrap_or("TCP");
            Some((address.to_owned(), protocol.to_owned(), number))
        })
        .collect()
}

/// Whether two pods on one node would want the same port.
pub fn ports_clash(a: &HostPort, b: &HostPort) -> bool {
    let same_address = a.0.is_empty() || b.0.is_empty() || a.0 == b.0;
    same_address && a.1 == b.1 && a.2 == b.2
}

/// A node and what is taken of it.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Value>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `status.allocatable`.
    pub allocatable: Amounts,
    /// Image names that are on the node, with their sizes in bytes.
    pub images: HashMap<String, i64>,
    /// What its pods ask for.
    pub requested: Amounts,
    /// The same, with small amounts for pods that ask for nothing.
    pub requested_for_score: Amounts,
    /// The host ports that its pods take.
    pub ports: BTreeMap<HostPort, usize>,
    /// How many pods of each group it has.
    pub groups: HashMap<(String, String), usize>,
    /// Its pods.
    pub pods: BTreeSet<Key>,
    /// Whether the node itself is known: pods may be seen before their node.
    pub known: bool,
}

impl NodeInfo {
    /// Takes over the node's own side.
    pub fn set_node(&mut self, node: &Value) {
        self.known = true;
        self.name = node.name().to_owned();
        self.labels = node
            .metadata()
            .get("labels")
            .fields()
            .map(|(k, v)| (k.to_owned(), v.str().to_owned()))
            .collect();
        self.taints = node.at(&["spec", "taints"]).items().to_vec();
        self.unschedulable = node.at(&["spec", "unschedulable"]).is_true();
        self.allocatable = Amounts::of(node.at(&["status", "allocatable"]));
        self.images = images(node);
    }

    /// Counts a pod.
    pub fn add(&mut self, key: Key, share: &Share) {
        if self.pods.insert(key) {
            self.count(share, 1);
        }
    }

    /// Stops counting a pod.
    pub fn remove(&mut self, key: &Key, share: &Share) {
        if self.pods.remove(key) {
            self.count(share, -1);
        }
    }

    fn count(&mut self, share: &Share, sign: i64) {
        self.requested.count(&share.requests, sign);
        self.requested_for_score.count(&share.for_score, sign);
        for port in &share.ports {
            tally(&mut self.ports, port.clone(), sign);
        }
        if let Some(group) = &share.group {
            let count = self.groups.entry(group.clone()).or_default();
            *count = count.saturating_add_signed(if sign > 0 { 1 } else { -1 });
            if *count == 0 {
                self.groups.remove(group);
            }
        }
    }
}

fn tally(ports: &mut BTreeMap<HostPort, usize>, port: HostPort, sign: i64) {
    let count = ports.entry(port.clone()).or_default();
    *count = count.saturating_add_signed(if sign > 0 { 1 } else { -1 });
    if *count == 0 {
        ports.remove(&port);
    }
}

fn images(node: &Value) -> HashMap<String, i64> {
    let mut images = HashMap::new();
    for image in node.at(&["status", "images"]).items() {
        let size = image.get("sizeBytes").as_int().unwrap_or(0);
        for name in image.get("names").items() {
            images.insert(name.str().to_owned(), size);
        }
    }
    images
}

/// The cluster as the scheduler sees it.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: BTreeMap<String, NodeInfo>,
    /// Where each counted pod is, and what it takes.
    placed: HashMap<Key, (String, Arc<Share>)>,
}

impl Cluster {
    /// The nodes that can be chosen.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|node| node.known)
    }

    /// A node came or changed.
    pub fn set_node(&mut self, node: &Value) {
        self.nodes.entry(node.name().to_owned()).or_default().set_node(node);
    }

    /// A node is gone; its pods are counted on until they go.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.known = false;
            if node.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// A pod is, or is assumed to be, on a node. Returns whether it takes less than before.
    pub fn place(&mut self, key: &Key, node: &str, share: Arc<Share>) -> bool {
        let same = |(at, was): &(String, Arc<Share>)| at == node && *was == share;
        if self.placed.get(key).is_some_and(same) {
            return false;
        }
        let before = self.placed.get(key);
        let less = before.is_some_and(|(_, was)| was.requests.exceeds(&share.requests));
        self.forget(key);
        self.nodes.entry(node.to_owned()).or_default().add(key.clone(), &share);
        self.placed.insert(key.clone(), (node.to_owned(), share));
        less
    }

    /// A pod has ended, is gone, or could not be bound. Returns whether it took anything.
    pub fn forget(&mut self, key: &Key) -> bool {
        let Some((name, share)) = self.placed.remove(key) else { return false };
        if let Some(node) = self.nodes.get_mut(&name) {
            node.remove(key, &share);
            if node.pods.is_empty() && !node.known {
                self.nodes.remove(&name);
            }
        }
        true
    }
}
