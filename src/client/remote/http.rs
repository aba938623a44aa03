//! One HTTP/2 connection to a server, made anew whenever it is gone.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::limits;

/// A server's host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// From a URL such as `https://10.0.0.1:6443`; the port is 6443 where none is given.
    ///
    /// # Errors
    /// When it is none, not `https`, or has a path.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("{url:?} is not a URL such as https://10.0.0.1:6443: {why}");
        let uri: Uri = url.parse().map_err(|_| wrong("it does not parse"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("it must begin with https://"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it must not have a path"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(6443) })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]:{}", self.host, self.port),
            false => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

/// Sends requests to one server.
pub struct Http {
    endpoint: Endpoint,
    connector: TlsConnector,
    /// The connection in use. Held over the making of a new one, so that many requests at once
    /// make one connection.
    current: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Http {
    /// A client of a server, whom it trusts and shows itself to as `tls` says.
    pub fn new(endpoint: Endpoint, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            endpoint,
            connector: TlsConnector::from(Arc::new(tls)),
            current: tokio::sync::Mutex::new(None),
        }
    }

    /// The server.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request, whose URI is a path; the answer's body is still to come.
    ///
    /// # Errors
    /// When the server cannot be reached, is not who it should be, or hangs up.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> io::Result<Response<Incoming>> {
        let mut sender = self.connection().await?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let whole = format!("{}{path}", self.endpoint);
        *request.uri_mut() = whole.parse().map_err(io::Error::other)?;
        let agent = HeaderValue::from_static(concat!("rk/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(header::USER_AGENT).or_insert(agent);
        sender.send_request(request).await.map_err(told)
    }

    async fn connection(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let mut current = self.current.lock().await;
        if let Some(sender) = current.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let made = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, self.connect()).await;
        let sender = made.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        *current = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let Endpoint { host, port } = &self.endpoint;
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(name, stream).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // A server that lost its power says nothing: pings find out, also while nobody asks.
            .keep_alive_interval(limits::PING_INTERVAL)
            .keep_alive_timeout(limits::HANDSHAKE_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(told)?;
        tokio::spawn(async move {
            // How it ends is seen by who uses it.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// An error with what caused it: hyper's own words say little.
fn told(error: hyper::Error) -> io::Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    io::Error::other(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_from_urls() {
        let endpoint = Endpoint::parse("https://10.0.0.1").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("10.0.0.1", 6443));
        let endpoint = Endpoint::parse("https://[fd00::1]:7443/").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("fd00::1", 7443));
        assert_eq!(endpoint.to_string(), "https://[fd00::1]:7443");
        for wrong in ["10.0.0.1:6443", "http://a", "https://a/b", "https://", "not a url"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
