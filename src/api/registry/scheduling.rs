//! scheduling.k8s.io: which pods come first.

use std::sync::Arc;

use super::row::{Group, Row};
use crate::api::kinds::scheduling::PriorityClass;

/// The group's resources.
pub(super) const GROUP: Group = ("scheduling.k8s.io", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "PriorityClass",
    plural: "priorityclasses",
    short: &["pc"],
    rules: || Arc::new(PriorityClass),
    ..Row::CLUSTER
}];
