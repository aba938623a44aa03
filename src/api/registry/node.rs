//! node.k8s.io: how nodes run pods.

use std::sync::Arc;

use super::row::{Group, Row};
use crate::api::kinds::runtime::RuntimeClass;

/// The group's resources.
pub(super) const GROUP: Group = ("node.k8s.io", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    create_on_update: true,
    unconditional_update: false,
    rules: || Arc::new(RuntimeClass),
    ..Row::CLUSTER
}];
