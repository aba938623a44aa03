//! Certificates, and requests for them: what their PEM and DER say.
//!
//! Only what is written there. Whom to trust, and what a name means, is for others to say.

use std::net::IpAddr;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use pem::Pem;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key as parsed;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::clock::Wall;

/// The label of a certificate in PEM.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a request for one.
const REQUEST: &str = "CERTIFICATE REQUEST";

/// The blocks of a PEM text; none where one of them is malformed.
pub fn blocks(text: &[u8]) -> Vec<Pem> {
    pem::parse_many(text).unwrap_or_default()
}

/// A certificate as PEM, its lines ending as those of everybody else do.
pub fn certificate_pem(der: &[u8]) -> String {
    const LINES: pem::EncodeConfig = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&Pem::new(CERTIFICATE, der), LINES)
}

/// The attributes of a name that are kept, by their number below 2.5.4: country, organization,
/// unit, locality, province, street, postal code, common name, serial number. Others are of no
/// known meaning, and what is signed must not have a meaning that nobody looked at.
pub const ATTRIBUTES: [u64; 9] = [6, 10, 11, 7, 8, 9, 17, 3, 5];
const ORGANIZATION: u64 = 10;
const COMMON_NAME: u64 = 3;

/// Whom a certificate is for: attributes by their number, in the order in which they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Name(Vec<(u64, String)>);

impl Name {
    fn of(name: &X509Name<'_>) -> Result<Self, String> {
        let mut found = Vec::new();
        for attribute in name.iter_attributes() {
            let arcs: Option<Vec<u64>> = attribute.attr_type().iter().map(Iterator::collect);
            let Some([2, 5, 4, number]) = arcs.as_deref() else { continue };
            let value = attribute.as_str().map_err(|_| "an attribute of the subject is no text")?;
            found.push((*number, value.to_owned()));
        }
        Ok(Self(found))
    }

    /// The values of an attribute.
    pub fn values(&self, attribute: u64) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(number, _)| *number == attribute).map(|(_, v)| v.as_str())
    }

    /// The common name; of several the last, as everywhere in Kubernetes.
    pub fn common_name(&self) -> &str {
        self.values(COMMON_NAME).last().unwrap_or_default()
    }

    /// The organizations.
    pub fn organizations(&self) -> Vec<&str> {
        self.values(ORGANIZATION).collect()
    }
}

/// The names of a certificate besides its subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// Host names.
    pub dns: Vec<String>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// Addresses of hosts.
    pub addresses: Vec<IpAddr>,
    /// URIs.
    pub uris: Vec<String>,
}

