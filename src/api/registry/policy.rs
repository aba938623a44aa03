//! policy: how much of an application may be disturbed at a time.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::policy::PodDisruptionBudget;

/// The group's resources.
pub(super) const GROUP: Group = ("policy", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    short: &["pdb"],
    subresources: &[STATUS],
    unconditional_update: false,
    rules: || Arc::new(PodDisruptionBudget),
    ..Row::NAMESPACED
}];
