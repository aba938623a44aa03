//! A small issuer of tokens: its discovery document and its keys over HTTPS, on a test's machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rk::pki::{Pki, Profile, tls};
use rk::util::clock;
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{Machine, SERVER};

const PORT: u16 = 9443;

/// What the issuer tells.
struct Told {
    /// Its keys, as JSON.
    keys: Mutex<String>,
    /// How often it was asked for them.
    asked: AtomicUsize,
}

/// An issuer that runs until it is dropped.
pub struct Issuer {
    /// Its certificate's authority, and the key that signs its tokens.
    pki: Pki,
    told: Arc<Told>,
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Issuer {
    /// Starts one on a machine; its keys lie in a folder.
    pub fn start(machine: &Machine, dir: &Path) -> Self {
        let pki = Pki::open(&dir.join("first"), true).unwrap();
        let hosts = [SERVER.to_string()];
        let identity = pki.server.issue(&Profile::server("issuer", &hosts)).unwrap();
        let config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(
                identity.certified_key().unwrap(),
            )));
        let config = Arc::new(config);
        let keys = Mutex::new(pki.signer.jwks().to_owned());
        let told = Arc::new(Told { keys, asked: AtomicUsize::new(0) });
        let listener = machine.run(|| TcpListener::bind((SERVER, PORT))).unwrap();
        let listener = Arc::new(listener);
        let (accepting, telling) = (Arc::clone(&listener), Arc::clone(&told));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                // A client that hangs up is its own business.
                let _ = answer(stream, Arc::clone(&config), &telling);
            }
        });
        Self { pki, told, listener, thread: Some(thread) }
    }

    /// The URL that its tokens name.
    pub fn url() -> String {
        format!("https://{SERVER}:{PORT}")
    }

    /// The authority of its certificate, as PEM.
    pub fn authority(&self) -> &str {
        self.pki.server.certificate_pem()
    }

    /// Signs with another key from now on; the old one is no longer told.
    pub fn change_key(&mut self, dir: &Path) {
        self.pki.signer = Pki::open(&dir.join("second"), true).unwrap().signer;
        *self.told.keys.lock().unwrap() = self.pki.signer.jwks().to_owned();
    }

    /// How often its keys were fetched.
    pub fn asked(&self) -> usize {
        self.told.asked.load(Ordering::SeqCst)
    }

    /// A token for the client `rk`, with further claims, or other ones.
    pub fn token(&self, more: &Value) -> String {
        let mut claims = json!({
            "iss": Self::url(),
            "aud": "rk",
            "exp": clock::now().seconds() + 600,
        });
        let all = claims.as_object_mut().unwrap();
        for (name, value) in more.as_object().unwrap() {
            all.insert(name.clone(), value.clone());
        }
        self.pki.signer.sign(&claims).unwrap()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both)
            .unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>, told: &Told) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let (code, body) = match head.split(' ').nth(1) {
        Some("/.well-known/openid-configuration") => {
            let url = Issuer::url();
            (200, json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string())
        }
        Some("/keys") => {
            told.asked.fetch_add(1, Ordering::SeqCst);
            (200, told.keys.lock().unwrap().clone())
        }
        _ => (404, String::new()),
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {code} X\r\nContent-Length: {length}\r\n\r\n{body}")?;
    stream.conn.send_close_notify();
    stream.flush()
}
