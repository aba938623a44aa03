//! Tokens that a node asks for: bound to a pod of its own, and for an audience that the pod wants.

use crate::admission::AdmissionRequest;
use crate::admission::plugins::World;
use crate::api::tree::Value;
use crate::auth::references;
use crate::auth::{Attributes, Authorizer};

/// Why a node does not get a token, if it does not. Of a pod that is not there the storage tells.
pub(super) fn check(world: &World, request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    let bound = request.object.at(&["spec", "boundObjectRef"]);
    let text = |field: &str| bound.get(field).str();
    if (text("apiVersion"), text("kind")) != ("v1", "Pod") || text("name").is_empty() {
        return Some("node requested token not bound to a pod".into());
    }
    if text("uid").is_empty() {
        return Some("node requested token with a pod binding without a uid".into());
    }
    let pod = world.find(("", "pods"), request.namespace, text("name"))?;
    if *pod.header.uid != *text("uid") {
        let asked = text("uid");
        return Some(format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        ));
    }
    if pod.header.field("spec.nodeName") != Some(node) {
        return Some("node requested token bound to a pod scheduled on a different node".into());
    }
    audience(world, request, &pod.tree().unwrap_or_default())
}

/// A node asks for an audience that the pod's volumes name, or that a role lets it ask for.
fn audience(world: &World, request: &AdmissionRequest<'_>, pod: &Value) -> Option<String> {
    let audience = match request.object.at(&["spec", "audiences"]).items() {
        [] => "",
        [one] => one.str(),
        _ => return Some("node may only request 0 or 1 audiences".into()),
    };
    let mounted = pod.at(&["spec", "volumes"]).items().iter().any(|volume| {
        let mut sources = volume.at(&["projected", "sources"]).items().iter();
        let tokens = sources.by_ref().map(|source| source.get("serviceAccountToken"));
        tokens.filter(|token| !token.is_null()).any(|token| token.get("audience").str() == audience)
    });
    if mounted || drivers(world, request.namespace, pod).iter().any(|d| asks(world, d, audience)) {
        return None;
    }
    let (user, verb) = (request.user, "request-serviceaccounts-token-audience");
    let (group, version) = (&*request.resource.group, &*request.resource.version);
    let asked = Attributes {
        version,
        namespace: request.namespace,
        name: request.name,
        ..Attributes::resource(user, verb, group, audience)
    };
    let allowed = !audience.is_empty() && world.authorization.authorize(&asked).allowed();
    let user = &user.name;
    (!allowed)
        .then(|| format!("{user} is not authorized to request tokens for audience {audience:?}"))
}

/// The drivers of a pod's volumes, by itself or by its claims.
fn drivers(world: &World, namespace: &str, pod: &Value) -> Vec<String> {
    let volumes = pod.at(&["spec", "volumes"]).items().iter();
    let own = volumes.map(|volume| volume.at(&["csi", "driver"]).str().to_owned());
    let of_claim = |claim: &String| {
        let claim = world.find(("", "persistentvolumeclaims"), namespace, claim)?.tree().ok()?;
        let name = claim.at(&["spec", "volumeName"]).str();
        let volume = world.find(("", "persistentvolumes"), "", name)?.tree().ok()?;
        Some(volume.at(&["spec", "csi", "driver"]).str().to_owned())
    };
    let claims = references::claims(pod);
    own.chain(claims.iter().filter_map(of_claim)).filter(|name| !name.is_empty()).collect()
}

/// Whether a driver asks for tokens of an audience.
fn asks(world: &World, driver: &str, audience: &str) -> bool {
    let driver = world.find(("storage.k8s.io", "csidrivers"), "", driver);
    let driver = driver.and_then(|driver| driver.tree().ok()).unwrap_or_default();
    let mut requests = driver.at(&["spec", "tokenRequests"]).items().iter();
    requests.any(|request| request.get("audience").str() == audience)
}
