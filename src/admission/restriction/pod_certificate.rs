//! Certificates of pods that a node asks for: of its own pods, from signers that they name.

use std::sync::Arc;

use crate::admission::plugins::World;
use crate::admission::{AdmissionRequest, Operation};
use crate::api::tree::Value;
use crate::auth::{Attributes, Authorizer, references};
use crate::history::Object;

/// Why a node may not ask for a certificate, if it may not.
pub(super) fn check(world: &World, request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    if request.operation != Operation::Create {
        return Some(format!("unexpected operation {}", request.operation.as_str()));
    }
    refusal(world, request, node).err()
}

fn refusal(world: &World, request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    let spec = request.object.get("spec");
    let text = |field: &str| spec.get(field).str();
    let space = request.namespace;
    if text("nodeName") != node {
        let named = text("nodeName");
        return Err(format!(
            "PodCertificateRequest.Spec.NodeName={named:?}, which is not the requesting node \
             {node:?}"
        ));
    }
    let (name, account) = (text("podName"), text("serviceAccountName"));
    let pod_name = format!("{space}/{name}");
    let own = found(world, ("nodes", "node"), ("", node), node)?;
    if *own.header.uid != *text("nodeUID") {
        let (given, uid) = (text("nodeUID"), &own.header.uid);
        return Err(format!(
            "PodCertificateRequest for pod {pod_name:?} names node UID {given:?}, inconsistent \
             with the running node ({uid:?})"
        ));
    }
    let object = found(world, ("pods", "pod"), (space, name), &pod_name)?;
    let pod = object.tree().map_err(|e| e.to_string())?;
    of_pod(&object, &pod, spec, node, &pod_name)?;
    let named = format!("{space}/{account}");
    let object = found(world, ("serviceaccounts", "service account"), (space, account), &named)?;
    if *object.header.uid != *text("serviceAccountUID") {
        let (given, uid) = (text("serviceAccountUID"), &object.header.uid);
        return Err(format!(
            "PodCertificateRequest for pod {pod_name:?} names service account UID {given:?}, \
             which differs from the running service account ({uid:?})"
        ));
    }
    signer(world, request, &pod, &pod_name)
}

/// An object that a request names.
fn found(
    world: &World,
    (plural, kind): (&str, &str),
    (namespace, name): (&str, &str),
    shown: &str,
) -> Result<Arc<Object>, String> {
    world.find(("", plural), namespace, name).ok_or_else(|| {
        format!(
            "while retrieving {kind} {shown:?} named in the PodCertificateRequest: {plural} \
             {name:?} not found"
        )
    })
}

fn of_pod(
    object: &Object,
    pod: &Value,
    spec: &Value,
    node: &str,
    name: &str,
) -> Result<(), String> {
    let text = |field: &str| spec.get(field).str();
    if *object.header.uid != *text("podUID") {
        let (given, uid) = (text("podUID"), &object.header.uid);
        return Err(format!(
            "PodCertificateRequest for pod {name:?} contains pod UID ({given:?}) which differs \
             from running pod {uid:?}"
        ));
    }
    if pod.at(&["spec", "nodeName"]).str() != node {
        return Err(format!(
            "pod {name:?} is not running on node {node:?} named in the PodCertificateRequest"
        ));
    }
    if references::is_mirror(pod) {
        return Err(format!("pod {name:?} is a mirror pod"));
    }
    let account = pod.at(&["spec", "serviceAccountName"]).str();
    let given = text("serviceAccountName");
    match given == account {
        true => Ok(()),
        false => Err(format!(
            "PodCertificateRequest for pod {name:?} contains serviceAccountName ({given:?}) that \
             differs from running pod ({account:?})"
        )),
    }
}

/// The pod names the signer in a volume, or a role lets the node ask it.
fn signer(
    world: &World,
    request: &AdmissionRequest<'_>,
    pod: &Value,
    name: &str,
) -> Result<(), String> {
    let spec = request.object.get("spec");
    let signer = spec.get("signerName").str();
    let mounted = pod.at(&["spec", "volumes"]).items().iter().any(|volume| {
        let mut sources = volume.at(&["projected", "sources"]).items().iter();
        sources.any(|source| source.at(&["podCertificate", "signerName"]).str() == signer)
    });
    let (user, verb) = (request.user, "request-serviceaccounts-podcertificate-signer");
    // Roles do not name resources with slashes.
    let resource = signer.replace('/', ":");
    let asked = Attributes {
        version: &request.resource.version,
        namespace: request.namespace,
        name: spec.get("serviceAccountName").str(),
        ..Attributes::resource(user, verb, &request.resource.group, &resource)
    };
    match mounted || world.authorization.authorize(&asked).allowed() {
        true => Ok(()),
        false => Err(format!(
            "pod {name:?} does not mount a podCertificate projected volume for signer {signer:?}"
        )),
    }
}
