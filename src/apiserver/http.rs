//! The HTTP server: from a request to its answer.
//!
//! The way of a request: what it is about, who asks, as whom, whether there is room, whether they
//! may, and then the engine or a document. A handler that panics answers 500; the server goes on.
//!
//! It must not know what kinds mean: that stands in their registry entries.

mod accept;
mod body;
mod connect;
mod documents;
mod health;
mod input;
mod joining;
mod metrics;
mod openapi;
mod output;
mod process;
mod raw;
mod render;
mod request;
mod resource;
mod server;
mod statusz;
mod upload;
mod websocket;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

pub use body::{Body, Rope};
pub use documents::Page;
pub use health::{Check, Health};
pub use joining::Door;
pub use server::serve;
pub use upload::Upload;

use super::connect::NodeDialer;
use super::engine::Engine;
use crate::api::status::Status;
use crate::auth::policy::JOIN_PATH;
use crate::auth::service_account::Tokens;
use crate::auth::{Attributes, Authenticator, Peer, UserInfo, impersonation};
use crate::limits;
use crate::util::clock::{self, Wall};
use crate::util::x509::Certificate;
use documents::Documents;
pub use metrics::Register;
use metrics::{Labels, Metrics};
use openapi::OpenApi;
use request::{RequestInfo, Target};

/// What a front is made of.
pub struct FrontParts {
    /// The verbs.
    pub engine: Arc<Engine>,
    /// Who is asking.
    pub authenticator: Arc<dyn Authenticator>,
    /// The way to nodes; without one, streams to pods are refused.
    pub dialer: Option<Arc<dyn NodeDialer>>,
    /// Where nodes join; without one, none do.
    pub door: Option<Arc<dyn Door>>,
    /// Whose keys are shown to those who check service-account tokens themselves.
    pub tokens: Option<Arc<Tokens>>,
    /// Where clients reach the server: `host:port`.
    pub address: String,
    /// What must be well.
    pub health: Health,
    /// Further pages.
    pub pages: Vec<Page>,
    /// Turns true when the server is to stop.
    pub stop: watch::Receiver<bool>,
    /// What other parts of the server count.
    pub meters: Vec<Register>,
}

/// The other end of a connection.
pub struct Caller {
    peer: Peer,
    /// When the certificate ends that says who it is, where one does.
    until: Option<Wall>,
}

/// Answers requests.
pub struct Front {
    engine: Arc<Engine>,
    authenticator: Arc<dyn Authenticator>,
    dialer: Option<Arc<dyn NodeDialer>>,
    door: Option<Arc<dyn Door>>,
    tokens: Option<Arc<Tokens>>,
    address: String,
    health: Health,
    pages: Vec<Page>,
    stop: watch::Receiver<bool>,
    documents: Documents,
    openapi: OpenApi,
    metrics: Metrics,
    reads: Semaphore,
    writes: Semaphore,
}

impl Front {
    /// A front over its parts.
    pub fn new(parts: FrontParts) -> Arc<Self> {
        Arc::new(Self {
            engine: parts.engine,
            authenticator: parts.authenticator,
            dialer: parts.dialer,
            door: parts.door,
            tokens: parts.tokens,
            address: parts.address,
            health: parts.health,
            pages: parts.pages,
            stop: parts.stop,
            documents: Documents::default(),
            openapi: OpenApi::default(),
            metrics: Metrics::new(parts.meters),
            reads: Semaphore::new(limits::READS_AT_ONCE),
            writes: Semaphore::new(limits::WRITES_AT_ONCE),
        })
    }

