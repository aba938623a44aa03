//! What `restricted` forbids besides: everything that careful software can do without.

use std::collections::BTreeSet;

use super::baseline::{adding, not_add, set_seccomp};
use super::pod::{Pod, containers, own, plural, quoted, setters};
use super::standard::{Violation, violation};
use crate::api::tree::Value;

/// Kinds of volumes that give no more than the pod's own data.
const FINE_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The other kinds, in the order in which they are looked for.
const OTHER_VOLUMES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

/// A process that may become more than it was started as.
pub fn escalation(pod: Pod<'_>) -> Option<Violation> {
    let may = |c: &Value| own(c, &["allowPrivilegeEscalation"]).as_bool() != Some(false);
    let names = pod.named(may);
    if names.is_empty() || pod.is_windows() {
        return None;
    }
    let detail =
        format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    violation("allowPrivilegeEscalation != false", detail)
}

/// Capabilities: all are to be dropped, one may be added.
pub fn capabilities(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let mut details = Vec::new();
    let keeping = pod.named(|container| {
        let dropped = own(container, &["capabilities", "drop"]).items();
        !dropped.iter().any(|name| name.str() == "ALL")
    });
    if !keeping.is_empty() {
        let names = containers(&keeping);
        details.push(format!("{names} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    let (names, added) = adding(pod, |name| name == "NET_BIND_SERVICE");
    if !names.is_empty() {
        details.push(not_add(&names, &added));
    }
    if details.is_empty() {
        return None;
    }
    violation("unrestricted capabilities", details.join("; "))
}

/// Volumes of other kinds than the pod's own data.
pub fn volumes(pod: Pod<'_>) -> Option<Violation> {
    let is = |volume: &Value, kinds: &[&'static str]| {
        kinds.iter().copied().find(|kind| !volume.get(kind).is_null())
    };
    let volumes = pod.spec.get("volumes").items().iter();
    let bad: Vec<&Value> = volumes.filter(|volume| is(volume, FINE_VOLUMES).is_none()).collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: BTreeSet<&str> =
        bad.iter().map(|volume| is(volume, OTHER_VOLUMES).unwrap_or("unknown")).collect();
    let names = quoted(bad.iter().map(|volume| volume.get("name").str()));
    let (word, uses) = (plural(bad.len(), "volume", "volumes"), plural(bad.len(), "uses", "use"));
    let what = plural(kinds.len(), "restricted volume type", "restricted volume types");
    let detail = format!("{word} {names} {uses} {what} {}", quoted(kinds));
    violation("restricted volume types", detail)
}

/// Containers that may run as root, but where root is nobody outside of the pod.
pub fn non_root(pod: Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if pod.has_own_users() {
        return None;
    }
    let of_pod = pod.context(&["runAsNonRoot"]).as_bool();
    let refusing = pod.named(|c| own(c, &["runAsNonRoot"]).as_bool() == Some(false));
    if let Some(who) = setters(of_pod == Some(false), &refusing) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return violation(REASON, detail);
    }
    let silent = pod.named(|c| own(c, &["runAsNonRoot"]).as_bool().is_none());
    if silent.is_empty() || of_pod == Some(true) {
        return None;
    }
    let names = containers(&silent);
    violation(REASON, format!("pod or {names} must set securityContext.runAsNonRoot=true"))
}

/// Containers that run as root, but where root is nobody outside of the pod.
pub fn user(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() {
        return None;
    }
    let is_root = |user: &Value| user.as_int() == Some(0);
    let names = pod.named(|c| is_root(own(c, &["runAsUser"])));
    let who = setters(is_root(pod.context(&["runAsUser"])), &names)?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

/// Containers without a filter of system calls.
pub fn seccomp(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let explicit = set_seccomp(pod);
    if explicit.is_some() || !pod.context(&["seccompProfile"]).is_null() {
        return explicit;
    }
    let silent = pod.named(|c| own(c, &["seccompProfile"]).is_null());
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\"",
        containers(&silent)
    );
    violation("seccompProfile", detail)
}
