//! CertificateSigningRequests: who asks, and who may approve and sign for a signer.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::{Attributes, Authorizer};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// Writes down who asks. Upstream has this in the storage of requests, before all admission.
pub(super) fn requester(_: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    if request.operation != Operation::Create || !request.is(GROUP, REQUESTS, "") {
        return Ok(());
    }
    let user = request.user;
    let texts =
        |list: &[String]| -> Vec<Value> { list.iter().map(|t| t.as_str().into()).collect() };
    let spec = request.object.entry("spec");
    ["username", "uid", "groups", "extra"].iter().for_each(|field| drop(spec.remove(field)));
    spec.set("username", user.name.as_str());
    if !user.uid.is_empty() {
        spec.set("uid", user.uid.as_str());
    }
    spec.set("groups", texts(&user.groups));
    for (key, values) in &user.extra {
        spec.entry("extra").set(key, texts(values));
    }
    Ok(())
}

/// CertificateApproval: who approves must have the right to do so for the signer.
pub(super) fn approve(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let approves =
        request.operation == Operation::Update && request.is(GROUP, REQUESTS, "approval");
    if approves { may(world, request, "approve") } else { Ok(()) }
}

/// CertificateSigning: who puts a certificate in must have the right to do so for the signer.
pub(super) fn sign(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    if request.operation != Operation::Update || !request.is(GROUP, REQUESTS, "status") {
        return Ok(());
    }
    let certificate = |object: &Value| object.at(&["status", "certificate"]).clone();
    let before = request.old.map(certificate).unwrap_or_default();
    if certificate(request.object) == before {
        return Ok(());
    }
    may(world, request, "sign")
}

/// Whether the user may do something for a signer, by its name or for all of its domain.
fn may(world: &World, request: &AdmissionRequest<'_>, verb: &str) -> Result<(), Status> {
    let signer = request.old.unwrap_or(request.object).at(&["spec", "signerName"]).str();
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    let wide = format!("{domain}/*");
    let allowed = [signer, &wide].iter().any(|name| {
        let asked = Attributes::resource(request.user, verb, GROUP, "signers");
        world.authorization.authorize(&Attributes { name, version: "*", ..asked }).allowed()
    });
    if allowed {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(request.forbidden(&why))
}
