//! `resource.k8s.io`.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::resource;

/// The group's resources.
pub(super) const GROUP: Group = ("resource.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "DeviceClass",
        plural: "deviceclasses",
        rules: || Arc::new(resource::DEVICE_CLASS),
        ..Row::CLUSTER
    },
    Row {
        kind: "DeviceTaintRule",
        plural: "devicetaintrules",
        subresources: &[STATUS],
        rules: || Arc::new(resource::DEVICE_TAINT_RULE),
        ..Row::CLUSTER
    },
    Row {
        kind: "ResourceClaim",
        plural: "resourceclaims",
        subresources: &[STATUS],
        rules: || Arc::new(resource::RESOURCE_CLAIM),
        ..Row::NAMESPACED
    },
    Row {
        kind: "ResourceClaimTemplate",
        plural: "resourceclaimtemplates",
        rules: || Arc::new(resource::RESOURCE_CLAIM_TEMPLATE),
        ..Row::NAMESPACED
    },
    Row {
        kind: "ResourceSlice",
        plural: "resourceslices",
        rules: || Arc::new(resource::RESOURCE_SLICE),
        ..Row::CLUSTER
    },
];
