//! `storage.k8s.io`.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::storage;

/// The group's resources.
pub(super) const GROUP: Group = ("storage.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "StorageClass",
        plural: "storageclasses",
        short: &["sc"],
        rules: || Arc::new(storage::STORAGE_CLASS),
        ..Row::CLUSTER
    },
    Row {
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        subresources: &[STATUS],
        rules: || Arc::new(storage::VOLUME_ATTACHMENT),
        ..Row::CLUSTER
    },
    Row {
        kind: "CSIDriver",
        plural: "csidrivers",
        rules: || Arc::new(storage::CSI_DRIVER),
        ..Row::CLUSTER
    },
    Row {
        kind: "CSINode",
        plural: "csinodes",
        rules: || Arc::new(storage::CSI_NODE),
        ..Row::CLUSTER
    },
    Row {
        kind: "CSIStorageCapacity",
        plural: "csistoragecapacities",
        rules: || Arc::new(storage::CSI_STORAGE_CAPACITY),
        ..Row::NAMESPACED
    },
    Row {
        kind: "VolumeAttributesClass",
        plural: "volumeattributesclasses",
        short: &["vac"],
        rules: || Arc::new(storage::VOLUME_ATTRIBUTES_CLASS),
        ..Row::CLUSTER
    },
];
