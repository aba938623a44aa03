//! Certificates for what others ask in a request: its names and its key, for given uses and a time.
//!
//! Written here and not by `rcgen`, whose names hold each attribute once: a user is in several
//! groups.

use std::time::Duration;

use rcgen::{KeyPair, SigningKey};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::{DERWriter, DERWriterSeq, Tag, construct_der};

use super::{Authority, certificates, not_issued};
use crate::limits;
use crate::pki::Error;
use crate::util::clock::{self, Wall};
use crate::util::id;
use crate::util::x509::{ATTRIBUTES, AlternativeNames, Name, Request, certificate_pem};

/// What a key may be used for, by its bit in the extension; `signing` is another word for one.
const KEY_USAGES: &[(&str, usize)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// What a certificate may be used for, in the order in which it is written.
const EXTENDED_USAGES: &[(&str, &[u64])] = &[
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const AUTHORITY_KEY: &[u64] = &[2, 5, 29, 35];
const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];

impl Authority {
    /// A certificate in PEM as a request asks for it, for the given uses, for as long as is asked
    /// within the limits of such certificates. It is no authority's.
    ///
    /// # Errors
    /// When a use is unknown, or this authority's own certificate has expired.
    pub fn sign(
        &self,
        request: &Request,
        usages: &[&str],
        asked: Option<Duration>,
    ) -> Result<String, Error> {
        let refused =
            |why: String| Error::Issue { subject: request.subject.common_name().to_owned(), why };
        let known = |usage: &str| {
            KEY_USAGES.iter().any(|(word, _)| *word == usage)
                || EXTENDED_USAGES.iter().any(|(word, _)| *word == usage)
        };
        if let Some(usage) = usages.iter().find(|usage| !known(usage)) {
            return Err(refused(format!("unrecognized usage value: {usage:?}")));
        }
        let now = clock::now();
        let (not_before, not_after) = validity(now, asked, self.not_after);
        if now >= self.not_after {
            let expired = self.not_after.seconds();
            return Err(refused(format!("the signer has expired: NotAfter={expired}")));
        }
        let own = certificates(&self.certificate_pem)?.remove(0);
        let (_, own) = X509Certificate::from_der(&own)
            .map_err(|e| Error::Invalid(format!("it does not parse as a certificate: {e}")))?;
        let key = self.issuer.key();
        let algorithm = algorithm(key)
            .ok_or_else(|| refused("the authority's key is of a kind that cannot sign".into()))?;
        let body = Body { request, usages, issuer: &own, algorithm, not_before, not_after };
        let body = construct_der(|writer| body.write(writer));
        let signature = key.sign(&body).map_err(|e| not_issued("a request", &e))?;
        let der = construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&body);
                algorithm.write(writer.next());
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(certificate_pem(&der))
    }
}

/// From when to when a certificate is valid: at most as long as its authority.
fn validity(now: Wall, asked: Option<Duration>, authority_ends: Wall) -> (Wall, Wall) {
    let (min, max) = (limits::REQUESTED_LIFETIME_MIN, limits::REQUESTED_LIFETIME_MAX);
    let lifetime = asked.map_or(max, |asked| asked.clamp(min, max));
    let not_before = now.before(limits::REQUESTED_BACKDATE);
    let start = if lifetime < limits::REQUESTED_LIFETIME_SHORT { now } else { not_before };
    (not_before, start.after(lifetime).min(authority_ends))
}

/// A signature algorithm as certificates name it.
#[derive(Clone, Copy)]
struct Algorithm {
    oid: &'static [u64],
    /// RSA's have parameters, which are null.
    null: bool,
}

