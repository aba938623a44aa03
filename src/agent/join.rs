//! How a machine becomes a node, and stays one.
//!
//! The first time it shows the join token, later the certificate that it got. The server's
//! authority is known by the hash in the token; from then on it is the one that is kept.

use std::io;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request as Head, request::Builder};
use http_body_util::{BodyExt, Full, Limited};
use rustls::{CertificateError, ClientConfig};

use super::files::{Files, Membership};
use super::{Error, Settings};
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::auth::policy::JOIN_PATH;
use crate::client::remote::Http;
use crate::limits;
use crate::pki::token::Token;
use crate::pki::{self, Rotating, request, tls};
use crate::server::join::{Grant, Request};
use crate::util::backoff::Backoff;
use crate::util::clock;

/// Joins a server, and renews the membership.
pub(super) struct Joiner {
    settings: Settings,
    token: Token,
    files: Files,
}

impl Joiner {
    pub(super) fn new(settings: &Settings, files: Files) -> Result<Self, Error> {
        let token = Token::parse(&settings.token)?;
        Ok(Self { settings: settings.clone(), token, files })
    }

    /// The membership as the server has it now, or, while the server is away, as it was last time.
    /// A first membership is waited for.
    pub(super) async fn enter(&self) -> Result<Membership, Error> {
        let stored = self.stored()?;
        let mut backoff = Backoff::new(limits::JOIN_BACKOFF_FIRST, limits::JOIN_BACKOFF_MAX);
        loop {
            let error = match self.ask(stored.as_ref()).await {
                Ok(membership) => return Ok(membership),
                Err(error) if may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            if let Some(stored) = stored.as_ref().filter(|stored| stored.is_valid()) {
                tracing::warn!(%error, "starting with what was known last time");
                return Ok(stored.clone());
            }
            tracing::warn!(%error, "cannot join yet; trying again");
            tokio::time::sleep(backoff.fail()).await;
        }
    }

    /// Gets new certificates.
    pub(super) async fn renew(&self) -> Result<Membership, Error> {
        self.ask(self.stored()?.as_ref()).await
    }

    /// The membership of this node in the token's cluster, if it has one.
    fn stored(&self) -> Result<Option<Membership>, Error> {
        let fits = |stored: &Membership| {
            stored.node == self.settings.node.name
                && self.token.trusts(&stored.grant.server_authority)
        };
        Ok(self.files.membership()?.filter(fits))
    }

    /// Asks the server for a membership, and keeps it.
    async fn ask(&self, stored: Option<&Membership>) -> Result<Membership, Error> {
        let membership = match stored.filter(|stored| stored.is_valid()) {
            Some(stored) => match self.as_node(stored).await {
                Err(Error::WrongToken { .. } | Error::Refused { .. }) => self.as_stranger().await?,
                other => other?,
            },
            None => self.as_stranger().await?,
        };
        self.files.keep(&membership)?;
        Ok(membership)
    }

    /// Shows the certificate of an earlier time.
    async fn as_node(&self, stored: &Membership) -> Result<Membership, Error> {
        let identity = Rotating::new(&stored.client())?;
        let authority = &stored.grant.server_authority;
        let tls = tls::client(tls::roots([authority.as_str()])?, Some(identity.into()), &[])?;
        self.apply(tls, Head::post(JOIN_PATH), authority).await
    }

    /// Shows the token.
    async fn as_stranger(&self) -> Result<Membership, Error> {
        let authority = self.authority().await?;
        let tls = tls::client(tls::roots([authority.as_str()])?, None, &[])?;
        let head = Head::post(JOIN_PATH).header(AUTHORIZATION, format!("Bearer {}", self.token));
        self.apply(tls, head, &authority).await
    }

    /// The authority of the server, which must be the one that the token names.
    async fn authority(&self) -> Result<String, Error> {
        let server = self.settings.server.to_string();
        let tls = tls::unverified_client(&[])?;
        let (code, body) = self.exchange(tls, Head::get("/cacerts"), Vec::new()).await?;
        let no_server = |why: String| Error::NoServer { server: server.clone(), why };
        if code != 200 {
            return Err(no_server(format!("it has no /cacerts (HTTP status {code})")));
        }
        let pem = String::from_utf8(body.to_vec()).map_err(|e| no_server(e.to_string()))?;
        if !self.token.trusts(&pem) {
            return Err(Error::OtherCluster { server });
        }
        if self.token.authority_hash.is_none() {
            tracing::warn!(
                %server,
                "the token does not say by which certificate the server is known: trusting the \
                 first that answers; the whole of what `rk token` prints is safer"
            );
        }
        Ok(pem)
    }

    /// Sends one request over a connection of its own; status code and body of the answer.
    async fn exchange(
        &self,
        tls: ClientConfig,
        head: Builder,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), Error> {
        let endpoint = &self.settings.server;
        let away = |why: String| Error::Away { server: endpoint.to_string(), why };
        let http = Http::new(endpoint.clone(), tls);
        let request = head.body(Full::from(body));
        let request = request.map_err(|e| pki::Error::Invalid(e.to_string()))?;
        let whole = async {
            let response = http.send(request).await;
            let failed = |e| unreachable(&endpoint.to_string(), &endpoint.host, &e);
            let response = response.map_err(failed)?;
            let code = response.status().as_u16();
            let body = Limited::new(response.into_body(), limits::ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(|e| away(e.to_string()))?;
            Ok((code, body.to_bytes()))
        };
        let answer = tokio::time::timeout(limits::REQUEST_TIMEOUT, whole).await;
        answer.map_err(|_| away("it does not answer in time".to_owned()))?
    }

    async fn apply(
        &self,
        tls: ClientConfig,
        head: Builder,
        authority: &str,
    ) -> Result<Membership, Error> {
        let (key, certificate_request) = request::new()?;
        let node = self.settings.node.name.clone();
        let request = Request {
            node: node.clone(),
            addresses: vec![self.settings.node.ip.into()],
            secret: self.files.secret()?,
            certificate_request,
        };
        let server = self.settings.server.to_string();
        let no_server = |why: String| Error::NoServer { server: server.clone(), why };
        let body = Value::of(&request).map_err(|error| no_server(error.to_string()))?;
        let head = head.header(CONTENT_TYPE, "application/json");
        let (code, body) = self.exchange(tls, head, body.encode()).await?;
        let value = Value::parse(&body);
        if code != 200 {
            let status = Status::from_value(code, &value.unwrap_or_default());
            return Err(refused(&server, &status));
        }
        let value = value.map_err(|error| no_server(error.to_string()))?;
        let grant: Grant = value.to().map_err(|error| no_server(error.to_string()))?;
        if grant.server_authority != authority {
            return Err(no_server("it names another authority than its own".to_owned()));
        }
        let membership = Membership { node, key, grant };
        membership.client().certified_key()?;
        membership.serving().certified_key()?;
        Ok(membership)
    }
}

/// A connection's failure as the one who runs the node should read it.
fn unreachable(server: &str, host: &str, error: &io::Error) -> Error {
    let server = server.to_owned();
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => {
            Error::Stranger { server, why: untrusted(why, host) }
        }
        Some(other) => Error::Stranger { server, why: other.to_string() },
        None => Error::Away { server, why: error.to_string() },
    }
}

/// What is wrong with a server's certificate, and what to do.
fn untrusted(why: &CertificateError, host: &str) -> String {
    use CertificateError as E;
    match why {
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
            let now = time::format(clock::now());
            format!("its certificate is not valid at {now}: compare the clocks of both machines")
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => format!(
            "its certificate is not for {host}: start the server with --tls-san {host}, or use an \
             address that it knows"
        ),
        E::UnknownIssuer | E::BadSignature => {
            "its certificate is of another cluster's authority".to_owned()
        }
        other => format!("its certificate is refused: {other}"),
    }
}

/// A server's refusal as the one who runs the node should read it.
fn refused(server: &str, status: &Status) -> Error {
    let (server, why) = (server.to_owned(), status.message.clone());
    match status.code {
        401 => Error::WrongToken { server },
        404 | 405 => Error::NoServer { server, why },
        400..=499 if status.code != 429 && !status.is_conflict() => Error::Refused { server, why },
        _ => Error::Away { server, why },
    }
}

/// Whether waiting may help.
const fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Away { .. })
}
