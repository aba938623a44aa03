//! What a write must satisfy or acquire before it is stored.
//!
//! [`Admission`] sees a write twice: `mutate` before defaults and validation of the kind, where
//! plugins may change the object, and `validate` after them, where they may only refuse it. The
//! plugins run in upstream's order, which one table fixes.
//!
//! It must not know HTTP or the store: it reads the history and answers.

use std::sync::Arc;

use async_trait::async_trait;

use crate::api::meta::Meta;
use crate::api::registry::Resource;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::UserInfo;

mod certificates;
mod classes;
mod lifecycle;
mod limits;
mod meters;
mod nodes;
mod plugins;
mod pods;
mod priority;
mod quota;
mod rbac;
mod restriction;
mod runtime_class;
mod security;
mod service_account;

pub use meters::Meters;
pub use plugins::Plugins;
pub use quota::{Charge, Verdict};

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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Delete, Self::Connect];

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

    /// The object's name, which a create may carry in its body only.
    pub fn object_name(&self) -> &str {
        if self.name.is_empty() { self.object.name() } else { self.name }
    }

    /// The 403 of a plugin. What has no name yet is called by what its name will begin with.
    pub fn forbidden(&self, why: &str) -> Status {
        let generated = self.object.metadata().get("generateName").str();
        let name = match (self.object_name(), generated) {
            ("", "") => "Unknown",
            ("", generated) => generated,
            (name, _) => name,
        };
        Status::forbidden(&self.resource.group, &self.resource.plural, name, why)
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

    /// Refuses the write, or lets it pass with warnings for the client.
    ///
    /// # Errors
    /// The `Status` that the client gets, mostly 403.
    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Status>;

    /// What the write costs, as of now: each charge must be made in the commit that stores the
    /// object. Asked last, and again when one of them no longer holds.
    ///
    /// # Errors
    /// 403 where a quota does not allow it.
    fn charge(&self, _request: &AdmissionRequest<'_>) -> Result<Vec<Charge>, Status> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
