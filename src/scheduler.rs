//! Pods to nodes: a pure [`decide`] over an incremental view, at kube-scheduler's extension points.
//!
//! One task follows pods and nodes, keeps the [`Cluster`], and decides pod by pod; bindings go out
//! together and are assumed to succeed until the server says otherwise. A pod that fits nowhere
//! waits until something happens that could help it.

mod decide;
mod filter;
mod meters;
mod node;
mod queue;
mod resources;
mod score;

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::api::meta::{Key, Meta};
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::client::events::{Recorder, Regarding, Severity};
use crate::client::{Client, NODES, PODS, PatchKind};
use crate::history::{Cursor, Event, Object};
use crate::limits;
use crate::util::clock;
pub use decide::{Decision, decide};
use meters::Attempt;
pub use meters::Meters;
pub use node::{Cluster, NodeInfo, Share};
use queue::Queue;

/// The name by which pods ask for this scheduler; the default.
const NAME: &str = "default-scheduler";

/// Schedules pods until the future is dropped.
pub async fn run(client: Arc<dyn Client>, meters: Meters) {
    let recorder = Recorder::start(Arc::clone(&client), NAME, "");
    let (pods, nodes) = (client.view(&PODS, ""), client.view(&NODES, ""));
    pods.synced().await;
    nodes.synced().await;
    loop {
        let scheduler = Scheduler {
            client: Arc::clone(&client),
            recorder: recorder.clone(),
            meters: meters.clone(),
            cluster: Cluster::default(),
            queue: Queue::default(),
            binding: FuturesUnordered::new(),
            decided: 0,
        };
        // Ends when a view was left too far behind: then everything is looked at anew.
        scheduler.follow(pods.follow(), nodes.follow()).await;
    }
}

/// A binding that came to its end, and when the attempt began.
struct Bound {
    key: Key,
    done: Result<Value, Status>,
    regarding: Regarding,
    node: String,
    begun: Instant,
}

struct Scheduler {
    client: Arc<dyn Client>,
    recorder: Recorder,
    meters: Meters,
    cluster: Cluster,
    queue: Queue,
    binding: FuturesUnordered<BoxFuture<'static, Bound>>,
    /// How many pods were decided: breaks ties.
    decided: usize,
}

type Follow = (crate::history::Snapshot, Cursor);

impl Scheduler {
    async fn follow(mut self, pods: Follow, nodes: Follow) {
        let ((pods, mut pod_cursor), (nodes, mut node_cursor)) = (pods, nodes);
        nodes.iter().for_each(|node| self.see_node(node));
        pods.iter().for_each(|pod| self.see_pod(pod));
        drop((pods, nodes));
        loop {
            self.schedule();
            let (active, all) = self.queue.counts();
            self.meters.pending(active, all.saturating_sub(active + self.binding.len()));
            tokio::select! {
                events = pod_cursor.next(limits::EVENTS_PER_READ) => match events {
                    Ok(events) => events.iter().for_each(|event| self.pod_event(event)),
                    Err(_) => return,
                },
                events = node_cursor.next(limits::EVENTS_PER_READ) => match events {
                    Ok(events) => events.iter().for_each(|event| self.node_event(event)),
                    Err(_) => return,
                },
                Some(bound) = self.binding.next() => self.bound(bound),
                () = self.queue.due(), if self.binding.len() < limits::BINDINGS_MAX => {}
            }
        }
    }

    fn node_event(&mut self, event: &Event) {
        if event.deleted {
            self.cluster.remove_node(&event.object.header.key.name);
        } else {
            self.see_node(&event.object);
        }
    }

    fn see_node(&mut self, object: &Object) {
        match object.tree() {
            Ok(node) => {
                self.cluster.set_node(&node);
                self.queue.retry_all();
            }
            Err(error) => tracing::error!(node = %object.header.key, %error, "cannot read a node"),
        }
    }

    fn pod_event(&mut self, event: &Event) {
        if event.deleted {
            self.gone(&event.object.header.key);
        } else {
            self.see_pod(&event.object);
        }
    }

    fn gone(&mut self, key: &Key) {
        self.queue.remove(key);
        if self.cluster.forget(key) {
            self.queue.retry_all();
        }
    }

    fn see_pod(&mut self, object: &Object) {
        let key = &object.header.key;
        if matches!(object.header.field("status.phase"), Some("Succeeded" | "Failed")) {
            return self.gone(key);
        }
        let Ok(pod) = object.tree() else { return };
        let node = pod.at(&["spec", "nodeName"]).str();
        if !node.is_empty() {
            self.queue.remove(key);
            // One that was resized may have made room.
            if self.cluster.place(key, node, Arc::new(Share::of(&pod))) {
                self.queue.retry_all();
            }
        } else if waits_for_us(&pod) {
            self.queue.add(key.clone(), pod);
        } else {
            self.queue.remove(key);
        }
    }

