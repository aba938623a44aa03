//! What becomes of CustomResourceDefinitions: accepted names, routes, status, and the removal of
//! their objects.
//!
//! Contract: a resource is served before its definition says that it is established, and until the
//! definition is gone. Names are given to the first who asks; others wait for them. The status
//! follows from the definitions alone, so the loop may end and begin anew at any point.

mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::select_all;
use futures_util::stream::{self, StreamExt};

use super::engine::Engine;
use crate::api::kinds::custom;
use crate::api::kinds::definition::{CLEANUP, is_established, is_true};
use crate::api::meta::{Key, Meta};
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::client::{CUSTOMRESOURCEDEFINITIONS, Client, Gvr};
use crate::history::{Cursor, Object};
use crate::limits;
use crate::util::backoff::Backoff;
use crate::util::clock;
use names::Verdict;

/// Serves custom resources.
pub struct Definitions {
    engine: Arc<Engine>,
    client: Arc<dyn Client>,
    /// What is served now: by the definition's name, its group, plural, and the revision of which
    /// the entries are.
    served: parking_lot::Mutex<BTreeMap<String, Entry>>,
}

struct Entry {
    group: String,
    plural: String,
    revision: u64,
}

impl Definitions {
    /// Serves what is established already: called before the first request comes.
    pub fn open(engine: Arc<Engine>, client: Arc<dyn Client>) -> Self {
        let definitions = Self { engine, client, served: parking_lot::Mutex::default() };
        for object in definitions.snapshot() {
            match object.tree() {
                Ok(tree) if is_established(&tree) => {
                    definitions.serve(&tree, object.header.revision)
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(key = %object.header.key, %error, "does not decode");
                }
            }
        }
        definitions
    }

    fn snapshot(&self) -> Vec<Arc<Object>> {
        let resource = CUSTOMRESOURCEDEFINITIONS.group_resource();
        self.engine.history().snapshot(&resource).iter().cloned().collect()
    }

