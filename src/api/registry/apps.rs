//! apps: workloads.

use std::sync::Arc;

use super::row::{Group, Row, SCALE, STATUS};
use crate::api::kinds::apps::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};

/// The group's resources.
pub(super) const GROUP: Group = ("apps", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        rules: || Arc::new(ControllerRevision),
        ..Row::NAMESPACED
    },
    Row {
        kind: "DaemonSet",
        plural: "daemonsets",
        short: &["ds"],
        categories: &["all"],
        subresources: &[STATUS],
        rules: || Arc::new(DaemonSet),
        ..Row::NAMESPACED
    },
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
    Row {
        kind: "StatefulSet",
        plural: "statefulsets",
        short: &["sts"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        rules: || Arc::new(StatefulSet),
        ..Row::NAMESPACED
    },
];