/// How a key signs; none for keys that cannot be an authority's here.
fn algorithm(key: &KeyPair) -> Option<Algorithm> {
    let kinds: [(_, &'static [u64], bool); 5] = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, &[1, 2, 840, 10045, 4, 3, 2], false),
        (&rcgen::PKCS_ECDSA_P384_SHA384, &[1, 2, 840, 10045, 4, 3, 3], false),
        (&rcgen::PKCS_ECDSA_P521_SHA512, &[1, 2, 840, 10045, 4, 3, 4], false),
        (&rcgen::PKCS_ED25519, &[1, 3, 101, 112], false),
        (&rcgen::PKCS_RSA_SHA256, &[1, 2, 840, 113_549, 1, 1, 11], true),
    ];
    let found = kinds.into_iter().find(|(kind, _, _)| key.algorithm() == *kind);
    found.map(|(_, oid, null)| Algorithm { oid, null })
}

impl Algorithm {
    fn write(self, writer: DERWriter<'_>) {
        writer.write_sequence(|writer| {
            write_oid(writer.next(), self.oid);
            if self.null {
                writer.next().write_null();
            }
        });
    }
}

/// What is signed.
struct Body<'a> {
    request: &'a Request,
    usages: &'a [&'a str],
    issuer: &'a X509Certificate<'a>,
    algorithm: Algorithm,
    not_before: Wall,
    not_after: Wall,
}

impl Body<'_> {
    fn write(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|writer| {
            writer.next().write_tagged(Tag::context(0), |writer| writer.write_i64(2));
            let mut serial: [u8; 16] = id::random();
            // A serial number is a positive integer.
            serial[0] = serial[0] & 0x7f | 1;
            writer.next().write_bigint_bytes(&serial, true);
            self.algorithm.write(writer.next());
            writer.next().write_der(self.issuer.subject().as_raw());
            writer.next().write_sequence(|writer| {
                write_time(writer.next(), self.not_before);
                write_time(writer.next(), self.not_after);
            });
            write_name(writer.next(), &self.request.subject);
            writer.next().write_der(&self.request.public_key);
            writer.next().write_tagged(Tag::context(3), |writer| {
                writer.write_sequence(|writer| self.write_extensions(writer));
            });
        });
    }

    fn write_extensions(&self, writer: &mut DERWriterSeq<'_>) {
        let bits = KEY_USAGES.iter().filter(|(word, _)| self.usages.contains(word));
        let bits: Vec<usize> = bits.map(|(_, bit)| *bit).collect();
        if let Some(last) = bits.iter().max() {
            let mut bytes = [0u8; 2];
            bits.iter().for_each(|bit| bytes[bit / 8] |= 0x80 >> (bit % 8));
            let value = construct_der(|writer| {
                writer.write_bitvec_bytes(&bytes[..=last / 8], last + 1);
            });
            write_extension(writer, KEY_USAGE, true, &value);
        }
        let mut uses: Vec<&[u64]> = Vec::new();
        for (word, oid) in EXTENDED_USAGES {
            if self.usages.contains(word) && !uses.contains(oid) {
                uses.push(oid);
            }
        }
        if !uses.is_empty() {
            let value = construct_der(|writer| {
                writer.write_sequence(|w| uses.iter().for_each(|oid| write_oid(w.next(), oid)));
            });
            write_extension(writer, EXTENDED_KEY_USAGE, false, &value);
        }
        // Empty: not an authority's.
        let none = construct_der(|writer| writer.write_sequence(|_| ()));
        write_extension(writer, BASIC_CONSTRAINTS, true, &none);
        if let Some(key) = key_identifier(self.issuer) {
            let value = construct_der(|writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_tagged_implicit(Tag::context(0), |w| w.write_bytes(key));
                });
            });
            write_extension(writer, AUTHORITY_KEY, false, &value);
        }
        let (subject, names) = (&self.request.subject, &self.request.names);
        if !names.is_empty() {
            let nameless = *subject == Name::default();
            write_extension(writer, ALTERNATIVE_NAMES, nameless, &names_der(names));
        }
    }
}

/// What tells an authority's key from its others.
fn key_identifier<'a>(authority: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    authority.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
        _ => None,
    })
}

fn write_oid(writer: DERWriter<'_>, oid: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(oid));
}

fn write_extension(writer: &mut DERWriterSeq<'_>, oid: &[u64], critical: bool, value: &[u8]) {
    writer.next().write_sequence(|writer| {
        write_oid(writer.next(), oid);
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(value);
    });
}

/// A time; from 2050 on in the longer form.
fn write_time(writer: DERWriter<'_>, time: Wall) {
    let seconds = Duration::from_secs(time.seconds().try_into().unwrap_or(0));
    let date = rcgen::date_time_ymd(1970, 1, 1) + seconds;
    match UTCTime::from_datetime_opt(date) {
        Some(short) => writer.write_utctime(&short),
        None => writer.write_generalized_time(&GeneralizedTime::from_datetime(date)),
    }
}

