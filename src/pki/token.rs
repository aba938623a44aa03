//! The join token: a password, and the hash by which a joining node knows the cluster's authority.
//!
//! The form is k3s's: `K10<sha256 of the server CA's certificate>::server:<password>`. The short
//! form is the password alone; it does not pin the authority.

use std::fmt;
use std::path::Path;

use aws_lc_rs::{constant_time, digest};

use super::{Error, files};
use crate::util::id;

/// What marks a token that carries a hash.
const PREFIX: &str = "K10";
/// The user name in a token.
const USER: &str = "server";

/// A join token as it is read.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the authority's certificate, in hex; none in the short form.
    pub authority_hash: Option<String>,
    /// The secret.
    pub password: String,
}

impl Token {
    /// A token for a cluster.
    pub fn new(authority_pem: &str, password: &str) -> Self {
        Self { authority_hash: Some(hash(authority_pem)), password: password.to_owned() }
    }

    /// A random password.
    pub fn random_password() -> String {
        hex(&id::random::<16>())
    }

    /// Reads the long or the short form.
    ///
    /// # Errors
    /// When it is empty, or begins like the long form and is not one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix(PREFIX) else {
            if text.is_empty() || text.contains(char::is_whitespace) {
                return Err(Error::Invalid("the token is empty or has spaces in it".to_owned()));
            }
            return Ok(Self { authority_hash: None, password: text.to_owned() });
        };
        let malformed = || {
            Error::Invalid(format!(
                "the token is not whole: it must read {PREFIX}<64 hex digits>::{USER}:<password>"
            ))
        };
        let (hash, secret) = rest.split_once("::").ok_or_else(malformed)?;
        let (_, password) = secret.split_once(':').ok_or_else(malformed)?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash || password.is_empty() {
            return Err(malformed());
        }
        let authority_hash = Some(hash.to_ascii_lowercase());
        Ok(Self { authority_hash, password: password.to_owned() })
    }

    /// Whether an authority's certificate is the one that the token names; a short token takes any.
    pub fn trusts(&self, authority_pem: &str) -> bool {
        self.authority_hash.as_ref().is_none_or(|expected| *expected == hash(authority_pem))
    }

    /// Whether somebody else's password is the same, in a time that does not tell how much of it.
    pub fn matches(&self, password: &str) -> bool {
        let (own, other) = (digest_of(self.password.as_bytes()), digest_of(password.as_bytes()));
        constant_time::verify_slices_are_equal(own.as_ref(), other.as_ref()).is_ok()
    }

    /// The cluster's token: the `given` password if there is one, else that of the file, else,
    /// where `may_create`, a new one. The file holds it from then on.
    ///
    /// # Errors
    /// When the file is missing (and no token is given), damaged, or cannot be read or written.
    pub fn open(
        path: &Path,
        authority_pem: &str,
        given: Option<&str>,
        may_create: bool,
    ) -> Result<Self, Error> {
        let stored = files::read_text(path)?;
        let password = match (given, &stored) {
            (Some(given), _) => Self::parse(given)?.password,
            (None, Some(text)) => {
                let damaged =
                    |e: Error| Error::Damaged { path: path.to_owned(), why: e.to_string() };
                Self::parse(text).map_err(damaged)?.password
            }
            (None, None) if may_create => Self::random_password(),
            (None, None) => return Err(Error::Missing { path: path.to_owned() }),
        };
        let token = Self::new(authority_pem, &password);
        let text = format!("{token}\n");
        if stored.as_deref() != Some(text.as_str()) {
            files::write(path, text.as_bytes(), 0o600)?;
        }
        Ok(token)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.authority_hash {
            Some(hash) => write!(f, "{PREFIX}{hash}::{USER}:{}", self.password),
            None => f.write_str(&self.password),
        }
    }
}

/// Shows no secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("authority_hash", &self.authority_hash)
            .finish_non_exhaustive()
    }
}

fn digest_of(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

/// SHA-256 in hex: of a certificate in a token, of a secret that is kept to be compared with.
pub fn hash(authority_pem: &str) -> String {
    sha256(authority_pem.as_bytes())
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest_of(bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
