//! Registers the node, renews its Lease and reports its status.
//!
//! Contract: [`Heartbeat::run`] never ends by itself. It writes the Lease every ten seconds and the
//! status when it changes, or every five minutes. A node that somebody deleted registers again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::config::Config;
use super::report::{self, Health, machine::Machine};
use crate::api::meta::Meta;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::events::{Recorder, Regarding, Severity};
use crate::client::{Client, LEASES, NODES, PatchKind, View};
use crate::util::clock::{self, Wall};

/// Where node Leases are.
pub const NAMESPACE: &str = "kube-node-lease";
/// How long a Lease holds, in seconds, as kubelet's.
pub const LEASE_S: i64 = 40;
/// How often a Lease is renewed: a quarter of the time that it holds.
const RENEW: Duration = Duration::from_secs(10);
/// How often an unchanged status is reported, as kubelet's.
const REPORT: Duration = Duration::from_secs(300);

/// Keeps a node's object and Lease up to date.
pub struct Heartbeat {
    client: Arc<dyn Client>,
    config: Arc<Config>,
    machine: Machine,
    health: watch::Receiver<Health>,
    recorder: Recorder,
    nodes: View,
    /// What was last reported, and when.
    reported: Option<(Value, Wall)>,
}

impl Heartbeat {
    /// For the node of `config`, whose health changes with `health`.
    pub fn new(
        client: Arc<dyn Client>,
        config: Arc<Config>,
        machine: Machine,
        health: watch::Receiver<Health>,
        recorder: Recorder,
    ) -> Self {
        let nodes = client.view(&NODES, &format!("metadata.name={}", config.name));
        Self { client, config, machine, health, recorder, nodes, reported: None }
    }

    /// Registers the node; returns its object.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn register(&self) -> Result<Value, Status> {
        let node = report::new_node(&self.config, &self.machine);
        let node = match self.client.create(&NODES, "", node).await {
            Err(status) if status.is_already_exists() => {
                self.client.get(&NODES, "", &self.config.name).await?
            }
            other => other?,
        };
        match report::metadata_patch(&node, &self.config, &self.machine) {
            None => Ok(node),
            Some(patch) => {
                let name = &self.config.name;
                self.client.patch(&NODES, "", name, "", PatchKind::Merge, patch).await
            }
        }
    }

    /// Keeps registering, renewing and reporting.
    pub async fn run(mut self) {
        self.nodes.synced().await;
        let mut tick = tokio::time::interval(RENEW);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let renew = tokio::select! {
                _ = tick.tick() => true,
                changed = self.health.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    false
                }
            };
            if let Err(error) = self.beat(renew).await {
                tracing::warn!(%error, "cannot report the node's state; trying again in {RENEW:?}");
            }
        }
    }

    async fn beat(&mut self, renew: bool) -> Result<(), Status> {
        let known = self.nodes.get("", &self.config.name).and_then(|node| node.tree().ok());
        let node = match known {
            Some(node) => node,
            None => {
                self.reported = None;
                self.register().await?
            }
        };
        if renew {
            self.renew(&node).await?;
        }
        self.report(&node).await
    }

    /// Tells that the node is ready now, or is not any more.
    fn tell(&self, reason: &str) {
        let name = self.config.name.clone();
        let text = format!("Node {name} status is now: {reason}");
        let regarding = Regarding {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            namespace: String::new(),
            // Upstream files a node's events under its name.
            uid: name.clone(),
            name,
            resource_version: String::new(),
            field_path: String::new(),
        };
        self.recorder.record(regarding, Severity::Normal, reason, text);
    }

    async fn renew(&self, node: &Value) -> Result<(), Status> {
        let name = &self.config.name;
        let lease = report::lease(name, node.uid(), clock::now());
        let patch = Value::from([("spec", lease.get("spec").clone())]);
        let patched =
            self.client.patch(&LEASES, NAMESPACE, name, "", PatchKind::Merge, patch).await;
        match patched {
            Err(status) if status.is_not_found() => {
                self.client.create(&LEASES, NAMESPACE, lease).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    async fn report(&mut self, node: &Value) -> Result<(), Status> {
        let now = clock::now();
        let health = self.health.borrow_and_update().clone();
        let status = report::status(&self.config, &self.machine, &health, node, now);
        let essence = report::essence(&status);
        if let Some((reported, at)) = &self.reported
            && *reported == essence
            && now.since(*at) < REPORT
        {
            return Ok(());
        }
        let turned = report::turned(node, &status);
        let patch = Value::from([("status", report::patch(status))]);
        let name = &self.config.name;
        self.client.patch(&NODES, "", name, "status", PatchKind::Strategic, patch).await?;
        self.reported = Some((essence, now));
        if let Some(reason) = turned {
            self.tell(reason);
        }
        Ok(())
    }
}
