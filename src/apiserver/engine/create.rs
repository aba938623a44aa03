//! Create: a new object, named, dated, checked and stored.

use super::options::WriteOptions;
use super::owners::Owners;
use super::version::as_stored;
use super::{Answer, Ask, Engine, Written, commit_failed, context, lazy};
use crate::admission::Operation;
use crate::api::kinds::metadata;
use crate::api::meta::Meta;
use crate::api::registry::{Errors, Resource};
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::history::Draft;
use crate::limits;
use crate::store::{CommitError, Expect, Write};
use crate::util::{clock, id};

impl Engine {
    /// Makes an object.
    ///
    /// # Errors
    /// 400 and 422 for an object that is not right, 403 from admission, 409 for a taken name.
    pub async fn create(
        &self,
        ask: &Ask,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        self.create_owned(ask, object, options, Owners::Tracked).await
    }

    pub(super) async fn create_owned(
        &self,
        ask: &Ask,
        mut object: Value,
        options: &WriteOptions,
        owners: Owners,
    ) -> Result<Written, Status> {
        let resource = &*ask.resource;
        check_type(resource, &mut object)?;
        check_namespace(&ask.namespace, &mut object)?;
        if !object.resource_version().is_empty() {
            let text = "resourceVersion should not be set on objects to be created";
            return Err(Status::new(500, "", text));
        }
        let mut warnings = resource.rules.warnings(&object, &Value::Null);
        resource.rules.default(&mut object);
        if owners == Owners::Tracked {
            self.track(ask, options, &mut object, None);
        }
        let named = ask.named(object.name());
        self.mutate(&named, Operation::Create, &mut object, None, options, &mut warnings).await?;
        resource.rules.default(&mut object);
        prepare(resource, &mut object);
        let answer = match (object.name(), base(&object)) {
            ("", base) if !base.is_empty() => {
                self.create_generated(ask, object, options, &mut warnings).await
            }
            _ => self.create_named(ask, object, options, &mut warnings).await,
        };
        Ok(Written { answer: answer?, created: true, warnings })
    }

