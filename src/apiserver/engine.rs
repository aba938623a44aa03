//! The verbs of the API on any resource: one engine, no handler per kind.
//!
//! A caller says who asks for what ([`Ask`]) and gets an object, a list or a watch. The engine
//! admits, defaults, validates, stores; what makes kinds differ stands in their registry entries.
//! Authorisation is a call of its own ([`Engine::authorize`]), which callers make before they
//! decode a body.
//!
//! Invariants: nothing is stored that its kind's rules did not pass; an answer is given after the
//! write is durable; no lock is held over an await but the allocator's, which is made for it.
//!
//! It must not know HTTP, media types or connections.

mod action;
mod charge;
mod components;
mod create;
mod delete;
mod evict;
mod options;
mod owners;
mod patch;
mod read;
mod update;
mod version;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Sender;

use super::allocate::{Allocating, Allocator};
use crate::admission::{Admission, AdmissionRequest, Operation};
use crate::api::meta::{GroupResource, Key, split_api_version};
use crate::api::registry::{Context, Errors, Registry, Resource};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::oidc::Oidc;
use crate::auth::service_account::Tokens;
use crate::auth::{Attributes, Authorization, Authorizer, UserInfo};
use crate::history::{History, Object};
use crate::limits;
use crate::store::{CommitError, Store, Write};
use crate::util::clock;

pub use options::{
    DeleteOptions, ListOptions, Propagation, Query, Start, State, WatchOptions, WriteOptions,
    decode,
};
pub use patch::body_type;
pub use read::List;
pub use update::Transform;
pub use version::{as_served, is_identity};
pub use watch::{Frame, Watch};

/// Who asks for what.
#[derive(Clone)]
pub struct Ask {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The resource, in the version of the request.
    pub resource: Arc<Resource>,
    /// The part of the object; empty for the object itself.
    pub subresource: &'static str,
    /// The namespace; empty for cluster-wide resources and for reads over all namespaces.
    pub namespace: String,
    /// The object's name; empty for collections and creates.
    pub name: String,
}

impl Ask {
    /// The key of the object that is asked for.
    pub fn key(&self) -> Key {
        self.key_of(&self.name)
    }

    /// The key of an object called `name` in the namespace that is asked for.
    fn key_of(&self, name: &str) -> Key {
        Key::new(&self.resource.storage, &self.namespace, name)
    }

    /// What authorisation is asked about.
    pub fn attributes<'a>(&'a self, verb: &'a str) -> Attributes<'a> {
        // A namespace is asked for as if it lay in itself: so roles in it can allow that.
        let own = self.resource.storage.as_str() == "namespaces";
        Attributes {
            version: &self.resource.version,
            subresource: self.subresource,
            namespace: if own { &self.name } else { &self.namespace },
            name: &self.name,
            ..Attributes::resource(&self.user, verb, &self.resource.group, &self.resource.plural)
        }
    }

    /// The same for an object of this collection.
    fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    fn not_found(&self) -> Status {
        Status::not_found(&self.resource.group, &self.resource.plural, &self.name)
    }

    fn conflict(&self, why: &str) -> Status {
        Status::conflict(&self.resource.group, &self.resource.plural, &self.name, why)
    }

    /// 403 of an object that may not be stored.
    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.resource.group, &self.resource.plural, &self.name, why)
    }

    fn modified(&self) -> Status {
        Status::modified(&self.resource.group, &self.resource.plural, &self.name)
    }

    /// 422 where `errors` found something.
    fn valid(&self, name: &str, errors: Errors) -> Result<(), Status> {
        if errors.is_empty() {
            return Ok(());
        }
        // As the stored shape is called: rules belong to that.
        let (group, _) = split_api_version(&self.resource.stored_as);
        Err(Status::invalid(group, &self.resource.kind, name, errors.into_causes()))
    }
}

/// What a write came to.
#[derive(Debug)]
pub struct Written {
    /// The object as it is now, or what a subresource answers.
    pub answer: Answer,
    /// Whether the object is new: HTTP's 201.
    pub created: bool,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

/// What a caller gets to see.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An object of the resource as it is stored.
    Stored(Arc<Object>),
    /// An object of the resource that is stored nowhere (a dry run), or another kind (a scale, a
    /// status): complete, with its type.
    Made(Value),
}

impl Answer {
    /// The answer as a tree in the resource's version.
    ///
    /// # Errors
    /// 500 for a stored object that does not decode.
    pub fn into_value(self, resource: &Resource) -> Result<Value, Status> {
        match self {
            Self::Stored(object) => as_served(resource, &object),
            Self::Made(value) => Ok(value),
        }
    }
}

/// What an engine is made of.
pub struct Parts {
    /// What it reads.
    pub history: Arc<History>,
    /// What it writes to.
    pub store: Store,
    /// The resources that it serves at first.
    pub registry: Registry,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// What writes must satisfy or acquire.
    pub admission: Arc<dyn Admission>,
    /// Who gives Services their addresses.
    pub allocator: Allocator,
    /// Who answers reviews and issues tokens; without it these resources are not there.
    pub identity: Option<Identity>,
}

