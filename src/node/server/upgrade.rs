//! From an HTTP request to a byte stream: WebSocket and SPDY.

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Answer, full};
use crate::api::status::Status;

/// The stream that a connection becomes.
pub(super) type Io = TokioIo<Upgraded>;

const PROTOCOL_VERSION: &str = "x-stream-protocol-version";

/// What a client wants its connection to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    WebSocket,
    Spdy,
}

/// What the headers ask for.
pub(super) fn wish(headers: &HeaderMap) -> Result<Wish, Status> {
    let lower = |name| {
        let value = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        value.unwrap_or_default().to_lowercase()
    };
    let upgrade = lower(header::UPGRADE);
    match upgrade.as_str() {
        _ if !lower(header::CONNECTION).contains("upgrade") => {}
        "websocket" => return Ok(Wish::WebSocket),
        "spdy/3.1" => return Ok(Wish::Spdy),
        _ => {}
    }
    Err(Status::bad_request("Upgrade request required"))
}

/// The stream protocols that a SPDY client offers.
pub(super) fn stream_protocols(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(PROTOCOL_VERSION).iter().filter_map(|value| value.to_str().ok()).collect()
}

/// The sub-protocols that a WebSocket client offers.
pub(super) fn sub_protocols(headers: &HeaderMap) -> String {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
}

/// Agrees to SPDY with a stream protocol, and hands the stream to `then`.
pub(super) fn spdy<F>(
    request: Request<Incoming>,
    protocol: &'static str,
    then: impl FnOnce(Io) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = ()> + Send,
{
    let mut response = switching("SPDY/3.1");
    let protocol = HeaderValue::from_static(protocol);
    response.headers_mut().insert(PROTOCOL_VERSION, protocol);
    go_on(request, then);
    Ok(response)
}

/// Agrees to WebSocket with a sub-protocol, and hands the stream to `then`.
pub(super) fn websocket<F>(
    request: Request<Incoming>,
    protocol: &'static str,
    then: impl FnOnce(Io) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = ()> + Send,
{
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| Status::bad_request("the WebSocket key is missing"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(|error| Status::internal(error.to_string()))?;
    let mut response = switching("websocket");
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_static(protocol);
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    go_on(request, then);
    Ok(response)
}

fn switching(to: &'static str) -> Response<super::Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(to));
    response
}

fn go_on<F>(request: Request<Incoming>, then: impl FnOnce(Io) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => then(TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
        }
    });
}
