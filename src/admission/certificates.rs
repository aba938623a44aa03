//! CertificateSigningRequests: who asks, for what, and who may approve and sign for a signer; and
//! who may publish a signer's bundle of trust.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::registry::Errors;
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::auth::{Attributes, Authorizer, MASTERS, UserInfo};
use crate::util::clock;
use crate::util::x509::Request;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
/// How near to now a pod's certificate must begin.
const ISSUED_WITHIN: Duration = Duration::from_secs(300);

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

/// Says since when conditions are as they are, where their writer does not. Upstream has this in
/// the storage of requests, too.
pub(super) fn date(_: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    let decides = matches!(request.subresource, "approval" | "status");
    if request.operation != Operation::Update
        || !decides
        || !request.is(GROUP, REQUESTS, request.subresource)
    {
        return Ok(());
    }
    let now = time::format(clock::now());
    let before = request.old.map(|old| old.at(&["status", "conditions"]).items());
    let Some(status) = request.object.get_mut("status") else { return Ok(()) };
    let conditions = status.get_mut("conditions").map(Value::items_mut).unwrap_or_default();
    for condition in conditions {
        if condition.get("lastUpdateTime").is_empty() {
            condition.set("lastUpdateTime", now.as_str());
        }
        if condition.get("lastTransitionTime").is_empty() {
            let same = |old: &&Value| {
                ["type", "status"].iter().all(|field| old.get(field) == condition.get(field))
            };
            let old = before.and_then(|before| before.iter().find(same));
            let since = old.map(|old| old.get("lastTransitionTime").str().to_owned());
            let since = since.filter(|since| !since.is_empty()).unwrap_or_else(|| now.clone());
            condition.set("lastTransitionTime", since);
        }
    }
    Ok(())
}

/// CertificateApproval: who approves must have the right to do so for the signer.
pub(super) fn approve(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let approves =
        request.operation == Operation::Update && request.is(GROUP, REQUESTS, "approval");
    if approves { may(world, request, "approve") } else { Ok(()) }
}

/// CertificateSigning: who puts a certificate in, or says why there is none, must have the right to
/// do so for the signer.
pub(super) fn sign(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    if request.operation != Operation::Update || !request.is(GROUP, REQUESTS, "status") {
        return Ok(());
    }
    let told = |object: &Value| {
        let status = object.get("status");
        (status.get("certificate").clone(), status.get("conditions").clone())
    };
    if request.old.map(told) == Some(told(request.object)) {
        return Ok(());
    }
    may(world, request, "sign")
}

/// The same of a pod's certificate, which upstream checks with its form: who issues it must have a
/// right to sign, and issue it now.
pub(super) fn sign_for_pod(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let told = |object: &Value| object.get("status").clone();
    if request.operation != Operation::Update
        || !request.is(GROUP, "podcertificaterequests", "status")
        || request.old.map(told) == Some(told(request.object))
    {
        return Ok(());
    }
    let mut errors = Errors::default();
    let not_before = request.object.at(&["status", "notBefore"]);
    let begins = time::parse(not_before.str()).unwrap_or(clock::now());
    if begins.since(clock::now()).max(clock::now().since(begins)) >= ISSUED_WITHIN {
        let why = "must be set to within 5 minutes of kube-apiserver's current time";
        errors.invalid("status.notBefore", not_before, why);
    }
    let signer = request.old.unwrap_or(request.object).at(&["spec", "signerName"]).str();
    if errors.is_empty() && !holds(world, request.user, "sign", signer) {
        let user = &request.user.name;
        let why = format!("User {user:?} is not permitted to \"sign\" for signer {signer:?}");
        errors.forbidden("spec.signerName", &why);
    }
    match errors.is_empty() {
        true => Ok(()),
        false => {
            let causes = errors.into_causes();
            Err(Status::invalid(GROUP, "PodCertificateRequest", request.name, causes))
        }
    }
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
    let pem = STANDARD.decode(spec.get("request").str()).unwrap_or_default();
    let asked = Request::of_pem(&pem)
        .map_err(|why| request.forbidden(&format!("failed to parse CSR: {why}")))?;
    if asked.subject.organizations().contains(&MASTERS) {
        let why = format!("use of {SIGNER} signer with {MASTERS} group is not allowed");
        return Err(request.forbidden(&why));
    }
    Ok(())
}
