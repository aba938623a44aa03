//! apps: workloads.

use std::sync::Arc;

use super::row::{Group, Row, SCALE, STATUS};
use crate::api::kinds::apps::{Deployment, ReplicaSet};

/// The group's resources.
pub(super) const GROUP: Group = ("apps", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "Deployment",
        plural: "deployments",
        short: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        rules: || Arc::new(Deployment),
        ..Row::NAMESPACED
    },
    Row {
        kind: "ReplicaSet",
        plural: "replicasets",
        short: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        rules: || Arc::new(ReplicaSet),
        ..Row::NAMESPACED
    },
];
