//! One certificate authority: its files, and what it signs.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

mod sign;

use super::{Error, files};
use crate::limits;
use crate::util::clock::{self, Wall};
use crate::util::id;

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Shown by a server.
    Server,
    /// Shown by a client.
    Client,
}

/// What a leaf certificate says.
#[derive(Debug, Clone)]
pub struct Profile<'a> {
    /// CN: a client's user name.
    pub name: &'a str,
    /// O: a client's group; empty for none.
    pub group: &'a str,
    /// DNS names and addresses of a server.
    pub hosts: &'a [String],
    /// What it is for.
    pub usage: Usage,
}

impl<'a> Profile<'a> {
    /// A client's.
    pub const fn client(name: &'a str, group: &'a str) -> Self {
        Self { name, group, hosts: &[], usage: Usage::Client }
    }

    /// A server's.
    pub const fn server(name: &'a str, hosts: &'a [String]) -> Self {
        Self { name, group: "", hosts, usage: Usage::Server }
    }
}

/// A certificate with its private key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The private key in PEM.
    pub key_pem: String,
}

impl Identity {
    /// When the certificate begins and ends to be valid.
    ///
    /// # Errors
    /// When it is not a certificate.
    pub fn validity(&self) -> Result<(Wall, Wall), Error> {
        validity(&self.certificate_pem)
    }

    /// As rustls takes it.
    ///
    /// # Errors
    /// When certificate or key do not parse or do not belong together.
    pub fn certified_key(&self) -> Result<rustls::sign::CertifiedKey, Error> {
        let chain = certificates(&self.certificate_pem)?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|e| Error::Invalid(format!("the private key does not parse: {e}")))?;
        rustls::sign::CertifiedKey::from_der(chain, key, &super::tls::provider())
            .map_err(|e| Error::Invalid(format!("certificate and key do not fit: {e}")))
    }
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// When there is none or one does not parse.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(Error::Invalid("there is no certificate in it".to_owned())),
        Err(e) => Err(Error::Invalid(format!("it does not parse as PEM: {e}"))),
    }
}

fn validity(pem: &str) -> Result<(Wall, Wall), Error> {
    let chain = certificates(pem)?;
    let (_, first) = X509Certificate::from_der(&chain[0])
        .map_err(|e| Error::Invalid(format!("it does not parse as a certificate: {e}")))?;
    let validity = first.validity();
    Ok((
        Wall::from_seconds(validity.not_before.timestamp()),
        Wall::from_seconds(validity.not_after.timestamp()),
    ))
}

/// A certificate authority whose key is at hand.
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: Wall,
}

impl Authority {
    /// Reads `<name>.crt` and `<name>.key` of `dir`; where `may_create`, makes what is missing.
    ///
    /// # Errors
    /// When a file is missing (and may not be made), damaged, or cannot be read or written.
    pub(super) fn open(dir: &Path, name: &str, may_create: bool) -> Result<Self, Error> {
        let key_path = dir.join(format!("{name}.key"));
        let certificate_path = dir.join(format!("{name}.crt"));
        let certificate = files::read_text(&certificate_path)?;
        // A certificate without its key is somebody's own: only they can have the key.
        let key = open_key(&key_path, may_create && certificate.is_none())?;
        let damaged = |why: String| Error::Damaged { path: certificate_path.clone(), why };
        let certificate = match certificate {
            Some(pem) => pem,
            None if may_create => {
                let pem = self_signed(name, &key)?;
                files::write(&certificate_path, pem.as_bytes(), 0o644)?;
                pem
            }
            None => return Err(Error::Missing { path: certificate_path }),
        };
        Self::new(certificate, key).map_err(|e| damaged(e.to_string()))
    }

