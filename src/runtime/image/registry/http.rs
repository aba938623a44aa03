//! HTTP/1.1 towards registries: connections that are used again, and a deadline on every step.
//!
//! HTTP/1.1 only, since parallel layers over one HTTP/2 connection share its one window.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::error::{Error, Result};
use super::proxy::{Proxy, ProxyServer};
use super::settings::Deadlines;
use super::url::{Origin, Url};
use crate::limits;

type Sender = SendRequest<Full<Bytes>>;

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// The connections of one pull.
#[derive(Debug)]
pub(super) struct Http {
    idle: Mutex<HashMap<Origin, Vec<Sender>>>,
    deadlines: Deadlines,
    proxy: Proxy,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For `https` URLs.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Call {
    pub(super) fn get(url: Url) -> Call {
        let (method, headers) = (Method::GET, HeaderMap::new());
        Call { method, url, headers, body: Bytes::new(), tls: None }
    }
}

/// The head of an answer, and its body to come.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub url: Url,
    body: Incoming,
    home: Option<(Arc<Http>, Sender)>,
    progress: Progress,
}

/// Enough bytes within each period, or the transfer has stalled.
#[derive(Debug)]
struct Progress {
    stall: Duration,
    until: Instant,
    bytes: u64,
}

impl Http {
    pub(super) fn new(deadlines: Deadlines) -> Arc<Http> {
        let (idle, proxy) = (Mutex::new(HashMap::new()), Proxy::from_env());
        Arc::new(Http { idle, deadlines, proxy })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(self: &Arc<Self>, call: &Call) -> Result<Answer> {
        let reused = self.idle.lock().get_mut(&call.url.origin).and_then(Vec::pop);
        if let Some(mut sender) = reused
            && sender.ready().await.is_ok()
        {
            match self.exchange(call, sender).await {
                // The server had given up the idle connection; a fresh one decides.
                Err(e) if e.is_canceled() || e.is_incomplete_message() || e.is_closed() => {}
                result => return result.map_err(|e| failed("request to", &call.url, &e)),
            }
        }
        let sender = self.connect(call).await?;
        self.exchange(call, sender).await.map_err(|e| failed("request to", &call.url, &e))
    }

    async fn exchange(self: &Arc<Self>, call: &Call, mut sender: Sender) -> Sent {
        let request = self.request(call).map_err(SendError::Invalid)?;
        let answer = timeout(self.deadlines.response, sender.send_request(request)).await;
        let answer = answer.map_err(|_| SendError::Silence(self.deadlines.response))??;
        let (head, body) = answer.into_parts();
        let stall = self.deadlines.stall;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            url: call.url.clone(),
            body,
            home: Some((Arc::clone(self), sender)),
            progress: Progress { stall, until: Instant::now() + stall, bytes: 0 },
        })
    }

    fn request(&self, call: &Call) -> http::Result<Request<Full<Bytes>>> {
        let Url { origin, path_and_query } = &call.url;
        // A proxy for plain HTTP wants to see the whole address.
        let proxy = self.proxy.of(origin).filter(|_| !origin.secure);
        let target = match proxy {
            Some(_) => format!("http://{}{path_and_query}", origin.authority()),
            None => path_and_query.clone(),
        };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(target)
            .header(HOST, origin.authority())
            .header(USER_AGENT, concat!("rk/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.as_ref()) {
            request = request.header(http::header::PROXY_AUTHORIZATION, authorization);
        }
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(call.body.clone()))
    }

    /// A new connection to where a call goes.
    async fn connect(&self, call: &Call) -> Result<Sender> {
        let (origin, wait) = (&call.url.origin, self.deadlines.connect);
        let connected = timeout(wait, self.open(origin, call.tls.as_ref())).await;
        let reason = match connected {
            Ok(Ok(sender)) => return Ok(sender),
            Ok(Err(e)) => reason_of(&e),
            Err(_) => format!("no connection within {}", seconds(wait)),
        };
        let url = Url { origin: origin.clone(), path_and_query: String::new() };
        Err(Error::Transport { action: "connect to", url: url.to_string(), reason })
    }

    async fn open(
        &self,
        origin: &Origin,
        tls: Option<&Arc<ClientConfig>>,
    ) -> std::io::Result<Sender> {
        let mut tcp = match self.proxy.of(origin) {
            Some(proxy) => self.reach(&proxy.host, proxy.port).await?,
            None => self.reach(&origin.host, origin.port).await?,
        };
        tcp.set_nodelay(true)?;
        if !origin.secure {
            return start(tcp).await;
        }
        if let Some(proxy) = self.proxy.of(origin) {
            tunnel(&mut tcp, origin, proxy).await?;
        }
        let config = tls.ok_or_else(|| std::io::Error::other("no TLS configuration"))?;
        let name = ServerName::try_from(origin.host.clone()).map_err(std::io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        start(connector.connect(name, tcp).await?).await
    }

    /// Tries the addresses of a host in turn; one that swallows packets leaves time for others.
    async fn reach(&self, host: &str, port: u16) -> std::io::Result<TcpStream> {
        let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
        let share = self.deadlines.connect / addresses.len().clamp(1, ADDRESSES_MAX) as u32;
        let mut error = std::io::Error::other(format!("{host} has no address"));
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            error = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => e,
                Err(_) => std::io::Error::other(format!("no connection within {}", seconds(share))),
            };
        }
        Err(error)
    }

    fn keep(&self, origin: &Origin, sender: Sender) {
        let mut idle = self.idle.lock();
        let idle = idle.entry(origin.clone()).or_default();
        if idle.len() < limits::IMAGE_DOWNLOADS_MAX {
            idle.push(sender);
        }
    }
}