/// The attributes that are known, the values of each together, as Go writes names.
fn write_name(writer: DERWriter<'_>, name: &Name) {
    writer.write_sequence(|writer| {
        for attribute in ATTRIBUTES {
            let mut values: Vec<&str> = name.values(attribute).collect();
            if matches!(attribute, 3 | 5) {
                // Nobody has two of these: the last counts.
                values.drain(..values.len().saturating_sub(1));
            }
            if values.is_empty() {
                continue;
            }
            writer.next().write_set_of(|writer| {
                for value in values {
                    writer.next().write_sequence(|writer| {
                        write_oid(writer.next(), &[2, 5, 4, attribute]);
                        write_text(writer.next(), value);
                    });
                }
            });
        }
    });
}

fn write_text(writer: DERWriter<'_>, text: &str) {
    let printable = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
    match text.chars().all(printable) {
        true => writer.write_printable_string(text),
        false => writer.write_utf8_string(text),
    }
}

fn names_der(names: &AlternativeNames) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            let mut write = |tag: u64, bytes: &[u8]| {
                writer.next().write_tagged_implicit(Tag::context(tag), |w| w.write_bytes(bytes));
            };
            names.dns.iter().for_each(|name| write(2, name.as_bytes()));
            names.emails.iter().for_each(|name| write(1, name.as_bytes()));
            for address in &names.addresses {
                match address {
                    std::net::IpAddr::V4(address) => write(7, &address.octets()),
                    std::net::IpAddr::V6(address) => write(7, &address.octets()),
                }
            }
            names.uris.iter().for_each(|name| write(6, name.as_bytes()));
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Pki;
    use crate::pki::tls::ClientVerifier;
    use crate::util::x509::Certificate;

    /// A request of a name whose attributes are given as numbers and values.
    fn request(subject: &[(u64, &str)]) -> Request {
        let key = KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (attribute, value) in subject {
            let kind = rcgen::DnType::from_oid(&[2, 5, 4, *attribute]);
            params.distinguished_name.push(kind, *value);
        }
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        Request::of_pem(pem.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_asked_is_signed_and_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Pki::open(dir.path(), true).unwrap().client;
        let request = request(&[(10, "dev: ü"), (3, "jane")]);
        let usages = ["digital signature", "key encipherment", "client auth"];
        let pem = authority.sign(&request, &usages, None).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{pem}");
        let chain = certificates(&pem).unwrap();
        assert!(ClientVerifier::new(&authority).unwrap().accepts(&chain));
        let (_, parsed) = X509Certificate::from_der(&chain[0]).unwrap();
        assert_eq!(parsed.subject().to_string(), "O=dev: ü, CN=jane");
        let key_usage = parsed.key_usage().unwrap().unwrap();
        assert!(key_usage.critical && key_usage.value.digital_signature());
        assert!(key_usage.value.key_encipherment() && !key_usage.value.key_cert_sign());
        let extended = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.client_auth && !extended.server_auth);
        let found = Certificate::of_der(&chain[0]).unwrap();
        assert_eq!((&found.names, found.is_authority), (&request.names, false));
        assert_eq!(found.public_key, request.public_key);
        assert!(authority.sign(&request, &["cooking"], None).is_err());
    }

    #[test]
    fn lifetimes_have_their_limits() {
        let (now, hour) = (Wall::from_seconds(1_000_000_000), Duration::from_secs(3600));
        let ends = |asked: Option<Duration>, authority: Duration| {
            validity(now, asked, now.after(authority)).1.since(now)
        };
        let (year, back) = (limits::REQUESTED_LIFETIME_MAX, limits::REQUESTED_BACKDATE);
        assert_eq!(ends(None, year * 2), year - back);
        assert_eq!(ends(Some(year * 2), year * 2), year - back);
        assert_eq!(ends(Some(hour), year), hour, "a short one keeps its whole time");
        assert_eq!(ends(Some(Duration::ZERO), year), limits::REQUESTED_LIFETIME_MIN);
        assert_eq!(ends(None, hour), hour, "never longer than the authority");
    }
}
