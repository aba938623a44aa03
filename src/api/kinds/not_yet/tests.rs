//! Holds that every field is honoured or refused.

use super::*;
use crate::api::schema::{Kind, Node, Schema};

/// What rk honours, below the kind's spec. `x.*` covers everything below `x`.
const POD_IMPLEMENTED: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity.nodeAffinity.*",
    "automountServiceAccountToken",
    "each.args[]",
    "each.command[]",
    "each.env[].name",
    "each.env[].value",
    "each.env[].valueFrom.configMapKeyRef.*",
    "each.env[].valueFrom.fieldRef.*",
    "each.env[].valueFrom.resourceFieldRef.*",
    "each.env[].valueFrom.secretKeyRef.*",
    "each.envFrom[].*",
    "each.image",
    "each.imagePullPolicy",
    "each.lifecycle.*",
    "each.livenessProbe.*",
    "each.name",
    "each.ports[].*",
    "each.readinessProbe.*",
    "each.resizePolicy[].*",
    "each.resources.limits",
    "each.resources.requests",
    "each.restartPolicy",
    "each.restartPolicyRules[].*",
    "each.securityContext.allowPrivilegeEscalation",
    "each.securityContext.appArmorProfile.*",
    "each.securityContext.capabilities.*",
    "each.securityContext.privileged",
    "each.securityContext.readOnlyRootFilesystem",
    "each.securityContext.runAsGroup",
    "each.securityContext.runAsNonRoot",
    "each.securityContext.runAsUser",
    "each.securityContext.seLinuxOptions.*",
    "each.securityContext.seccompProfile.*",
    "each.startupProbe.*",
    "each.stdin",
    "each.stdinOnce",
    "each.targetContainerName",
    "each.terminationMessagePath",
    "each.terminationMessagePolicy",
    "each.tty",
    "each.volumeMounts[].*",
    "each.workingDir",
    "dnsConfig.*",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases[].*",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostname",
    "hostnameOverride",
    "imagePullSecrets[].name",
    "nodeName",
    "nodeSelector",
    "overhead",
    // The order of the scheduler's queue. Nothing preempts anything yet, by either policy.
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates[].conditionType",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates[].name",
    "securityContext.appArmorProfile.*",
    "securityContext.fsGroup",
    // No volume is older than its pod, so no policy has anything to leave as it is.
    "securityContext.fsGroupChangePolicy",
    "securityContext.runAsGroup",
    "securityContext.runAsNonRoot",
    "securityContext.runAsUser",
    // A node that has SELinux lets no pod with labels in.
    "securityContext.seLinuxChangePolicy",
    "securityContext.seLinuxOptions.*",
    "securityContext.seccompProfile.*",
    "securityContext.supplementalGroups[]",
    "securityContext.supplementalGroupsPolicy",
    "securityContext.sysctls[].*",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations[].*",
    "volumes[].configMap.*",
    "volumes[].downwardAPI.*",
    "volumes[].emptyDir.sizeLimit",
    "volumes[].hostPath.*",
    "volumes[].image.*",
    "volumes[].name",
    "volumes[].projected.*",
    "volumes[].secret.*",
];

const SERVICE_IMPLEMENTED: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs[]",
    "externalIPs[]",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies[]",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "ports[].*",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig.*",
    "type",
];

const NODE_IMPLEMENTED: &[&str] =
    &["externalID", "podCIDR", "podCIDRs[]", "providerID", "taints[].*", "unschedulable"];

const LEASE_IMPLEMENTED: &[&str] =
    &["acquireTime", "holderIdentity", "leaseDurationSeconds", "leaseTransitions", "renewTime"];

const DEFINITION_IMPLEMENTED: &[&str] = &[
    "group",
    "names.*",
    "preserveUnknownFields",
    "scope",
    "versions[].additionalPrinterColumns[].*",
    "versions[].deprecated",
    "versions[].deprecationWarning",
    "versions[].name",
    "versions[].schema.*",
    "versions[].selectableFields[].*",
    "versions[].served",
    "versions[].storage",
    "versions[].subresources.*",
];

const JOB_IMPLEMENTED: &[&str] = &[
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completionMode",
    "completions",
    "managedBy",
    "manualSelector",
    "maxFailedIndexes",
    "parallelism",
    "podFailurePolicy.*",
    "podReplacementPolicy",
    "selector.*",
    "successPolicy.*",
    "suspend",
    // Its spec is a pod's.
    "template.*",
    "ttlSecondsAfterFinished",
];

