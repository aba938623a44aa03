//! rbac.authorization.k8s.io: who may do what.

use std::sync::Arc;

use super::row::{Group, Row};
use crate::api::kinds::rbac::{Binding, Role};

/// The group's resources.
pub(super) const GROUP: Group = ("rbac.authorization.k8s.io", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "Role",
        plural: "roles",
        create_on_update: true,
        rules: || Arc::new(Role { namespaced: true }),
        ..Row::NAMESPACED
    },
    Row {
        kind: "RoleBinding",
        plural: "rolebindings",
        create_on_update: true,
        rules: || Arc::new(Binding { namespaced: true }),
        ..Row::NAMESPACED
    },
    Row {
        kind: "ClusterRole",
        plural: "clusterroles",
        create_on_update: true,
        rules: || Arc::new(Role { namespaced: false }),
        ..Row::CLUSTER
    },
    Row {
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        create_on_update: true,
        rules: || Arc::new(Binding { namespaced: false }),
        ..Row::CLUSTER
    },
];
