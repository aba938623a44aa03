//! authorization.k8s.io: who may do what. Posts that are answered and not stored.

use std::sync::Arc;

use super::row::{Group, Row};
use crate::api::kinds::authorization::AccessReview;

/// The group's resources.
pub(super) const GROUP: Group = ("authorization.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        verbs: &["create"],
        rules: || Arc::new(AccessReview { of_others: true, namespaced: true }),
        ..Row::NAMESPACED
    },
    Row {
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        verbs: &["create"],
        rules: || Arc::new(AccessReview { of_others: false, namespaced: false }),
        ..Row::CLUSTER
    },
    Row {
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        verbs: &["create"],
        ..Row::CLUSTER
    },
    Row {
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        verbs: &["create"],
        rules: || Arc::new(AccessReview { of_others: true, namespaced: false }),
        ..Row::CLUSTER
    },
];