    /// Decides all pods that are due.
    fn schedule(&mut self) {
        while self.binding.len() < limits::BINDINGS_MAX {
            let Some((key, pod)) = self.queue.take(clock::instant()) else { return };
            let begun = clock::instant();
            let share = Arc::new(Share::of(&pod));
            self.decided = self.decided.wrapping_add(1);
            let decision = decide(&self.cluster, &pod, &share, self.decided);
            let took = clock::instant().saturating_duration_since(begun);
            self.meters.decided(took);
            match decision {
                Decision::Bind(node) => {
                    self.cluster.place(&key, &node, share);
                    self.binding.push(self.bind(key, &pod, node, begun));
                }
                // Preemption (PostFilter) belongs here; what it frees is waited for as now.
                Decision::Unschedulable(why) => {
                    self.meters.ended(Attempt::Unschedulable, took);
                    self.refuse(key, pod, why);
                }
            }
        }
    }

    fn bind(
        &self,
        key: Key,
        pod: &Value,
        node: String,
        begun: Instant,
    ) -> BoxFuture<'static, Bound> {
        let client = Arc::clone(&self.client);
        let regarding = Regarding::to("v1", "Pod", pod);
        let metadata = Value::from([("name", pod.name().into()), ("uid", pod.uid().into())]);
        let target = Value::from([("kind", "Node".into()), ("name", node.as_str().into())]);
        let binding = Value::from([
            ("apiVersion", "v1".into()),
            ("kind", "Binding".into()),
            ("metadata", metadata),
            ("target", target),
        ]);
        Box::pin(async move {
            let done = client.post(&PODS, &key.namespace, &key.name, "binding", binding).await;
            Bound { key, done, regarding, node, begun }
        })
    }

    fn bound(&mut self, Bound { key, done, regarding, node, begun }: Bound) {
        let attempt = if done.is_ok() { Attempt::Scheduled } else { Attempt::Error };
        self.meters.ended(attempt, clock::instant().saturating_duration_since(begun));
        match done {
            Ok(_) => {
                let message =
                    format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                self.recorder.record(regarding, Severity::Normal, "Scheduled", message);
            }
            Err(error) => {
                tracing::debug!(pod = %key, %error, "cannot bind; will retry");
                self.cluster.forget(&key);
                // What the pod is now decides: gone, bound by someone else, or still waiting.
                let now = self.client.view(&PODS, "").get(&key.namespace, &key.name);
                if let Some(object) = now {
                    self.see_pod(&object);
                    self.queue.back_off(&key, clock::instant());
                }
            }
        }
    }

    /// Says why a pod fits nowhere, and lets it wait.
    fn refuse(&mut self, key: Key, pod: Value, why: String) {
        let regarding = Regarding::to("v1", "Pod", &pod);
        self.recorder.record(regarding, Severity::Warning, "FailedScheduling", why.clone());
        let known = condition(&pod).is_some_and(|c| c.get("message").str() == why);
        self.queue.wait(key.clone(), pod, clock::instant());
        if !known {
            let client = Arc::clone(&self.client);
            let patch = unschedulable(&why);
            tokio::spawn(async move {
                let (namespace, name) = (&*key.namespace, &*key.name);
                let kind = PatchKind::Strategic;
                let done = client.patch(&PODS, namespace, name, "status", kind, patch).await;
                if let Err(error) = done {
                    tracing::debug!(pod = %key, %error, "cannot say why a pod is not scheduled");
                }
            });
        }
    }
}

/// Whether a pod asks for this scheduler, and nothing holds it back.
fn waits_for_us(pod: &Value) -> bool {
    let spec = pod.get("spec");
    let ours = matches!(spec.get("schedulerName").str(), "" | NAME);
    ours && !pod.is_deleting() && spec.get("schedulingGates").items().is_empty()
}

fn condition(pod: &Value) -> Option<&Value> {
    let conditions = pod.at(&["status", "conditions"]).items();
    conditions.iter().find(|c| c.get("type").str() == "PodScheduled")
}

fn unschedulable(why: &str) -> Value {
    let condition = Value::from([
        ("type", "PodScheduled".into()),
        ("status", "False".into()),
        ("reason", "Unschedulable".into()),
        ("message", why.into()),
        ("lastProbeTime", Value::Null),
        ("lastTransitionTime", time::format(clock::now()).into()),
    ]);
    Value::from([("status", Value::from([("conditions", vec![condition].into())]))])
}
