//! Images made on the spot, in every packing and dialect, and a registry that does what a test
//! wants of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rk::runtime::image::{Digest, Platform};
use serde_json::{Value, json};

use crate::harness::Machine;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// Whose media types a manifest speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The Open Container Initiative's.
    Oci,
    /// Docker's.
    Docker,
}

/// An image as a registry has it.
#[derive(Debug, Clone)]
pub struct Image {
    /// Layers and configuration.
    pub blobs: Vec<Vec<u8>>,
    /// What names them.
    pub manifest: Vec<u8>,
    /// The manifest's media type.
    pub kind: &'static str,
}

/// The digest of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content).unwrap();
}

/// Busybox, as the first layer of every image.
fn base() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["./", "bin/", "etc/", "proc/", "dev/", "sys/"] {
        entry(&mut tar, name, tar::EntryType::Directory, b"");
    }
    let busybox = std::fs::read("/bin/busybox").unwrap();
    entry(&mut tar, "bin/busybox", tar::EntryType::Regular, &busybox);
    tar.into_inner().unwrap()
}

fn packed(layer: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => layer.to_vec(),
        Packing::Gzip => {
            let fast = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), fast);
            encoder.write_all(layer).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => zstd::stream::encode_all(layer, 1).unwrap(),
    }
}

impl Image {
    /// An image whose container says `text` and ends.
    pub fn saying(text: &str, packing: Packing, dialect: Dialect) -> Self {
        Self::with(text, b"", packing, dialect)
    }

    /// The same with a file of some content, which may be large.
    pub fn with(text: &str, ballast: &[u8], packing: Packing, dialect: Dialect) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, "text", tar::EntryType::Regular, format!("{text}\n").as_bytes());
        entry(&mut tar, "ballast", tar::EntryType::Regular, ballast);
        let layers = [base(), tar.into_inner().unwrap()];
        let ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": Platform::host().architecture, "os": "linux",
            "config": {"Cmd": ["/bin/busybox", "cat", "/text"]},
            "rootfs": {"type": "layers", "diff_ids": ids},
        });
        let config = config.to_string().into_bytes();
        let packed = layers.map(|layer| packed(&layer, packing));
        let (kind, config_kind, layer_kind) = kinds(packing, dialect);
        let described = |kind: &str, blob: &[u8]| json!({"mediaType": kind, "digest": digest(blob), "size": blob.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "config": described(config_kind, &config),
            "layers": packed.iter().map(|blob| described(&layer_kind, blob)).collect::<Vec<_>>(),
        });
        let mut blobs = packed.to_vec();
        blobs.push(config);
        Self { blobs, manifest: manifest.to_string().into_bytes(), kind }
    }

    /// An index of builds for machines of several kinds, of which the last is for this one.
    pub fn index(builds: &[&Self], dialect: Dialect) -> (Vec<u8>, &'static str) {
        let kind = match dialect {
            Dialect::Oci => "application/vnd.oci.image.index.v1+json",
            Dialect::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let own = Platform::host().architecture;
        let build = |(at, image): (usize, &&Self)| {
            let architecture = if at + 1 == builds.len() { &*own } else { "s390x" };
            json!({"mediaType": image.kind, "digest": digest(&image.manifest),
                "size": image.manifest.len(),
                "platform": {"architecture": architecture, "os": "linux"}})
        };
        let manifests: Vec<Value> = builds.iter().enumerate().map(build).collect();
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        (index.to_string().into_bytes(), kind)
    }
}

/// The media types of manifest, configuration and layers.
fn kinds(packing: Packing, dialect: Dialect) -> (&'static str, &'static str, String) {
    let (manifest, config, layer) = match dialect {
        Dialect::Oci => (
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar",
        ),
        Dialect::Docker => (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar",
        ),
    };
    let suffix = match (packing, dialect) {
        (Packing::Plain, _) => "",
        (Packing::Gzip, Dialect::Oci) => "+gzip",
        (Packing::Gzip, Dialect::Docker) => ".gzip",
        (Packing::Zstd, Dialect::Oci) => "+zstd",
        (Packing::Zstd, Dialect::Docker) => ".zstd",
    };
    (manifest, config, format!("{layer}{suffix}"))
}

/// A registry of one image under every name, except that repositories called `hang`, `reset`,
/// `lie`, `gone` and `locked` behave so. It lives as long as the test.
pub struct Crooked {
    /// Where it listens, on the machine it was started on.
    pub port: u16,
    honest: Arc<AtomicBool>,
}

impl Crooked {
    /// Starts one on a machine's own address.
    pub fn start(machine: &Machine, image: Image) -> Self {
        let listener = machine.run(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let honest = Arc::new(AtomicBool::new(false));
        let (image, told) = (Arc::new(image), Arc::clone(&honest));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (image, honest) = (Arc::clone(&image), Arc::clone(&told));
                std::thread::spawn(move || serve(stream, &image, &honest));
            }
        });
        Self { port, honest }
    }

    /// A name of the image.
    pub fn image(&self, repository: &str) -> String {
        format!("127.0.0.1:{}/{repository}:1", self.port)
    }

    /// From now on every repository behaves.
    pub fn reform(&self) {
        self.honest.store(true, Ordering::Release);
    }
}

/// Serves one connection; an error is the client's going away.
fn serve(stream: TcpStream, image: &Image, honest: &AtomicBool) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        let mut line = String::new();
        while reader.read_line(&mut line).ok()? > 2 {
            line.clear();
        }
        let mut words = first.split_whitespace();
        let (method, path) = (words.next()?, words.next()?.split('?').next()?);
        let repository = path.split('/').nth(2).unwrap_or_default();
        let repository = if honest.load(Ordering::Acquire) { "good" } else { repository };
        let name = path.rsplit('/').next()?;
        let found = image.blobs.iter().find(|blob| digest(blob) == name);
        let reply = match (repository, found) {
            ("hang", _) => {
                // Until the client has had enough.
                while reader.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
                return None;
            }
            ("reset", _) => {
                let _ = reset(&stream);
                return None;
            }
            ("gone", _) => (404, "text/plain", b"".to_vec()),
            ("locked", _) => (401, "text/plain", b"".to_vec()),
            ("lie", Some(blob)) => {
                let mut other = blob.clone();
                other[blob.len() / 2] ^= 1;
                (200, "application/octet-stream", other)
            }
            (_, Some(blob)) => (200, "application/octet-stream", blob.clone()),
            _ if path.contains("/manifests/") => (200, image.kind, image.manifest.clone()),
            _ => (200, "application/json", b"{}".to_vec()),
        };
        answer(&stream, method, reply)?;
    }
}

fn answer(mut stream: &TcpStream, method: &str, reply: (u16, &str, Vec<u8>)) -> Option<()> {
    let (code, kind, body) = reply;
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    if method != "HEAD" {
        stream.write_all(&body).ok()?;
    }
    Some(())
}

/// Ends a connection without a word.
fn reset(stream: &TcpStream) -> std::io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger)?;
    Ok(())
}
