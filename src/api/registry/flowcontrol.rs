//! `flowcontrol.apiserver.k8s.io`.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::flowcontrol;

/// The group's resources.
pub(super) const GROUP: Group = ("flowcontrol.apiserver.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "FlowSchema",
        plural: "flowschemas",
        subresources: &[STATUS],
        rules: || Arc::new(flowcontrol::FLOW_SCHEMA),
        ..Row::CLUSTER
    },
    Row {
        kind: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        subresources: &[STATUS],
        rules: || Arc::new(flowcontrol::PRIORITY_LEVEL),
        ..Row::CLUSTER
    },
];
