//! discovery.k8s.io: endpoint slices.

use std::sync::Arc;

use super::row::{Group, Row};
use crate::api::kinds::discovery::EndpointSlice;

/// The group's resources.
pub(super) const GROUP: Group = ("discovery.k8s.io", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "EndpointSlice",
    plural: "endpointslices",
    rules: || Arc::new(EndpointSlice),
    ..Row::NAMESPACED
}];
