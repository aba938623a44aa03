//! `ObjectMeta` read from and written to trees, and names of things: kinds, resources, keys.

use std::fmt;
use std::sync::Arc;

use super::time;
use super::tree::Value;
use crate::util::clock::Wall;

/// A resource across its versions, as it is stored: `pods`, `deployments.apps`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource(Arc<str>);

impl GroupResource {
    /// The resource `resource` of `group`; the core group is empty.
    pub fn new(group: &str, resource: &str) -> Self {
        match group {
            "" => Self(resource.into()),
            group => Self(format!("{resource}.{group}").into()),
        }
    }

    /// `pods`, `deployments.apps`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The plural name without its group.
    pub fn resource(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(resource, _)| resource)
    }

    /// The API group, empty for core.
    pub fn group(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, group)| group)
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an object is stored. Ordered by resource, namespace, name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its resource.
    pub resource: GroupResource,
    /// Its namespace, empty for cluster-wide resources.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object.
    pub fn new(resource: &GroupResource, namespace: &str, name: &str) -> Self {
        Self { resource: resource.clone(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{}/{}", self.resource, self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.resource, self.name),
        }
    }
}

/// Who an object belongs to: one `metadata.ownerReferences` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `apps/v1`.
    pub api_version: Arc<str>,
    /// `ReplicaSet`.
    pub kind: Arc<str>,
    /// The owner's name.
    pub name: Arc<str>,
    /// The owner's UID: the owner is this object and no later one of the same name.
    pub uid: Arc<str>,
    /// Whether the owner manages the object.
    pub controller: bool,
    /// Whether the owner's foreground deletion waits for the object.
    pub block_owner_deletion: bool,
}

impl Owner {
    /// Reads one owner reference.
    pub fn from_value(value: &Value) -> Self {
        let text = |key: &str| Arc::from(value.get(key).str());
        Self {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            controller: value.get("controller").is_true(),
            block_owner_deletion: value.get("blockOwnerDeletion").is_true(),
        }
    }

    /// The API group of `api_version`.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// Reading access to an object's metadata.
pub trait Meta {
    /// The object's tree.
    fn tree(&self) -> &Value;

    /// `metadata`.
    fn metadata(&self) -> &Value {
        self.tree().get("metadata")
    }

    /// `metadata.name`.
    fn name(&self) -> &str {
        self.metadata().get("name").str()
    }

    /// `metadata.namespace`.
    fn namespace(&self) -> &str {
        self.metadata().get("namespace").str()
    }

    /// `metadata.uid`.
    fn uid(&self) -> &str {
        self.metadata().get("uid").str()
    }

    /// `metadata.resourceVersion`.
    fn resource_version(&self) -> &str {
        self.metadata().get("resourceVersion").str()
    }

    /// `metadata.generation`, 0 where absent.
    fn generation(&self) -> i64 {
        self.metadata().get("generation").as_int().unwrap_or(0)
    }

    /// The label `key`.
    fn label(&self, key: &str) -> Option<&str> {
        self.metadata().get("labels").get(key).as_str()
    }

    /// The annotation `key`.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata().get("annotations").get(key).as_str()
    }

    /// `metadata.creationTimestamp`.
    fn created(&self) -> Option<Wall> {
        time::parse(self.metadata().get("creationTimestamp").str())
    }

    /// `metadata.deletionTimestamp`.
    fn deletion(&self) -> Option<Wall> {
        time::parse(self.metadata().get("deletionTimestamp").str())
    }

    /// Whether the object is being deleted.
    fn is_deleting(&self) -> bool {
        !self.metadata().get("deletionTimestamp").is_null()
    }

    /// `metadata.ownerReferences`.
    fn owners(&self) -> Vec<Owner> {
        self.metadata().get("ownerReferences").items().iter().map(Owner::from_value).collect()
    }

    /// The owner that manages the object.
    fn controller(&self) -> Option<Owner> {
        self.owners().into_iter().find(|owner| owner.controller)
    }

    /// `metadata.finalizers`.
    fn finalizers(&self) -> Vec<&str> {
        self.metadata().get("finalizers").items().iter().map(Value::str).collect()
    }
}

impl Meta for Value {
    fn tree(&self) -> &Value {
        self
    }
}

/// Splits `apps/v1` into group and version; `v1` is the core group's.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// `apps/v1`, or `v1` for the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
