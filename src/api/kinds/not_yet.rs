//! What no code of rk honours yet.
//!
//! Nothing that is accepted is ignored: a field in one of these tables may only have the values
//! that rk behaves by anyway; any other is refused with the field's path. Whoever makes rk honour
//! a field takes its row out and adds the field to `IMPLEMENTED` in the tests, which hold every
//! field of the schema to be in one list or the other.

use super::check::At;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// A path below the kind's spec, and the values (as JSON) that are honoured. Absence, the empty
/// text and the empty list always are.
pub type Row = (&'static str, &'static [&'static str]);

/// What whoever sets such a field is told.
const WHY: &str = "not supported by this version of rk";

/// The lists of containers for which `each.` stands at the beginning of a path.
const EACH: [&str; 3] = ["initContainers[]", "containers[]", "ephemeralContainers[]"];

/// Every table with the kind's spec that it is about, for the documentation.
pub const TABLES: &[(&str, &[Row])] = &[
    ("PodSpec", POD),
    ("ServiceSpec", SERVICE),
    ("NodeSpec", NODE),
    ("LeaseSpec", LEASE),
    ("CustomResourceDefinitionSpec", DEFINITION),
    ("JobSpec", JOB),
    ("StatefulSetSpec", STATEFUL_SET),
];

/// Below a pod's or a template's spec.
pub const POD: &[Row] = &[
    ("affinity.podAffinity", &["{}"]),
    ("affinity.podAntiAffinity", &["{}"]),
    ("each.env[].valueFrom.fileKeyRef", &[]),
    ("each.lifecycle.postStart.httpGet.protocol", &["\"HTTP1\""]),
    ("each.lifecycle.preStop.httpGet.protocol", &["\"HTTP1\""]),
    ("each.lifecycle.stopSignal", &[]),
    ("each.livenessProbe.httpGet.protocol", &["\"HTTP1\""]),
    ("each.ports[].protocol", &["\"TCP\"", "\"UDP\""]),
    ("each.readinessProbe.httpGet.protocol", &["\"HTTP1\""]),
    ("each.resources.claims", &[]),
    ("each.securityContext.procMount", &["\"Default\""]),
    ("each.securityContext.windowsOptions", &[]),
    ("each.startupProbe.httpGet.protocol", &["\"HTTP1\""]),
    ("each.volumeDevices", &[]),
    ("each.volumeMounts[].bindMountOptions", &[]),
    ("evictionResponders", &[]),
    ("hostUsers", &["true"]),
    ("os.name", &["\"linux\""]),
    ("resourceClaims", &[]),
    ("resources", &["{}"]),
    ("schedulingGroup", &[]),
    ("securityContext.windowsOptions", &[]),
    ("topologySpreadConstraints", &[]),
    ("volumes[].awsElasticBlockStore", &[]),
    ("volumes[].azureDisk", &[]),
    ("volumes[].azureFile", &[]),
    ("volumes[].cephfs", &[]),
    ("volumes[].cinder", &[]),
    ("volumes[].configMap.defaultUser", &[]),
    ("volumes[].configMap.items[].user", &[]),
    ("volumes[].csi", &[]),
    ("volumes[].downwardAPI.defaultUser", &[]),
    ("volumes[].downwardAPI.items[].user", &[]),
    ("volumes[].emptyDir.medium", &["\"Memory\""]),
    ("volumes[].emptyDir.mode", &[]),
    ("volumes[].ephemeral", &[]),
    ("volumes[].fc", &[]),
    ("volumes[].flexVolume", &[]),
    ("volumes[].flocker", &[]),
    ("volumes[].gcePersistentDisk", &[]),
    ("volumes[].gitRepo", &[]),
    ("volumes[].glusterfs", &[]),
    ("volumes[].iscsi", &[]),
    ("volumes[].nfs", &[]),
    ("volumes[].persistentVolumeClaim", &[]),
    ("volumes[].photonPersistentDisk", &[]),
    ("volumes[].portworxVolume", &[]),
    ("volumes[].projected.defaultUser", &[]),
    ("volumes[].projected.sources[].clusterTrustBundle.user", &[]),
    ("volumes[].projected.sources[].configMap.items[].user", &[]),
    ("volumes[].projected.sources[].downwardAPI.items[].user", &[]),
    ("volumes[].projected.sources[].podCertificate.user", &[]),
    ("volumes[].projected.sources[].secret.items[].user", &[]),
    ("volumes[].projected.sources[].serviceAccountToken.user", &[]),
    ("volumes[].quobyte", &[]),
    ("volumes[].rbd", &[]),
    ("volumes[].scaleIO", &[]),
    ("volumes[].secret.defaultUser", &[]),
    ("volumes[].secret.items[].user", &[]),
    ("volumes[].storageos", &[]),
    ("volumes[].vsphereVolume", &[]),
];

/// Below a service's spec.
pub const SERVICE: &[Row] = &[
    ("loadBalancerIP", &[]),
    ("loadBalancerSourceRanges", &[]),
    ("ports[].protocol", &["\"TCP\"", "\"UDP\""]),
    ("trafficDistribution", &[]),
];

/// Below a node's spec.
pub const NODE: &[Row] = &[("configSource", &[]), ("podPreemptionPolicy", &[])];

/// Below a lease's spec: nothing chooses between candidates.
pub const LEASE: &[Row] = &[("preferredHolder", &[]), ("strategy", &[])];

/// Below a CustomResourceDefinition's spec. Rules in CEL, which may stand anywhere in a schema, are
/// refused where schemas are checked.
pub const DEFINITION: &[Row] =
    &[("conversion.strategy", &["\"None\""]), ("conversion.webhook", &[])];

/// Below a job's spec: nothing schedules pods as a gang.
pub const JOB: &[Row] = &[("scheduling", &[])];

/// Below a stateful set's spec: there are no volumes to claim.
pub const STATEFUL_SET: &[Row] = &[
    ("persistentVolumeClaimRetentionPolicy.whenDeleted", &["\"Retain\""]),
    ("persistentVolumeClaimRetentionPolicy.whenScaled", &["\"Retain\""]),
    ("volumeClaimTemplates", &[]),
];

/// Refuses what is not honoured in a spec.
pub fn refuse(table: &[Row], spec: At<'_>, errors: &mut Errors) {
    for (path, honoured) in table {
        let mut refuse = |at: At<'_>| {
            if !is_honoured(at.value(), honoured) {
                errors.forbidden(at, WHY);
            }
        };
        match path.strip_prefix("each.") {
            None => spec.descend(path, &mut refuse),
            Some(rest) => {
                let mut each = |item: At<'_>| item.descend(rest, &mut refuse);
                EACH.iter().for_each(|list| spec.descend(list, &mut each));
            }
        }
    }
}

fn is_honoured(value: &Value, honoured: &[&str]) -> bool {
    match value {
        Value::Null => true,
        Value::Str(text) if text.is_empty() => true,
        Value::Array(items) if items.is_empty() => true,
        Value::Str(text) => honoured.iter().any(|json| json.trim_matches('"') == text),
        value => {
            let text = value.to_string();
            honoured.contains(&text.as_str())
        }
    }
}

#[cfg(test)]
mod tests;
