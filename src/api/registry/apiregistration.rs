//! `apiregistration.k8s.io`.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::apiregistration;

/// The group's resources.
pub(super) const GROUP: Group = ("apiregistration.k8s.io", ROWS);

const ROWS: &[Row] = &[Row {
    kind: "APIService",
    plural: "apiservices",
    subresources: &[STATUS],
    rules: || Arc::new(apiregistration::API_SERVICE),
    ..Row::CLUSTER
}];
