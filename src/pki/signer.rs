//! The key that signs service-account tokens, and its public half as others fetch it.

use std::path::Path;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, files};

/// Why a token is not one of ours. The text is for logs, not for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(String);

/// Signs tokens, and knows its own signature again.
///
/// A fresh key is on P-256 (ES256): signing takes microseconds and keys are made at once. A file
/// with an RSA key (RS256), which some cloud token services insist on, works as well.
pub struct Signer {
    key: EncodingKey,
    public: DecodingKey,
    algorithm: Algorithm,
    /// Names the key in tokens and in the key set, as upstream does: the hash of the public key.
    key_id: String,
    jwks: String,
}

impl Signer {
    /// Reads the key of a file; where `may_create`, makes one if there is no file.
    ///
    /// # Errors
    /// When the file is missing (and may not be made), damaged, or cannot be read or written.
    pub(super) fn open(path: &Path, may_create: bool) -> Result<Self, Error> {
        let pem = match files::read_text(path)? {
            Some(pem) => pem,
            None if may_create => {
                let failed = |e: rcgen::Error| Error::Issue {
                    subject: "service accounts".to_owned(),
                    why: e.to_string(),
                };
                let pem = KeyPair::generate().map_err(failed)?.serialize_pem();
                files::write(path, pem.as_bytes(), 0o600)?;
                pem
            }
            None => return Err(Error::Missing { path: path.to_owned() }),
        };
        Self::from_pem(&pem).map_err(|why| Error::Damaged { path: path.to_owned(), why })
    }

    /// A signer with the private key of a PEM text.
    fn from_pem(pem: &str) -> Result<Self, String> {
        let pair = KeyPair::from_pem(pem).map_err(|e| e.to_string())?;
        let public = pair.public_key_pem();
        let (algorithm, key, public) = if pair.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
            let key = EncodingKey::from_ec_pem(pem.as_bytes());
            (Algorithm::ES256, key, DecodingKey::from_ec_pem(public.as_bytes()))
        } else if pair.is_compatible(&rcgen::PKCS_RSA_SHA256) {
            let key = EncodingKey::from_rsa_pem(pem.as_bytes());
            (Algorithm::RS256, key, DecodingKey::from_rsa_pem(public.as_bytes()))
        } else {
            return Err("it holds neither an RSA key nor one on the curve P-256".to_owned());
        };
        let (key, public) = (key.map_err(|e| e.to_string())?, public.map_err(|e| e.to_string())?);
        let spki = pair.subject_public_key_info();
        let key_id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &spki));
        let jwks = jwks(&key, algorithm, &key_id)?;
        Ok(Self { key, public, algorithm, key_id, jwks })
    }

    /// A signed token with these claims.
    ///
    /// # Errors
    /// When the claims do not serialise or the key does not sign.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let mut header = Header::new(self.algorithm);
        header.typ = None;
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|e| Error::Issue {
            subject: "a service account".to_owned(),
            why: e.to_string(),
        })
    }

    /// The claims of a token that this key signed. Times, issuer and audience are not looked at:
    /// that is for who knows the time and what they ought to be.
    ///
    /// # Errors
    /// When this key did not sign the token, or its claims have another form.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, Rejected> {
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(token, &self.public, &validation)
            .map(|data| data.claims)
            .map_err(|e| Rejected(e.to_string()))
    }

    /// The public key as a JSON Web Key Set: what `/openid/v1/jwks` serves.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// The signature algorithm, as the discovery document names it.
    pub const fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::RS256 => "RS256",
            _ => "ES256",
        }
    }
}

fn jwks(key: &EncodingKey, algorithm: Algorithm, key_id: &str) -> Result<String, String> {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).map_err(|e| e.to_string())?;
    jwk.common.key_id = Some(key_id.to_owned());
    jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
    let set = jsonwebtoken::jwk::JwkSet { keys: vec![jwk] };
    serde_json::to_string(&set).map_err(|e| e.to_string())
}
