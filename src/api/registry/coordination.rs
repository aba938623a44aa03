//! coordination.k8s.io: leases.

use std::sync::Arc;

use super::row::{Group, Row};
use crate::api::kinds::coordination::Lease;

/// The group's resources.
pub(super) const GROUP: Group = ("coordination.k8s.io", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "Lease",
    plural: "leases",
    unconditional_update: false,
    create_on_update: true,
    rules: || Arc::new(Lease),
    ..Row::NAMESPACED
}];
