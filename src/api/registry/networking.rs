//! `networking.k8s.io`.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::networking;

/// The group's resources.
pub(super) const GROUP: Group = ("networking.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "Ingress",
        plural: "ingresses",
        short: &["ing"],
        subresources: &[STATUS],
        rules: || Arc::new(networking::INGRESS),
        ..Row::NAMESPACED
    },
    Row {
        kind: "IngressClass",
        plural: "ingressclasses",
        rules: || Arc::new(networking::INGRESS_CLASS),
        ..Row::CLUSTER
    },
    Row {
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        short: &["netpol"],
        rules: || Arc::new(networking::NETWORK_POLICY),
        ..Row::NAMESPACED
    },
    Row {
        kind: "IPAddress",
        plural: "ipaddresses",
        short: &["ip"],
        rules: || Arc::new(networking::IP_ADDRESS),
        ..Row::CLUSTER
    },
    Row {
        kind: "ServiceCIDR",
        plural: "servicecidrs",
        subresources: &[STATUS],
        rules: || Arc::new(networking::SERVICE_CIDR),
        ..Row::CLUSTER
    },
];