async fn start<S>(stream: S) -> std::io::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    // Ends with the last use of the sender; faults reach whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Asks a proxy for a tunnel to `origin`.
async fn tunnel(tcp: &mut TcpStream, origin: &Origin, proxy: &ProxyServer) -> std::io::Result<()> {
    let target = match origin.host.contains(':') {
        true => format!("[{}]:{}", origin.host, origin.port),
        false => format!("{}:{}", origin.host, origin.port),
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    tcp.write_all(request.as_bytes()).await?;
    // Byte by byte: what follows the head belongs to the tunnel.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 8192 {
            return Err(std::io::Error::other("the proxy's answer is too long"));
        }
        head.push(tcp.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_string();
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(std::io::Error::other(format!("the proxy refused: {line}"))),
    }
}

type Sent = std::result::Result<Answer, SendError>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("no answer within {}", seconds(*.0))]
    Silence(Duration),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Invalid(http::Error),
}

impl SendError {
    fn is_canceled(&self) -> bool {
        matches!(self, SendError::Http(e) if e.is_canceled())
    }

    fn is_incomplete_message(&self) -> bool {
        matches!(self, SendError::Http(e) if e.is_incomplete_message())
    }

    fn is_closed(&self) -> bool {
        matches!(self, SendError::Http(e) if e.is_closed())
    }
}

impl Answer {
    /// The next part of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = timeout_at(self.progress.until, self.body.frame()).await;
            let Ok(frame) = frame else {
                let reason = format!("transfer stalled for {}", seconds(self.progress.stall));
                return Err(self.broken(reason));
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.progress.add(data.len());
                        return Ok(Some(data));
                    }
                }
                Some(Err(e)) => return Err(self.broken(reason_of(&e))),
                None => {
                    if let Some((http, sender)) = self.home.take() {
                        http.keep(&self.url.origin, sender);
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn broken(&self, reason: String) -> Error {
        Error::Transport { action: "read from", url: self.url.to_string(), reason }
    }

    /// The whole body of a small document.
    pub(super) async fn document(&mut self, bytes_max: u64) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        // The period is not renewed: a document comes at once or not at all.
        self.progress.bytes = 0;
        let until = self.progress.until;
        while let Some(part) = self.chunk().await? {
            self.progress.until = until;
            if (whole.len() + part.len()) as u64 > bytes_max {
                let what = format!("answer of {}", self.url);
                return Err(Error::malformed(what, format!("more than {bytes_max} bytes")));
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole)
    }

    /// Where a redirection leads, if this is one.
    pub(super) fn redirection(&self) -> Option<Result<Url>> {
        let codes = [301, 302, 303, 307, 308];
        if !codes.contains(&self.status.as_u16()) {
            return None;
        }
        let location = self.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        location.map(|location| self.url.join(location))
    }

    /// A header as text.
    pub(super) fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok())
    }
}

impl Progress {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes >= limits::REGISTRY_PROGRESS_BYTES_MIN {
            self.bytes = 0;
            self.until = Instant::now() + self.stall;
        }
    }
}

fn failed(action: &'static str, url: &Url, e: &SendError) -> Error {
    Error::Transport { action, url: url.to_string(), reason: reason_of(e) }
}

/// An error with its causes: the outermost alone often says nothing.
fn reason_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