impl AlternativeNames {
    /// Those of extensions; what is none of the four kinds is passed over.
    fn of<'e>(extensions: impl Iterator<Item = &'e ParsedExtension<'e>>) -> Result<Self, String> {
        let mut found = Self::default();
        for extension in extensions {
            match extension {
                ParsedExtension::SubjectAlternativeName(names) => {
                    names.general_names.iter().try_for_each(|name| found.add(name))?;
                }
                ParsedExtension::ParseError { error } => {
                    return Err(format!("an extension does not parse: {error}"));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), String> {
        // The form of these is ASCII; the parser does not insist.
        let ascii = |name: &str| match name.is_ascii() {
            true => Ok(name.to_owned()),
            false => Err(format!("the subjectAltName {name:?} is malformed")),
        };
        match name {
            GeneralName::DNSName(name) => self.dns.push(ascii(name)?),
            GeneralName::RFC822Name(name) => self.emails.push(ascii(name)?),
            GeneralName::URI(name) => self.uris.push(ascii(name)?),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                let wrong = |_| format!("cannot parse IP address of length {}", bytes.len());
                self.addresses.push(address.map_err(wrong)?);
            }
            GeneralName::Invalid(..) => return Err("a subjectAltName is no text".to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A request for a certificate (PKCS#10) whose sender holds the key that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whom it is for.
    pub subject: Name,
    /// Further names.
    pub names: AlternativeNames,
    /// The public key: a DER `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
}

impl Request {
    /// The request of a PEM text's first block.
    ///
    /// # Errors
    /// When that is no request, does not parse, or its signature is not that of its key.
    pub fn of_pem(text: &[u8]) -> Result<Self, String> {
        let blocks = blocks(text);
        let first = blocks.first().filter(|block| block.tag() == REQUEST);
        let first = first.ok_or_else(|| format!("PEM block type must be {REQUEST}"))?;
        let unsigned = Unsigned::of_der(first.contents())?;
        unsigned.verified()
    }
}

/// A request whose signature has not been looked at.
pub struct Unsigned<'a>(X509CertificationRequest<'a>);

impl<'a> Unsigned<'a> {
    /// Reads a request.
    ///
    /// # Errors
    /// When it is none, or something follows it.
    pub fn of_der(der: &'a [u8]) -> Result<Self, String> {
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|e| format!("it does not parse as a certificate request: {e}"))?;
        match rest.is_empty() {
            true => Ok(Self(request)),
            false => Err("asn1: syntax error: trailing data".to_owned()),
        }
    }

    /// The public key: a DER `SubjectPublicKeyInfo`.
    pub fn public_key(&self) -> &[u8] {
        self.0.certification_request_info.subject_pki.raw
    }

    /// The request, its sender having proved to hold the private key.
    ///
    /// # Errors
    /// When the signature is another key's, or what it asks for does not parse.
    pub fn verified(&self) -> Result<Request, String> {
        let verified = match self.0.verify_signature() {
            Err(X509Error::SignatureUnsupportedAlgorithm) => self.verify_p521(),
            other => other,
        };
        verified.map_err(|error| format!("x509: {}", of_signature(&error)))?;
        Ok(Request {
            subject: Name::of(&self.0.certification_request_info.subject)?,
            names: AlternativeNames::of(self.0.requested_extensions().into_iter().flatten())?,
            public_key: self.public_key().to_vec(),
        })
    }

    /// Signatures on the curve that the parser's own check does not know.
    fn verify_p521(&self) -> Result<(), X509Error> {
        let (request, key) = (&self.0, &self.0.certification_request_info.subject_pki);
        let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        let algorithm = &request.signature_algorithm.algorithm;
        let algorithm: &dyn VerificationAlgorithm = match curve == Some(OID_NIST_EC_P521) {
            true if *algorithm == OID_SIG_ECDSA_WITH_SHA256 => &signature::ECDSA_P521_SHA256_ASN1,
            true if *algorithm == OID_SIG_ECDSA_WITH_SHA384 => &signature::ECDSA_P521_SHA384_ASN1,
            true if *algorithm == OID_SIG_ECDSA_WITH_SHA512 => &signature::ECDSA_P521_SHA512_ASN1,
            _ => return Err(X509Error::SignatureUnsupportedAlgorithm),
        };
        UnparsedPublicKey::new(algorithm, &key.subject_public_key.data)
            .verify(request.certification_request_info.raw, &request.signature_value.data)
            .map_err(|_| X509Error::SignatureVerificationError)
    }
}

/// A public key.
pub struct PublicKey<'a>(SubjectPublicKeyInfo<'a>);

/// What kind a public key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on the curve P-256, P-384 or P-521, by its size.
    Curve(u32),
    /// ECDSA on another curve.
    OtherCurve,
    /// RSA with a modulus of so many bits.
    Rsa(usize),
    /// Something else.
    Other,
}

impl<'a> PublicKey<'a> {
    /// Reads a DER `SubjectPublicKeyInfo`; none if it is none.
    pub fn of_der(der: &'a [u8]) -> Option<Self> {
        let (rest, key) = SubjectPublicKeyInfo::from_der(der).ok()?;
        (rest.is_empty() && key.parsed().is_ok()).then_some(Self(key))
    }

    /// What kind it is.
    pub fn kind(&self) -> KeyKind {
        let algorithm = &self.0.algorithm;
        let curve = || algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        if algorithm.algorithm == OID_SIG_ED25519 {
            return KeyKind::Ed25519;
        }
        match self.0.parsed() {
            Ok(parsed::PublicKey::RSA(key)) => KeyKind::Rsa(key.key_size()),
            Ok(parsed::PublicKey::EC(_)) => match curve() {
                Some(oid) if oid == OID_EC_P256 => KeyKind::Curve(256),
                Some(oid) if oid == OID_NIST_EC_P384 => KeyKind::Curve(384),
                Some(oid) if oid == OID_NIST_EC_P521 => KeyKind::Curve(521),
                _ => KeyKind::OtherCurve,
            },
            _ => KeyKind::Other,
        }
    }

