//! Keeps the status of ResourceQuotas in step with what there is.
//!
//! Admission charges each write to the quotas that it concerns, in the commit that makes it. What
//! is left to see to here is what comes back when objects go or end, and a quota whose wishes have
//! changed. A status is replaced at the revision that was looked at before anything was counted, so
//! that no charge is lost.

use std::sync::Arc;
use std::time::Duration;

use super::calls;
use super::everything::Everything;
use super::meters::Meters;
use super::queue::{Outcome, Queue};
use crate::api::meta::{GroupResource, Key};
use crate::api::quota;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::{Client, PODS, RESOURCEQUOTAS, View};
use crate::history::{Event, Object};
use crate::limits;
use crate::util::clock::{self, Wall};

/// Runs until the future is dropped.
pub async fn run(client: Arc<dyn Client>, everything: Arc<Everything>, meters: Meters) {
    let quotas = client.view(&RESOURCEQUOTAS, "");
    quotas.synced().await;
    let queue = Queue::named("resourcequota", &meters);
    let follow = everything.follow(|event| {
        concerned(event, &quotas).into_iter().for_each(|key| queue.add(key));
    });
    let work = || async {
        loop {
            let (key, _) = queue.take().await;
            let outcome = recount(&*client, &everything, &quotas, &key).await;
            queue.done(&key, outcome.unwrap_or_else(Outcome::Failed));
        }
    };
    let workers = (0..limits::RECONCILE_WORKERS).map(|_| work());
    tokio::join!(follow, futures_util::future::join_all(workers));
}

/// The quotas for which something may be different now.
fn concerned(event: &Event, quotas: &View) -> Vec<Key> {
    let key = &event.object.header.key;
    let own = (key.resource == RESOURCEQUOTAS.group_resource()).then(|| key.clone());
    if key.namespace.is_empty() || quota::is_ignored(&key.resource) {
        return Vec::new();
    }
    let snapshot = quotas.snapshot();
    let mut here = snapshot.in_namespace(&key.namespace).peekable();
    if here.peek().is_none() || own.is_none() && !changes_usage(event) {
        return own.into_iter().collect();
    }
    let others = here.filter(|quota| counts(quota, &key.resource));
    others.map(|quota| quota.header.key.clone()).chain(own).collect()
}

/// Whether a quota has names by which objects of a resource are counted.
fn counts(object: &Object, resource: &GroupResource) -> bool {
    let Ok(tree) = object.tree() else { return false };
    let mut names = tree.at(&["spec", "hard"]).fields();
    names.any(|(name, _)| quota::counted_by(name).as_ref() == Some(resource))
}

/// Whether an object comes to something else than before, or falls into other scopes.
fn changes_usage(event: &Event) -> bool {
    let Some(previous) = event.previous.as_ref().filter(|_| !event.deleted) else { return true };
    let resource = &event.object.header.key.resource;
    let weighed = matches!(resource.as_str(), "pods" | "services" | "persistentvolumeclaims");
    if !weighed {
        return false;
    }
    // What does not decode is counted anew, to be safe.
    let (Ok(now), Ok(before)) = (event.object.tree(), previous.tree()) else { return true };
    let time = clock::now();
    quota::usage(resource, &now, time) != quota::usage(resource, &before, time)
        || event.object.header.deleting != previous.header.deleting
        || now.get("spec") != before.get("spec")
}

/// The objects of one namespace as the controller sees them.
struct Seen<'a> {
    client: &'a dyn Client,
    everything: &'a Everything,
    namespace: &'a str,
}

impl Seen<'_> {
    fn each(&self, resource: &GroupResource, then: impl FnMut(&Arc<Object>)) {
        let served = self.everything.resources();
        // Of what is not served there is nothing.
        let Some(served) = served.iter().find(|s| s.resource.group_resource() == *resource) else {
            return;
        };
        let snapshot = self.client.view(&served.resource, "").snapshot();
        snapshot.in_namespace(self.namespace).for_each(then);
    }
}

impl quota::Census for Seen<'_> {
    fn count(&self, resource: &GroupResource) -> usize {
        let mut count = 0;
        self.each(resource, |_| count += 1);
        count
    }

    fn objects(&self, resource: &GroupResource) -> Vec<Value> {
        let mut objects = Vec::new();
        self.each(resource, |object| objects.extend(object.tree().ok()));
        objects
    }
}

async fn recount(
    client: &dyn Client,
    everything: &Everything,
    quotas: &View,
    key: &Key,
) -> Result<Outcome, Status> {
    let found = quotas.get(&key.namespace, &key.name);
    let Some(mut tree) = found.and_then(|object| object.tree().ok()) else {
        return Ok(Outcome::Done(None));
    };
    let (now, namespace) = (clock::now(), &*key.namespace);
    let seen = Seen { client, everything, namespace };
    let spec = tree.get("spec");
    let used = quota::count(spec, &seen, now);
    let mut status = Value::object();
    if !spec.get("hard").is_null() {
        status.set("hard", spec.get("hard").clone());
        status.set("used", used.to_value());
    }
    if *tree.get("status") != status {
        tree.set("status", status);
        let call = calls::update_status(&RESOURCEQUOTAS, key, tree);
        match client.call(call).await {
            // Charged meanwhile: the change brings this key again.
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            done => drop(done?),
        }
    }
    Ok(Outcome::Done(next_end(&seen, now)))
}

/// When the next pod stops counting that is being deleted and does not go.
fn next_end(seen: &Seen<'_>, now: Wall) -> Option<Duration> {
    let mut next: Option<Wall> = None;
    seen.each(&PODS.group_resource(), |pod| {
        let tree = pod.header.deleting.then(|| pod.tree().ok()).flatten();
        let end = tree.and_then(|tree| quota::deadline(&tree)).filter(|end| *end >= now);
        next = [next, end].into_iter().flatten().min();
    });
    // It counts up to that second.
    next.map(|end| end.since(now) + Duration::from_secs(1))
}
