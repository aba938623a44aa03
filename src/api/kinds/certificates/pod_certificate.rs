//! PodCertificateRequests: a node asks for a pod's certificate, and proves that it has the key.
//!
//! The status is written once: the signer issues, denies, or fails for good.

use super::{bytes, signer};
use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::fallback::Fallback;
use crate::api::kinds::metadata;
use crate::api::kinds::table::NAME;
use crate::api::kinds::tabled::{Cell, Tabled};
use crate::api::kinds::text;
use crate::api::registry::{Column, Context, Errors, Rules, default_subresource};
use crate::api::time;
use crate::api::tree::Value;
use crate::history::Fields;
use crate::util::clock::Wall;
use crate::util::x509::{self, Certificate, KeyKind, PublicKey, Unsigned};
use std::time::Duration;

/// Bytes of a UID.
const UID_MAX: usize = 128;
/// Bytes of keys, proofs and requests.
const PROOF_MAX: usize = 10 << 10;
/// Bytes of a chain.
const CHAIN_MAX: usize = 100 << 10;
/// The shortest lifetime, in seconds.
const LIFETIME_S_MIN: i64 = 3600;
/// The longest, of signers of Kubernetes' own and of others.
const OWN_LIFETIME_S_MAX: i64 = 86_400;
const LIFETIME_S_MAX: i64 = 91 * 86_400;
/// How far from both ends of its time a certificate is replaced at the nearest.
const MARGIN: Duration = Duration::from_secs(600);
/// The ends of a request.
const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];

const REQUEST: Tabled = Tabled {
    defaults: &[("spec.maxExpirationSeconds", Fallback::NumberIfAbsent(OWN_LIFETIME_S_MAX))],
    check: |root, errors| {
        let spec = root.field("spec");
        signer(spec.field("signerName"), errors);
        user_annotations(spec.field("unverifiedUserAnnotations"), errors);
        for (name, id) in [
            ("podName", "podUID"),
            ("serviceAccountName", "serviceAccountUID"),
            ("nodeName", "nodeUID"),
        ] {
            check::formatted(spec.field(name), text::dns_subdomain, errors);
            uid(spec.field(id), errors);
        }
        lifetime(spec, errors);
        proof(spec, errors);
    },
    immutable: &["spec"],
    status: true,
    selectable: &["spec.signerName", "spec.podName", "spec.nodeName"],
    columns: &[
        (NAME, Cell::Name),
        (("PodName", "string", 0, "The pod."), Cell::At("spec.podName")),
        (("ServiceAccountName", "string", 0, "Its account."), Cell::At("spec.serviceAccountName")),
        (("NodeName", "string", 0, "Where it is."), Cell::At("spec.nodeName")),
        (("SignerName", "string", 0, "Who is to sign."), Cell::At("spec.signerName")),
        (
            ("State", "string", 0, "Is the request Pending, Issued, Denied, or Failed?"),
            Cell::Made(state),
        ),
        (
            ("UnverifiedUserAnnotations", "string", 0, "What the pod tells the signer."),
            Cell::Made(told_by_pod),
        ),
    ],
    ..Tabled::PLAIN
};

/// The rules of PodCertificateRequests.
pub struct PodCertificate;

impl Rules for PodCertificate {
    fn default(&self, object: &mut Value) {
        REQUEST.default(object);
    }