    /// What the certificates of a connection say about its other end.
    pub fn caller(&self, certificates: &[CertificateDer<'_>]) -> Caller {
        let peer = self.authenticator.peer(certificates);
        let own = certificates.first().filter(|_| matches!(peer, Peer::User(_)));
        let own = own.and_then(|certificate| Certificate::of_der(certificate).ok());
        Caller { peer, until: own.map(|certificate| certificate.not_after) }
    }

    /// Answers one request. Never fails: what goes wrong is an answer too.
    pub fn answer(
        self: Arc<Self>,
        caller: Arc<Caller>,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, Response<Body>> {
        let request = request.map(Upload::new);
        async move { self.answered(&caller, request).await }.boxed()
    }

    async fn answered(
        self: &Arc<Self>,
        caller: &Caller,
        request: Request<Upload>,
    ) -> Response<Body> {
        let begun = clock::instant();
        let info = RequestInfo::of(request.method(), request.uri());
        let encoding = request.headers().get(header::ACCEPT_ENCODING).cloned();
        let head_only = request.method() == Method::HEAD;
        let labels = self.labels(&info, request.headers());
        let handled = AssertUnwindSafe(self.timed(caller, &info, &labels, request)).catch_unwind();
        let response = match handled.await {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => output::status(&status),
            Err(_) => {
                self.metrics.panicked();
                let why = "This request caused apiserver to panic. Look in the logs for details.";
                output::status(&Status::new(500, "InternalError", why))
            }
        };
        let took = clock::instant().saturating_duration_since(begun);
        let code = response.status().as_u16();
        self.metrics.answered(&labels, code, took, info.is_long());
        let [_, _, resource] = labels.named();
        tracing::debug!(verb = labels.verb, resource, code, ?took, "request");
        if head_only {
            return output::head_only(response);
        }
        if info.is_long() {
            return response;
        }
        let response = match info.query.flag("pretty") {
            Some(true) => output::indent(response),
            _ => response,
        };
        output::compress(encoding.as_ref(), response)
    }

    /// Answers within the time that a request may take.
    async fn timed(
        self: &Arc<Self>,
        caller: &Caller,
        info: &RequestInfo,
        labels: &Labels,
        request: Request<Upload>,
    ) -> Result<Response<Body>, Status> {
        if info.is_long() {
            let held = self.metrics.stream(labels);
            let response = self.handle(caller, info, request).await?;
            return Ok(response.map(|body| body.holding(held)));
        }
        let _inflight = self.metrics.inflight(info.is_read());
        let _place = self.place(info).inspect_err(|e| self.metrics.terminated(labels, e.code))?;
        let limit = timeout(info).unwrap_or(limits::REQUEST_TIMEOUT).min(limits::REQUEST_TIMEOUT);
        match tokio::time::timeout(limit, self.handle(caller, info, request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let why = "Timeout: request did not complete within requested timeout - context \
                           deadline exceeded";
                let timeout = Status::timeout(why, 1);
                self.metrics.terminated(labels, timeout.code);
                Err(timeout)
            }
        }
    }

    /// Room for one more request of its kind.
    fn place(&self, info: &RequestInfo) -> Result<SemaphorePermit<'_>, Status> {
        let places = if info.is_read() { &self.reads } else { &self.writes };
        places
            .try_acquire()
            .map_err(|_| Status::too_many_requests("too many requests, please try again later", 1))
    }

    async fn handle(
        self: &Arc<Self>,
        caller: &Caller,
        info: &RequestInfo,
        request: Request<Upload>,
    ) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let user = self.authenticator.authenticate(&parts, &caller.peer).await;
        if let Some(until) = caller.until {
            self.metrics.certified(until.since(clock::now()));
        }
        self.metrics.authenticated(user.as_ref().map(Option::as_deref));
        let user = user?.ok_or_else(Status::unauthorized)?;
        let authorizer = &**self.engine.authorizer();
        let asked = info.attributes(&user, parts.uri.path());
        let other = impersonation::impersonate(&parts.headers, &asked, authorizer)?;
        let user = other.unwrap_or(user);
        let request = Request::from_parts(parts, body);
        match &info.target {
            Target::Resource(path) => self.resource(user, info, path, request).await,
            Target::Path if info.verb == "post" && request.uri().path() == JOIN_PATH => {
                self.join(&user, request.into_body()).await
            }
            Target::Path => self.path(&user, info, &request).await,
        }
    }

    /// Answers a path that is no resource.
    async fn path(
        self: &Arc<Self>,
        user: &UserInfo,
        info: &RequestInfo,
        request: &Request<Upload>,
    ) -> Result<Response<Body>, Status> {
        let path = request.uri().path();
        let allowed = self.engine.authorize(&Attributes::path(user, info.verb, path));
        self.metrics.decided(allowed.is_ok());
        allowed?;
        if !matches!(info.verb, "get" | "head") {
            return Err(Status::method_not_allowed());
        }
        if let Some(answer) = self.health.answer(path, &info.query) {
            return Ok(answer);
        }
        if path == "/metrics" {
            const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            return Ok(output::answer(
                200,
                TEXT,
                Rope::from(self.metrics.text(self.engine.history())),
            ));
        }
        if let Some(page) = self.pages.iter().find(|page| page.path == path) {
            return Ok(page.answer());
        }
        if path.starts_with("/openapi/") {
            return self.openapi(path, info.query.get("hash"), request.headers()).await;
        }
        self.document(path, request.headers())
    }

    /// What a request counts as. Only what is served has a name of its own.
    fn labels(&self, info: &RequestInfo, headers: &HeaderMap) -> Labels {
        let applies = info.verb == "patch" && input::applies(headers);
        let Target::Resource(path) = &info.target else { return Labels::of(info, None, applies) };
        let registry = self.engine.registry();
        let resource = registry.get(&path.group, &path.version, &path.plural);
        Labels::of(info, resource.map(|resource| &**resource), applies)
    }
}

/// How long the client is willing to wait: `timeout=30s`.
fn timeout(info: &RequestInfo) -> Option<Duration> {
    let text = info.query.get("timeout");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.saturating_mul(60))),
        "h" => Some(Duration::from_secs(number.saturating_mul(3600))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
