//! One endpoint spoken to: authentication, redirections, and what its status codes mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue, RANGE,
};
use http::{Method, StatusCode};

use super::super::digest::Digest;
use super::super::error::{Error, Result};
use super::super::manifest;
use super::auth::Login;
use super::endpoint::Endpoint;
use super::http::{Answer, Call, Http};
use super::settings::{Registries, TlsSettings};
use super::tls::TlsConfigs;
use super::url::Url;
use crate::limits;

const REDIRECTIONS_MAX: u32 = 10;
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Of an answer that is an error; it only goes into a message.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// An endpoint, with the token that it has given.
pub(super) struct Remote {
    pub endpoint: Endpoint,
    http: Arc<Http>,
    tls: Arc<TlsConfigs>,
    registries: Arc<Registries>,
    authorization: tokio::sync::Mutex<Option<HeaderValue>>,
    /// The image, for messages.
    what: String,
    /// It was silent: others are asked first for the rest of the pull.
    is_silent: AtomicBool,
}

/// Endpoints in the order in which to ask them now: those that were silent come last.
pub(super) fn in_order(remotes: &[Remote]) -> impl Iterator<Item = &Remote> {
    let (silent, others): (Vec<&Remote>, Vec<&Remote>) =
        remotes.iter().partition(|remote| remote.is_silent.load(Ordering::Relaxed));
    others.into_iter().chain(silent)
}