    /// Tries names until one is free.
    async fn create_generated(
        &self,
        ask: &Ask,
        mut object: Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Answer, Status> {
        for _ in 0..limits::NAME_ATTEMPTS_MAX {
            let name = metadata::generate_name(base(&object), &id::suffix(5));
            object.entry("metadata").set("name", name);
            ask.resource.rules.default(&mut object);
            match self.create_named(ask, object.clone(), options, warnings).await {
                Err(status) if status.is_already_exists() => {}
                result => return result,
            }
        }
        Err(exhausted(ask, &object))
    }

    /// Checks and stores an object that has its name.
    async fn create_named(
        &self,
        ask: &Ask,
        mut object: Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Answer, Status> {
        let resource = &*ask.resource;
        let ask = ask.named(object.name());
        let made = resource.rules.identify(&mut object);
        self.choose_families(&ask, &mut object, None)?;
        validate(&ask, &object)?;
        let create = Operation::Create;
        warnings.extend(self.admit(&ask, create, &mut object, None, options).await?);
        let _allocating = self.allocate(&ask, &mut object, None).await?;
        if made {
            // As it will be read: defaults may follow from what was made last.
            resource.rules.default(&mut object);
        }
        if options.dry_run {
            self.charge(&ask, Operation::Create, &mut object, None, options)?;
            return match self.history.get(&ask.key()) {
                Some(there) => Err(already_exists(&ask, there.header.deleting)),
                None => Ok(Answer::Made(object)),
            };
        }
        self.store_new(&ask, object, options).await
    }

    /// Stores a checked object, and charges what it costs. A quota that has become another one
    /// meanwhile is looked at again.
    async fn store_new(
        &self,
        ask: &Ask,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Answer, Status> {
        let resource = &*ask.resource;
        let lazy = lazy(&resource.storage, &ask.namespace);
        for _ in 0..limits::UPDATE_ATTEMPTS_MAX {
            let charges = self.charge(ask, Operation::Create, &mut object, None, options)?;
            let kept = (!charges.is_empty()).then(|| object.clone());
            let stored = as_stored(resource, object);
            let fields = resource.rules.fields(&stored);
            let write = Write::Put {
                draft: Draft::new(ask.key(), stored, fields),
                expect: Expect::Absent,
                ttl: super::lifetime(&resource.storage),
            };
            object = match (self.commit_charged(write, charges, lazy).await, kept) {
                (Ok(object), _) => return Ok(Answer::Stored(object)),
                (Err(CommitError::Conflict { key, .. }), Some(kept)) if key != ask.key() => kept,
                (Err(CommitError::Refused { why, .. }), _) => return Err(ask.forbidden(&why)),
                (Err(CommitError::Conflict { current, .. }), _) => {
                    let deleting = current.is_some_and(|object| object.header.deleting);
                    return Err(already_exists(ask, deleting));
                }
                (Err(error), _) => return Err(commit_failed(&error)),
            };
        }
        Err(Status::unavailable("the quotas of the namespace change too often"))
    }
}

/// Gives a new object its identity and takes from it what clients may not set.
fn prepare(resource: &Resource, object: &mut Value) {
    resource.rules.prepare_create(object, context());
    let counts = resource.rules.begins_generations(object);
    let nameless = object.name().is_empty() && base(object).is_empty();
    let meta = object.entry("metadata");
    if nameless && resource.rules.names_the_nameless() {
        meta.set("name", id::uuid());
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        meta.remove(key);
    }
    if counts {
        meta.set("generation", 1);
    }
    meta.set("uid", id::uuid());
    meta.set("creationTimestamp", time::format(clock::now()));
}

fn validate(ask: &Ask, object: &Value) -> Result<(), Status> {
    let mut errors = Errors::default();
    metadata::validate_create(&ask.resource, object, &mut errors);
    ask.resource.rules.validate(object, &mut errors);
    ask.valid(object.name(), errors)
}

fn base(object: &Value) -> &str {
    object.metadata().get("generateName").str()
}

fn already_exists(ask: &Ask, deleting: bool) -> Status {
    let (group, plural) = (&ask.resource.group, &ask.resource.plural);
    let mut status = Status::already_exists(group, plural, &ask.name);
    if deleting {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// Every name that was tried is taken.
fn exhausted(ask: &Ask, object: &Value) -> Status {
    let (group, plural) = (&ask.resource.group, &ask.resource.plural);
    let mut status = Status::already_exists(group, plural, object.name());
    status.message += ", the server was not able to generate a unique name for the object";
    status
}

/// Completes the type of an object, or refuses another one.
pub(super) fn check_type(resource: &Resource, object: &mut Value) -> Result<(), Status> {
    let expected = resource.api_version();
    match object.get("apiVersion").str() {
        "" => object.set("apiVersion", expected),
        given if given == expected => {}
        given => {
            return Err(Status::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version \
                 ({expected})"
            )));
        }
    }
    match object.get("kind").str() {
        "" => object.set("kind", resource.kind.as_str()),
        given if given == resource.kind => {}
        given => {
            let kind = &resource.kind;
            return Err(Status::bad_request(format!(
                "the kind in the data ({given}) does not match the expected kind ({kind})"
            )));
        }
    }
    Ok(())
}

/// Completes the namespace of an object, or refuses another one; cluster-wide objects have none.
pub(super) fn check_namespace(namespace: &str, object: &mut Value) -> Result<(), Status> {
    let given = object.namespace();
    if given == namespace {
        return Ok(());
    }
    match (given, namespace) {
        ("", namespace) => object.entry("metadata").set("namespace", namespace),
        (_, "") => drop(object.entry("metadata").remove("namespace")),
        _ => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
    }
    Ok(())
}
