//! All objects of all resources: what namespace deletion and garbage collection look at.
//!
//! The set of resources changes when a CustomResourceDefinition comes or goes; each resource is
//! followed by a task that ends with it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::RwLock;

use crate::api::status::Status;
use crate::client::{CUSTOMRESOURCEDEFINITIONS, Client, Gvr, Served, View};
use crate::history::Event;
use crate::limits;

/// The resources that hold objects, and their views.
pub struct Everything {
    client: Arc<dyn Client>,
    /// Held for copies only, never over an await.
    served: RwLock<Vec<Served>>,
}

impl Everything {
    /// Asks the server what there is.
    ///
    /// # Errors
    /// As discovery's.
    pub async fn discover(client: Arc<dyn Client>) -> Result<Arc<Self>, Status> {
        let everything = Self { client, served: RwLock::default() };
        everything.refresh().await?;
        Ok(Arc::new(everything))
    }

    /// The resources that hold objects, each in one version.
    pub fn resources(&self) -> Vec<Served> {
        self.served.read().clone()
    }

    /// The resource that holds a kind.
    pub fn of_kind(&self, group: &str, kind: &str) -> Option<Served> {
        let served = self.served.read();
        served.iter().find(|s| s.kind == kind && s.resource.group == group).cloned()
    }

    async fn refresh(&self) -> Result<(), Status> {
        let mut seen: HashMap<_, Served> = HashMap::new();
        for served in self.client.served().await?.into_iter().filter(|served| served.stored) {
            // Two versions of a resource, or two groups of one (events), are the same objects.
            let alias = served.resource.group == "events.k8s.io";
            if !alias {
                seen.entry(served.resource.group_resource()).or_insert(served);
            }
        }
        *self.served.write() = seen.into_values().collect();
        Ok(())
    }

    /// Calls `on` for every object that is there and for everything that happens, for ever.
    pub async fn follow(&self, on: impl Fn(&Event) + Send + Sync) {
        let definitions = self.client.view(&CUSTOMRESOURCEDEFINITIONS, "");
        let mut following: HashMap<Gvr, ()> = HashMap::new();
        let mut tasks: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            let (_, mut cursor) = definitions.follow();
            loop {
                for served in self.resources() {
                    if following.insert(served.resource.clone(), ()).is_none() {
                        let view = self.client.view(&served.resource, "");
                        tasks.push(follow_one(view, &on).boxed());
                    }
                }
                tokio::select! {
                    changed = cursor.next(limits::EVENTS_PER_READ) => {
                        if changed.is_err() {
                            break;
                        }
                        if let Err(error) = self.refresh().await {
                            tracing::warn!(%error, "cannot see which resources there are");
                        }
                    }
                    Some(()) = tasks.next() => {}
                }
            }
        }
    }
}

/// Follows one resource for ever; of a definition that is gone nothing more comes.
async fn follow_one(view: View, on: &(impl Fn(&Event) + Sync)) {
    view.synced().await;
    loop {
        let (snapshot, mut cursor) = view.follow();
        for object in snapshot.iter() {
            on(&Event {
                revision: object.header.revision,
                object: Arc::clone(object),
                previous: None,
                deleted: false,
            });
        }
        drop(snapshot);
        while let Ok(events) = cursor.next(limits::EVENTS_PER_READ).await {
            events.iter().for_each(|event| on(event));
        }
    }
}
