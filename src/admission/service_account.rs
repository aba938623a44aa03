//! Every pod runs as a service account, and finds its token where programs look for it.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::meta::Meta;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::util::id;

/// The account of pods that name none.
const DEFAULT: &str = "default";
/// Where programs look for the token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the token's volume is called, followed by random letters.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// The lifetime that is asked for a token; see `auth::service_account`.
const EXPIRATION_S: i64 = 3607;

pub(super) fn admit(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    if request.operation != Operation::Create || !request.is("", "pods", "") {
        return Ok(());
    }
    if request.object.annotation("kubernetes.io/config.mirror").is_some() {
        return mirror(request);
    }
    let spec = request.object.entry("spec");
    // The older field of the same meaning counts where the newer one is not set.
    let name = match (spec.get("serviceAccountName").str(), spec.get("serviceAccount").str()) {
        ("", "") => DEFAULT,
        ("", older) => older,
        (name, _) => name,
    };
    let name = name.to_owned();
    spec.set("serviceAccountName", name.as_str());
    spec.set("serviceAccount", name.as_str());
    let namespace = request.namespace;
    let account = world.find(("", "serviceaccounts"), namespace, &name).and_then(|o| o.tree().ok());
    let Some(account) = account else {
        return Err(request.forbidden(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        )));
    };
    let spec = request.object.entry("spec");
    let wishes = [spec, &account].map(|of| of.get("automountServiceAccountToken").as_bool());
    if wishes.into_iter().flatten().next().unwrap_or(true) {
        mount(request.object.entry("spec"));
    }
    let spec = request.object.entry("spec");
    let secrets = account.get("imagePullSecrets");
    if spec.get("imagePullSecrets").items().is_empty() && !secrets.items().is_empty() {
        spec.set("imagePullSecrets", secrets.clone());
    }
    Ok(())
}

/// A node shows the API what it runs by itself: that can have no part in the cluster's secrets.
fn mirror(request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let spec = request.object.get("spec");
    if !spec.get("serviceAccountName").str().is_empty() {
        return Err(request.forbidden("a mirror pod may not reference service accounts"));
    }
    let volumes = spec.get("volumes").items();
    if volumes.iter().any(|volume| !volume.get("secret").is_null()) {
        return Err(request.forbidden("a mirror pod may not reference secrets"));
    }
    let mut sources =
        volumes.iter().flat_map(|volume| volume.at(&["projected", "sources"]).items());
    if sources.any(|source| !source.get("serviceAccountToken").is_null()) {
        return Err(
            request.forbidden("a mirror pod may not use ServiceAccountToken volume projections")
        );
    }
    Ok(())
}

/// Mounts a volume with the token into every container that has nothing mounted in its place.
fn mount(spec: &mut Value) {
    let known = spec.get("volumes").items().iter().map(|volume| volume.get("name").str());
    let known = known.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let is_new = known.is_none();
    let volume = known.unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", id::suffix(5)));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(list) else { continue };
        for container in containers.items_mut() {
            let mounts = container.get("volumeMounts").items();
            if mounts.iter().any(|mount| mount.get("mountPath").str() == MOUNT_PATH) {
                continue;
            }
            needed = true;
            push(
                container.entry("volumeMounts"),
                Value::from([
                    ("mountPath", MOUNT_PATH.into()),
                    ("name", volume.as_str().into()),
                    ("readOnly", true.into()),
                ]),
            );
        }
    }
    if needed && is_new {
        push(spec.entry("volumes"), token_volume(&volume));
    }
}

fn push(list: &mut Value, item: Value) {
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

fn token_volume(name: &str) -> Value {
    let token = Value::from([("expirationSeconds", EXPIRATION_S.into()), ("path", "token".into())]);
    let authority = Value::from([
        ("name", "kube-root-ca.crt".into()),
        ("items", vec![Value::from([("key", "ca.crt".into()), ("path", "ca.crt".into())])].into()),
    ]);
    let field =
        Value::from([("apiVersion", "v1".into()), ("fieldPath", "metadata.namespace".into())]);
    let namespace = Value::from([("path", "namespace".into()), ("fieldRef", field)]);
    let sources = vec![
        Value::from([("serviceAccountToken", token)]),
        Value::from([("configMap", authority)]),
        Value::from([("downwardAPI", Value::from([("items", vec![namespace].into())]))]),
    ];
    let projected = Value::from([("defaultMode", 0o644.into()), ("sources", sources.into())]);
    Value::from([("name", name.into()), ("projected", projected)])
}
