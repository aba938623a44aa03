//! Delete: at once, after a grace period, or when the last finalizer is gone.
//!
//! Propagation to dependents is written down as finalizers (`orphan`, `foregroundDeletion`); the
//! garbage collector does the rest.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};

use super::options::{DeleteOptions, ListOptions, Propagation};
use super::read::List;
use super::version::{as_served, as_stored};
use super::{Answer, Ask, Engine, Written, commit_failed};
use crate::admission::Operation;
use crate::api::meta::Meta;
use crate::api::registry::Resource;
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::history::{Draft, Object};
use crate::limits;
use crate::store::{CommitError, Expect, Write};
use crate::util::clock;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion does to an object as it is now.
#[derive(Debug, PartialEq)]
enum Step {
    /// It goes.
    Remove,
    /// It stays for the time being, in this state.
    Mark(Value),
    /// It is on its way out already: nothing changes.
    Pending,
}

impl Engine {
    /// Removes an object, or begins to.
    ///
    /// # Errors
    /// 403 from admission, 404, 409 for a precondition that does not hold.
    pub async fn delete(&self, ask: &Ask, options: &DeleteOptions) -> Result<Written, Status> {
        for _ in 0..limits::UPDATE_ATTEMPTS_MAX {
            let current = self.history.get(&ask.key()).ok_or_else(|| ask.not_found())?;
            if let Some(written) = self.delete_now(ask, options, &current).await? {
                return Ok(written);
            }
        }
        Err(ask.modified())
    }

    /// One round; `None` when somebody else was faster.
    async fn delete_now(
        &self,
        ask: &Ask,
        options: &DeleteOptions,
        current: &Arc<Object>,
    ) -> Result<Option<Written>, Status> {
        let old = as_served(&ask.resource, current)?;
        check_preconditions(ask, options, &old)?;
        let mut warnings = Vec::new();
        let mut nothing = Value::Null;
        let (write, delete) = (&options.write, Operation::Delete);
        self.mutate(ask, delete, &mut nothing, Some(&old), write, &mut warnings).await?;
        self.admit(ask, delete, &mut nothing, Some(&old), write).await?;
        let step = step(&ask.resource, &old, options);
        let answer = match self.take(ask, options, current, step, &old).await? {
            Some(answer) => answer,
            None => return Ok(None),
        };
        Ok(Some(Written { answer, created: false, warnings }))
    }

    async fn take(
        &self,
        ask: &Ask,
        options: &DeleteOptions,
        current: &Arc<Object>,
        step: Step,
        old: &Value,
    ) -> Result<Option<Answer>, Status> {
        let revision = current.header.revision;
        let (write, answer) = match step {
            Step::Pending => return Ok(Some(Answer::Stored(Arc::clone(current)))),
            Step::Remove => {
                let answer = removed(ask, old);
                (Write::Delete { key: ask.key(), revision }, Some(answer))
            }
            Step::Mark(object) if options.write.dry_run => return Ok(Some(Answer::Made(object))),
            Step::Mark(object) => {
                let stored = as_stored(&ask.resource, object);
                let fields = ask.resource.rules.fields(&stored);
                let draft = Draft::new(ask.key(), stored, fields);
                (Write::Put { draft, expect: Expect::Revision(revision), ttl: None }, None)
            }
        };
        if options.write.dry_run {
            return Ok(answer);
        }
        let lazy = super::lazy(&ask.resource.storage, &ask.namespace);
        match self.commit_one(write, lazy).await {
            Ok(stored) => Ok(Some(answer.unwrap_or(Answer::Stored(stored)))),
            Err(CommitError::Conflict { .. }) => Ok(None),
            Err(error) => Err(commit_failed(&error)),
        }
    }

    /// Removes all objects of a collection that the selectors choose, and returns them.
    ///
    /// # Errors
    /// The first failure that is not a 404; what was removed before it stays removed.
    pub async fn delete_collection(
        &self,
        ask: &Ask,
        select: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<List, Status> {
        let list = self.list(ask, select)?;
        let one = |object: &Arc<Object>| {
            let key = &object.header.key;
            Ask { namespace: key.namespace.to_string(), ..ask.named(&key.name) }
        };
        let asks: Vec<Ask> = list.items.iter().map(one).collect();
        let mut deletions = Vec::with_capacity(asks.len());
        for ask in &asks {
            deletions.push(self.delete(ask, options).boxed());
        }
        let mut results =
            futures_util::stream::iter(deletions).buffer_unordered(limits::DELETIONS_AT_ONCE);
        while let Some(result) = results.next().await {
            match result {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        Ok(list)
    }
}

/// The 409 of a precondition, which names the kind where others name the resource.
fn unmet(ask: &Ask, why: &str) -> Status {
    Status::conflict(&ask.resource.group, &ask.resource.kind, &ask.name, why)
}

/// UID and revision that the client insists on.
fn check_preconditions(ask: &Ask, options: &DeleteOptions, old: &Value) -> Result<(), Status> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != old.uid()) {
        return Err(unmet(
            ask,
            &format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object \
             might have been deleted and then recreated",
                old.uid()
            ),
        ));
    }
    let stored = old.resource_version();
    if let Some(revision) = options.revision.as_deref().filter(|revision| *revision != stored) {
        return Err(unmet(
            ask,
            &format!(
                "the ResourceVersion in the precondition ({revision}) does not match the \
             ResourceVersion in record ({stored}). The object might have been modified"
            ),
        ));
    }
    Ok(())
}

