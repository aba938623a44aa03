//! The keys of an issuer, found by its discovery document.

use std::sync::Arc;
use std::time::Instant;

use http::Uri;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use parking_lot::RwLock;
use rustls::ClientConfig;

use super::fetch;
use crate::api::tree::Value;
use crate::limits;
use crate::util::clock;

/// A key by which an issuer signs.
pub(super) struct Key {
    /// What tokens call it; empty where it has no name.
    pub id: String,
    /// The key.
    pub key: DecodingKey,
}

/// The keys as they were fetched last.
pub(super) struct Keys {
    issuer: String,
    discovery: Uri,
    tls: Arc<ClientConfig>,
    known: RwLock<Arc<Vec<Key>>>,
    /// When they were asked for last. Held while they are, so that many tokens at once ask once.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Keys {
    /// Those of an issuer; none is fetched yet.
    ///
    /// # Errors
    /// When its URL is none.
    pub fn new(issuer: &str, tls: Arc<ClientConfig>) -> Result<Self, String> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery = url.parse().map_err(|e| format!("{url:?} is no URL: {e}"))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            discovery,
            tls,
            known: RwLock::default(),
            asked: tokio::sync::Mutex::new(None),
        })
    }

    /// Those that are known.
    pub fn known(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.known.read())
    }

    /// Newer ones than `seen`, fetched now unless they were a moment ago.
    ///
    /// # Errors
    /// When the issuer does not give them, or was asked too short a time ago.
    pub async fn refreshed(&self, seen: &Arc<Vec<Key>>) -> Result<Arc<Vec<Key>>, String> {
        let mut asked = self.asked.lock().await;
        let known = self.known();
        if !Arc::ptr_eq(&known, seen) {
            return Ok(known);
        }
        let now = clock::instant();
        if asked.is_some_and(|asked| now - asked < limits::OIDC_REFRESH_INTERVAL_MIN) {
            return Err("the signing key is not known, and keys were fetched just now".to_owned());
        }
        *asked = Some(now);
        let fetched = self.fetch().await;
        let keys = fetched.inspect_err(|error| {
            tracing::warn!(issuer = self.issuer, %error, "cannot fetch the keys of the issuer");
        })?;
        let keys = Arc::new(keys);
        *self.known.write() = Arc::clone(&keys);
        tracing::info!(issuer = self.issuer, keys = keys.len(), "fetched the issuer's keys");
        Ok(keys)
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let document = fetch::json(&self.discovery, &self.tls).await?;
        let issuer = document.get("issuer").str();
        if issuer != self.issuer {
            let wanted = &self.issuer;
            return Err(format!(
                "issuer did not match the issuer returned by provider, expected {wanted:?} got \
                 {issuer:?}"
            ));
        }
        let url = document.get("jwks_uri").str();
        let url: Uri = url.parse().map_err(|e| format!("jwks_uri {url:?} is no URL: {e}"))?;
        if url.scheme_str() != Some("https") {
            return Err(format!("jwks_uri {url} is not an https URL"));
        }
        Ok(keys(&fetch::json(&url, &self.tls).await?))
    }
}

/// The keys of a set that are for signing and of a kind that is known.
fn keys(set: &Value) -> Vec<Key> {
    let signs = |key: &&Value| matches!(key.get("use").str(), "" | "sig");
    let usable = |key: &Value| {
        let jwk: Jwk = key.to().ok()?;
        Some(Key { id: key.get("kid").str().to_owned(), key: DecodingKey::from_jwk(&jwk).ok()? })
    };
    set.get("keys").items().iter().filter(signs).filter_map(usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_unknown_kinds_are_passed_over() {
        let set = r#"{"keys":[{"kty":"new","kid":"a"},
            {"kty":"EC","crv":"P-256","kid":"b","use":"sig",
             "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
             "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
            {"kty":"EC","crv":"P-256","kid":"c","use":"enc",
             "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
             "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        let found = keys(&Value::parse(set.as_bytes()).unwrap());
        let ids: Vec<&str> = found.iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids, ["b"]);
    }
}