    /// Whether a signature of a message is this key's: with SHA-256 and, for RSA, PSS.
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.kind() {
            KeyKind::Ed25519 => &signature::ED25519,
            KeyKind::Curve(256) => &signature::ECDSA_P256_SHA256_ASN1,
            KeyKind::Curve(384) => &signature::ECDSA_P384_SHA256_ASN1,
            KeyKind::Curve(_) => &signature::ECDSA_P521_SHA256_ASN1,
            KeyKind::Rsa(_) => &signature::RSA_PSS_2048_8192_SHA256,
            KeyKind::OtherCurve | KeyKind::Other => return false,
        };
        let key = UnparsedPublicKey::new(algorithm, &self.0.subject_public_key.data);
        key.verify(message, signature).is_ok()
    }
}

fn of_signature(error: &X509Error) -> &'static str {
    match error {
        X509Error::SignatureUnsupportedAlgorithm => {
            "cannot verify signature: algorithm unimplemented"
        }
        _ => "signature verification failure",
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whether it is an authority's.
    pub is_authority: bool,
    /// Since when it is valid.
    pub not_before: Wall,
    /// Until when.
    pub not_after: Wall,
    /// The public key: a DER `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
    /// Its names besides the subject.
    pub names: AlternativeNames,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// When it is none, or something follows it.
    pub fn of_der(der: &[u8]) -> Result<Self, String> {
        let (rest, parsed) = X509Certificate::from_der(der)
            .map_err(|e| format!("it does not parse as a certificate: {e}"))?;
        if !rest.is_empty() {
            return Err("x509: trailing data".to_owned());
        }
        let time = |time: x509_parser::time::ASN1Time| Wall::from_seconds(time.timestamp());
        let extensions = parsed.extensions().iter().map(|extension| extension.parsed_extension());
        Ok(Self {
            is_authority: parsed.is_ca(),
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
            public_key: parsed.public_key().raw.to_vec(),
            names: AlternativeNames::of(extensions)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SignatureAlgorithm};

    fn request(algorithm: &'static SignatureAlgorithm) -> String {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
        params.subject_alt_names.push(SanType::Rfc822Name("a@b.example".try_into().unwrap()));
        params.subject_alt_names.push(SanType::URI("spiffe://a/b".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_says_who_and_where() {
        let algorithms = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ECDSA_P521_SHA512,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ];
        for algorithm in algorithms {
            let found = Request::of_pem(request(algorithm).as_bytes()).unwrap();
            assert_eq!(found.subject.common_name(), "jane");
            assert_eq!(found.subject.organizations(), ["dev"]);
            assert_eq!(found.names.dns, ["a.example"]);
            assert_eq!(found.names.addresses, [IpAddr::from([10, 0, 0, 1])]);
            assert_eq!(found.names.emails, ["a@b.example"]);
            assert_eq!(found.names.uris, ["spiffe://a/b"]);
        }
    }

    #[test]
    fn names_of_hosts_are_ascii() {
        let mut names = AlternativeNames::default();
        assert!(names.add(&GeneralName::DNSName("b\u{fc}ro.example")).is_err());
        assert!(names.add(&GeneralName::IPAddress(&[1, 2, 3])).is_err());
        assert!(names.add(&GeneralName::IPAddress(&[10, 0, 0, 1])).is_ok());
        assert_eq!(names.addresses, [IpAddr::from([10, 0, 0, 1])]);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let of = |text: &str| Request::of_pem(text.as_bytes()).unwrap_err();
        assert_eq!(of("none"), "PEM block type must be CERTIFICATE REQUEST");
        let pem = request(&rcgen::PKCS_ECDSA_P256_SHA256);
        let other = pem.replace("CERTIFICATE REQUEST", "CERTIFICATE");
        assert_eq!(of(&other), "PEM block type must be CERTIFICATE REQUEST");
        let mut der = blocks(pem.as_bytes()).remove(0).into_contents();
        *der.last_mut().unwrap() ^= 1;
        let broken = pem::encode(&Pem::new(REQUEST, der.clone()));
        assert_eq!(of(&broken), "x509: signature verification failure");
        der.push(0);
        assert!(of(&pem::encode(&Pem::new(REQUEST, der))).contains("trailing data"));
    }
}
