//! A registry that does what a test tells it to: raw TCP, so that it can break off anywhere.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::runtime::image::digest::Digest;
use crate::runtime::image::testing::TestImage;

/// What the client asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(super) fn is(&self, part: &str) -> bool {
        self.path.contains(part)
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A whole answer.
    Send(u16, Vec<(String, String)>, Vec<u8>),
    /// The head and so many bytes of the answer, then the connection ends.
    Cut(usize, Box<Reply>),
    /// The head and so many bytes of the answer, then silence.
    Stall(usize, Box<Reply>),
    /// Silence.
    Hang,
    /// Nothing but a reset.
    Reset,
}

impl Reply {
    pub(super) fn status(status: u16) -> Reply {
        Reply::Send(status, Vec::new(), Vec::new())
    }

    pub(super) fn with(self, name: &str, value: &str) -> Reply {
        match self {
            Reply::Send(status, mut headers, body) => {
                headers.push((name.to_string(), value.to_string()));
                Reply::Send(status, headers, body)
            }
            other => other,
        }
    }
}

type Handler = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

/// The server; gone when dropped.
pub(super) struct Fake {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Fake {
    /// A registry of one image under any name, except where `handler` decides otherwise.
    pub(super) async fn start(
        image: &TestImage,
        handler: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
    ) -> Fake {
        Fake::start_tls(image, None, handler).await
    }

    pub(super) async fn start_tls(
        image: &TestImage,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let contents: HashMap<String, Vec<u8>> = image
            .blobs()
            .iter()
            .map(|blob| (Digest::of(blob).to_string(), blob.to_vec()))
            .collect();
        let manifest = image.manifest.clone();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let handler: Arc<Handler> = Arc::new(move |asked: &Asked| {
            log.lock().push(asked.clone());
            Some(handler(asked).unwrap_or_else(|| honest(asked, &contents, &manifest)))
        });
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (handler, tls) = (Arc::clone(&handler), tls.clone());
                tokio::spawn(async move {
                    let mut stream = stream;
                    match tls {
                        None if serve(&mut stream, handler.as_ref()).await == End::Reset => {
                            stream.set_zero_linger().unwrap();
                        }
                        None => {}
                        Some(config) => {
                            let accepted = tokio_rustls::TlsAcceptor::from(config).accept(stream);
                            if let Ok(mut stream) = accepted.await {
                                serve(&mut stream, handler.as_ref()).await;
                            }
                        }
                    }
                });
            }
        });
        Fake { port, asked, serving }
    }

    /// `127.0.0.1:port/name`.
    pub(super) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// How often something with this in its path was fetched.
    pub(super) fn gets(&self, part: &str) -> usize {
        self.asked().iter().filter(|a| a.method == "GET" && a.path.contains(part)).count()
    }
}

/// What a good registry answers.
pub(super) fn honest(asked: &Asked, contents: &HashMap<String, Vec<u8>>, manifest: &[u8]) -> Reply {
    let path = asked.path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let body = match contents.get(name) {
        Some(body) => body.clone(),
        None if path.contains("/manifests/") && !name.contains(':') => manifest.to_vec(),
        None => return Reply::status(404),
    };
    let digest = Digest::of(&body).to_string();
    let reply = match asked
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
    {
        Some(from) => Reply::Send(206, Vec::new(), body[from..].to_vec())
            .with("Content-Range", &format!("bytes {from}-{}/{}", body.len() - 1, body.len())),
        None => Reply::Send(200, Vec::new(), body),
    };
    reply.with("Docker-Content-Digest", &digest)
}

/// How a connection ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Not yet.
    Open,
    /// In order.
    Closed,
    /// Without a word.
    Reset,
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, handler: &Handler) -> End {
    while let Some(asked) = read_request(stream).await {
        let reply = handler(&asked).unwrap();
        let end = answer(stream, &asked, reply).await;
        if end != End::Open {
            return end;
        }
    }
    End::Closed
}

async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, asked: &Asked, reply: Reply) -> End {
    let (most, hang, reply) = match reply {
        Reply::Hang => return std::future::pending().await,
        Reply::Reset => return End::Reset,
        Reply::Cut(most, reply) => (most, false, *reply),
        Reply::Stall(most, reply) => (most, true, *reply),
        reply => (usize::MAX, false, reply),
    };
    let Reply::Send(status, headers, body) = reply else { panic!("nested") };
    let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    if asked.method != "HEAD" {
        let _ = stream.write_all(&body[..most.min(body.len())]).await;
    }
    let _ = stream.flush().await;
    if hang {
        return std::future::pending().await;
    }
    if most == usize::MAX { End::Open } else { End::Closed }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_string(), first.next()?.to_string());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_string()))
        .collect();
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { method, path, headers, body: String::from_utf8(body).ok()? })
}

/// A certificate authority with a server and a client certificate.
pub(super) struct Authority {
    pub ca_pem: String,
    pub client_pem: String,
    pub client_key_pem: String,
    server: (CertificateDer<'static>, Vec<u8>),
    ca: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let leaf = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![name.to_string()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server, client) = (leaf("127.0.0.1"), leaf("client"));
        Authority {
            ca_pem: ca.pem(),
            client_pem: client.0.pem(),
            client_key_pem: client.1.serialize_pem(),
            server: (server.0.der().clone(), server.1.serialize_der()),
            ca: ca.der().clone(),
        }
    }

    /// TLS for a server, which asks its clients for certificates if `mutual`.
    pub(super) fn server(&self, mutual: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match mutual {
            true => builder.with_client_cert_verifier(verifier.build().unwrap()),
            false => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.server.1.clone()));
        Arc::new(builder.with_single_cert(vec![self.server.0.clone()], key).unwrap())
    }
}
