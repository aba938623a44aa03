//! Users whom an outside issuer vouches for by tokens (OpenID Connect).
//!
//! A token is taken that names the issuer, is for this cluster's client ID, is signed by one of the
//! issuer's keys and holds now. What it says becomes a user as the settings have it. Keys are
//! fetched when the first token comes and when one is signed by a key that is not known; nothing
//! asks the issuer otherwise.
//!
//! Not known here are signatures by ES512, and claims that a token only says where to fetch: such
//! tokens are refused.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Validation};

use super::UserInfo;
use crate::api::tree::Value;
use crate::pki::{Error, tls};
use crate::util::clock;

mod claims;
mod fetch;
mod keys;

use claims::Claims;
use keys::{Key, Keys};

/// The algorithms that may be allowed, as flags name them.
pub const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
];

/// An issuer, and what its tokens mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its URL, `https`: what tokens name, and below which its keys are found.
    pub issuer: String,
    /// Whom its tokens must be for.
    pub client_id: String,
    /// The claim that is the user's name.
    pub username_claim: String,
    /// What stands before names; empty for nothing.
    pub username_prefix: String,
    /// The claim that holds the user's groups; empty for none.
    pub groups_claim: String,
    /// What stands before groups.
    pub groups_prefix: String,
    /// Claims that must be there with these values.
    pub required: Vec<(String, String)>,
    /// The algorithms that tokens may be signed by.
    pub algorithms: Vec<Algorithm>,
    /// Whose certificate the issuer shows, as PEM; the machine's own roots where there is none.
    pub authorities: Option<String>,
}

/// Why a token is not accepted. For logs and TokenReviews; clients see 401.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("oidc: {0}")]
pub struct Refused(pub(super) String);

/// Knows the users of one issuer.
pub struct Oidc {
    settings: Settings,
    keys: Keys,
}

impl Oidc {
    /// Takes tokens as the settings say.
    ///
    /// # Errors
    /// When the authorities cannot be trusted, or the issuer's URL is none.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let roots = match &settings.authorities {
            Some(pem) => tls::roots([pem.as_str()])?,
            None => tls::native_roots()?,
        };
        let tls = Arc::new(tls::client(roots, None, &[b"http/1.1"])?);
        let keys = Keys::new(&settings.issuer, tls).map_err(Error::Invalid)?;
        Ok(Self { settings, keys })
    }

    /// Whether a token names this issuer: nothing of it has been checked.
    pub fn claims_issuer(&self, token: &str) -> bool {
        let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token);
        claims.is_ok_and(|data| Claims(&data.claims).issuer() == self.settings.issuer)
    }

    /// Whose token this is, if it holds now.
    ///
    /// # Errors
    /// When it is not as the settings demand, or the issuer's keys cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Arc<UserInfo>, Refused> {
        let refused = |why: String| Refused(format!("verify token: {why}"));
        let header = jsonwebtoken::decode_header(token).map_err(|e| refused(e.to_string()))?;
        let (algorithm, kid) = (header.alg, header.kid.as_deref());
        if !self.settings.algorithms.contains(&algorithm) {
            return Err(refused(format!("it is signed with {algorithm:?}, which is not allowed")));
        }
        let known = self.keys.known();
        let claims = match signed(token, algorithm, kid, &known) {
            Some(claims) => claims,
            None => {
                let fresh = self.keys.refreshed(&known).await.map_err(refused)?;
                signed(token, algorithm, kid, &fresh)
                    .ok_or_else(|| refused("failed to verify id token signature".to_owned()))?
            }
        };
        let claims = Claims(&claims);
        claims.check(&self.settings, clock::now()).map_err(refused)?;
        claims.user(&self.settings).map(Arc::new).map_err(Refused)
    }
}

/// The claims of a token that one of the keys signed.
fn signed(token: &str, algorithm: Algorithm, kid: Option<&str>, keys: &[Key]) -> Option<Value> {
    // Times and audiences are looked at elsewhere, by the program's clock.
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let mut fitting = keys.iter().filter(|key| kid.is_none_or(|kid| key.id == kid));
    fitting.find_map(|key| {
        let data = jsonwebtoken::decode::<Value>(token, &key.key, &validation).ok()?;
        Some(data.claims)
    })
}

#[cfg(test)]
mod tests;
