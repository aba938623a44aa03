//! One row of the table: a built-in resource written down as constants.

use std::sync::Arc;

use super::{ALL_VERBS, Called, Plain, Resource, Rules, Scope, Subresource};
use crate::api::meta::{GroupResource, api_version};
use crate::api::schema::Schema;

/// A group and its resources.
pub(super) type Group = (&'static str, &'static [Row]);

/// A built-in resource. Written as `Row { kind: …, plural: …, ..Row::NAMESPACED }`.
pub(super) struct Row {
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// The group under which objects are stored, where it is not the resource's own.
    pub storage_group: Option<&'static str>,
    /// The version in which objects are stored.
    pub storage_version: &'static str,
    pub unconditional_update: bool,
    pub create_on_update: bool,
    pub rules: fn() -> Arc<dyn Rules>,
}

impl Row {
    /// A resource whose objects live in namespaces, with all verbs and no rules.
    pub const NAMESPACED: Self = Self {
        version: "v1",
        kind: "",
        plural: "",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        storage_group: None,
        storage_version: "v1",
        unconditional_update: true,
        create_on_update: false,
        rules: || Arc::new(Plain),
    };

    /// The same for a resource whose objects belong to the cluster.
    pub const CLUSTER: Self = Self { scope: Scope::Cluster, ..Self::NAMESPACED };

    /// The row as an entry of the registry.
    pub fn resource(&self, group: &str) -> Resource {
        let storage_group = self.storage_group.unwrap_or(group);
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Resource {
            called: Called::new(group, self.version, self.plural),
            group: group.to_owned(),
            version: self.version.to_owned(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            short_names: owned(self.short),
            categories: owned(self.categories),
            scope: self.scope,
            verbs: self.verbs.to_vec(),
            subresources: self.subresources.to_vec(),
            storage: GroupResource::new(storage_group, self.plural),
            stored_as: api_version(storage_group, self.storage_version),
            unconditional_update: self.unconditional_update,
            create_on_update: self.create_on_update,
            schema: Schema::of(group, self.version, self.kind).unwrap_or_default(),
            rules: (self.rules)(),
            custom: false,
        }
    }
}

/// The `status` of a resource.
pub const STATUS: Subresource =
    Subresource { name: "status", body: None, verbs: &["get", "patch", "update"] };

/// The `scale` of a resource.
pub const SCALE: Subresource = Subresource {
    name: "scale",
    body: Some(("autoscaling", "v1", "Scale")),
    verbs: &["get", "patch", "update"],
};
