//! `certificates.k8s.io`.

use std::sync::Arc;

use super::Subresource;
use super::row::{Group, Row, STATUS};
use crate::api::kinds::certificates;

/// The group's resources.
pub(super) const GROUP: Group = ("certificates.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "CertificateSigningRequest",
        plural: "certificatesigningrequests",
        short: &["csr"],
        subresources: &[APPROVAL, STATUS],
        rules: || Arc::new(certificates::SigningRequest),
        ..Row::CLUSTER
    },
    Row {
        kind: "ClusterTrustBundle",
        plural: "clustertrustbundles",
        unconditional_update: false,
        rules: || Arc::new(certificates::TRUST_BUNDLE),
        ..Row::CLUSTER
    },
    Row {
        kind: "PodCertificateRequest",
        plural: "podcertificaterequests",
        subresources: &[STATUS],
        unconditional_update: false,
        rules: || Arc::new(certificates::PodCertificate),
        ..Row::NAMESPACED
    },
];

/// The decision on a request.
const APPROVAL: Subresource =
    Subresource { name: "approval", body: None, verbs: &["get", "patch", "update"] };