    /// Follows all definitions, for ever.
    pub async fn keep(self: Arc<Self>) {
        let view = self.client.view(&CUSTOMRESOURCEDEFINITIONS, "");
        let first = limits::RECONCILE_BACKOFF_FIRST;
        let mut backoff = Backoff::new(first, limits::CUSTOM_BACKOFF_MAX);
        loop {
            let (_, cursor) = view.follow();
            match self.reconcile().await {
                Ok(waits) => {
                    backoff = Backoff::new(first, limits::CUSTOM_BACKOFF_MAX);
                    any(waits.into_iter().chain([cursor])).await;
                }
                Err(error) => {
                    let delay = backoff.fail();
                    tracing::warn!(%error, "cannot settle a definition; trying again in {delay:?}");
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    /// One look at all definitions. Yields what deletions wait for.
    async fn reconcile(&self) -> Result<Vec<Cursor>, Status> {
        let mut all = Vec::new();
        for object in self.snapshot() {
            let tree = object.tree().map_err(|error| {
                Status::internal(format!("{} does not decode: {error}", object.header.key))
            })?;
            all.push((tree, object.header.revision));
        }
        self.forget(&all);
        let verdicts = names::judge(all.iter().map(|(tree, _)| tree));
        let (mut waits, mut failure) = (Vec::new(), None);
        for ((definition, revision), verdict) in all.iter().zip(verdicts) {
            match self.settle(definition, *revision, &verdict).await {
                Ok(wait) => waits.extend(wait),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(waits), Err)
    }

    /// Takes away the routes of definitions that are gone.
    fn forget(&self, all: &[(Value, u64)]) {
        self.served.lock().retain(|name, entry| {
            let there = all.iter().any(|(definition, _)| definition.name() == name);
            if !there {
                self.engine.change_registry(|r| r.remove_custom(&entry.group, &entry.plural));
            }
            there
        });
    }

    /// Serves a definition, tells its status, and cleans up after it.
    async fn settle(
        &self,
        definition: &Value,
        revision: u64,
        verdict: &Verdict,
    ) -> Result<Option<Cursor>, Status> {
        if verdict.conflict.is_none() || is_established(definition) {
            self.serve(definition, revision);
        }
        if definition.is_deleting() {
            return self.clean_up(definition).await;
        }
        self.report(definition, verdict).await.map(|()| None)
    }

    /// Puts the resources of a definition into the registry, where they are not yet.
    fn serve(&self, definition: &Value, revision: u64) {
        let mut served = self.served.lock();
        let known = served.get(definition.name());
        if known.is_some_and(|entry| entry.revision == revision) {
            return;
        }
        let spec = definition.get("spec");
        let group = spec.get("group").str().to_owned();
        let plural = spec.at(&["names", "plural"]).str().to_owned();
        let resources = custom::resources(definition);
        self.engine.change_registry(|registry| {
            registry.remove_custom(&group, &plural);
            resources.into_iter().for_each(|resource| registry.add(resource));
        });
        served.insert(definition.name().to_owned(), Entry { group, plural, revision });
    }

    async fn report(&self, definition: &Value, verdict: &Verdict) -> Result<(), Status> {
        let mut wanted = definition.clone();
        let status = wanted.entry("status");
        status.set("acceptedNames", verdict.accepted.clone());
        let conditions = status.entry("conditions");
        let (names, established) = match &verdict.conflict {
            None => (
                ("NamesAccepted", "True", "NoConflicts", "no conflicts found".to_owned()),
                ("Established", "True", "InitialNamesAccepted", ESTABLISHED.to_owned()),
            ),
            Some((reason, message)) => (
                ("NamesAccepted", "False", *reason, message.clone()),
                ("Established", "False", "NotAccepted", "not all names are accepted".to_owned()),
            ),
        };
        condition(conditions, names);
        // Once established, a definition stays so.
        if !is_established(definition) {
            condition(conditions, established);
        }
        self.write_status(definition, wanted).await
    }

    async fn write_status(&self, definition: &Value, wanted: Value) -> Result<(), Status> {
        if wanted == *definition {
            return Ok(());
        }
        let name = definition.name().to_owned();
        let written =
            self.client.update_status(&CUSTOMRESOURCEDEFINITIONS, "", &name, wanted).await;
        match written {
            // Somebody was faster: that change brings us here again.
            Err(status) if status.is_conflict() || status.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Removes the objects of a definition that is being deleted, then lets it go. While there are
    /// objects that have finalizers, yields what to wait for.
    async fn clean_up(&self, definition: &Value) -> Result<Option<Cursor>, Status> {
        if !definition.finalizers().contains(&CLEANUP) {
            return Ok(None);
        }
        if !is_true(definition, "Terminating") {
            let mut wanted = definition.clone();
            let message = "CustomResource deletion is in progress".to_owned();
            let row = ("Terminating", "True", "InstanceDeletionInProgress", message);
            condition(wanted.entry("status").entry("conditions"), row);
            return self.write_status(definition, wanted).await.map(|()| None);
        }
        if let Some(wait) = self.remove_objects(definition).await? {
            return Ok(Some(wait));
        }
        let mut wanted = definition.clone();
        let left = definition.finalizers().into_iter().filter(|f| *f != CLEANUP);
        let left: Vec<Value> = left.map(Into::into).collect();
        wanted.entry("metadata").set("finalizers", left);
        let name = definition.name().to_owned();
        match self.client.update(&CUSTOMRESOURCEDEFINITIONS, "", &name, wanted).await {
            Err(status) if status.is_conflict() || status.is_not_found() => Ok(None),
            other => other.map(|_| None),
        }
    }

    async fn remove(&self, resource: &Gvr, key: Key) -> Result<Value, Status> {
        self.client.delete(resource, &key.namespace, &key.name, Value::Null).await
    }

    /// Deletes all objects. Where some stay for now, yields what happens to them.
    async fn remove_objects(&self, definition: &Value) -> Result<Option<Cursor>, Status> {
        let Some(resource) = served_version(definition) else { return Ok(None) };
        let (history, storage) = (self.engine.history(), resource.group_resource());
        let snapshot = history.snapshot(&storage);
        let mut deletions = Vec::new();
        for object in snapshot.iter().filter(|object| !object.header.deleting) {
            deletions.push(self.remove(&resource, object.header.key.clone()).boxed());
        }
        let mut results = stream::iter(deletions).buffer_unordered(limits::DELETIONS_AT_ONCE);
        while let Some(result) = results.next().await {
            match result {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        drop(results);
        let now = history.snapshot(&storage);
        if now.is_empty() {
            return Ok(None);
        }
        let wait = history.cursor(&storage, now.revision);
        // Gone can only mean that the ring turned over between the two lines.
        wait.map(Some).map_err(|_| Status::unavailable("the history has moved on"))
    }
}

/// Waits until something happens at any of these cursors. One that is gone has seen much happen.
async fn any(cursors: impl Iterator<Item = Cursor>) {
    let waits = cursors
        .map(|mut cursor| async move { drop(cursor.next(limits::EVENTS_PER_READ).await) }.boxed());
    select_all(waits).await;
}

const ESTABLISHED: &str = "the initial names have been accepted";

/// A version by which the objects can be reached.
fn served_version(definition: &Value) -> Option<Gvr> {
    let spec = definition.get("spec");
    let mut versions = spec.get("versions").items().iter();
    let version = versions.find(|version| version.get("served").is_true())?;
    Some(Gvr {
        group: spec.get("group").str().to_owned().into(),
        version: version.get("name").str().to_owned().into(),
        plural: spec.at(&["names", "plural"]).str().to_owned().into(),
    })
}

/// Sets a condition; its time changes with its state only.
fn condition(conditions: &mut Value, row: (&str, &str, &str, String)) {
    let (kind, state, reason, message) = row;
    let mut list = conditions.items().to_vec();
    let found = list.iter().position(|c| c.get("type").str() == kind);
    let since = found.map(|at| &list[at]).filter(|c| c.get("status").str() == state);
    let since = since.map(|c| c.get("lastTransitionTime").clone());
    let made = Value::from([
        ("type", kind.into()),
        ("status", state.into()),
        ("lastTransitionTime", since.unwrap_or_else(|| time::format(clock::now()).into())),
        ("reason", reason.into()),
        ("message", message.into()),
    ]);
    match found {
        Some(at) => list[at] = made,
        None => list.push(made),
    }
    *conditions = list.into();
}