/// What reviews and token requests need.
pub struct Identity {
    /// Service-account tokens.
    pub tokens: Arc<Tokens>,
    /// An outside issuer of tokens.
    pub issuer: Option<Arc<Oidc>>,
    /// Roles and bindings.
    pub authorization: Arc<Authorization>,
}

/// The verbs on all resources.
pub struct Engine {
    history: Arc<History>,
    store: Store,
    /// Swapped whole: readers clone the pointer, and watches of what may go wait for its change.
    registry: Sender<Arc<Registry>>,
    authorizer: Arc<dyn Authorizer>,
    admission: Arc<dyn Admission>,
    allocator: Allocator,
    identity: Option<Identity>,
}

impl Engine {
    /// An engine over its parts.
    pub fn new(parts: Parts) -> Self {
        Self {
            history: parts.history,
            store: parts.store,
            registry: Sender::new(Arc::new(parts.registry)),
            authorizer: parts.authorizer,
            admission: parts.admission,
            allocator: parts.allocator,
            identity: parts.identity,
        }
    }

    /// The history that the engine reads.
    pub const fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The resources that are served now.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.borrow())
    }

    /// Changes what is served. Whoever asks after this returns sees the change.
    pub fn change_registry(&self, change: impl FnOnce(&mut Registry)) {
        self.registry.send_modify(|current| {
            let mut next = Registry::clone(current);
            change(&mut next);
            *current = Arc::new(next);
        });
    }

    /// Whether the user may do this.
    ///
    /// # Errors
    /// 403 in upstream's words.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        self.authorizer.check(attributes)
    }

    /// Who decides what is allowed, for reviews.
    pub const fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.authorizer
    }

    async fn mutate(
        &self,
        ask: &Ask,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let mut request = admission_request(ask, operation, object, old, options);
        let result = self.admission.mutate(&mut request).await;
        warnings.append(&mut request.warnings);
        result
    }

    async fn admit(
        &self,
        ask: &Ask,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
        options: &WriteOptions,
    ) -> Result<Vec<String>, Status> {
        self.admission.validate(&admission_request(ask, operation, object, old, options)).await
    }

    /// Lets admission look at a stream that is about to be opened.
    ///
    /// # Errors
    /// The refusal.
    pub async fn connect(&self, ask: &Ask) -> Result<(), Status> {
        let (mut nothing, options) = (Value::Null, WriteOptions::default());
        let mut warnings = Vec::new();
        let connect = Operation::Connect;
        self.mutate(ask, connect, &mut nothing, None, &options, &mut warnings).await?;
        self.admit(ask, connect, &mut nothing, None, &options).await.map(drop)
    }

    /// Says of which families of addresses a Service is.
    fn choose_families(
        &self,
        ask: &Ask,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        match allocates(ask).then(|| self.allocator.choose_families(object, old)) {
            Some(Err(errors)) => ask.valid(&ask.name, errors),
            _ => Ok(()),
        }
    }

    /// Gives a Service what it wants allocated; hold the result until the object is stored.
    async fn allocate(
        &self,
        ask: &Ask,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Option<Allocating>, Status> {
        if !allocates(ask) {
            return Ok(None);
        }
        match self.allocator.allocate(object, old).await {
            Ok(allocating) => Ok(Some(allocating)),
            Err(errors) => ask.valid(&ask.name, errors).map(|()| None),
        }
    }

    /// One write to the store, and the object that it made.
    async fn commit_one(&self, write: Write, lazy: bool) -> Result<Arc<Object>, CommitError> {
        self.commit_charged(write, Vec::new(), lazy).await
    }
}

/// Whether what is written may want addresses or ports.
fn allocates(ask: &Ask) -> bool {
    ask.resource.storage.as_str() == "services" && ask.subresource.is_empty()
}

fn admission_request<'a>(
    ask: &'a Ask,
    operation: Operation,
    object: &'a mut Value,
    old: Option<&'a Value>,
    options: &'a WriteOptions,
) -> AdmissionRequest<'a> {
    AdmissionRequest {
        operation,
        resource: &ask.resource,
        subresource: ask.subresource,
        namespace: &ask.namespace,
        name: &ask.name,
        object,
        old,
        user: &ask.user,
        dry_run: options.dry_run,
        options: &options.given,
        warnings: Vec::new(),
    }
}

/// What rules may know of the moment.
fn context() -> Context {
    Context { now: clock::now() }
}

/// Whether writes to a resource may be acknowledged before they are on disk: node Leases and
/// Events, which are written all the time and made anew when they are lost.
fn lazy(storage: &GroupResource, namespace: &str) -> bool {
    match storage.as_str() {
        "events" => true,
        "leases.coordination.k8s.io" => namespace == "kube-node-lease",
        _ => false,
    }
}

/// After how long objects of a resource remove themselves.
fn lifetime(storage: &GroupResource) -> Option<Duration> {
    (storage.as_str() == "events").then_some(limits::EVENT_LIFETIME)
}

/// A commit's failure, where it is not a lost race, as clients see it.
fn commit_failed(error: &CommitError) -> Status {
    match error {
        CommitError::Stopped => Status::unavailable("the server is stopping"),
        error => Status::internal(error.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests;
