//! Pulls from real registries: Debian's, open and locked, plain and over TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{Cluster, SERVER};
use crate::oci::{Dialect, Image, Packing, digest};
use crate::wrong::images::{pod, ready, said, waits};

const PROGRAM: &str = "/usr/bin/docker-registry";
const PULL: &[&str] = &["ErrImagePull", "ImagePullBackOff"];

/// A running registry; gone when dropped.
struct Registry<'c> {
    cluster: &'c Cluster,
    child: Child,
    port: u16,
}

impl Drop for Registry<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'c> Registry<'c> {
    /// Starts one on the server's machine with further settings below `http` and at the top. All
    /// of one cluster share their images.
    fn start(cluster: &'c Cluster, name: &str, http: &str, more: &str) -> Self {
        let root = cluster.path("registry");
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{SERVER}:0', secret: x{http}}}\n{more}",
            root.display()
        );
        let path = cluster.path(&format!("registry-{name}.yml"));
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = cluster.machine.spawn(&mut command);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard = format!("listening on {SERVER}:");
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once(&heard)?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        });
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { cluster, child, port: port.expect("the registry says where it listens") }
    }

    fn host(&self) -> String {
        format!("{SERVER}:{}", self.port)
    }

    /// Sends one request; gives the answer's code and head.
    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (String, String) {
        let port = self.port;
        let connect = move || TcpStream::connect((SERVER, port)).unwrap();
        let mut stream = self.cluster.machine.run(connect);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            self.host(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let code = answer.split_whitespace().nth(1).unwrap_or_default().to_owned();
        assert!(code.starts_with('2'), "{method} {path}: {answer}");
        (code, answer)
    }

    /// Pushes an image's blobs, and its manifest under its digest.
    fn push(&self, repository: &str, image: &Image) {
        for blob in &image.blobs {
            let start = format!("/v2/{repository}/blobs/uploads/");
            let (_, answer) = self.send("POST", &start, "text/plain", b"");
            let place = answer.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
            let path = place.trim().split_once(&self.host()).map_or(place.trim(), |(_, path)| path);
            let path = format!("{path}&digest={}", digest(blob));
            self.send("PUT", &path, "application/octet-stream", blob);
        }
        self.tag(repository, &digest(&image.manifest), &image.manifest, image.kind);
    }

    /// Puts a manifest or an index under a tag.
    fn tag(&self, repository: &str, tag: &str, manifest: &[u8], kind: &str) {
        self.send("PUT", &format!("/v2/{repository}/manifests/{tag}"), kind, manifest);
    }

    /// Pushes an image under a tag.
    fn publish(&self, name: &str, image: &Image) {
        let (repository, tag) = name.split_once(':').unwrap();
        self.push(repository, image);
        self.tag(repository, tag, &image.manifest, image.kind);
    }
}

/// A certificate for the server's address, signed by an authority of its own.
fn certificate(dir: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let own = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![SERVER.to_string()]).unwrap();
    let certificate = params.signed_by(&own, &issuer).unwrap();
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(dir.join("tls.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), own.serialize_pem()).unwrap();
}

fn tls(dir: &Path) -> String {
    let (certificate, key) = (dir.join("tls.pem"), dir.join("tls.key"));
    format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display())
}

fn password(cluster: &Cluster) -> String {
    let made = Command::new("htpasswd").args(["-Bbn", "me", "secret"]).output().unwrap();
    let path = cluster.path("htpasswd");
    std::fs::write(&path, made.stdout).unwrap();
    format!("auth: {{htpasswd: {{realm: t, path: {}}}}}\n", path.display())
}

#[test]
fn pods_run_images_of_real_registries() {
    assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is not installed (package docker-registry)");
    let registries = tempfile::NamedTempFile::new().unwrap();
    let file = registries.path().display().to_string();
    let cluster = Cluster::start(&["--private-registry", &file]);
    ready(&cluster);
    certificate(cluster.dir.path());
    let plain = Registry::start(&cluster, "plain", "", "");
    let secure = Registry::start(&cluster, "secure", &tls(cluster.dir.path()), "");
    let unknown = Registry::start(&cluster, "unknown", &tls(cluster.dir.path()), "");
    let locked = Registry::start(&cluster, "locked", "", &password(&cluster));
    let settings = format!(
        "mirrors:\n  {0}: {{endpoint: ['http://{0}']}}\n  {1}: {{endpoint: ['http://{1}']}}\n  \
         mirrored.example.com:\n    endpoint: ['http://{SERVER}:9', 'http://{0}']\n    \
         rewrite: {{'^library/(.*)': 'copies/$1'}}\n\
         configs:\n  {2}: {{tls: {{ca_file: {3}}}}}\n",
        plain.host(),
        locked.host(),
        secure.host(),
        cluster.path("ca.pem").display(),
    );
    std::fs::write(registries.path(), settings).unwrap();

    forms(&cluster, &plain, &secure, &unknown);
    secrets(&cluster, &plain, &locked);
    policies(&cluster, &plain);
    cluster.kubectl("delete pod --all --timeout=30s").ok();
}

