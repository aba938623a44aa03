//! TLS towards registries: the machine's own roots, those of the settings, client certificates.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::super::error::{Error, Result, blocking};
use super::settings::TlsSettings;

/// TLS configurations, each made once.
#[derive(Debug, Default)]
pub(super) struct TlsConfigs {
    made: tokio::sync::Mutex<HashMap<TlsSettings, Arc<ClientConfig>>>,
}

impl TlsConfigs {
    /// The configuration for some settings; reads certificates from the disk at first.
    pub(super) async fn get(&self, settings: &TlsSettings) -> Result<Arc<ClientConfig>> {
        let mut made = self.made.lock().await;
        if let Some(config) = made.get(settings) {
            return Ok(Arc::clone(config));
        }
        let wanted = settings.clone();
        let config = Arc::new(blocking(move || build(&wanted)).await?);
        made.insert(settings.clone(), Arc::clone(&config));
        Ok(config)
    }
}

fn build(settings: &TlsSettings) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::malformed("TLS configuration", e))?;
    let builder = if settings.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerifier(provider)))
    } else {
        builder.with_root_certificates(roots(settings)?)
    };
    match (&settings.cert_file, &settings.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, e))?;
            builder.with_client_auth_cert(chain, private).map_err(|e| unusable(cert, e))
        }
        (Some(path), None) | (None, Some(path)) => {
            Err(unusable(path, "cert_file and key_file belong together"))
        }
    }
}

/// The machine's roots and those of the settings; a broken one of the machine's is passed over.
fn roots(settings: &TlsSettings) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = &settings.ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|e| unusable(path, e))?;
        }
    }
    if roots.is_empty() {
        tracing::warn!("this machine has no root certificates: no registry can be trusted");
    }
    Ok(roots)
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>> {
    let parsed = CertificateDer::pem_file_iter(path).map_err(|e| unusable(path, e))?;
    let found: std::result::Result<Vec<_>, _> = parsed.collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(path, "no certificate in it")),
        Ok(found) => Ok(found),
        Err(e) => Err(unusable(path, e)),
    }
}

fn unusable(path: &Path, reason: impl ToString) -> Error {
    Error::Config { path: path.to_path_buf(), reason: reason.to_string() }
}

/// Believes every certificate, for `insecure_skip_verify`; signatures must still be right.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
