//! `autoscaling`.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::autoscaling;

/// The group's resources.
pub(super) const GROUP: Group = ("autoscaling", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        short: &["hpa"],
        subresources: &[STATUS],
        version: "v1",
        categories: &["all"],
        storage_version: "v2",
        rules: || Arc::new(autoscaling::V1),
        ..Row::NAMESPACED
    },
    Row {
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        short: &["hpa"],
        subresources: &[STATUS],
        version: "v2",
        categories: &["all"],
        storage_version: "v2",
        rules: || Arc::new(autoscaling::V2),
        ..Row::NAMESPACED
    },
];
