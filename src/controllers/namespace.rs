//! Empties and then removes namespaces that are being deleted: pods first (KEP-5080), then all
//! else, then the namespace's own finalizer.

use std::sync::Arc;

use super::calls;
use super::conditions::condition;
use super::everything::Everything;
use super::meters::Meters;
use super::queue::{Outcome, Queue};
use crate::api::meta::{Key, Meta};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::{Client, NAMESPACES, PODS};
use crate::history::Object;
use crate::util::clock;

/// The finalizer in `spec.finalizers` that stands for the namespace's content.
const FINALIZER: &str = "kubernetes";

/// Runs until the future is dropped.
pub async fn run(client: Arc<dyn Client>, everything: Arc<Everything>, meters: Meters) {
    let queue = Queue::named("namespace", &meters);
    let namespaces = client.view(&NAMESPACES, "");
    let add = |object: &Arc<Object>| {
        let key = &object.header.key;
        if key.resource == NAMESPACES.group_resource() {
            queue.add(key.clone());
        } else if namespaces.get("", &key.namespace).is_some_and(|n| n.header.deleting) {
            queue.add(Key::new(&NAMESPACES.group_resource(), "", &key.namespace));
        }
    };
    let follow = everything.follow(|event| {
        // Only what goes away can bring a namespace nearer to its end; what newly appears in one
        // that is ending must go too.
        add(&event.object);
    });
    let work = async {
        loop {
            let (key, _) = queue.take().await;
            let outcome = empty(&client, &everything, &key).await;
            queue.done(&key, outcome.unwrap_or_else(Outcome::Failed));
        }
    };
    tokio::join!(follow, work);
}

async fn empty(
    client: &Arc<dyn Client>,
    everything: &Everything,
    key: &Key,
) -> Result<Outcome, Status> {
    let view = client.view(&NAMESPACES, "");
    let Some(object) = view.get("", &key.name).filter(|object| object.header.deleting) else {
        return Ok(Outcome::Done(None));
    };
    let namespace = object.tree().map_err(|error| Status::internal(error.to_string()))?;
    let left = remove_content(client, everything, &key.name).await?;
    report(client, key, &namespace, &left).await?;
    if left.is_empty() {
        finalize(client, key, namespace).await?;
    }
    // The end of what is left wakes this key again.
    Ok(Outcome::Done(None))
}

/// What a namespace still holds.
#[derive(Default)]
struct Left {
    /// Resource and number of objects.
    content: Vec<(String, usize)>,
    /// Finalizer and number of objects that wait for it.
    finalizers: Vec<(String, usize)>,
}

impl Left {
    fn is_empty(&self) -> bool {
        self.content.is_empty()
    }
}

/// Asks for the deletion of all that is there; pods first and alone.
async fn remove_content(
    client: &Arc<dyn Client>,
    everything: &Everything,
    namespace: &str,
) -> Result<Left, Status> {
    let mut left = Left::default();
    let mut resources = everything.resources();
    resources.retain(|served| served.namespaced);
    resources.sort_by_key(|served| served.resource != PODS);
    for served in resources {
        let snapshot = client.view(&served.resource, "").snapshot();
        let objects: Vec<Arc<Object>> = snapshot.in_namespace(namespace).cloned().collect();
        for object in objects.iter().filter(|object| !object.header.deleting) {
            let call = calls::delete(&served.resource, &object.header.key, &object.header.uid);
            match client.call(call).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        let snapshot = client.view(&served.resource, "").snapshot();
        let remaining: Vec<&Arc<Object>> = snapshot.in_namespace(namespace).collect();
        if !remaining.is_empty() {
            count(&mut left, served.resource.group_resource().as_str(), &remaining);
            if served.resource == PODS {
                break;
            }
        }
    }
    Ok(left)
}

fn count(left: &mut Left, resource: &str, remaining: &[&Arc<Object>]) {
    left.content.push((resource.to_owned(), remaining.len()));
    for object in remaining.iter().filter(|object| object.header.finalizers) {
        let Ok(tree) = object.tree() else { continue };
        for name in tree.finalizers() {
            match left.finalizers.iter_mut().find(|(known, _)| known == name) {
                Some((_, number)) => *number += 1,
                None => left.finalizers.push((name.to_owned(), 1)),
            }
        }
    }
}

/// Writes the conditions that say what a namespace waits for.
async fn report(
    client: &Arc<dyn Client>,
    key: &Key,
    namespace: &Value,
    left: &Left,
) -> Result<(), Status> {
    let mut wanted = namespace.clone();
    let old = namespace.at(&["status", "conditions"]);
    let conditions: Vec<Value> = verdicts(left)
        .into_iter()
        .map(|(type_, status, reason, message)| {
            condition(old, clock::now(), type_, status, (reason, &message))
        })
        .collect();
    wanted.entry("status").set("phase", "Terminating");
    wanted.entry("status").set("conditions", conditions);
    if wanted != *namespace {
        let call = calls::update_status(&NAMESPACES, key, wanted);
        match client.call(call).await {
            // Somebody else changed it: its event brings the key back.
            Err(error) if !error.is_conflict() && !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

type Verdict = (&'static str, bool, &'static str, String);

fn verdicts(left: &Left) -> [Verdict; 5] {
    let list = |counts: &[(String, usize)], verb: &str| -> String {
        let parts: Vec<String> = counts
            .iter()
            .map(|(what, n)| format!("{what} {verb} {n} resource instances"))
            .collect();
        parts.join(", ")
    };
    let content = match left.content.as_slice() {
        [] => (false, "ContentRemoved", "All content successfully removed".into()),
        some => {
            let list = list(some, "has");
            (true, "SomeResourcesRemain", format!("Some resources are remaining: {list}"))
        }
    };
    let finalizers = match left.finalizers.as_slice() {
        [] => {
            (false, "ContentHasNoFinalizers", "All content-preserving finalizers finished".into())
        }
        some => {
            let list = list(some, "in");
            let message = format!("Some content in the namespace has finalizers remaining: {list}");
            (true, "SomeFinalizersRemain", message)
        }
    };
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".into(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".into(),
        ),
        (
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".into(),
        ),
        ("NamespaceContentRemaining", content.0, content.1, content.2),
        ("NamespaceFinalizersRemaining", finalizers.0, finalizers.1, finalizers.2),
    ]
}

/// Takes our finalizer off; with the last one the server removes the namespace.
async fn finalize(client: &Arc<dyn Client>, key: &Key, mut namespace: Value) -> Result<(), Status> {
    let finalizers = namespace.at(&["spec", "finalizers"]).items().to_vec();
    let rest: Vec<Value> = finalizers.into_iter().filter(|f| f.str() != FINALIZER).collect();
    namespace.entry("spec").set("finalizers", rest);
    namespace.entry("metadata").remove("resourceVersion");
    let call = calls::update(&NAMESPACES, key, namespace);
    match client.call(crate::client::Call { subresource: "finalize", ..call }).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
