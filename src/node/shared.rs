//! What all workers of a node share.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::accounts::{Accounts, Refusal};
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
use crate::util::clock::Wall;

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
    /// What the pods that were let in take.
    pub accounts: Mutex<Accounts>,
    /// Counts how often something of it came back.
    pub freed: watch::Sender<u64>,
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
        self.accounts.lock().admit(uid, pod, self.node().as_ref())
    }

    /// Counts a pod that was let in before this process began.
    pub fn readmit(&self, uid: &str, pod: &Pod) {
        self.accounts.lock().set(uid, pod);
    }

    /// Gives a pod the amounts that it wants, since `since`, or says why not.
    ///
    /// # Errors
    /// The reason and what is missing.
    pub fn resize(&self, uid: &str, pod: &Pod, since: Wall) -> Result<(), Refusal> {
        self.accounts.lock().resize(uid, pod, self.node().as_ref(), since)
    }

    /// A pod has no more than it was given: what it had more than that is free.
    pub fn settle(&self, uid: &str, pod: &Pod) {
        if self.accounts.lock().set(uid, pod) {
            self.tell_freed();
        }
    }

    /// A pod waits for nothing any more: others may go before.
    pub fn content(&self, uid: &str) {
        if self.accounts.lock().content(uid) {
            self.tell_freed();
        }
    }

    /// Frees what a pod took.
    pub fn let_go(&self, uid: &str) {
        if self.accounts.lock().let_go(uid) {
            self.tell_freed();
        }
    }

    fn tell_freed(&self) {
        self.freed.send_modify(|count| *count += 1);
    }

    /// The node's own object, as far as it is known.
    fn node(&self) -> Option<Value> {
        self.nodes.get("", &self.config.name)?.tree().ok()
    }
}
