//! Requests, certificates and what is said of them, for the tests of this group.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::api::registry::Errors;

/// What a check reports, as `field: message`.
pub fn told(check: impl FnOnce(&mut Errors)) -> Vec<String> {
    let mut errors = Errors::default();
    check(&mut errors);
    errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
}

/// A request for a certificate, in PEM and base64.
pub fn request() -> String {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    STANDARD.encode(request.pem().unwrap())
}

/// A certificate in PEM, perhaps an authority's.
pub fn certificate(authority: bool) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.self_signed(&key).unwrap().pem()
}
