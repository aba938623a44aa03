//! `admissionregistration.k8s.io`.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::admissionregistration;

/// The group's resources.
pub(super) const GROUP: Group = ("admissionregistration.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        rules: || Arc::new(admissionregistration::MUTATING_WEBHOOKS),
        ..Row::CLUSTER
    },
    Row {
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        rules: || Arc::new(admissionregistration::VALIDATING_WEBHOOKS),
        ..Row::CLUSTER
    },
    Row {
        kind: "ValidatingAdmissionPolicy",
        plural: "validatingadmissionpolicies",
        subresources: &[STATUS],
        rules: || Arc::new(admissionregistration::VALIDATING_POLICY),
        ..Row::CLUSTER
    },
    Row {
        kind: "ValidatingAdmissionPolicyBinding",
        plural: "validatingadmissionpolicybindings",
        rules: || Arc::new(admissionregistration::VALIDATING_BINDING),
        ..Row::CLUSTER
    },
    Row {
        kind: "MutatingAdmissionPolicy",
        plural: "mutatingadmissionpolicies",
        rules: || Arc::new(admissionregistration::MUTATING_POLICY),
        ..Row::CLUSTER
    },
    Row {
        kind: "MutatingAdmissionPolicyBinding",
        plural: "mutatingadmissionpolicybindings",
        rules: || Arc::new(admissionregistration::MUTATING_BINDING),
        ..Row::CLUSTER
    },
];
