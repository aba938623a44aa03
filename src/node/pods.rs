//! The pods of this node: one worker each, from the API's objects and from what runs.
//!
//! Contract: a pod that is bound to this node has a worker until it is gone from both API and node.
//! What runs here without an object is taken down. Order is that of the API's history; a worker
//! sees the newest state only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};

use super::shared::Shared;
use super::worker::{self, Latest, Worker};
use crate::client::{PODS, View};
use crate::history::{Cursor, Event, Object, Snapshot};
use crate::limits::EVENTS_PER_READ;

/// How soon a pod whose worker gave up gets another.
const AGAIN: Duration = Duration::from_secs(10);

/// One worker, as the node knows it.
struct Entry {
    latest: watch::Sender<Latest>,
    stirred: Arc<Notify>,
}

/// All workers.
pub struct Pods {
    shared: Arc<Shared>,
    view: View,
    /// By the pods' uid.
    workers: HashMap<String, Entry>,
    tasks: JoinSet<bool>,
    /// Whose worker a task is.
    owners: HashMap<Id, String>,
}

impl Pods {
    /// No workers yet.
    pub fn new(shared: Arc<Shared>) -> Self {
        let selector = format!("spec.nodeName={}", shared.config.name);
        let view = shared.client.view(&PODS, &selector);
        let (workers, owners) = (HashMap::new(), HashMap::new());
        Self { shared, view, workers, tasks: JoinSet::new(), owners }
    }

    /// Runs the node's pods for ever.
    pub async fn run(mut self) {
        self.view.synced().await;
        let (snapshot, mut cursor) = self.view.follow();
        // Before the first worker prepares a root file system for a container that is yet to be.
        super::gc::sweep(&self.shared).await;
        self.count(&snapshot);
        self.compare(&snapshot);
        self.take_down_strays(&snapshot).await;
        loop {
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                events = cursor.next(EVENTS_PER_READ) => match events {
                    Ok(events) => events.iter().for_each(|event| self.handle(event)),
                    Err(gone) => {
                        tracing::info!(%gone, "looking at all pods anew");
                        cursor = self.look_anew();
                    }
                },
                uid = shared.runtime.next_change() => self.stir(&uid),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
            }
        }
    }

    fn look_anew(&mut self) -> Cursor {
        let (snapshot, cursor) = self.view.follow();
        self.compare(&snapshot);
        cursor
    }

    /// Whether a pod is bound to this node.
    fn is_ours(&self, object: &Object) -> bool {
        object.header.field("spec.nodeName") == Some(&*self.shared.config.name)
    }

    /// Counts what is here already, before anything is let in or given more.
    fn count(&self, snapshot: &Snapshot) {
        let ours = snapshot.iter().filter(|object| self.is_ours(object));
        ours.for_each(|object| worker::count(&self.shared, object));
    }

    /// Makes the workers match what the API has.
    fn compare(&mut self, snapshot: &Snapshot) {
        let ours: Vec<Arc<Object>> =
            snapshot.iter().filter(|object| self.is_ours(object)).cloned().collect();
        for (uid, entry) in &self.workers {
            if !ours.iter().any(|object| *object.header.uid == **uid) {
                let last = match &*entry.latest.borrow() {
                    Latest::Present(object) | Latest::Gone(object) => Arc::clone(object),
                };
                entry.latest.send_replace(Latest::Gone(last));
            }
        }
        ours.into_iter().for_each(|object| self.present(object));
    }

    fn handle(&mut self, event: &Arc<Event>) {
        let object = &event.object;
        if event.deleted {
            if let Some(entry) = self.workers.get(&*object.header.uid) {
                entry.latest.send_replace(Latest::Gone(Arc::clone(object)));
            }
        } else if self.is_ours(object) {
            self.present(Arc::clone(object));
        }
    }

    /// Tells a pod's worker of its object; makes the worker where there is none.
    fn present(&mut self, object: Arc<Object>) {
        let uid = object.header.uid.to_string();
        match self.workers.get(&uid) {
            Some(entry) => drop(entry.latest.send_replace(Latest::Present(object))),
            None => self.begin(uid, Latest::Present(object)),
        }
    }

    fn begin(&mut self, uid: String, latest: Latest) {
        let (latest, receiver) = watch::channel(latest);
        let stirred = Arc::new(Notify::new());
        let worker = Worker::new(Arc::clone(&self.shared), receiver, Arc::clone(&stirred));
        match worker {
            Ok(worker) => {
                let task = self.tasks.spawn(worker.run());
                self.owners.insert(task.id(), uid.clone());
                self.workers.insert(uid, Entry { latest, stirred });
            }
            // Validation lets no such object in; one of another version may be.
            Err(error) => tracing::error!(pod = uid, error, "cannot read a pod; it will not run"),
        }
    }

    fn stir(&self, uid: &str) {
        if let Some(entry) = self.workers.get(uid) {
            entry.stirred.notify_one();
        }
    }

    /// A worker has ended: its pod is gone, or another one must take over.
    fn ended(&mut self, ended: Result<(Id, bool), JoinError>) {
        let (id, gone) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a pod's worker panicked; another takes over");
                (error.id(), false)
            }
        };
        let Some(uid) = self.owners.remove(&id) else { return };
        if gone {
            self.workers.remove(&uid);
        } else {
            self.begin_again(uid);
        }
    }

    /// Gives a pod another worker after a while; until then its entry holds the place.
    fn begin_again(&mut self, uid: String) {
        let Some(entry) = self.workers.get(&uid) else { return };
        let (shared, stirred) = (Arc::clone(&self.shared), Arc::clone(&entry.stirred));
        let receiver = entry.latest.subscribe();
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(AGAIN).await;
            match Worker::new(shared, receiver, stirred) {
                Ok(worker) => worker.run().await,
                Err(_) => true,
            }
        });
        self.owners.insert(task.id(), uid);
    }

    /// Takes down what runs here and has no object: its end was missed.
    async fn take_down_strays(&self, snapshot: &Snapshot) {
        let known = |uid: &str| snapshot.iter().any(|object| *object.header.uid == *uid);
        let strays = super::gc::strays(&self.shared, known);
        for uid in strays {
            let shared = Arc::clone(&self.shared);
            tracing::info!(pod = uid, "taking down a pod that the cluster does not know");
            if let Err(error) = super::gc::take_down(&shared, &uid).await {
                tracing::warn!(pod = uid, error, "cannot take it down");
            }
        }
    }
}
