//! All authenticators together: certificates and proxies by the connection, tokens by the request.
//!
//! Requests without credentials are refused with 401, as k3s does, except for what says nothing of
//! the cluster but its health and version: probes of load balancers need no credentials.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use rustls::pki_types::CertificateDer;

use super::oidc::Oidc;
use super::service_account::Tokens;
use super::{
    ANONYMOUS, AUTHENTICATED, Authenticator, PROXY, Peer, UserInfo, bootstrap_token, x509,
};
use crate::api::status::Status;
use crate::pki::tls::ClientVerifier;
use crate::pki::token::{self, Token};
use crate::pki::{Error, Pki};

/// Paths that answer requests without credentials.
const ANONYMOUS_PATHS: &[&str] =
    &["/healthz", "/livez", "/readyz", "/version", "/version/", "/cacerts"];
/// The extra field of a user that says by which credential he is known.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
/// The user of a request that carries the join token.
const BOOTSTRAP_USER: &str = "system:bootstrap:rk";
/// The group of that user.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// The WebSocket subprotocol in which a browser hides its token; the token follows.
pub const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// Finds out who is asking.
pub struct Authentication {
    /// Service-account tokens.
    pub tokens: Arc<Tokens>,
    users: ClientVerifier,
    proxies: ClientVerifier,
    join: Token,
    bootstrapper: Arc<UserInfo>,
    issuer: Option<Arc<Oidc>>,
}

impl Authentication {
    /// Takes certificates of `pki`'s client and request-header authorities, service-account tokens,
    /// bootstrap tokens of the same history, and the join token.
    ///
    /// # Errors
    /// When an authority cannot be trusted.
    pub fn new(pki: &Pki, tokens: Arc<Tokens>, join: Token) -> Result<Self, Error> {
        Ok(Self {
            tokens,
            users: ClientVerifier::new(&pki.client)?,
            proxies: ClientVerifier::new(&pki.request_header)?,
            join,
            bootstrapper: Arc::new(UserInfo::system(BOOTSTRAP_USER, &[BOOTSTRAPPERS])),
            issuer: None,
        })
    }

    /// Takes tokens of an outside issuer as well.
    #[must_use]
    pub fn trusting(self, issuer: Option<Arc<Oidc>>) -> Self {
        Self { issuer, ..self }
    }

    async fn bearer(&self, token: &str) -> Result<Arc<UserInfo>, Status> {
        // A join token has no dots in it unless its owner chose so; a signed one has two.
        if token.split('.').count() == 3 {
            match self.tokens.verify(token, self.tokens.audiences()) {
                Ok(verified) => return Ok(verified.user),
                Err(refused) => tracing::debug!(error = %refused, "token refused"),
            }
            if let Some(issuer) = self.issuer.as_ref().filter(|i| i.claims_issuer(token)) {
                return issuer.verify(token).await.map_err(|refused| {
                    tracing::debug!(error = %refused, "token refused");
                    Status::unauthorized()
                });
            }
        }
        if let Some(user) = bootstrap_token::user(self.tokens.history(), token) {
            return Ok(user);
        }
        match Token::parse(token) {
            Ok(given) if self.join.matches(&given.password) => Ok(Arc::clone(&self.bootstrapper)),
            _ => Err(Status::unauthorized()),
        }
    }
}

#[async_trait]
impl Authenticator for Authentication {
    fn peer(&self, certificates: &[CertificateDer<'_>]) -> Peer {
        let Some(own) = certificates.first() else { return Peer::Unknown };
        let Some(mut user) = x509::user(own) else { return Peer::Unknown };
        if self.users.accepts(certificates) {
            let print = format!("X509SHA256={}", token::sha256(own));
            user.extra.insert(CREDENTIAL.into(), vec![print]);
            return Peer::User(Arc::new(user));
        }
        if user.name == PROXY && self.proxies.accepts(certificates) {
            return Peer::Proxy;
        }
        Peer::Unknown
    }

    async fn authenticate(
        &self,
        request: &Parts,
        peer: &Peer,
    ) -> Result<Option<Arc<UserInfo>>, Status> {
        match peer {
            Peer::User(user) => return Ok(Some(Arc::clone(user))),
            Peer::Proxy => {
                if let Some(user) = proxied(&request.headers) {
                    return Ok(Some(Arc::new(user)));
                }
            }
            Peer::Unknown => {}
        }
        if let Some(token) = bearer_token(&request.headers) {
            return self.bearer(&token).await.map(Some);
        }
        let open = ANONYMOUS_PATHS.contains(&request.uri.path());
        Ok(open.then(|| Arc::new(UserInfo::anonymous())))
    }
}

/// Whom a proxy speaks for.
fn proxied(headers: &HeaderMap) -> Option<UserInfo> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    let name = all("x-remote-user").into_iter().next()?;
    let uid = all("x-remote-uid").into_iter().next().unwrap_or_default();
    let mut groups = all("x-remote-group");
    if name != ANONYMOUS && !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    let extra = super::impersonation::extra(headers, "x-remote-extra-");
    Some(UserInfo { name, uid, groups, extra })
}

