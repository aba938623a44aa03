//! The certificates group. Requests are kept and may be approved; nothing in rk signs them yet.

use super::check::{self, At, Rule};
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text::{self, Format};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules};
use crate::api::tree::Value;
use crate::history::Fields;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

const REQUEST: Tabled = Tabled {
    rules: &[
        ("spec.request", Rule::Required("")),
        ("spec.usages", Rule::Required("")),
        ("spec.usages[]", Rule::OneOf(USAGES)),
        ("spec.signerName", Rule::Each(signer)),
        ("spec.expirationSeconds", Rule::Each(expiration)),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        check::required(spec.field("signerName"), "", errors);
    },
    immutable: &["spec"],
    status: true,
    selectable: &["spec.signerName"],
    columns: &[
        (NAME, Cell::Name),
        (AGE, Cell::Age),
        (("SignerName", "string", 0, "Who is to sign."), Cell::At("spec.signerName")),
        (("Requestor", "string", 0, "Who asks."), Cell::At("spec.username")),
        (("RequestedDuration", "string", 0, "For how long."), Cell::Made(duration)),
        (("Condition", "string", 0, "What has been decided."), Cell::Made(decided)),
    ],
    unserved: "rk stores CertificateSigningRequests, but does not sign them yet",
    ..Tabled::PLAIN
};

/// CertificateSigningRequests: those of a table, but who asks and what is decided have rules of
/// their own.
pub struct SigningRequest;

impl Rules for SigningRequest {
    fn name_format(&self) -> Format {
        text::path_segment
    }

    fn prepare_create(&self, object: &mut Value, context: Context) {
        REQUEST.prepare_create(object, context);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: Context) {
        REQUEST.prepare_update(object, old, context);
        object.set("spec", old.get("spec").clone());
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        let given = object.get("status").clone();
        crate::api::registry::default_subresource("status", object, old);
        let (mut status, conditions) = match subresource {
            // An approval decides, and tells nothing else.
            "approval" => (old.get("status").clone(), given.get("conditions").items().to_vec()),
            _ => (given.clone(), told(&given, old.get("status"))),
        };
        match conditions.is_empty() {
            true => drop(status.remove("conditions")),
            false => status.set("conditions", conditions),
        }
        object.set("status", if status.is_null() { Value::object() } else { status });
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        REQUEST.validate(object, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        REQUEST.validate_update(object, old, errors);
    }

    fn validate_subresource(&self, _: &str, object: &Value, old: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let status = root.field("status");
        let conditions = status.field("conditions");
        check::unique(conditions, "type", errors);
        let has =
            |kind: &str| conditions.value().items().iter().any(|c| c.get("type").str() == kind);
        if has("Approved") && has("Denied") {
            errors.invalid(
                conditions,
                &"Denied".into(),
                "Approved and Denied conditions are mutually exclusive",
            );
        }
        let (certificate, before) =
            (status.field("certificate"), old.at(&["status", "certificate"]));
        if !before.is_empty() && certificate.value() != before {
            errors.forbidden(certificate, "updates may not modify existing certificate content");
        }
        for before in old.at(&["status", "conditions"]).items() {
            let kind = before.get("type").str();
            if matches!(kind, "Approved" | "Denied" | "Failed") && !has(kind) {
                errors.forbidden(
                    conditions,
                    &format!("updates may not remove a condition of type {kind:?}"),
                );
            }
        }
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        REQUEST.warnings(object, old)
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

/// The conditions that a status tells, with the decisions that there were: those are not its own.
fn told(given: &Value, old: &Value) -> Vec<Value> {
    let decides = |condition: &&Value| matches!(condition.get("type").str(), "Approved" | "Denied");
    let decided = old.get("conditions").items().iter().filter(decides);
    let rest = given.get("conditions").items().iter().filter(|condition| !decides(condition));
    decided.chain(rest).cloned().collect()
}

fn expiration(at: At<'_>, errors: &mut Errors) {
    if at.as_int().is_some_and(|seconds| seconds < 600) {
        errors.invalid(at, &at, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

/// A signer's name is `domain/path`.
fn signer(at: At<'_>, errors: &mut Errors) {
    match at.str().split_once('/') {
        Some((domain, path)) if !path.is_empty() && domain.contains('.') => {
            check::formatted(
                At::path(&String::from(at), &domain.into()),
                text::dns_subdomain,
                errors,
            );
        }
        _ => errors.invalid(
            at,
            &at,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        ),
    }
}

fn duration(object: &Value) -> Value {
    match object.at(&["spec", "expirationSeconds"]).as_int() {
        Some(seconds) => {
            crate::api::registry::human_duration(u64::try_from(seconds).unwrap_or(0)).into()
        }
        None => "<none>".into(),
    }
}

fn decided(object: &Value) -> Value {
    let status = object.get("status");
    let has =
        |kind: &str| status.get("conditions").items().iter().any(|c| c.get("type").str() == kind);
    let decision = match (has("Approved"), has("Denied")) {
        (_, true) => "Denied",
        (true, _) => "Approved",
        _ => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if status.get("certificate").is_empty() { "" } else { ",Issued" };
    format!("{decision}{failed}{issued}").into()
}

/// ClusterTrustBundles.
pub const TRUST_BUNDLE: Tabled = Tabled {
    rules: &[("spec.trustBundle", Rule::Required("")), ("spec.signerName", Rule::Each(signer))],
    check: |root, errors| {
        let spec = root.field("spec");
        let signer = spec.get("signerName").str();
        let (name, prefix) = (root.value().name(), format!("{}:", signer.replace('/', ":")));
        if !signer.is_empty() && !name.starts_with(&prefix) {
            let why = format!(
                "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
            );
            errors.invalid("metadata.name", &name.into(), &why);
        }
    },
    name: text::path_segment,
    immutable: &["spec.signerName"],
    selectable: &["spec.signerName"],
    columns: &[
        (NAME, Cell::Name),
        (("SignerName", "string", 0, "Whose bundle it is."), Cell::At("spec.signerName")),
    ],
    unserved: "rk stores ClusterTrustBundles, but hands them to no pods yet",
    ..Tabled::PLAIN
};

/// PodCertificateRequests.
pub const POD_CERTIFICATE: Tabled = Tabled {
    rules: &[
        ("spec.signerName", Rule::Each(signer)),
        ("spec.podName", Rule::Required("")),
        ("spec.podUID", Rule::Required("")),
        ("spec.serviceAccountName", Rule::Required("")),
        ("spec.serviceAccountUID", Rule::Required("")),
        ("spec.nodeName", Rule::Required("")),
        ("spec.nodeUID", Rule::Required("")),
    ],
    immutable: &["spec"],
    status: true,
    selectable: &["spec.signerName", "spec.podName", "spec.nodeName"],
    columns: &[
        (NAME, Cell::Name),
        (("PodName", "string", 0, "The pod."), Cell::At("spec.podName")),
        (("ServiceAccountName", "string", 0, "Its account."), Cell::At("spec.serviceAccountName")),
        (("NodeName", "string", 0, "Where it is."), Cell::At("spec.nodeName")),
        (("SignerName", "string", 0, "Who is to sign."), Cell::At("spec.signerName")),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores PodCertificateRequests, but does not sign them yet",
    ..Tabled::PLAIN
};
