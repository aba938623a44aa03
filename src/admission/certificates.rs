//! CertificateSigningRequests: who asks, for what, and who may approve and sign for a signer; and
//! who may publish a signer's bundle of trust.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::{Attributes, Authorizer, MASTERS, UserInfo, x509};

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

/// Whether the user may do something with requests to the signer that a stored one names.
fn may(world: &World, request: &AdmissionRequest<'_>, verb: &str) -> Result<(), Status> {
    let signer = request.old.unwrap_or(request.object).at(&["spec", "signerName"]).str();
    if holds(world, request.user, verb, signer) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(request.forbidden(&why))
}

/// Whether a user has a right over a signer, by its name or over all of its domain.
fn holds(world: &World, user: &UserInfo, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    let wide = format!("{domain}/*");
    [signer, &wide].iter().any(|name| {
        let asked = Attributes::resource(user, verb, GROUP, "signers");
        world.authorization.authorize(&Attributes { name, version: "*", ..asked }).allowed()
    })
}

/// ClusterTrustBundleAttest: who says what a signer's roots are must have the right to do so.
pub(super) fn attest(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !writes || !request.is(GROUP, "clustertrustbundles", "") {
        return Ok(());
    }
    let signer = request.object.at(&["spec", "signerName"]).str();
    let kept = request.old.is_some_and(|old| meaning(old) == meaning(request.object));
    if signer.is_empty() || kept || holds(world, request.user, "attest", signer) {
        return Ok(());
    }
    Err(request.forbidden(&format!("user not permitted to attest for signerName {signer:?}")))
}

/// An object without what garbage collection and migrations of storage change.
fn meaning(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object.entry("metadata");
    ["finalizers", "managedFields", "ownerReferences", "resourceVersion"]
        .iter()
        .for_each(|field| drop(metadata.remove(field)));
    object
}

/// CertificateSubjectRestriction: no client certificate makes its holder a master.
pub(super) fn restrict_subject(_: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
    let spec = request.object.get("spec");
    if request.operation != Operation::Create
        || !request.is(GROUP, REQUESTS, "")
        || spec.get("signerName").str() != SIGNER
    {
        return Ok(());
    }
    let pem = STANDARD.decode(spec.get("request").str()).ok();
    let Some(groups) = pem.and_then(|pem| x509::requested_groups(&pem)) else {
        let why = "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST";
        return Err(request.forbidden(why));
    };
    if groups.iter().any(|group| group == MASTERS) {
        let why = format!("use of {SIGNER} signer with {MASTERS} group is not allowed");
        return Err(request.forbidden(&why));
    }
    Ok(())
}
