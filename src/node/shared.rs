//! What all workers of a node share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use parking_lot::Mutex;

use super::admit::{self, Taken};
use super::config::Config;
use super::container::resolv::Cluster;
use super::images::Images;
use super::network::Network;
use super::objects::Objects;
use super::pod::Verdict;
use super::report::{self, machine::Machine};
use crate::api::tree::Value;
use crate::client::events::Recorder;
use crate::client::{Client, View};
use crate::runtime::Runtime;

/// What all workers of a node share.
pub struct Shared {
    /// The node's settings.
    pub config: Arc<Config>,
    /// What the machine is.
    pub machine: Machine,
    /// The way to the cluster.
    pub client: Arc<dyn Client>,
    /// Pods' shims and containers.
    pub runtime: Runtime,
    /// Images.
    pub images: Images,
    /// Addresses and links.
    pub network: Network,
    /// ConfigMaps and Secrets.
    pub objects: Objects,
    /// All services.
    pub services: View,
    /// The node's own object.
    pub nodes: View,
    /// Where events go.
    pub recorder: Recorder,
    /// What the pods that were let in take, by uid.
    pub taken: Mutex<HashMap<String, Taken>>,
}

impl Shared {
    /// The node's addresses as texts, the first for choice.
    pub fn host_ips(&self) -> Vec<String> {
        self.config.ips.iter().map(ToString::to_string).collect()
    }

    /// What pods may have of the node.
    pub fn allocatable(&self) -> BTreeMap<String, Text> {
        let amounts = report::amounts(&self.config, &self.machine, true);
        amounts
            .fields()
            .map(|(name, value)| (name.to_owned(), Text(value.str().to_owned())))
            .collect()
    }

    /// What the cluster's DNS is.
    pub fn dns(&self) -> Cluster {
        Cluster {
            servers: self.config.cluster_dns.iter().map(ToString::to_string).collect(),
            domain: self.config.cluster_domain.clone(),
        }
    }

    /// Lets a pod in, or says why not. One that is in stays in.
    pub fn admit(&self, uid: &str, pod: &Pod) -> Option<Verdict> {
        let node = self.nodes.get("", &self.config.name).and_then(|node| node.tree().ok());
        let mut taken = self.taken.lock();
        if taken.contains_key(uid) {
            return None;
        }
        let mut sum = Taken::default();
        taken.values().for_each(|other| sum.add(other));
        // Where the view of the node lags, the scheduler's word is good enough.
        let refusal = node.and_then(|node: Value| admit::refusal(pod, &node, &sum));
        if refusal.is_none() {
            taken.insert(uid.to_owned(), Taken::by(pod));
        }
        refusal
    }

    /// Counts a pod that was let in before this process began.
    pub fn readmit(&self, uid: &str, pod: &Pod) {
        self.taken.lock().insert(uid.to_owned(), Taken::by(pod));
    }

    /// Frees what a pod took.
    pub fn let_go(&self, uid: &str) {
        self.taken.lock().remove(uid);
    }
}
