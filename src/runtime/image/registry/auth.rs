//! Answers to a registry's challenge: basic authentication, or a bearer token from its realm.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::super::error::{Error, Result};
use super::credentials::Credentials;
use super::http::{Answer, Call, Http};
use super::remote::server_message;
use super::settings::TlsSettings;
use super::tls::TlsConfigs;
use super::url::{Url, encode};

/// One challenge: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Largest answer of a token service; tokens stay below a few kilobytes.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

/// All challenges of an answer.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(parse).collect()
}

/// `Scheme key=value, key="quoted", Scheme …`
fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = match after.strip_prefix('=') {
            Some(value) => {
                let (value, after) = take_value(value);
                if let Some(challenge) = found.last_mut() {
                    challenge.params.push((word.to_lowercase(), value));
                }
                after
            }
            None => {
                if !word.is_empty() {
                    found.push(Challenge { scheme: word.to_lowercase(), params: Vec::new() });
                }
                after
            }
        };
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    found
}

fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_string(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// Who asks for what, and how its answers are fetched.
pub(super) struct Login<'a> {
    pub http: &'a Arc<Http>,
    pub tls: &'a TlsConfigs,
    /// TLS settings of the realm's host.
    pub realm_tls: &'a (dyn Fn(&Url) -> TlsSettings + Sync),
    pub credentials: &'a Credentials,
    pub repository: &'a str,
    /// The image, for messages.
    pub what: &'a str,
}

impl Login<'_> {
    /// The value of the Authorization header that answers the challenges of `refused`.
    pub(super) async fn answer(&self, refused: &Answer) -> Result<HeaderValue> {
        let challenges = challenges(&refused.headers);
        let find = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        let value = if let Some(bearer) = find("bearer") {
            format!("Bearer {}", self.token(bearer, &refused.url).await?)
        } else if find("basic").is_some() {
            let basic = self.credentials.basic();
            basic.ok_or_else(|| self.refused("authentication required"))?
        } else {
            return Err(self.refused("it names no way to authenticate that is known"));
        };
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| self.refused("credentials hold characters that no header can carry"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn refused(&self, reason: &str) -> Error {
        Error::Unauthorized { what: self.what.to_string(), reason: reason.to_string() }
    }

    async fn token(&self, challenge: &Challenge, asked: &Url) -> Result<String> {
        if let Credentials::RegistryToken(token) = self.credentials {
            return Ok(token.clone());
        }
        let realm = challenge.get("realm").unwrap_or_default();
        let realm = Url::parse(realm).ok_or_else(|| Error::Transport {
            action: "authenticate with",
            url: asked.to_string(),
            reason: format!("its token service {realm:?} is no address"),
        })?;
        // Who speaks TLS to a registry does not expect his password in clear elsewhere.
        if asked.origin.secure && !realm.origin.secure {
            return Err(self.refused(&format!("its token service {realm} is not protected by TLS")));
        }
        let mut call = self.token_call(challenge, realm)?;
        if call.url.origin.secure {
            call.tls = Some(self.tls.get(&(self.realm_tls)(&call.url)).await?);
        }
        let mut answer = self.http.send(&call).await?;
        let text = answer.document(TOKEN_BYTES_MAX).await?;
        match answer.status {
            StatusCode::OK => self.read_token(&text, &call.url),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                Err(self.refused(&server_message(answer.status, &text)))
            }
            status => Err(Error::Transport {
                action: "get a token from",
                url: call.url.to_string(),
                reason: server_message(status, &text),
            }),
        }
    }

    /// A GET with the password, or a POST with the refresh token, as docker does.
    fn token_call(&self, challenge: &Challenge, mut realm: Url) -> Result<Call> {
        let pull = format!("repository:{}:pull", self.repository);
        let scope = challenge.get("scope").unwrap_or(&pull);
        let mut query = format!("scope={}", encode(scope));
        if let Some(service) = challenge.get("service") {
            query.push_str(&format!("&service={}", encode(service)));
        }
        if let Credentials::IdentityToken(token) = self.credentials {
            query.push_str("&client_id=rk&grant_type=refresh_token&refresh_token=");
            query.push_str(&encode(token));
            let mut call = Call { method: Method::POST, ..Call::get(realm) };
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            call.headers.insert(CONTENT_TYPE, kind);
            call.body = Bytes::from(query);
            return Ok(call);
        }
        let joint = if realm.path_and_query.contains('?') { '&' } else { '?' };
        realm.path_and_query.push_str(&format!("{joint}{query}"));
        let mut call = Call::get(realm);
        if let Some(basic) = self.credentials.basic() {
            let basic = HeaderValue::try_from(basic)
                .map_err(|_| self.refused("the password cannot be sent"))?;
            call.headers.insert(AUTHORIZATION, basic);
        }
        Ok(call)
    }

    fn read_token(&self, text: &[u8], url: &Url) -> Result<String> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let answer: Option<Answer> = serde_json::from_slice(text).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token));
        token.filter(|token| !token.is_empty()).ok_or_else(|| Error::Transport {
            action: "get a token from",
            url: url.to_string(),
            reason: "its answer holds no token".to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_however_they_are_written() {
        let bearer =
            "Bearer realm=\"https://a/t?x=1,2\",service=\"r\", scope=\"repository:a/b:pull\"";
        let found = parse(bearer);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].get("realm"), Some("https://a/t?x=1,2"));
        assert_eq!(found[0].get("scope"), Some("repository:a/b:pull"));
        let found = parse("BASIC Realm=plain, Bearer realm=\"a \\\"b\\\"\"");
        assert_eq!((found[0].scheme.as_str(), found[0].get("realm")), ("basic", Some("plain")));
        assert_eq!(found[1].get("realm"), Some("a \"b\""));
        for odd in ["", ",", "=", "Basic", "Bearer realm=\"open", "Bearer ,,, =x"] {
            assert!(parse(odd).len() <= 1, "{odd}");
        }
    }
}
