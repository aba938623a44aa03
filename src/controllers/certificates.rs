//! Certificates that are asked for through the API: nodes' own are approved, what is approved is
//! signed, and what is over is removed; and the authority of the API server is published.

mod approve;
mod clean;
mod publish;
mod sign;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::runner::Views;
use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::Gvr;
use crate::util::x509::Request;

pub use approve::approver;
pub use clean::{cleaner, pod_cleaner};
pub use publish::publisher;
pub use sign::{Signer, signing};

/// The signer of nodes' client certificates.
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The group of nodes, and what their names start with.
const NODES: [&str; 1] = ["system:nodes"];
const NODE_PREFIX: &str = "system:node:";

/// An object of a view as a tree.
fn object(views: &Views, resource: &Gvr, key: &Key) -> Option<Value> {
    let object = views.of(resource).get(&key.namespace, &key.name)?;
    (!object.header.deleting).then(|| object.tree().ok()).flatten()
}

/// The conditions of one kind.
fn conditions<'v>(object: &'v Value, kind: &'v str) -> impl Iterator<Item = &'v Value> {
    let all = object.at(&["status", "conditions"]).items().iter();
    all.filter(move |condition| condition.get("type").str() == kind)
}

fn has(object: &Value, kind: &str) -> bool {
    conditions(object, kind).next().is_some()
}

/// Adds a condition to an object's status.
fn with_condition(mut object: Value, kind: &str, reason: &str, message: &str) -> Value {
    let condition = Value::from([
        ("type", kind.into()),
        ("status", "True".into()),
        ("reason", reason.into()),
        ("message", message.into()),
    ]);
    let mut all = object.at(&["status", "conditions"]).items().to_vec();
    all.push(condition);
    object.entry("status").set("conditions", all);
    object
}

/// What an object asks for; a rule of the API has seen that it is a request.
fn requested(object: &Value) -> Option<Request> {
    let pem = STANDARD.decode(object.at(&["spec", "request"]).str()).ok()?;
    Request::of_pem(&pem).ok()
}

fn usages(object: &Value) -> Vec<&str> {
    object.at(&["spec", "usages"]).items().iter().map(Value::str).collect()
}

/// Whether uses are exactly these; the last is for RSA keys and may be missing.
fn uses(usages: &[&str], wanted: [&str; 3]) -> bool {
    let [first, second, of_rsa] = wanted;
    let both = usages.contains(&first) && usages.contains(&second);
    both && usages.iter().all(|usage| wanted.contains(usage))
        && usages.len() == 2 + usize::from(usages.contains(&of_rsa))
}

/// Checks a request for a node's client certificate.
///
/// # Errors
/// What is wrong with it.
fn node_client(request: &Request, usages: &[&str]) -> Result<(), String> {
    let names = &request.names;
    let name = request.subject.common_name();
    let wrong = if request.subject.organizations() != NODES {
        "subject organization is not system:nodes"
    } else if !names.dns.is_empty() {
        "DNS subjectAltNames are not allowed"
    } else if !names.emails.is_empty() {
        "Email subjectAltNames are not allowed"
    } else if !names.addresses.is_empty() {
        "IP subjectAltNames are not allowed"
    } else if !names.uris.is_empty() {
        "URI subjectAltNames are not allowed"
    } else if !name.starts_with(NODE_PREFIX) {
        "subject common name does not begin with system:node:"
    } else if !uses(usages, ["client auth", "digital signature", "key encipherment"]) {
        "usages did not match [client auth digital signature key encipherment]"
    } else {
        return Ok(());
    };
    Err(wrong.to_owned())
}

/// Checks a request for the certificate that a node shows as a server.
///
/// # Errors
/// What is wrong with it.
fn node_serving(request: &Request, usages: &[&str]) -> Result<(), String> {
    let names = &request.names;
    let name = request.subject.common_name();
    let wrong = if request.subject.organizations() != NODES {
        "subject organization is not system:nodes"
    } else if names.dns.is_empty() && names.addresses.is_empty() {
        "DNS or IP subjectAltName is required"
    } else if !names.emails.is_empty() {
        "Email subjectAltNames are not allowed"
    } else if !names.uris.is_empty() {
        "URI subjectAltNames are not allowed"
    } else if !uses(usages, ["digital signature", "server auth", "key encipherment"]) {
        "usages did not match [digital signature key encipherment server auth]"
    } else if !name.starts_with(NODE_PREFIX) {
        "subject common name does not begin with system:node:"
    } else {
        return Ok(());
    };
    Err(wrong.to_owned())
}

/// Checks a request for another client's certificate.
///
/// # Errors
/// What is wrong with it.
fn client(usages: &[&str]) -> Result<(), String> {
    const MAY: [&str; 3] = ["digital signature", "key encipherment", "client auth"];
    if let Some(usage) = usages.iter().find(|usage| !MAY.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    match usages.contains(&"client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".to_owned()),
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
