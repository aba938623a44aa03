//! The node's HTTPS server: what the API server asks of a node.
//!
//! Contract: only clients that show a certificate of a cluster administrator are answered; the API
//! server is one. Requests about containers are found by namespace, pod and container name; streams
//! are carried by [`crate::node::stream`].

mod exec;
mod find;
mod forward;
mod info;
mod logs;
mod query;
mod stats;
mod upgrade;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::shared::Shared;
use crate::api::status::Status;
use crate::auth::{MASTERS, x509};
use crate::limits::{ACCEPT_PAUSE, NODE_CONNECTIONS_MAX, NODE_HANDSHAKE_MAX};
use query::Query;

/// A body that is sent as it comes.
type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<Body>, Status>;

/// Serves for ever.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, shared: Arc<Shared>) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(NODE_CONNECTIONS_MAX));
    let stats = Arc::new(stats::Rates::default());
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (acceptor, shared, stats) = (acceptor.clone(), Arc::clone(&shared), Arc::clone(&stats));
        connections.spawn(async move {
            if let Err(error) = connection(stream, acceptor, shared, stats).await {
                tracing::debug!(%error, "a connection to the node broke off");
            }
            drop(place);
        });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    stats: Arc<stats::Rates>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(NODE_HANDSHAKE_MAX, acceptor.accept(stream)).await??;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let user = certificates.first().and_then(x509::user);
    let allowed = user.as_ref().map(|user| user.is_in(MASTERS));
    let service = service_fn(move |request| {
        let (shared, stats) = (Arc::clone(&shared), Arc::clone(&stats));
        async move {
            let answer = match allowed {
                Some(true) => route(&shared, &stats, request).await,
                Some(false) => Err(Status::forbidden("", "nodes", "", "administrators only")),
                None => Err(Status::unauthorized()),
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(|status| refusal(&status)))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(NODE_HANDSHAKE_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    served.await.map_err(io::Error::other)
}

/// Who answers what.
async fn route(shared: &Arc<Shared>, stats: &stats::Rates, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match parts.as_slice() {
        ["healthz"] if reads => Ok(text("ok")),
        ["pods"] if reads => info::pods(shared),
        ["metrics"] if reads => Ok(info::metrics(shared)),
        ["metrics", "resource"] if reads => stats::resource(shared).await,
        ["stats", "summary"] if reads => stats::summary(shared, stats).await,
        ["containerLogs", namespace, pod, container] if reads => {
            logs::logs(shared, (namespace, pod, container), &query)
        }
        ["exec", namespace, pod, container] => {
            exec::exec(shared, (namespace, pod, container), &query, request).await
        }
        ["attach", namespace, pod, container] => {
            exec::attach(shared, (namespace, pod, container), &query, request).await
        }
        ["portForward", namespace, pod] => forward::forward(shared, namespace, pod, request),
        _ => Err(Status::no_such_path()),
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn with_type(kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    let value = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

fn text(text: &'static str) -> Response<Body> {
    with_type("text/plain; charset=utf-8", text)
}

fn json(bytes: Vec<u8>) -> Response<Body> {
    with_type("application/json", bytes)
}

fn refusal(status: &Status) -> Response<Body> {
    let mut response = json(status.to_value().encode());
    *response.status_mut() =
        StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}
