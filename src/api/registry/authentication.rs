//! authentication.k8s.io: who somebody is. Posts that are answered and not stored.

use super::row::{Group, Row};

/// The group's resources.
pub(super) const GROUP: Group = ("authentication.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        verbs: &["create"],
        ..Row::CLUSTER
    },
    Row { kind: "TokenReview", plural: "tokenreviews", verbs: &["create"], ..Row::CLUSTER },
];