/// A small document to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// What a tag or digest points to, unless it is one of those known.
    Tag { name: &'a str, known: &'a [Digest] },
    /// A manifest or index.
    Manifest(&'a Digest),
    /// An image's configuration.
    Config(&'a Digest),
}

/// A document that was asked for, verified.
#[derive(Debug)]
pub(super) enum Fetched {
    /// It is what was known.
    Known,
    New {
        text: Vec<u8>,
        digest: Digest,
    },
}

/// The body of a blob, or the rest of it.
pub(super) struct BlobAnswer {
    pub answer: Answer,
    /// Where the body begins in the blob.
    pub from: u64,
}

impl Remote {
    pub(super) fn new(
        endpoint: Endpoint,
        http: &Arc<Http>,
        tls: &Arc<TlsConfigs>,
        registries: &Arc<Registries>,
        what: &str,
    ) -> Remote {
        Remote {
            endpoint,
            http: Arc::clone(http),
            tls: Arc::clone(tls),
            registries: Arc::clone(registries),
            authorization: tokio::sync::Mutex::new(None),
            what: what.to_string(),
            is_silent: AtomicBool::new(false),
        }
    }

    /// Of two endpoints' errors, this one's being the later, the one to show: what one says is
    /// worth more than that another is silent, and the registry itself, asked last, knows best.
    pub(super) fn weigh(&self, earlier: Option<Error>, error: Error) -> Error {
        tracing::debug!(endpoint = %self.endpoint.shown(), error = %error, "endpoint failed");
        if is_silence(&error) {
            self.is_silent.store(true, Ordering::Relaxed);
        }
        match earlier {
            Some(said) if is_silence(&error) && !is_silence(&said) => said,
            _ => error,
        }
    }

    /// A document, whatever it is.
    pub(super) async fn fetch(&self, wanted: Wanted<'_>) -> Result<Fetched> {
        match wanted {
            Wanted::Tag { name, known } => self.resolve(name, known).await,
            Wanted::Manifest(digest) => self.manifest(digest.as_str()).await,
            Wanted::Config(digest) => self.document(digest, limits::IMAGE_CONFIG_BYTES_MAX).await,
        }
    }

    /// What a tag or digest points to, unless that is known already.
    ///
    /// Registries that count pulls do not count the question without the content.
    async fn resolve(&self, name: &str, known: &[Digest]) -> Result<Fetched> {
        if !known.is_empty()
            && let Some(digest) = self.digest_of(name).await?
            && known.contains(&digest)
        {
            return Ok(Fetched::Known);
        }
        self.manifest(name).await
    }

    /// The digest of what a tag or digest points to, if the registry tells it without the content.
    async fn digest_of(&self, name: &str) -> Result<Option<Digest>> {
        let url = self.endpoint.url(&format!("manifests/{name}"));
        let answer = self.send(Method::HEAD, url, accept_manifests()).await?;
        match answer.status.as_u16() {
            200 => Ok(answer.header(CONTENT_DIGEST).and_then(|digest| digest.parse().ok())),
            401 | 403 | 404 | 429 => self.check(answer).await.map(|_| None),
            // Not every registry knows the question.
            _ => Ok(None),
        }
    }

    /// A manifest or index by tag or digest, verified.
    async fn manifest(&self, name: &str) -> Result<Fetched> {
        let url = self.endpoint.url(&format!("manifests/{name}"));
        let mut answer = self.request(Method::GET, url, accept_manifests()).await?;
        let text = answer.document(limits::IMAGE_MANIFEST_BYTES_MAX).await?;
        // By digest the content must be what was asked for, by tag what the registry says it is.
        let promised = name.parse::<Digest>().ok();
        let promised =
            promised.or_else(|| answer.header(CONTENT_DIGEST).and_then(|d| d.parse().ok()));
        let digest = verified(&format!("manifest of {}", self.what), &text, promised)?;
        Ok(Fetched::New { text, digest })
    }

    /// A small blob, verified.
    async fn document(&self, digest: &Digest, bytes_max: u64) -> Result<Fetched> {
        let mut blob = self.blob(digest, 0).await?;
        let text = blob.answer.document(bytes_max).await?;
        let what = format!("configuration of {}", self.what);
        let digest = verified(&what, &text, Some(digest.clone()))?;
        Ok(Fetched::New { text, digest })
    }

    /// A blob from a certain byte on; a registry may send all of it nevertheless.
    pub(super) async fn blob(&self, digest: &Digest, from: u64) -> Result<BlobAnswer> {
        let url = self.endpoint.url(&format!("blobs/{digest}"));
        let mut headers = HeaderMap::new();
        if from > 0
            && let Ok(range) = HeaderValue::try_from(format!("bytes={from}-"))
        {
            headers.insert(RANGE, range);
        }
        let answer = self.request(Method::GET, url, headers).await?;
        let from = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let start = answer.header(CONTENT_RANGE).and_then(range_start);
                start.filter(|start| *start == from).ok_or_else(|| Error::Transport {
                    action: "read from",
                    url: answer.url.to_string(),
                    reason: "it sent another part than was asked for".to_string(),
                })?
            }
            _ => 0,
        };
        Ok(BlobAnswer { answer, from })
    }

    /// A request whose answer is a success.
    async fn request(&self, method: Method, url: Url, headers: HeaderMap) -> Result<Answer> {
        let answer = self.send(method, url, headers).await?;
        self.check(answer).await
    }

    /// A request, with authentication if that is asked for.
    async fn send(&self, method: Method, url: Url, headers: HeaderMap) -> Result<Answer> {
        let call = Call { method, headers, ..Call::get(url) };
        let known = self.authorization.lock().await.clone();
        let answer = self.follow(&call, known.as_ref()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let fresh = self.authorize(&answer, known.as_ref()).await?;
        self.follow(&call, Some(&fresh)).await
    }

    /// A new answer to the registry's challenge, unless another request has got one meanwhile.
    async fn authorize(&self, refused: &Answer, used: Option<&HeaderValue>) -> Result<HeaderValue> {
        let mut current = self.authorization.lock().await;
        if let Some(newer) = current.as_ref().filter(|newer| Some(*newer) != used) {
            return Ok(newer.clone());
        }
        let realm_tls = |realm: &Url| self.tls_of(realm);
        let login = Login {
            http: &self.http,
            tls: &self.tls,
            realm_tls: &realm_tls,
            credentials: &self.endpoint.credentials,
            repository: &self.endpoint.repository,
            what: &self.what,
        };
        let fresh = login.answer(refused).await?;
        *current = Some(fresh.clone());
        Ok(fresh)
    }

    fn tls_of(&self, url: &Url) -> TlsSettings {
        if url.origin == self.endpoint.url("").origin {
            return self.endpoint.tls.clone();
        }
        let config = self.registries.config(&[&url.origin.authority(), &url.origin.host]);
        config.map(|config| config.tls.clone()).unwrap_or_default()
    }

    /// Sends a request and follows where it leads; credentials stay with the host they are for.
    async fn follow(&self, call: &Call, authorization: Option<&HeaderValue>) -> Result<Answer> {
        let mut call = call.clone();
        let first = call.url.origin.clone();
        for _ in 0..=REDIRECTIONS_MAX {
            call.headers.remove(AUTHORIZATION);
            if let Some(value) = authorization.filter(|_| call.url.origin == first) {
                call.headers.insert(AUTHORIZATION, value.clone());
            }
            call.tls = match call.url.origin.secure {
                true => Some(self.tls.get(&self.tls_of(&call.url)).await?),
                false => None,
            };
            let answer = self.http.send(&call).await?;
            let Some(next) = answer.redirection() else { return Ok(answer) };
            let next = next?;
            if call.url.origin.secure && !next.origin.secure {
                let reason = format!("it leads to {next}, which is not protected by TLS");
                return Err(self.transport("redirected from", &call.url, reason));
            }
            call.url = next;
        }
        Err(self.transport("redirected from", &call.url, "too many redirections".to_string()))
    }

    fn transport(&self, action: &'static str, url: &Url, reason: String) -> Error {
        Error::Transport { action, url: url.to_string(), reason }
    }

    /// Turns an unsuccessful answer into an error.
    async fn check(&self, mut answer: Answer) -> Result<Answer> {
        let status = answer.status;
        if status == StatusCode::OK || status == StatusCode::PARTIAL_CONTENT {
            return Ok(answer);
        }
        // A body that cannot be read takes nothing from what the status says.
        let text = answer.document(ERROR_BYTES_MAX).await.unwrap_or_default();
        let (what, reason) = (self.what.clone(), server_message(status, &text));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::Unauthorized { what, reason }
            }
            StatusCode::NOT_FOUND => {
                Error::NotFound { what, detail: format!("{}: {reason}", self.endpoint.shown()) }
            }
            StatusCode::TOO_MANY_REQUESTS => {
                Error::RateLimited { url: answer.url.to_string(), reason }
            }
            _ => self.transport("request to", &answer.url, reason),
        })
    }
}

