//! events.k8s.io: the newer face of the core group's events, over the same storage.

use std::sync::Arc;

use super::row::{Group, Row};
use crate::api::kinds::core::event::NewEvent;

/// The group's resources.
pub(super) const GROUP: Group = ("events.k8s.io", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "Event",
    plural: "events",
    short: &["ev"],
    storage_group: Some(""),
    create_on_update: true,
    rules: || Arc::new(NewEvent),
    ..Row::NAMESPACED
}];
