//! Update and patch: a new state of an object, made from the stored one and put in its place.
//!
//! Both are one loop: read, make the new state, check it, commit it against the revision that was
//! read. A lost race goes round again; a client that named a revision is then told of the conflict
//! by the check of that revision.

use std::sync::Arc;

use super::create::{check_namespace, check_type};
use super::options::WriteOptions;
use super::owners::{self, Owners};
use super::version::{as_served, as_stored};
use super::{Answer, Ask, Engine, Written, commit_failed, context, lazy};
use crate::admission::Operation;
use crate::api::kinds::metadata;
use crate::api::meta::Meta;
use crate::api::registry::Errors;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::{Draft, Object};
use crate::limits;
use crate::store::{CommitError, Expect, Write};

/// Makes the wanted state of an object from the stored one, both in the version of the request.
/// Called once per attempt; adds warnings for the client.
pub type Transform<'t> =
    dyn Fn(&Value, &mut Vec<String>) -> Result<Value, Status> + Send + Sync + 't;

impl Engine {
    /// Replaces an object, or the part of it that the subresource names.
    ///
    /// # Errors
    /// 400 and 422 for an object that is not right, 403 from admission, 404, 409.
    pub async fn update(
        &self,
        ask: &Ask,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        check_name(ask, &object)?;
        if self.makes_instead(ask, &object) {
            self.authorize(&ask.named("").attributes("create"))?;
            return self.create(&ask.named(""), object, options).await;
        }
        self.change(ask, options, &|_, _| Ok(object.clone())).await
    }

    /// Whether an update of an absent object is to make it.
    fn makes_instead(&self, ask: &Ask, object: &Value) -> bool {
        ask.resource.create_on_update
            && ask.subresource.is_empty()
            && object.resource_version().is_empty()
            && object.uid().is_empty()
            && self.history.get(&ask.key()).is_none()
    }

    /// Changes an object by a transform of its stored state.
    ///
    /// # Errors
    /// As [`Engine::update`], and those of the transform.
    pub async fn change(
        &self,
        ask: &Ask,
        options: &WriteOptions,
        transform: &Transform<'_>,
    ) -> Result<Written, Status> {
        self.change_owned(ask, options, transform, Owners::Tracked).await
    }

    pub(super) async fn change_owned(
        &self,
        ask: &Ask,
        options: &WriteOptions,
        transform: &Transform<'_>,
        owners: Owners,
    ) -> Result<Written, Status> {
        for _ in 0..limits::UPDATE_ATTEMPTS_MAX {
            let current = self.history.get(&ask.key()).ok_or_else(|| ask.not_found())?;
            if let Some(written) = self.attempt(ask, options, &current, transform, owners).await? {
                return Ok(written);
            }
        }
        Err(ask.modified())
    }

    /// One round; `None` when somebody else was faster.
    async fn attempt(
        &self,
        ask: &Ask,
        options: &WriteOptions,
        current: &Arc<Object>,
        transform: &Transform<'_>,
        owners: Owners,
    ) -> Result<Option<Written>, Status> {
        let resource = &*ask.resource;
        let old = as_served(resource, current)?;
        let mut warnings = Vec::new();
        let mut object = transform(&old, &mut warnings)?;
        check_type(resource, &mut object)?;
        check_namespace(&ask.namespace, &mut object)?;
        check_conditions(ask, &object, &old)?;
        warnings.extend(resource.rules.warnings(&object, &old));
        resource.rules.default(&mut object);
        if owners == Owners::Tracked {
            self.track(ask, options, &mut object, Some(&old));
        }
        let update = Operation::Update;
        self.mutate(ask, update, &mut object, Some(&old), options, &mut warnings).await?;
        resource.rules.default(&mut object);
        owners::kept(&mut object, |object| prepare(ask, object, &old));
        owners::revert_times(&mut object, &old);
        self.choose_families(ask, &mut object, Some(&old))?;
        validate(ask, &object, &old)?;
        warnings.extend(self.admit(ask, update, &mut object, Some(&old), options).await?);
        let answer = self.store_change(ask, options, current, object, &old).await?;
        Ok(answer.map(|answer| Written { answer, created: false, warnings }))
    }

