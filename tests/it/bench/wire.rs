//! A client that costs little: HTTP/1.1 over TLS on one kept connection, without a runtime.
//!
//! What is measured is the server: a client library would take most of the two cores that both
//! share.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use rk::api::tree::Value;
use rk::pki::{Identity, Rotating, tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::harness::{Cluster, PORT, SERVER};

/// How long an answer may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, and who its client is.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// The server of a kubeconfig, as its user.
    pub fn of(address: SocketAddr, kubeconfig: &Path) -> Self {
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        let user = config.get("users").items()[0].get("user").clone();
        let cluster = config.get("clusters").items()[0].get("cluster").clone();
        let identity = Identity {
            certificate_pem: decoded(user.get("client-certificate-data")),
            key_pem: decoded(user.get("client-key-data")),
        };
        Self::new(address, &identity, &decoded(cluster.get("certificate-authority-data")))
    }

    /// The server of a cluster, as its administrator.
    pub fn of_cluster(cluster: &Cluster) -> Self {
        Self::of(SocketAddr::from((SERVER, PORT)), &cluster.kubeconfig())
    }

    /// The server at an address, known by `authority`.
    pub fn new(address: SocketAddr, identity: &Identity, authority: &str) -> Self {
        let identity = Arc::new(Rotating::new(identity).unwrap());
        let roots = tls::roots([authority]).unwrap();
        let tls = tls::client(roots, Some(identity), &[b"http/1.1"]).unwrap();
        Self { address, name: ServerName::IpAddress(address.ip().into()), tls: Arc::new(tls) }
    }

    /// A connection of its own.
    pub fn connect(&self) -> Connection {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = ClientConnection::new(Arc::clone(&self.tls), self.name.clone()).unwrap();
        Connection { stream: BufReader::with_capacity(64 << 10, StreamOwned::new(session, socket)) }
    }
}

fn decoded(value: &Value) -> String {
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.str()).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One kept connection.
pub struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// What stands before an answer's body.
struct Head {
    status: u16,
    /// `None` for a body in chunks.
    length: Option<usize>,
}

impl Connection {
    /// Sends a request and reads the whole answer, which must be a success.
    #[track_caller]
    pub fn call(&mut self, verb: &str, path: &str, accept: &str, body: &str) -> Vec<u8> {
        self.send(verb, path, accept, body);
        self.answer(verb, path)
    }

    /// Reads the whole answer to a request, which must be a success.
    #[track_caller]
    fn answer(&mut self, verb: &str, path: &str) -> Vec<u8> {
        let head = self.head();
        let body = match head.length {
            Some(length) => self.exactly(length),
            None => self.chunks(),
        };
        let said = || String::from_utf8_lossy(&body).into_owned();
        assert!(head.status < 300, "{verb} {path}: {} {}", head.status, said());
        body
    }

    /// Reads a whole answer, which must be a success, and keeps nothing of it.
    #[track_caller]
    pub fn skim(&mut self, verb: &str, path: &str, accept: &str) {
        self.send(verb, path, accept, "");
        let head = self.head();
        assert!(head.status < 300, "{verb} {path}: {}", head.status);
        match head.length {
            Some(length) => drop(self.exactly(length)),
            None => while self.chunk().is_some() {},
        }
    }

    /// Changes an object by a merge patch.
    #[track_caller]
    pub fn merge(&mut self, path: &str, patch: &str) {
        self.send_as("PATCH", path, JSON, "application/merge-patch+json", patch);
        self.answer("PATCH", path);
    }

    /// What comes until the answer ends.
    pub fn rest(&mut self) -> Vec<u8> {
        self.chunks()
    }

    /// Creates an object.
    #[track_caller]
    pub fn create(&mut self, path: &str, object: &str) {
        self.call("POST", path, JSON, object);
    }

    /// Begins a watch; [`Connection::event`] reads it.
    #[track_caller]
    pub fn watch(&mut self, path: &str) {
        self.send("GET", path, JSON, "");
        let status = self.head().status;
        assert_eq!(status, 200, "{path}");
    }

    /// The next event of a watch, with the bytes of whatever came in the same chunk.
    pub fn event(&mut self) -> Vec<u8> {
        self.chunk().expect("the watch goes on")
    }

    fn send(&mut self, verb: &str, path: &str, accept: &str, body: &str) {
        self.send_as(verb, path, accept, JSON, body);
    }

    fn send_as(&mut self, verb: &str, path: &str, accept: &str, sends: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "{verb} {path} HTTP/1.1\r\nhost: bench\r\naccept: {accept}\r\n\
             content-type: {sends}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        self.stream.get_mut().flush().unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "the connection broke off: {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    fn head(&mut self) -> Head {
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = None;
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                return Head { status, length };
            }
            length = length.or(line.strip_prefix("content-length: ").map(|n| n.parse().unwrap()));
        }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk() {
            body.extend_from_slice(&chunk);
        }
        body
    }

    /// One chunk of a body in chunks; `None` after the last.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let bytes = self.exactly(length);
        self.line();
        (length > 0).then_some(bytes)
    }
}

/// What is asked for as a rule.
pub const JSON: &str = "application/json";
/// What kubectl and client-go ask for.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