    fn prepare_create(&self, object: &mut Value, context: Context) {
        REQUEST.prepare_create(object, context);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: Context) {
        REQUEST.prepare_update(object, old, context);
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        default_subresource(subresource, object, old);
        let metadata = object.entry("metadata");
        for field in ["labels", "annotations", "finalizers"] {
            match old.get("metadata").get(field) {
                Value::Null => drop(metadata.remove(field)),
                kept => metadata.set(field, kept.clone()),
            }
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        REQUEST.validate(object, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let root = At::root(object);
        check::immutable(root.field("spec"), old.get("spec"), errors);
    }

    fn validate_subresource(&self, _: &str, object: &Value, old: &Value, errors: &mut Errors) {
        status(object, old, errors);
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn fields(&self, object: &Value) -> Fields {
        REQUEST.fields(object)
    }

    fn selectable(&self) -> &[&'static str] {
        REQUEST.selectable()
    }

    fn columns(&self) -> Vec<Column> {
        REQUEST.columns()
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        REQUEST.row(object, context)
    }
}

fn uid(at: At<'_>, errors: &mut Errors) {
    if at.str().is_empty() {
        errors.invalid(at, &"".into(), "must not be empty");
    }
    if at.str().len() > UID_MAX {
        errors.too_long(at, UID_MAX);
    }
}

/// What a pod tells a signer, as annotations whose keys all have a domain.
pub fn user_annotations(at: At<'_>, errors: &mut Errors) {
    metadata::annotations(at, errors);
    for (key, _) in at.value().fields() {
        let lower = key.to_lowercase();
        if text::label_key(&lower).is_empty() && !key.contains('/') {
            let why = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.invalid(at, &lower.into(), why);
        }
    }
}

/// The shortest and the longest lifetime that may be asked of a signer, in seconds.
pub fn lifetimes(signer: &str) -> (i64, i64) {
    let domain = signer.split('/').next().unwrap_or_default();
    let own = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    (LIFETIME_S_MIN, if own { OWN_LIFETIME_S_MAX } else { LIFETIME_S_MAX })
}

fn lifetime(spec: At<'_>, errors: &mut Errors) {
    let at = spec.field("maxExpirationSeconds");
    let Some(seconds) = at.as_int() else { return errors.required(at, "must be set") };
    let (min, max) = lifetimes(spec.get("signerName").str());
    if !(min..=max).contains(&seconds) {
        errors.invalid(at, &at, &format!("must be in the range [{min}, {max}]"));
    }
}

/// The key, and that the node has it: a request, or in the older form a key and a signature.
fn proof(spec: At<'_>, errors: &mut Errors) {
    let [request, key, proof] =
        ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"].map(|name| spec.get(name));
    match (request.is_empty(), key.is_empty(), proof.is_empty()) {
        (false, true, true) => stub(spec.field("stubPKCS10Request"), errors),
        (true, false, false) => {
            let uid = spec.get("podUID").str();
            old_form(spec.field("pkixPublicKey"), spec.field("proofOfPossession"), uid, errors);
        }
        _ => errors.invalid_unshown(
            spec,
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
        ),
    }
}

fn stub(at: At<'_>, errors: &mut Errors) {
    let der = bytes(&at);
    if der.len() > PROOF_MAX {
        return errors.too_long(at, PROOF_MAX);
    }
    let Ok(request) = Unsigned::of_der(&der) else {
        return errors.invalid_unshown(at, "must be a valid PKCS#10 CSR");
    };
    let Some(key) = PublicKey::of_der(request.public_key()) else {
        return errors.invalid_unshown(at, "must be a valid PKCS#10 CSR");
    };
    if !kind(at, key.kind(), errors) {
        return;
    }
    // What else it says is left to the signer: nodes send it empty.
    if request.verified().is_err() {
        errors.invalid_unshown(at, "invalid signature");
    }
}

fn old_form(key_at: At<'_>, proof_at: At<'_>, pod_uid: &str, errors: &mut Errors) {
    let (der, proof) = (bytes(&key_at), bytes(&proof_at));
    if der.len() > PROOF_MAX {
        return errors.too_long(key_at, PROOF_MAX);
    }
    if proof.len() > PROOF_MAX {
        return errors.too_long(proof_at, PROOF_MAX);
    }
    let Some(key) = PublicKey::of_der(&der) else {
        let why = "must be a valid PKIX-serialized public key";
        return errors.invalid(key_at, &key_at, why);
    };
    if kind(key_at, key.kind(), errors) && !key.signed(pod_uid.as_bytes(), &proof) {
        errors.invalid_unshown(proof_at, "could not verify proof-of-possession signature");
    }
}

/// Reports a key that is of a weak or unknown kind; true if it is fit.
fn kind(at: At<'_>, kind: KeyKind, errors: &mut Errors) -> bool {
    match kind {
        KeyKind::Ed25519 | KeyKind::Curve(_) | KeyKind::Rsa(3072 | 4096) => return true,
        KeyKind::OtherCurve => {
            let why = "elliptic public keys must use curve P256, P384, or P521";
            errors.invalid(at, &"curve".into(), why);
        }
        KeyKind::Rsa(bits) => {
            let given = format!("{bits}-bit modulus");
            errors.invalid(at, &given.into(), "RSA keys must have modulus size 3072 or 4096");
        }
        KeyKind::Other => errors.invalid_unshown(
            at,
            "unknown public key type; supported types are Ed25519, ECDSA, and RSA",
        ),
    }
    false
}

/// Which end a status tells of; empty for none.
fn end(status: &Value) -> &str {
    let ends = status.get("conditions").items().iter().map(|c| c.get("type").str());
    ends.into_iter().find(|kind| ENDS.contains(kind)).unwrap_or_default()
}

fn status(object: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let status = root.field("status");
    let before = errors.len();
    conditions(status.field("conditions"), errors);
    if errors.len() > before {
        return;
    }
    let (new, old_status) = (status.value(), old.get("status"));
    match (end(old_status), end(new)) {
        ("", "Issued") => issued(root.field("spec"), status, errors),
        ("", "Denied" | "Failed") => only_conditions(status, errors),
        (ended, _) if new != old_status => errors.invalid_unshown(
            status,
            match ended {
                "" => {
                    "status is immutable unless transitioning to \"Issued\", \"Denied\", or \
                       \"Failed\""
                }
                _ => "immutable after PodCertificateRequest is issued, denied, or failed",
            },
        ),
        _ => {}
    }
}

fn only_conditions(status: At<'_>, errors: &mut Errors) {
    let fields = status.value().fields();
    if fields.into_iter().any(|(field, value)| field != "conditions" && !value.is_empty()) {
        let why = "non-condition status fields must be empty when denying or failing the \
                   PodCertificateRequest";
        errors.invalid_unshown(status, why);
    }
}

fn conditions(list: At<'_>, errors: &mut Errors) {
    let mut known = 0;
    for condition in list.items() {
        let (kind, status) = (condition.field("type"), condition.field("status"));
        if !ENDS.contains(&kind.str()) {
            errors.not_supported(kind, &kind, &ENDS);
            continue;
        }
        known += 1;
        if known > 1 {
            let why = "There may be at most one condition with type \"Issued\", \"Denied\", or \
                       \"Failed\"";
            errors.invalid(kind, &kind, why);
        }
        if status.str() != "True" {
            errors.not_supported(status, &status, &["True"]);
        }
        check::required(condition.field("lastTransitionTime"), "", errors);
        Rule::RequiredText(reason).check(condition.field("reason"), errors);
    }
}

/// A condition's reason.
fn reason(given: &str) -> Vec<String> {
    const REGEX: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"_,:".contains(b);
    let (first, last) = (given.as_bytes().first(), given.as_bytes().last());
    let framed = first.is_some_and(u8::is_ascii_alphabetic)
        && last.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if framed && given.as_bytes().iter().all(inner) {
        return Vec::new();
    }
    let what = "a condition reason must start with alphabetic character, optionally followed by a \
                string of alphanumeric characters or '_,:', and must end with an alphanumeric \
                character or '_'";
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    vec![text::regex_error(what, REGEX, &examples)]
}

/// A chain that has been issued, and the times that go with it. How near to now it begins is for
/// admission to say, which knows the time.
fn issued(spec: At<'_>, status: At<'_>, errors: &mut Errors) {
    let at = status.field("certificateChain");
    if at.str().len() > CHAIN_MAX {
        return errors.too_long(at, CHAIN_MAX);
    }
    let leaf = match leaf(at.str()) {
        Ok(leaf) => leaf,
        Err(why) => return errors.invalid(at, &at, why),
    };
    leaf_names(at, &leaf, errors);
    if requested_key(&spec).as_deref() != Some(leaf.public_key.as_slice()) {
        let why = "leaf certificate was not issued to the requested public key";
        return errors.invalid(at, &at, why);
    }
    times(status, &leaf, spec.get("maxExpirationSeconds").as_int().unwrap_or(0), errors);
}

/// The first certificate of a chain, all of which must be certificates.
fn leaf(chain: &str) -> Result<Certificate, &'static str> {
    let blocks = x509::blocks(chain.as_bytes());
    let Some((first, others)) = blocks.split_first() else {
        return Err("issued certificate chain must contain at least one certificate");
    };
    if blocks.iter().any(|block| block.tag() != x509::CERTIFICATE) {
        return Err("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    if others.iter().any(|block| Certificate::of_der(block.contents()).is_err()) {
        return Err("intermediate certificate does not parse as valid X.509");
    }
    Certificate::of_der(first.contents())
        .map_err(|_| "leaf certificate does not parse as valid X.509")
}

fn leaf_names(at: At<'_>, leaf: &Certificate, errors: &mut Errors) {
    for name in &leaf.names.dns {
        let mut faulty = |why: &str| errors.invalid(at, &name.as_str().into(), why);
        if name.is_empty() {
            faulty("leaf certificate should not contain empty DNSName");
        }
        if name.contains("..") {
            faulty("leaf certificate's DNSName should not contain '..'");
        }
        if name.starts_with('.') || name.ends_with('.') {
            faulty("leaf certificate's DNSName should not start or end with '.'");
        }
    }
    for address in leaf.names.emails.iter().filter(|address| !address.contains('@')) {
        let why = "leaf certificate should not contain invalid EmailAddress";
        errors.invalid(at, &address.as_str().into(), why);
    }
}

/// The public key that a request names.
fn requested_key(spec: &Value) -> Option<Vec<u8>> {
    let request = bytes(spec.get("stubPKCS10Request"));
    match request.is_empty() {
        true => Some(bytes(spec.get("pkixPublicKey"))),
        false => Some(Unsigned::of_der(&request).ok()?.public_key().to_vec()),
    }
}

fn times(status: At<'_>, leaf: &Certificate, seconds_max: i64, errors: &mut Errors) {
    let ends = "must be present and consistent with the issued certificate";
    let refresh = "must be present and in the range [notbefore+10min, notafter-10min]";
    let mut found = [Wall(0); 3];
    let fields = [("notBefore", ends), ("notAfter", ends), ("beginRefreshAt", refresh)];
    let before = errors.len();
    for (slot, (field, why)) in found.iter_mut().zip(fields) {
        match time::parse(status.get(field).str()) {
            Some(time) => *slot = time,
            None => errors.required(status.field(field), why),
        }
    }
    if errors.len() > before {
        return;
    }
    let [not_before, not_after, refresh_at] = found;
    let chain = status.field("certificateChain");
    let lifetime = leaf.not_after.since(leaf.not_before);
    let shown = Value::from(format!("{}s", lifetime.as_secs()));
    let (at, given, why) = if not_before != leaf.not_before {
        let why = "must be set to the NotBefore time encoded in the leaf certificate".to_owned();
        ("notBefore", status.get("notBefore"), why)
    } else if not_after != leaf.not_after {
        let why = "must be set to the NotAfter time encoded in the leaf certificate".to_owned();
        ("notAfter", status.get("notAfter"), why)
    } else if lifetime < Duration::from_secs(3600) {
        let why = "leaf certificate lifetime must be >= 1 hour";
        return errors.invalid(chain, &shown, why);
    } else if lifetime.as_secs() > u64::try_from(seconds_max).unwrap_or(0) {
        let why = format!(
            "leaf certificate lifetime must be <= spec.maxExpirationSeconds ({seconds_max})"
        );
        return errors.invalid(chain, &shown, &why);
    } else if refresh_at < not_before.after(MARGIN) {
        let why = "must be at least 10 minutes after status.notBefore".to_owned();
        ("beginRefreshAt", status.get("beginRefreshAt"), why)
    } else if refresh_at > not_after.before(MARGIN) {
        let why = "must be at least 10 minutes before status.notAfter".to_owned();
        ("beginRefreshAt", status.get("beginRefreshAt"), why)
    } else {
        return;
    };
    errors.invalid(status.field(at), given, &why);
}

fn state(object: &Value) -> Value {
    match end(object.get("status")) {
        "" => "Pending".into(),
        end => end.into(),
    }
}

fn told_by_pod(object: &Value) -> Value {
    let pairs = object.at(&["spec", "unverifiedUserAnnotations"]).fields();
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", value.str())).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",").into() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::told;
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};

    /// A request whose key and proof are these fields.
    fn object(proof: &str) -> Value {
        let text = format!(
            r#"{{"metadata":{{"name":"p"}},"spec":{{"signerName":"a.b/c","podName":"p","podUID":"u",
            "serviceAccountName":"a","serviceAccountUID":"v","nodeName":"n","nodeUID":"w",
            "maxExpirationSeconds":86400,{proof}}}}}"#
        );
        Value::parse(text.as_bytes()).unwrap()
    }

    fn stub(key: &KeyPair) -> String {
        let request = CertificateParams::default().serialize_request(key).unwrap();
        format!(r#""stubPKCS10Request":"{}""#, STANDARD.encode(request.der()))
    }

    fn faults(object: &Value) -> Vec<String> {
        told(|errors| PodCertificate.validate(object, errors))
    }

    #[test]
    fn a_node_proves_that_it_has_the_key() {
        let key = KeyPair::generate().unwrap();
        assert!(faults(&object(&stub(&key))).is_empty());
        let (public, proof) = (key.subject_public_key_info(), key.sign(b"u").unwrap());
        let older = |proof: &[u8]| {
            let (key, proof) = (STANDARD.encode(&public), STANDARD.encode(proof));
            object(&format!(r#""pkixPublicKey":"{key}","proofOfPossession":"{proof}""#))
        };
        assert!(faults(&older(&proof)).is_empty());
        let other = key.sign(b"v").unwrap();
        assert_eq!(
            faults(&older(&other)),
            ["spec.proofOfPossession: Invalid value: could not verify proof-of-possession \
              signature"]
        );
        let said = faults(&object(r#""x":1"#)).concat();
        assert!(said.contains("spec: Invalid value: exactly one of (stubPKCS10Request)"), "{said}");
        let said = faults(&object(r#""stubPKCS10Request":"eA==""#)).concat();
        assert!(said.contains("must be a valid PKCS#10 CSR"), "{said}");
    }

    #[test]
    fn limits_depend_on_the_signer() {
        let mut long = object(&stub(&KeyPair::generate().unwrap()));
        long.entry("spec").set("maxExpirationSeconds", 86_401);
        assert!(faults(&long).is_empty());
        long.entry("spec").set("signerName", "kubernetes.io/x");
        assert_eq!(
            faults(&long),
            ["spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"]
        );
    }

    #[test]
    fn a_status_is_written_once() {
        let key = KeyPair::generate().unwrap();
        let old = object(&stub(&key));
        let condition = |kind: &str| {
            let rest =
                r#""status":"True","reason":"R","lastTransitionTime":"2026-01-01T00:00:00Z""#;
            format!(r#""conditions":[{{"type":"{kind}",{rest}}}]"#)
        };
        let with = |old: &Value, status: &str| {
            let mut new = old.clone();
            new.set("status", Value::parse(format!("{{{status}}}").as_bytes()).unwrap());
            let said = told(|e| PodCertificate.validate_subresource("status", &new, old, e));
            (new, said)
        };
        let (denied, said) = with(&old, &condition("Denied"));
        assert!(said.is_empty(), "{said:?}");
        let said = with(&denied, &condition("Failed")).1;
        assert!(said.concat().contains("immutable after PodCertificateRequest is"), "{said:?}");
        let said = with(&old, &format!(r#"{},"certificateChain":"x""#, condition("Failed"))).1;
        assert!(said.concat().contains("fields must be empty when denying"), "{said:?}");

        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        let pem = params.self_signed(&key).unwrap().pem().replace('\n', "\\n");
        let times = |refresh: &str| {
            format!(
                r#""notBefore":"2026-01-01T00:00:00Z","notAfter":"2026-01-02T00:00:00Z",
                "beginRefreshAt":"{refresh}""#
            )
        };
        let issued = |pem: &str, refresh: &str| {
            let (condition, times) = (condition("Issued"), times(refresh));
            with(&old, &format!(r#"{condition},"certificateChain":"{pem}",{times}"#)).1
        };
        let good = issued(&pem, "2026-01-01T12:00:00Z");
        assert!(good.is_empty(), "{good:?}");
        let said = issued(&pem, "2026-01-01T23:55:00Z").concat();
        assert!(said.contains("at least 10 minutes before status.notAfter"), "{said}");
        let other = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let other = other.replace('\n', "\\n");
        let said = issued(&other, "2026-01-01T12:00:00Z").concat();
        assert!(said.contains("not issued to the requested public key"), "{said}");
    }
}
