//! apiextensions.k8s.io: what makes more resources.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::definition::Definition;

/// The group's resources.
pub(super) const GROUP: Group = ("apiextensions.k8s.io", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    short: &["crd", "crds"],
    categories: &["api-extensions"],
    subresources: &[STATUS],
    unconditional_update: false,
    rules: || Arc::new(Definition),
    ..Row::CLUSTER
}];