    fn new(certificate_pem: String, key: KeyPair) -> Result<Self, Error> {
        let der = certificates(&certificate_pem)?.remove(0);
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|e| Error::Invalid(format!("it does not parse as a certificate: {e}")))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(Error::Invalid("its private key is that of another certificate".into()));
        }
        if !parsed.is_ca() {
            return Err(Error::Invalid("it is not the certificate of an authority".into()));
        }
        let not_after = Wall::from_seconds(parsed.validity().not_after.timestamp());
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|e| Error::Invalid(format!("it cannot be used for signing: {e}")))?;
        Ok(Self { certificate_pem, issuer, not_after })
    }

    /// The certificate that others trust, in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificates that others trust.
    ///
    /// # Errors
    /// Never for an authority that was opened; the text is parsed again.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        certificates(&self.certificate_pem)
    }

    /// Makes a key and a certificate for it.
    ///
    /// # Errors
    /// When a host is no name, or the system gives no randomness.
    pub fn issue(&self, profile: &Profile<'_>) -> Result<Identity, Error> {
        let key = KeyPair::generate().map_err(|e| not_issued(profile.name, &e))?;
        let certificate_pem = self.certify(profile, &key)?;
        Ok(Identity { certificate_pem, key_pem: key.serialize_pem() })
    }

    /// A certificate in PEM for somebody else's key.
    ///
    /// # Errors
    /// When a host is no name.
    pub fn certify(
        &self,
        profile: &Profile<'_>,
        key: &impl PublicKeyData,
    ) -> Result<String, Error> {
        let lifetime = limits::LEAF_CERTIFICATE_LIFETIME;
        let mut params = params(profile.name, lifetime, Some(self.not_after));
        if !profile.group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, profile.group);
        }
        for host in profile.hosts {
            params.subject_alt_names.push(host_name(host)?);
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match profile.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params
            .signed_by(key, &self.issuer)
            .map(|certificate| certificate.pem())
            .map_err(|e| not_issued(profile.name, &e))
    }
}

fn not_issued(subject: &str, error: &rcgen::Error) -> Error {
    Error::Issue { subject: subject.to_owned(), why: error.to_string() }
}

fn host_name(host: &str) -> Result<SanType, Error> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let name = host.try_into().map_err(|_| Error::Issue {
        subject: host.to_owned(),
        why: "it is neither an address nor a DNS name".to_owned(),
    })?;
    Ok(SanType::DnsName(name))
}

/// The key of a file; where `may_create`, a new one if there is no file.
fn open_key(path: &Path, may_create: bool) -> Result<KeyPair, Error> {
    let damaged = |e: rcgen::Error| Error::Damaged { path: path.to_owned(), why: e.to_string() };
    if let Some(pem) = files::read_text(path)? {
        return KeyPair::from_pem(&pem).map_err(damaged);
    }
    if !may_create {
        return Err(Error::Missing { path: path.to_owned() });
    }
    let key = KeyPair::generate().map_err(|e| not_issued(&path.display().to_string(), &e))?;
    files::write(path, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(key)
}

fn self_signed(name: &str, key: &KeyPair) -> Result<String, Error> {
    // The time in the name tells two clusters' authorities apart in a mixed-up kubeconfig.
    let name = format!("rk-{name}@{}", clock::now().seconds());
    let mut params = params(&name, limits::AUTHORITY_LIFETIME, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    params.self_signed(key).map(|c| c.pem()).map_err(|e| not_issued(&name, &e))
}

/// What all certificates have in common. Valid since an hour, since clocks differ between machines.
fn params(name: &str, lifetime: Duration, not_after_max: Option<Wall>) -> CertificateParams {
    let now = clock::now();
    let not_after = now.after(lifetime);
    let not_after = not_after_max.map_or(not_after, |max| not_after.min(max));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let date = |time: Wall| epoch + Duration::from_secs(time.seconds().try_into().unwrap_or(0));
    let mut params = CertificateParams::default();
    params.not_before = date(now.before(limits::CERTIFICATE_BACKDATE));
    params.not_after = date(not_after);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let mut serial: [u8; 16] = id::random();
    // A serial number is a positive integer.
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}