/// The token of a request, from its header or, for browsers, from the WebSocket protocols.
fn bearer_token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let (scheme, token) = value.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
            .then(|| token.to_owned());
    }
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut protocols =
        protocols.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let encoded = protocols.find_map(|protocol| protocol.trim().strip_prefix(WEBSOCKET_BEARER))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::World;
    use crate::pki::Profile;

    struct Setup {
        auth: Authentication,
        pki: Pki,
    }

    fn setup() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), true).unwrap();
        let world = World::default();
        world.put("", "serviceaccounts", r#"{"metadata":{"name":"sa","namespace":"a","uid":"u"}}"#);
        let signer = Arc::clone(&pki.signer);
        let tokens = Tokens::new(signer, world.history, "us", vec!["us".into()]);
        let join = Token::new(pki.server.certificate_pem(), "secret");
        let auth = Authentication::new(&pki, Arc::new(tokens), join).unwrap();
        Setup { auth, pki }
    }

    impl Setup {
        /// The name of the user, none for nobody, or the status of the refusal.
        async fn ask(
            &self,
            path: &str,
            headers: &[(&str, &str)],
            peer: &Peer,
        ) -> Result<String, u16> {
            let mut request = http::Request::builder().uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            match self.auth.authenticate(&parts, peer).await {
                Ok(user) => Ok(user.map(|user| user.name.clone()).unwrap_or_default()),
                Err(status) => Err(status.code),
            }
        }

        fn peer(&self, authority: &crate::pki::Authority, name: &str) -> Peer {
            let identity = authority.issue(&Profile::client(name, "")).unwrap();
            self.auth.peer(&identity.certified_key().unwrap().cert)
        }
    }

    #[tokio::test]
    async fn certificates_of_the_client_authority_name_users() {
        let setup = setup();
        let jane = setup.peer(&setup.pki.client, "jane");
        assert_eq!(setup.ask("/api", &[], &jane).await, Ok("jane".into()));
        let foreign = setup.peer(&setup.pki.server, "jane");
        assert_eq!(setup.ask("/api", &[], &foreign).await, Ok(String::new()));
    }

    #[tokio::test]
    async fn only_a_proxy_may_name_another_user() {
        let setup = setup();
        let headers = [("X-Remote-User", "jane"), ("X-Remote-Extra-Team%2Fname", "x")];
        let proxy = setup.peer(&setup.pki.request_header, PROXY);
        assert_eq!(setup.ask("/api", &headers, &proxy).await, Ok("jane".into()));
        let other = setup.peer(&setup.pki.request_header, "somebody");
        assert_eq!(setup.ask("/api", &headers, &other).await, Ok(String::new()));
        assert_eq!(setup.ask("/api", &headers, &Peer::Unknown).await, Ok(String::new()));
        let mut map = HeaderMap::new();
        map.insert("x-remote-user", "jane".parse().unwrap());
        map.insert("x-remote-extra-team%2fname", "x".parse().unwrap());
        assert_eq!(proxied(&map).unwrap().extra["team/name"], ["x"]);
    }

    #[tokio::test]
    async fn bearer_tokens_come_by_header_or_websocket_protocol() {
        let setup = setup();
        let answer =
            setup.auth.tokens.issue("a", "sa", &crate::api::tree::Value::object()).unwrap();
        let token = answer.at(&["status", "token"]).str().to_owned();
        let name = "system:serviceaccount:a:sa".to_owned();
        let header = format!("Bearer {token}");
        let by_header = [("authorization", header.as_str())];
        assert_eq!(setup.ask("/api", &by_header, &Peer::Unknown).await, Ok(name.clone()));
        let protocol = URL_SAFE_NO_PAD.encode(&token);
        let protocols = format!("v5.channel.k8s.io, {WEBSOCKET_BEARER}{protocol}");
        let by_protocol = [("sec-websocket-protocol", protocols.as_str())];
        assert_eq!(setup.ask("/api", &by_protocol, &Peer::Unknown).await, Ok(name));
        let broken = format!("Bearer {token}x");
        let broken = [("authorization", broken.as_str())];
        assert_eq!(setup.ask("/version", &broken, &Peer::Unknown).await, Err(401));
    }

    #[tokio::test]
    async fn the_join_token_is_taken_in_both_forms() {
        let setup = setup();
        let long = format!("Bearer {}", setup.auth.join);
        for value in ["Bearer secret", long.as_str()] {
            let user = setup.ask("/api", &[("authorization", value)], &Peer::Unknown).await;
            assert_eq!(user, Ok(BOOTSTRAP_USER.into()));
        }
        let wrong = setup.ask("/api", &[("authorization", "Bearer wrong")], &Peer::Unknown).await;
        assert_eq!(wrong, Err(401));
    }

    #[tokio::test]
    async fn without_credentials_only_health_and_version_answer() {
        let setup = setup();
        assert_eq!(setup.ask("/readyz", &[], &Peer::Unknown).await, Ok(ANONYMOUS.into()));
        assert_eq!(setup.ask("/api/v1/pods", &[], &Peer::Unknown).await, Ok(String::new()));
    }
}
