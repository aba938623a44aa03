//! The certificates group: requests for certificates, and what signers are to be trusted by.
//!
//! Names of signers are checked alike everywhere. Requests and certificates are read as they are
//! written; who may sign what is for admission and the signers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::check::At;
use super::text;
use crate::api::registry::Errors;
use crate::api::tree::Value;

mod pod_certificate;
mod signing_request;
#[cfg(test)]
mod testing;
mod trust_bundle;

pub use pod_certificate::{PodCertificate, lifetimes, user_annotations};
pub use signing_request::SigningRequest;
pub use trust_bundle::{TRUST_BUNDLE, name_faults as trust_bundle_name_faults};

/// The longest domain of a signer.
const DOMAIN_MAX: usize = 253;
/// The longest name of a signer: a domain, a slash, a label and a subdomain joined by a dot.
const SIGNER_MAX: usize = DOMAIN_MAX + 1 + 253 + 63 + 1;

/// The bytes of a field that is text in base64; none where it is not.
fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.str()).unwrap_or_default()
}

/// A signer's name is `domain/path`.
pub fn signer(at: At<'_>, errors: &mut Errors) {
    let name = at.str();
    if name.is_empty() {
        return errors.required(at, "");
    }
    let [domain, path] = name.split('/').collect::<Vec<_>>()[..] else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(at, &at, why);
    };
    if domain.len() > DOMAIN_MAX {
        errors.too_long(at, DOMAIN_MAX);
    }
    labels(at, domain, text::dns_label, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid(at, &domain.into(), why);
    }
    labels(at, path, text::dns_subdomain, errors);
    if name.len() > SIGNER_MAX {
        errors.too_long(at, SIGNER_MAX);
    }
}

/// Reports the first label of a part that has not the form.
fn labels(at: At<'_>, part: &str, format: text::Format, errors: &mut Errors) {
    let faults = part.split('.').map(|label| (label, format(label)));
    let Some((label, faults)) = faults.into_iter().find(|(_, faults)| !faults.is_empty()) else {
        return;
    };
    for fault in faults {
        errors.invalid(at, &part.into(), &format!("validating label {label:?}: {fault}"));
    }
}

#[cfg(test)]
mod tests {
    use super::testing::told;
    use super::*;

    #[test]
    fn signers_are_a_domain_and_a_path() {
        let of = |name: &str| {
            let value = Value::from(name);
            told(|errors| signer(At::path("spec.signerName", &value), errors))
        };
        assert!(of("example.com/a").is_empty());
        assert!(of("example.com/a.b").is_empty());
        assert_eq!(of(""), ["spec.signerName: Required value"]);
        assert!(of("a").concat().contains("of the form 'example.com/signer-name'"));
        assert!(of("a.b/c/d").concat().contains("of the form 'example.com/signer-name'"));
        assert_eq!(
            of("a/b"),
            [
                "spec.signerName: Invalid value: \"a\": should be a domain with at least two segments \
              separated by dots"
            ]
        );
        let said = of("a.B/c").concat();
        assert!(
            said.contains("Invalid value: \"a.B\": validating label \"B\": a lowercase"),
            "{said}"
        );
    }
}