/// No answer at all: worth another attempt.
pub(super) fn is_silence(error: &Error) -> bool {
    matches!(error, Error::Transport { .. })
}

fn accept_manifests() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
    headers
}

/// The digest of some content, which must be the promised one.
fn verified(what: &str, text: &[u8], promised: Option<Digest>) -> Result<Digest> {
    let Some(expected) = promised else { return Ok(Digest::of(text)) };
    let mut hasher = expected.hasher();
    hasher.update(text);
    let actual = hasher.finish();
    if actual == expected {
        return Ok(actual);
    }
    Err(Error::DigestMismatch { what: what.to_string(), expected, actual })
}

/// The first byte of `bytes 5-9/10`.
fn range_start(value: &str) -> Option<u64> {
    value.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// What a registry says in an error document, or at least its status.
pub(super) fn server_message(status: StatusCode, text: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        errors: Option<Vec<Entry>>,
        details: Option<String>,
        message: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        code: Option<String>,
        message: Option<String>,
    }
    let document: Option<Document> = serde_json::from_slice(text).ok();
    let Some(document) = document else { return status.to_string() };
    let entries = document.errors.unwrap_or_default().into_iter();
    let mut parts: Vec<String> = entries
        .map(|e| match (e.code, e.message.filter(|message| !message.is_empty())) {
            (Some(code), Some(message)) => format!("{}: {message}", code.to_lowercase()),
            (Some(code), None) => code.to_lowercase(),
            (None, message) => message.unwrap_or_default(),
        })
        .collect();
    parts.extend(document.details);
    parts.extend(document.message);
    parts.retain(|part| !part.is_empty());
    // It goes into an event: no more than a line.
    let said: String = parts.join("; ").chars().filter(|c| !c.is_control()).take(300).collect();
    if said.is_empty() { status.to_string() } else { format!("{status}: {said}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_become_a_line() {
        let say = |text: &str| server_message(StatusCode::FORBIDDEN, text.as_bytes());
        for (text, line) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no\nway"}]}"#,
                "403 Forbidden: denied: noway",
            ),
            (r#"{"errors":[{"code":"DENIED","message":""}]}"#, "403 Forbidden: denied"),
            (r#"{"details":"incorrect password"}"#, "403 Forbidden: incorrect password"),
            ("<html>", "403 Forbidden"),
            (r#"{"errors":null}"#, "403 Forbidden"),
        ] {
            assert_eq!(say(text), line);
        }
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(range_start("bytes 5-9/10"), Some(5));
        assert_eq!(range_start("bytes */10"), None);
        assert_eq!(range_start("5-9"), None);
    }
}