/// Every packing, dialect and way to name an image.
fn forms(cluster: &Cluster, plain: &Registry<'_>, secure: &Registry<'_>, unknown: &Registry<'_>) {
    let kinds = [
        ("oci-plain", Packing::Plain, Dialect::Oci),
        ("oci-gzip", Packing::Gzip, Dialect::Oci),
        ("oci-zstd", Packing::Zstd, Dialect::Oci),
        ("docker-gzip", Packing::Gzip, Dialect::Docker),
    ];
    for (name, packing, dialect) in kinds {
        plain.publish(&format!("forms:{name}"), &Image::saying(name, packing, dialect));
    }
    let of = |registry: &Registry<'_>, name: &str| format!("{}/{name}", registry.host());
    let mut pods: Vec<(&str, String)> =
        kinds.iter().map(|(name, ..)| (*name, of(plain, &format!("forms:{name}")))).collect();
    for (name, dialect) in [("oci-index", Dialect::Oci), ("docker-list", Dialect::Docker)] {
        let other = Image::saying("for another machine", Packing::Gzip, dialect);
        let own = Image::saying(name, Packing::Gzip, dialect);
        plain.push("many", &other);
        plain.push("many", &own);
        let (index, kind) = Image::index(&[&other, &own], dialect);
        plain.tag("many", name, &index, kind);
        pods.push((name, of(plain, &format!("many:{name}"))));
    }
    let pinned = Image::saying("by-digest", Packing::Gzip, Dialect::Oci);
    plain.push("pinned", &pinned);
    pods.push(("by-digest", of(plain, &format!("pinned@{}", digest(&pinned.manifest)))));
    plain.publish("copies/app:1", &Image::saying("mirror", Packing::Gzip, Dialect::Oci));
    pods.push(("mirror", "mirrored.example.com/library/app:1".to_owned()));
    plain.publish("secure:1", &Image::saying("over-tls", Packing::Gzip, Dialect::Oci));
    pods.push(("over-tls", of(secure, "secure:1")));
    for (name, image) in &pods {
        cluster.apply(&pod(name, image, "")).ok();
    }
    cluster.apply(&pod("untrusted", &of(unknown, "secure:1"), "")).ok();
    for (name, image) in &pods {
        assert_eq!(said(cluster, name), *name, "{image}");
    }
    let text = waits(cluster, "untrusted", PULL);
    assert!(text.contains("certificate") || text.contains("UnknownIssuer"), "{text}");
    let id = "jsonpath={.status.containerStatuses[0].imageID}";
    let id = cluster.kubectl(&format!("get pod by-digest -o {id}")).ok();
    assert_eq!(id, of(plain, &format!("pinned@{}", digest(&pinned.manifest))));
}

/// A password comes from the pod's secrets, or from those of its service account.
fn secrets(cluster: &Cluster, plain: &Registry<'_>, locked: &Registry<'_>) {
    let image = Image::saying("unlocked", Packing::Gzip, Dialect::Oci);
    for name in ["none", "own", "account", "wrong"] {
        plain.publish(&format!("locked-{name}:1"), &image);
    }
    let create = |name: &str, password: &str| {
        let server = locked.host();
        cluster
            .kubectl(&format!(
                "create secret docker-registry {name} --docker-server={server} \
                 --docker-username=me --docker-password={password}"
            ))
            .ok();
    };
    create("right", "secret");
    create("wrong", "guess");
    cluster.kubectl("create serviceaccount puller").ok();
    let patch = r#"{"imagePullSecrets":[{"name":"right"}]}"#;
    cluster.kubectl_with(&["patch", "serviceaccount", "puller", "-p", patch], "").ok();
    let of = |name: &str| format!("{}/locked-{name}:1", locked.host());
    cluster.apply(&pod("none", &of("none"), "")).ok();
    cluster.apply(&pod("own", &of("own"), "  imagePullSecrets: [{name: right}]\n")).ok();
    cluster.apply(&pod("wrong", &of("wrong"), "  imagePullSecrets: [{name: wrong}]\n")).ok();
    cluster.apply(&pod("account", &of("account"), "  serviceAccountName: puller\n")).ok();
    for name in ["own", "account"] {
        assert_eq!(said(cluster, name), "unlocked", "{name}");
    }
    for name in ["none", "wrong"] {
        let text = waits(cluster, name, PULL);
        assert!(text.contains("may require authorization"), "{name}: {text}");
    }
    // The right password is taken up by itself.
    cluster.kubectl("delete secret wrong").ok();
    create("wrong", "secret");
    assert_eq!(said(cluster, "wrong"), "unlocked");
}

fn policies(cluster: &Cluster, plain: &Registry<'_>) {
    let image = format!("{}/moving:1", plain.host());
    let manifest = |name: &str, policy: &str| {
        let image = format!("{image:?}, imagePullPolicy: {policy}");
        pod(name, "IMAGE", "").replace("\"IMAGE\"", &image)
    };
    cluster.apply(&manifest("never-absent", "Never")).ok();
    let text = waits(cluster, "never-absent", &["ErrImageNeverPull"]);
    assert!(text.contains("is not present with pull policy of Never"), "{text}");
    plain.publish("moving:1", &Image::saying("old", Packing::Gzip, Dialect::Oci));
    cluster.apply(&manifest("first", "IfNotPresent")).ok();
    assert_eq!(said(cluster, "first"), "old");
    plain.publish("moving:1", &Image::saying("new", Packing::Gzip, Dialect::Oci));
    for (name, policy, text) in [
        ("never", "Never", "old"),
        ("if-not-present", "IfNotPresent", "old"),
        ("always", "Always", "new"),
        ("after", "Never", "new"),
    ] {
        cluster.apply(&manifest(name, policy)).ok();
        assert_eq!(said(cluster, name), text, "{name}");
    }
}
