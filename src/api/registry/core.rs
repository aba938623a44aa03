//! The core group.

use std::sync::Arc;

use super::Subresource;
use super::row::{Group, Row, SCALE, STATUS};
use crate::api::kinds::core::{
    account, component, config, endpoints, event, limit_range, namespace, node, pod, quota,
    replication, service,
};
use crate::api::kinds::storage;

/// The group's resources.
pub(super) const GROUP: Group = ("", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "Namespace",
        plural: "namespaces",
        short: &["ns"],
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subresources: &[FINALIZE, STATUS],
        rules: || Arc::new(namespace::Namespace),
        ..Row::CLUSTER
    },
    Row {
        kind: "Node",
        plural: "nodes",
        short: &["no"],
        subresources: &[connect("proxy", "NodeProxyOptions", CONNECT), STATUS],
        rules: || Arc::new(node::Node),
        ..Row::CLUSTER
    },
    Row { kind: "Binding", plural: "bindings", verbs: &["create"], ..Row::NAMESPACED },
    Row {
        kind: "ComponentStatus",
        plural: "componentstatuses",
        short: &["cs"],
        verbs: &["get", "list"],
        rules: || Arc::new(component::COMPONENT_STATUS),
        ..Row::CLUSTER
    },
    Row {
        kind: "Service",
        plural: "services",
        short: &["svc"],
        categories: &["all"],
        subresources: &[connect("proxy", "ServiceProxyOptions", CONNECT), STATUS],
        create_on_update: true,
        rules: || Arc::new(service::Service),
        ..Row::NAMESPACED
    },
    Row {
        kind: "Endpoints",
        plural: "endpoints",
        short: &["ep"],
        create_on_update: true,
        rules: || Arc::new(endpoints::Endpoints),
        ..Row::NAMESPACED
    },
    Row {
        kind: "Pod",
        plural: "pods",
        short: &["po"],
        categories: &["all"],
        subresources: POD_SUBRESOURCES,
        rules: || Arc::new(pod::Pod),
        ..Row::NAMESPACED
    },
    Row {
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        short: &["pv"],
        subresources: &[STATUS],
        rules: || Arc::new(storage::PERSISTENT_VOLUME),
        ..Row::CLUSTER
    },
    Row {
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        short: &["pvc"],
        subresources: &[STATUS],
        rules: || Arc::new(storage::PERSISTENT_VOLUME_CLAIM),
        ..Row::NAMESPACED
    },
    Row {
        kind: "ConfigMap",
        plural: "configmaps",
        short: &["cm"],
        rules: || Arc::new(config::ConfigMap),
        ..Row::NAMESPACED
    },
    Row {
        kind: "Secret",
        plural: "secrets",
        rules: || Arc::new(config::Secret),
        ..Row::NAMESPACED
    },
    Row {
        kind: "LimitRange",
        plural: "limitranges",
        short: &["limits"],
        create_on_update: true,
        rules: || Arc::new(limit_range::LimitRange),
        ..Row::NAMESPACED
    },
    Row {
        kind: "PodTemplate",
        plural: "podtemplates",
        rules: || Arc::new(replication::PodTemplate),
        ..Row::NAMESPACED
    },
    Row {
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        short: &["rc"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        rules: || Arc::new(replication::ReplicationController),
        ..Row::NAMESPACED
    },
    Row {
        kind: "ResourceQuota",
        plural: "resourcequotas",
        short: &["quota"],
        subresources: &[STATUS],
        rules: || Arc::new(quota::ResourceQuota),
        ..Row::NAMESPACED
    },
    Row {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        short: &["sa"],
        subresources: &[TOKEN],
        rules: || Arc::new(account::ServiceAccount),
        ..Row::NAMESPACED
    },
    Row {
        kind: "Event",
        plural: "events",
        short: &["ev"],
        create_on_update: true,
        rules: || Arc::new(event::Event),
        ..Row::NAMESPACED
    },
];

const FINALIZE: Subresource = Subresource { name: "finalize", body: None, verbs: &["update"] };

const TOKEN: Subresource = Subresource {
    name: "token",
    body: Some(("authentication.k8s.io", "v1", "TokenRequest")),
    verbs: &["create"],
};

const POD_SUBRESOURCES: &[Subresource] = &[
    connect("attach", "PodAttachOptions", &["create", "get"]),
    Subresource { name: "binding", body: Some(("", "v1", "Binding")), verbs: &["create"] },
    Subresource { name: "ephemeralcontainers", body: None, verbs: &["get", "patch", "update"] },
    Subresource { name: "eviction", body: Some(("policy", "v1", "Eviction")), verbs: &["create"] },
    connect("exec", "PodExecOptions", &["create", "get"]),
    Subresource { name: "log", body: None, verbs: &["get"] },
    connect("portforward", "PodPortForwardOptions", &["create", "get"]),
    connect("proxy", "PodProxyOptions", CONNECT),
    Subresource { name: "resize", body: None, verbs: &["get", "patch", "update"] },
    STATUS,
];

/// The verbs of subresources that hand any request through.
const CONNECT: &[&str] = &["create", "delete", "get", "patch", "update"];

const fn connect(
    name: &'static str,
    options: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, body: Some(("", "v1", options)), verbs }
}