/// Decides what a deletion does to an object. Pure but for the time that it writes down.
fn step(resource: &Resource, old: &Value, options: &DeleteOptions) -> Step {
    let grace_s = resource.rules.grace_period_s(old, options.grace_s).map(|s| s.max(0));
    let mut object = old.clone();
    let graceful = match (old.is_deleting(), grace_s) {
        (_, None) => false,
        (false, Some(seconds)) => {
            begin(&mut object, seconds);
            true
        }
        (true, Some(_)) => match shorten(&mut object, options.grace_s) {
            Shortened::Pending => return Step::Pending,
            Shortened::Yes => true,
            Shortened::AtOnce => false,
        },
    };
    set_finalizers(&mut object, options.propagation.or_else(|| own_way(resource, old)));
    let held = !object.finalizers().is_empty() || resource.rules.holds_deletion(&object);
    let waits = graceful
        && object.metadata().get("deletionGracePeriodSeconds").as_int().is_some_and(|s| s > 0);
    if !held && !waits {
        return Step::Remove;
    }
    if !graceful {
        let own_rules = resource.rules.holds_deletion(&object);
        mark(&mut object, own_rules);
    }
    if !old.is_deleting() {
        resource.rules.begin_deletion(&mut object);
    }
    if object == *old { Step::Pending } else { Step::Mark(object) }
}

/// Dates the deletion of an object that gets a grace period.
fn begin(object: &mut Value, seconds: i64) {
    let end = clock::now().after(Duration::from_secs(seconds.unsigned_abs()));
    raise_generation(object);
    let metadata = object.entry("metadata");
    metadata.set("deletionTimestamp", time::format(end));
    metadata.set("deletionGracePeriodSeconds", seconds);
}

/// Dates the deletion of an object that only finalizers hold up. One that its kind's own rules hold
/// up, a namespace, has no grace period at all.
fn mark(object: &mut Value, own_rules: bool) {
    if !object.is_deleting() {
        raise_generation(object);
        let now = time::format(clock::now());
        object.entry("metadata").set("deletionTimestamp", now);
    }
    if !own_rules {
        object.entry("metadata").set("deletionGracePeriodSeconds", 0);
    }
}

/// Controllers see a deletion as a change of what is wanted.
fn raise_generation(object: &mut Value) {
    let generation = object.generation();
    if generation > 0 {
        object.entry("metadata").set("generation", generation + 1);
    }
}

enum Shortened {
    Yes,
    Pending,
    AtOnce,
}

/// A deletion under way may only be made shorter.
fn shorten(object: &mut Value, asked_s: Option<i64>) -> Shortened {
    let metadata = object.metadata();
    let Some(present_s) = metadata.get("deletionGracePeriodSeconds").as_int() else {
        return Shortened::AtOnce;
    };
    let Some(asked_s) = asked_s.map(|s| s.max(0)).filter(|asked_s| *asked_s < present_s) else {
        return Shortened::Pending;
    };
    let less = i128::from(present_s - asked_s) * 1_000_000_000;
    if let Some(end) = object.deletion() {
        let end = i64::try_from(i128::from(end.0) - less).unwrap_or(end.0);
        let text = time::format(clock::Wall(end));
        object.entry("metadata").set("deletionTimestamp", text);
    }
    object.entry("metadata").set("deletionGracePeriodSeconds", asked_s);
    Shortened::Yes
}

/// What happens to dependents where the client did not say and no finalizer does.
fn own_way(resource: &Resource, old: &Value) -> Option<Propagation> {
    let said = old.finalizers().iter().any(|f| [ORPHAN, FOREGROUND].contains(f));
    (!said && resource.rules.orphans_dependents()).then_some(Propagation::Orphan)
}

/// Writes down what is to happen to dependents, where the client said so.
fn set_finalizers(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    let mut finalizers: Vec<Value> = object
        .finalizers()
        .into_iter()
        .filter(|f| ![ORPHAN, FOREGROUND].contains(f) || wanted == Some(f))
        .map(Into::into)
        .collect();
    if let Some(wanted) = wanted.filter(|w| !object.finalizers().contains(w)) {
        finalizers.push(wanted.into());
    }
    match finalizers.is_empty() {
        true => drop(object.entry("metadata").remove("finalizers")),
        false => object.entry("metadata").set("finalizers", finalizers),
    }
}

/// Kinds whose last state is the answer to their deletion; of others only a `Status` tells.
const RETURNED: &[&str] = &[
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
];

/// What the client gets to see of an object that is gone.
fn removed(ask: &Ask, old: &Value) -> Answer {
    let resource = &ask.resource;
    if RETURNED.contains(&resource.storage.as_str()) {
        return Answer::Made(old.clone());
    }
    let mut details = Value::from([
        ("name", ask.name.as_str().into()),
        ("kind", resource.plural.as_str().into()),
        ("uid", old.uid().into()),
    ]);
    if !resource.group.is_empty() {
        details.set("group", resource.group.as_str());
    }
    Answer::Made(Value::from([
        ("kind", "Status".into()),
        ("apiVersion", "v1".into()),
        ("metadata", Value::object()),
        ("status", "Success".into()),
        ("details", details),
    ]))
}
