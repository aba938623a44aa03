//! What a write must satisfy or acquire before it is stored.
//!
//! [`Admission`] sees a write twice: `mutate` before defaults and validation of the kind, where
//! plugins may change the object, and `validate` after them, where they may only refuse it. The
//! plugins run in upstream's order, which one table fixes.
//!
//! It must not know HTTP or the store: it reads the history and answers.

use std::sync::Arc;

use async_trait::async_trait;

use crate::api::registry::Resource;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::UserInfo;

/// What a write does, as admission names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or a post to a subresource.
    Create,
    /// A replaced or patched object, or subresource.
    Update,
    /// A deletion.
    Delete,
    /// A stream: exec, attach, portforward, proxy.
    Connect,
}

impl Operation {
    /// As `AdmissionReview` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One write on its way to the store.
pub struct AdmissionRequest<'a> {
    /// What it does.
    pub operation: Operation,
    /// The resource in the version of the request.
    pub resource: &'a Arc<Resource>,
    /// The part of the object that is written; empty for the object itself.
    pub subresource: &'a str,
    /// The object's namespace; empty for cluster-wide resources.
    pub namespace: &'a str,
    /// The object's name; empty for a create with `generateName`, which gets its name later.
    pub name: &'a str,
    /// The object as it is to be; for posts to subresources their body; null on a delete.
    pub object: &'a mut Value,
    /// The object as it is; none on a create.
    pub old: Option<&'a Value>,
    /// Who writes.
    pub user: &'a UserInfo,
    /// Whether nothing will be stored: plugins with effects elsewhere leave them out.
    pub dry_run: bool,
    /// `CreateOptions`, `UpdateOptions`, `DeleteOptions` as given, or null.
    pub options: &'a Value,
    /// Warnings for the client, added to by plugins.
    pub warnings: Vec<String>,
}

impl AdmissionRequest<'_> {
    /// Whether this is about `plural` of `group`, its `subresource` (empty: the object itself).
    pub fn is(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.resource.plural == plural
            && self.resource.group == group
            && self.subresource == subresource
    }

    /// The 403 of a plugin.
    pub fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.resource.group, &self.resource.plural, self.name, why)
    }
}

/// The plugins, in order.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Changes the object, or refuses the write.
    ///
    /// # Errors
    /// The `Status` that the client gets, mostly 403.
    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status>;

    /// Refuses the write, or lets it pass.
    ///
    /// # Errors
    /// The `Status` that the client gets, mostly 403.
    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status>;
}
