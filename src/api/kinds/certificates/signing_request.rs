//! CertificateSigningRequests: what is asked, what has been decided of it, and what was signed.
//!
//! The spec is its maker's and never changes. Who may approve writes the conditions Approved and
//! Denied; who signs writes the certificate and the other conditions.

use super::{bytes, signer};
use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::table::{AGE, NAME};
use crate::api::kinds::tabled::{Cell, Tabled};
use crate::api::kinds::text::{self, Format};
use crate::api::registry::{Column, Context, Errors, Rules, default_subresource};
use crate::api::tree::Value;
use crate::history::Fields;
use crate::util::x509::{self, Certificate, Request};

/// The signer of requests that come from an API version before this one.
const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// Conditions that are there or not, and never false.
const ONLY_TRUE: [&str; 3] = ["Approved", "Denied", "Failed"];
/// Conditions that decide.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

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
    check: request,
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
    ..Tabled::PLAIN
};

/// The rules of CertificateSigningRequests.
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
        default_subresource("status", object, old);
        let mut conditions = given.get("conditions").items().to_vec();
        let mut status = match subresource {
            // An approval decides, and tells nothing else.
            "approval" => old.get("status").clone(),
            _ => {
                keep_decisions(&mut conditions, old.at(&["status", "conditions"]).items());
                given
            }
        };
        match conditions.is_empty() {
            true => drop(status.remove("conditions")),
            false => status.set("conditions", conditions),
        }
        object.set("status", if status.is_null() { Value::object() } else { status });
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        whole(object, &Value::Null, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        whole(object, old, errors);
    }

    fn validate_subresource(&self, sub: &str, object: &Value, old: &Value, errors: &mut Errors) {
        whole(object, old, errors);
        let root = At::root(object);
        let status = root.field("status");
        transitions(sub, status.field("conditions"), old, errors);
        let certificate = status.field("certificate");
        let before = old.at(&["status", "certificate"]);
        if !before.is_empty() && certificate.value() != before {
            errors.forbidden(certificate, "updates may not modify existing certificate content");
        }
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

/// The conditions of one kind.
fn of_kind<'v>(conditions: &'v [Value], kind: &'v str) -> impl Iterator<Item = &'v Value> {
    conditions.iter().filter(move |condition| condition.get("type").str() == kind)
}

/// A status tells of decisions what they are: where it names as many as there are, those stay.
fn keep_decisions(conditions: &mut [Value], old: &[Value]) {
    for kind in DECISIONS {
        let kept: Vec<&Value> = of_kind(old, kind).collect();
        if of_kind(conditions, kind).count() != kept.len() {
            continue;
        }
        let told = conditions.iter_mut().filter(|condition| condition.get("type").str() == kind);
        told.zip(kept).for_each(|(condition, kept)| *condition = kept.clone());
    }
}

/// All that holds of a request at any time; `old` is null for a new one.
fn whole(object: &Value, old: &Value, errors: &mut Errors) {
    REQUEST.validate(object, errors);
    let root = At::root(object);
    let (spec, status) = (root.field("spec"), root.field("status"));
    let name = spec.field("signerName");
    match name.str() {
        LEGACY if old.at(&["spec", "signerName"]).str() != LEGACY => {
            errors.invalid(
                name,
                &name,
                "the legacy signerName is not allowed via this API version",
            );
        }
        _ => signer(name, errors),
    }
    Rule::Each(expiration).check(spec.field("expirationSeconds"), errors);
    conditions(status.field("conditions"), errors);
    let certificate = status.field("certificate");
    if certificate.value() != old.at(&["status", "certificate"])
        && let Err(why) = certificates(&bytes(&certificate))
    {
        errors.invalid(certificate, &"<certificate data>".into(), &why);
    }
}

fn request(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    let request = spec.field("request");
    if let Err(why) = Request::of_pem(&bytes(&request)) {
        errors.invalid(request, &request, &why);
    }
    const RULES: &[(&str, Rule)] = &[
        ("usages", Rule::Required("")),
        ("usages[]", Rule::OneOf(USAGES)),
        ("usages", Rule::Each(once)),
    ];
    check::apply(RULES, spec, errors);
}

fn once(usages: At<'_>, errors: &mut Errors) {
    let all = usages.value().items();
    for (index, usage) in usages.items().enumerate() {
        if all[..index].contains(usage.value()) {
            errors.duplicate(usage, &usage);
        }
    }
}

fn expiration(at: At<'_>, errors: &mut Errors) {
    if at.as_int().is_some_and(|seconds| seconds < 600) {
        errors.invalid(at, &at, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

fn conditions(list: At<'_>, errors: &mut Errors) {
    let mut decision = None;
    for condition in list.items() {
        let kind = condition.field("type");
        check::required(kind, "", errors);
        let known: &[&str] = match ONLY_TRUE.contains(&kind.str()) {
            true => &["True"],
            false => &["False", "True", "Unknown"],
        };
        Rule::RequiredOneOf(known).check(condition.field("status"), errors);
        let decides = condition.value().get("type").str();
        if DECISIONS.contains(&decides) && decision.replace(decides).is_some_and(|d| d != decides) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(list, &kind, why);
        }
    }
    check::unique(list, "type", errors);
}

/// What a write of a subresource may not do to the conditions.
fn transitions(subresource: &str, now: At<'_>, old: &Value, errors: &mut Errors) {
    let (new, old) = (now.value().items(), old.at(&["status", "conditions"]).items());
    for kind in ONLY_TRUE {
        let (after, before) = (of_kind(new, kind).count(), of_kind(old, kind).count());
        if after < before {
            errors.forbidden(now, &format!("updates may not remove a condition of type {kind:?}"));
        }
        if after > before && subresource == "status" && DECISIONS.contains(&kind) {
            errors.forbidden(now, &format!("updates may not add a condition of type {kind:?}"));
        }
    }
}

/// What is wrong with certificates that a signer puts in.
fn certificates(text: &[u8]) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let blocks = x509::blocks(text);
    if blocks.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    for block in blocks {
        if block.tag() != x509::CERTIFICATE {
            let found = block.tag();
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {found:?}"));
        }
        if block.headers().iter().next().is_some() {
            return Err("no PEM block headers are permitted".to_owned());
        }
        Certificate::of_der(block.contents())?;
    }
    Ok(())
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
    let has = |kind: &str| of_kind(status.get("conditions").items(), kind).next().is_some();
    let decision = match (has("Approved"), has("Denied")) {
        (_, true) => "Denied",
        (true, _) => "Approved",
        _ => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if status.get("certificate").is_empty() { "" } else { ",Issued" };
    format!("{decision}{failed}{issued}").into()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{certificate, request, told};
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn object(spec: &str, status: &str) -> Value {
        let request = request();
        let text = format!(
            r#"{{"metadata":{{"name":"r"}},"spec":{{"request":"{request}","usages":["client auth"],
            "signerName":"a.b/c"{spec}}},"status":{{{status}}}}}"#
        );
        Value::parse(text.as_bytes()).unwrap()
    }

    /// What is said of a write of a subresource.
    fn written(subresource: &str, old: &Value, status: &str) -> (Value, Vec<String>) {
        let mut new = old.clone();
        new.set("status", Value::parse(format!("{{{status}}}").as_bytes()).unwrap());
        SigningRequest.prepare_subresource(subresource, &mut new, old);
        let found = told(|e| SigningRequest.validate_subresource(subresource, &new, old, e));
        (new, found)
    }

    const APPROVED: &str = r#"{"type":"Approved","status":"True"}"#;
    const DENIED: &str = r#"{"type":"Denied","status":"True"}"#;

    #[test]
    fn a_request_must_be_one() {
        let of = |object: &Value| told(|errors| SigningRequest.validate(object, errors));
        assert!(of(&object("", "")).is_empty());
        let mut other = object(r#","expirationSeconds":599"#, "");
        let spec = other.entry("spec");
        spec.set("request", "bm9uZQ==");
        spec.set("usages", vec!["any".into(), "cooking".into(), Value::from("any")]);
        spec.set("signerName", LEGACY);
        let said = of(&other);
        for wanted in [
            "spec.request: Invalid value: \"bm9uZQ==\": PEM block type must be CERTIFICATE REQUEST",
            "spec.usages[2]: Duplicate value: \"any\"",
            "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy \
             signerName is not allowed via this API version",
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 \
             seconds (10 minutes)",
        ] {
            assert!(said.iter().any(|s| s == wanted), "{wanted}\n{said:#?}");
        }
        assert!(said[1].starts_with("spec.usages[1]: Unsupported value: \"cooking\""), "{said:?}");
    }

    #[test]
    fn decisions_are_made_by_approval_and_once() {
        let old = object("", "");
        let (approved, said) = written(
            "approval",
            &old,
            &format!(r#""conditions":[{APPROVED}],"certificate":"eA==""#),
        );
        assert!(said.is_empty(), "{said:?}");
        assert!(approved.at(&["status", "certificate"]).is_null(), "an approval signs nothing");
        let (_, said) = written("approval", &approved, "");
        assert_eq!(
            said,
            [
                "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""
            ]
        );
        let (_, said) =
            written("approval", &old, &format!(r#""conditions":[{APPROVED},{DENIED}]"#));
        assert!(said.concat().contains("are mutually exclusive"), "{said:?}");
        let not = r#""conditions":[{"type":"Approved","status":"False"},{"type":"Mine"}]"#;
        assert_eq!(
            written("approval", &old, not).1,
            [
                "status.conditions[0].status: Unsupported value: \"False\": supported values: \
                 \"True\"",
                "status.conditions[1].status: Required value",
            ]
        );
    }

    #[test]
    fn a_status_signs_and_decides_nothing() {
        let old = object("", &format!(r#""conditions":[{APPROVED}]"#));
        let changed = r#"{"type":"Approved","status":"True","reason":"Mine"}"#;
        let pem = STANDARD.encode(certificate(false));
        let signed = format!(r#""conditions":[{changed}],"certificate":"{pem}""#);
        let (new, said) = written("status", &old, &signed);
        assert!(said.is_empty(), "{said:?}");
        let kept = &new.at(&["status", "conditions"]).items()[0];
        assert_eq!(kept.to_string(), r#"{"status":"True","type":"Approved"}"#, "as it was");
        let (_, said) = written("status", &new, &format!(r#""conditions":[{APPROVED}]"#));
        assert!(said.concat().contains("may not modify existing certificate content"), "{said:?}");
        let (_, said) = written("status", &object("", ""), &format!(r#""conditions":[{DENIED}]"#));
        assert!(said.concat().contains("may not add a condition of type \"Denied\""), "{said:?}");
        let (_, said) = written("status", &object("", ""), r#""certificate":"eA==""#);
        assert_eq!(
            said,
            [
                "status.certificate: Invalid value: \"<certificate data>\": must contain at least one \
              CERTIFICATE PEM block"
            ]
        );
    }
}
