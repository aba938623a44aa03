//! `storagemigration.k8s.io`.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::resource;

/// The group's resources.
pub(super) const GROUP: Group = ("storagemigration.k8s.io", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "StorageVersionMigration",
    plural: "storageversionmigrations",
    subresources: &[STATUS],
    rules: || Arc::new(resource::STORAGE_VERSION_MIGRATION),
    ..Row::CLUSTER
}];