const STATEFUL_SET_IMPLEMENTED: &[&str] = &[
    "minReadySeconds",
    "ordinals.start",
    "podManagementPolicy",
    "replicas",
    "revisionHistoryLimit",
    "selector.*",
    "serviceName",
    "template.*",
    "updateStrategy.*",
];

/// Whether a leaf is in the table, itself or something above it.
fn refused(path: &str, table: &[Row]) -> bool {
    let below = |row: &str| path.strip_prefix(row).is_some_and(starts_anew);
    table.iter().any(|(row, _)| below(row))
}

fn starts_anew(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.') || rest.starts_with('[')
}

fn implemented(path: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| match entry.strip_suffix(".*") {
        Some(above) => path.strip_prefix(above).is_some_and(starts_anew),
        None => path == *entry,
    })
}

fn leaves(node: Node<'_>, path: String, found: &mut Vec<String>) {
    // A schema holds schemas: what it may say is checked as a whole.
    let recursive = node.fields_type().is_some_and(|ty| ty.short_name() == "JSONSchemaProps");
    match node.kind() {
        Kind::Struct if !recursive => {
            for field in node.fields_type().unwrap().fields() {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(field.node(), format!("{path}{dot}{}", field.name()), found);
            }
        }
        Kind::List => leaves(node.elem().unwrap(), format!("{path}[]"), found),
        _ => found.push(path),
    }
}

/// All leaves of a kind's spec, the lists of containers folded into `each.`.
fn spec_leaves(group: &str, kind: &str) -> Vec<String> {
    let schema = Schema::of(group, "v1", kind).unwrap();
    let spec = schema.fields().unwrap().field("spec").unwrap();
    let mut found = Vec::new();
    // A claim template in a volume would lead far; the volume as a whole is refused.
    leaves(spec.node(), String::new(), &mut found);
    let fold = |path: String| {
        let list = EACH.iter().find_map(|list| path.strip_prefix(list)?.strip_prefix('.'));
        list.map_or(path.clone(), |rest| format!("each.{rest}"))
    };
    found.into_iter().map(fold).collect()
}

#[test]
fn every_field_is_honoured_or_refused() {
    let kinds: [(&str, &str, &[Row], &[&str]); 7] = [
        ("", "Pod", POD, POD_IMPLEMENTED),
        ("", "Service", SERVICE, SERVICE_IMPLEMENTED),
        ("", "Node", NODE, NODE_IMPLEMENTED),
        ("coordination.k8s.io", "Lease", LEASE, LEASE_IMPLEMENTED),
        ("apiextensions.k8s.io", "CustomResourceDefinition", DEFINITION, DEFINITION_IMPLEMENTED),
        ("batch", "Job", JOB, JOB_IMPLEMENTED),
        ("apps", "StatefulSet", STATEFUL_SET, STATEFUL_SET_IMPLEMENTED),
    ];
    for (group, kind, table, list) in kinds {
        let leaves = spec_leaves(group, kind);
        assert!(leaves.len() > 5);
        for path in &leaves {
            assert!(refused(path, table) || implemented(path, list), "{kind} {path}: nobody says");
        }
        for (row, _) in table {
            let known = leaves.iter().any(|path| path.strip_prefix(row).is_some_and(starts_anew));
            assert!(known, "{kind} {row}: there is no such field");
            assert!(!list.contains(row), "{kind} {row}: both refused and implemented");
        }
        for entry in list {
            let single = [*entry];
            let known = leaves.iter().any(|path| implemented(path, &single));
            assert!(known, "{kind} {entry}: there is no such field");
        }
    }
}

#[test]
fn what_is_not_honoured_is_refused_with_its_path() {
    let spec = Value::parse(
        br#"{"hostUsers":false,"priority":0,"overhead":{},"topologySpreadConstraints":[],
            "containers":[{"volumeDevices":[{}]}],
            "volumes":[{"name":"a","emptyDir":{"medium":"Memory"}},{"name":"b","nfs":{}}]}"#,
    )
    .unwrap();
    let mut errors = Errors::default();
    refuse(POD, At::path("spec", &spec), &mut errors);
    let found: Vec<String> =
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
    assert_eq!(
        found,
        [
            "spec.containers[0].volumeDevices: Forbidden: not supported by this version of rk",
            "spec.hostUsers: Forbidden: not supported by this version of rk",
            "spec.volumes[1].nfs: Forbidden: not supported by this version of rk",
        ]
    );
}