    /// Stores a checked state, unless it is the old one; removes the object where this was the last
    /// thing that its deletion waited for.
    async fn store_change(
        &self,
        ask: &Ask,
        options: &WriteOptions,
        current: &Arc<Object>,
        mut object: Value,
        old: &Value,
    ) -> Result<Option<Answer>, Status> {
        let resource = &*ask.resource;
        if object == *old {
            return Ok(Some(Answer::Stored(Arc::clone(current))));
        }
        let _allocating = self.allocate(ask, &mut object, Some(old)).await?;
        let gone = is_over(ask, &object, old);
        let charges = match gone {
            true => Vec::new(),
            false => self.charge(ask, Operation::Update, &mut object, Some(old), options)?,
        };
        if options.dry_run {
            return Ok(Some(Answer::Made(object)));
        }
        let revision = current.header.revision;
        let (write, last) = if gone {
            (Write::Delete { key: ask.key(), revision }, Some(object))
        } else {
            let stored = as_stored(resource, object);
            let fields = resource.rules.fields(&stored);
            let draft = Draft::new(ask.key(), stored, fields);
            let ttl = super::lifetime(&resource.storage);
            (Write::Put { draft, expect: Expect::Revision(revision), ttl }, None)
        };
        let lazy = lazy(&resource.storage, &ask.namespace);
        match (self.commit_charged(write, charges, lazy).await, last) {
            (Ok(_), Some(last)) => Ok(Some(Answer::Made(last))),
            (Ok(stored), None) => Ok(Some(Answer::Stored(stored))),
            (Err(CommitError::Conflict { .. }), _) => Ok(None),
            (Err(CommitError::Refused { why, .. }), _) => Err(ask.forbidden(&why)),
            (Err(error), _) => Err(commit_failed(&error)),
        }
    }
}

/// The name in the body must be the one in the path.
pub(super) fn check_name(ask: &Ask, object: &Value) -> Result<(), Status> {
    match object.name() {
        name if name == ask.name => Ok(()),
        "" => Err(Status::bad_request("name must be provided")),
        name => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            ask.name
        ))),
    }
}

/// UID and revision in the body, where given, must be those of the stored object.
fn check_conditions(ask: &Ask, object: &Value, old: &Value) -> Result<(), Status> {
    if !object.uid().is_empty() && object.uid() != old.uid() {
        return Err(ask.conflict(&format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            object.uid(),
            old.uid()
        )));
    }
    match object.resource_version() {
        "" | "0" if ask.resource.unconditional_update => Ok(()),
        "" | "0" => {
            let mut errors = Errors::default();
            let value = Value::from("");
            errors.invalid("metadata.resourceVersion", &value, "must be specified for an update");
            // Upstream prints the revision as the number that it has read.
            let mut causes = errors.into_causes();
            causes.iter_mut().for_each(|c| c.message = c.message.replacen("\"\"", "0x0", 1));
            let resource = &ask.resource;
            Err(Status::invalid(&resource.group, &resource.kind, &ask.name, causes))
        }
        given if given == old.resource_version() => Ok(()),
        _ => Err(ask.modified()),
    }
}

/// Restores what this write may not change and counts generations.
fn prepare(ask: &Ask, object: &mut Value, old: &Value) {
    let rules = &ask.resource.rules;
    object.entry("metadata").set("resourceVersion", old.resource_version());
    metadata::prepare_update(object, old);
    match ask.subresource {
        "" => rules.prepare_update(object, old, context()),
        subresource => {
            rules.prepare_subresource(subresource, object, old);
            rules.stamp_subresource(object, old, context());
        }
    }
    // What a pod is bound to, and the revision that a status brings, are nobody's new wish.
    let wish = !matches!(ask.subresource, "status" | "binding");
    if wish && rules.counts_generations(object) && rules.raises_generation(object, old) {
        object.entry("metadata").set("generation", old.generation() + 1);
    }
}

fn validate(ask: &Ask, object: &Value, old: &Value) -> Result<(), Status> {
    let mut errors = Errors::default();
    metadata::validate_update(&ask.resource, object, old, &mut errors);
    match ask.subresource {
        "" => ask.resource.rules.validate_update(object, old, &mut errors),
        subresource => {
            ask.resource.rules.validate_subresource(subresource, object, old, &mut errors);
        }
    }
    ask.valid(&ask.name, errors)
}

/// Whether nothing holds up the deletion of this object any more.
fn is_over(ask: &Ask, object: &Value, old: &Value) -> bool {
    let grace_s = old.metadata().get("deletionGracePeriodSeconds").as_int().unwrap_or(0);
    old.is_deleting()
        && grace_s == 0
        && object.finalizers().is_empty()
        && !ask.resource.rules.holds_deletion(object)
}
