//! Certificate signing requests: made by a joining node, checked by the server.

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PublicKey};

use super::Error;

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

/// The public key of a request in PEM, which the sender has proved to hold the private half of.
///
/// # Errors
/// When it is no request or its signature is not that of the key.
pub fn public_key(request_pem: &str) -> Result<PublicKey, Error> {
    CertificateSigningRequestParams::from_pem(request_pem)
        .map(|request| request.public_key)
        .map_err(|e| Error::Invalid(format!("the certificate signing request is not valid: {e}")))
}
