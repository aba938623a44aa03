//! Certificate signing requests: made by a joining node, and by nodes for pods; checked by the
//! server.

use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, KeyPair, PublicKey,
    RsaKeySize,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::Error;
use crate::util::x509::KeyKind;

/// A new private key in PEM and the request, in PEM, to certify it. What the certificate will say
/// is for the signer to decide: the request carries the key and the proof of holding it.
///
/// # Errors
/// When the system gives no randomness.
pub fn new() -> Result<(String, String), Error> {
    let failed = |e: rcgen::Error| Error::Issue { subject: "this node".into(), why: e.to_string() };
    let key = KeyPair::generate().map_err(failed)?;
    let request = CertificateParams::default()
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(failed)?;
    Ok((key.serialize_pem(), request))
}

/// A new private key in PEM and a request, in DER, that says nothing but which key it is and that
/// the sender holds it. Slow for RSA.
///
/// # Errors
/// When there is no making such keys, or the system gives no randomness.
pub fn bare(kind: KeyKind) -> Result<(String, Vec<u8>), Error> {
    let failed = |e: rcgen::Error| Error::Issue { subject: "a pod".into(), why: e.to_string() };
    let key = key(kind).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(failed)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

fn key(kind: KeyKind) -> Result<KeyPair, rcgen::Error> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    match kind {
        KeyKind::Rsa(3072) => rsa(RsaKeySize::_3072),
        KeyKind::Rsa(4096) => rsa(RsaKeySize::_4096),
        KeyKind::Curve(256) => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::Curve(384) => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyKind::Curve(521) => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        KeyKind::Ed25519 => ed25519(),
        _ => Err(rcgen::Error::KeyGenerationUnavailable),
    }
}

/// In the first version of the form: many readers do not know the second, in which the public key
/// follows.
fn ed25519() -> Result<KeyPair, rcgen::Error> {
    let unspecified = |_| rcgen::Error::RingUnspecified;
    let key = Ed25519KeyPair::generate().map_err(unspecified)?;
    let der = key.to_pkcs8v1().map_err(unspecified)?;
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(der.as_ref()))
}

/// The public key of a request in PEM, which the sender has proved to hold the private half of.
///
/// # Errors
/// When it is no request or its signature is not that of the key.
pub fn public_key(request_pem: &str) -> Result<PublicKey, Error> {
    CertificateSigningRequestParams::from_pem(request_pem)
        .map(|request| request.public_key)
        .map_err(|e| Error::Invalid(format!("the certificate signing request is not valid: {e}")))
}
