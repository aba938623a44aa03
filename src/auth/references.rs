//! What a pod and a volume refer to by name.

use crate::api::meta::Meta;
use crate::api::tree::Value;

/// An object that pods refer to by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referent {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A PersistentVolumeClaim.
    Claim,
    /// A ResourceClaim.
    DeviceClaim,
    /// A ServiceAccount.
    ServiceAccount,
}

/// Whether a name is a wanted one.
type Is<'a> = &'a dyn Fn(&str) -> bool;

/// The annotation of pods that their own node wrote.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether a pod needs an object of its namespace whose name is a wanted one. A mirror pod, which
/// its own node wrote, needs nothing.
pub fn refers(pod: &Value, wanted: Referent, is: Is<'_>) -> bool {
    !is_mirror(pod) && names(pod, wanted, is)
}

/// Whether a pod was written by its own node.
pub fn is_mirror(pod: &Value) -> bool {
    pod.annotation(MIRROR).is_some()
}

/// The claims that a pod uses; one that is made for it is named after both.
pub fn claims(pod: &Value) -> Vec<String> {
    let volumes = pod.at(&["spec", "volumes"]).items().iter();
    let claim = |volume: &Value| match volume.get("ephemeral").is_null() {
        true => Some(volume.at(&["persistentVolumeClaim", "claimName"]).str().to_owned())
            .filter(|name| !name.is_empty()),
        false => Some(format!("{}-{}", pod.name(), volume.get("name").str())),
    };
    volumes.filter_map(claim).collect()
}

/// The same of any pod.
pub fn names(pod: &Value, wanted: Referent, is: Is<'_>) -> bool {
    let (spec, status) = (pod.get("spec"), pod.get("status"));
    let found = |value: &Value| !value.is_empty() && is(value.str());
    match wanted {
        Referent::ServiceAccount => found(spec.get("serviceAccountName")),
        Referent::Claim => claims(pod).iter().any(|claim| is(claim)),
        Referent::DeviceClaim => {
            let own = spec.get("resourceClaims").items().iter();
            let made = status.get("resourceClaimStatuses").items().iter();
            own.chain(made).any(|claim| found(claim.get("resourceClaimName")))
                || found(status.at(&["extendedResourceClaimStatus", "resourceClaimName"]))
        }
        Referent::ConfigMap => {
            volumes(spec, is, &[&["configMap", "name"]], "configMap")
                || env(spec, is, "configMapKeyRef", "configMapRef")
        }
        Referent::Secret => {
            let mut pull = spec.get("imagePullSecrets").items().iter();
            pull.any(|secret| found(secret.get("name")))
                || volumes(spec, is, SECRET_VOLUMES, "secret")
                || env(spec, is, "secretKeyRef", "secretRef")
        }
    }
}

/// Where volumes of pods name secrets.
const SECRET_VOLUMES: &[&[&str]] = &[
    &["secret", "secretName"],
    &["csi", "nodePublishSecretRef", "name"],
    &["azureFile", "secretName"],
    &["cephfs", "secretRef", "name"],
    &["cinder", "secretRef", "name"],
    &["flexVolume", "secretRef", "name"],
    &["iscsi", "secretRef", "name"],
    &["rbd", "secretRef", "name"],
    &["scaleIO", "secretRef", "name"],
    &["storageos", "secretRef", "name"],
];

/// Whether a volume names a wanted object at one of `paths`, or as a projected source of that name.
fn volumes(spec: &Value, is: Is<'_>, paths: &[&[&str]], projected: &str) -> bool {
    let found = |value: &Value| !value.is_empty() && is(value.str());
    spec.get("volumes").items().iter().any(|volume| {
        let sources = volume.at(&["projected", "sources"]).items();
        paths.iter().any(|path| found(volume.at(path)))
            || sources.iter().any(|source| found(source.at(&[projected, "name"])))
    })
}

/// Whether a container takes its environment from a wanted object.
fn env(spec: &Value, is: Is<'_>, key_ref: &str, whole_ref: &str) -> bool {
    let found = |value: &Value| !value.is_empty() && is(value.str());
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let mut containers = lists.iter().flat_map(|list| spec.get(list).items());
    containers.any(|container| {
        let mut keys = container.get("env").items().iter();
        let mut wholes = container.get("envFrom").items().iter();
        keys.any(|env| found(env.at(&["valueFrom", key_ref, "name"])))
            || wholes.any(|env| found(env.at(&[whole_ref, "name"])))
    })
}

/// Where PersistentVolumes name secrets that nodes read.
const OF_VOLUMES: &[&[&str]] = &[
    &["cephfs", "secretRef"],
    &["cinder", "secretRef"],
    &["flexVolume", "secretRef"],
    &["rbd", "secretRef"],
    &["scaleIO", "secretRef"],
    &["iscsi", "secretRef"],
    &["storageos", "secretRef"],
    &["csi", "nodePublishSecretRef"],
    &["csi", "nodeStageSecretRef"],
    &["csi", "nodeExpandSecretRef"],
];

/// Whether a PersistentVolume names a secret for nodes to read. Where it says no namespace, that of
/// its claim is meant.
pub fn volume_names(volume: &Value, namespace: &str, secret: &str) -> bool {
    let spec = volume.get("spec");
    let of_claim = spec.at(&["claimRef", "namespace"]).str();
    let is = |name: &str, space: &str| {
        name == secret && namespace == if space.is_empty() { of_claim } else { space }
    };
    let azure = spec.get("azureFile");
    is(azure.get("secretName").str(), azure.get("secretNamespace").str())
        || OF_VOLUMES
            .iter()
            .map(|path| spec.at(path))
            .any(|reference| is(reference.get("name").str(), reference.get("namespace").str()))
}
