//! TLS as this program speaks it: one provider, TLS 1.2 and 1.3.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::{Authority, Error, Rotating};
use crate::util::clock;

/// The one source of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// Certificates to trust.
///
/// # Errors
/// When one is not fit to be trusted.
pub fn roots<'a>(pems: impl IntoIterator<Item = &'a str>) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    for pem in pems {
        for certificate in super::authority::certificates(pem)? {
            store
                .add(certificate)
                .map_err(|e| Error::Invalid(format!("a certificate cannot be trusted: {e}")))?;
        }
    }
    Ok(Arc::new(store))
}

/// What the machine trusts; a certificate of it that cannot be read is passed over.
///
/// # Errors
/// When it trusts nobody.
pub fn native_roots() -> Result<Arc<RootCertStore>, Error> {
    let native = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(native.certs);
    match store.is_empty() {
        true => Err(Error::Invalid("this machine trusts no certificate authority".to_owned())),
        false => Ok(Arc::new(store)),
    }
}

/// A server that asks for client certificates of `authorities` and takes clients without one.
///
/// # Errors
/// When an authority cannot be trusted.
pub fn server(
    identity: Arc<Rotating>,
    authorities: &[&str],
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    let roots = roots(authorities.iter().copied())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::Invalid(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Invalid(e.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A client that trusts `roots` and shows `identity`, if it has one.
///
/// # Errors
/// Never with the one provider, which speaks TLS 1.2 and 1.3.
pub fn client(
    roots: Arc<RootCertStore>,
    identity: Option<Arc<Rotating>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Invalid(e.to_string()))?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A client that takes any certificate: for the first contact of a joining node only, which checks
/// by the token's hash what it was shown.
///
/// # Errors
/// Never with the one provider.
pub fn unverified_client(alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Invalid(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// Tells which authority a client certificate is of.
pub struct ClientVerifier(Arc<dyn ClientCertVerifier>);

impl ClientVerifier {
    /// For certificates of one authority.
    ///
    /// # Errors
    /// When the authority cannot be trusted.
    pub fn new(authority: &Authority) -> Result<Self, Error> {
        let roots = roots([authority.certificate_pem()])?;
        WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map(Self)
            .map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Whether a chain, the client's own certificate first, is of this authority and valid now.
    pub fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let seconds = u64::try_from(clock::now().seconds()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        match chain.split_first() {
            Some((own, others)) => self.0.verify_client_cert(own, others, now).is_ok(),
            None => false,
        }
    }
}

/// Takes any certificate, but checks that the other end holds its key.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let supported = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, supported)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let supported = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, supported)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
