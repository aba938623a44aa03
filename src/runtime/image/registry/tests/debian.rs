//! Debian's docker-registry as a test's own, and pushing to it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, Method};

use super::super::credentials::Credentials;
use super::super::http::{Call, Http};
use super::super::settings::Deadlines;
use super::super::url::Url;
use crate::runtime::image::digest::Digest;
use crate::runtime::image::testing::TestImage;

const PROGRAM: &str = "/usr/bin/docker-registry";

/// A running registry; gone when dropped.
pub(super) struct DebianRegistry {
    child: Child,
    pub port: u16,
    password: Option<String>,
    _dir: tempfile::TempDir,
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl DebianRegistry {
    /// Starts one on a free port, for user `me` with a password if there is one; none where the
    /// package docker-registry is missing.
    pub(super) fn start(password: Option<&str>) -> Option<DebianRegistry> {
        if !std::path::Path::new(PROGRAM).exists() {
            eprintln!("skipped: {PROGRAM} is not installed (package docker-registry)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        let mut config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\n\
             http: {{addr: '127.0.0.1:0', secret: x}}\n"
        );
        if let Some(password) = password {
            let made = Command::new("htpasswd").args(["-Bbn", "me", password]).output().unwrap();
            std::fs::write(dir.path().join("htpasswd"), made.stdout).unwrap();
            config.push_str(&format!("auth: {{htpasswd: {{realm: t, path: {root}/htpasswd}}}}\n"));
        }
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(PROGRAM)
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // time="…" level=info msg="listening on 127.0.0.1:45678"
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        });
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let password = password.map(str::to_string);
        Some(DebianRegistry { child, port: port.unwrap(), password, _dir: dir })
    }

    pub(super) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    pub(super) fn login(&self, password: &str) -> Credentials {
        Credentials::Basic { username: "me".into(), password: password.into() }
    }

    async fn call(&self, method: Method, url: Url, kind: &str, body: &[u8]) -> HeaderMap {
        let mut call = Call { method, body: Bytes::copy_from_slice(body), ..Call::get(url) };
        call.headers.insert(CONTENT_TYPE, HeaderValue::try_from(kind).unwrap());
        if let Some(password) = &self.password {
            let basic = self.login(password).basic().unwrap();
            call.headers.insert(AUTHORIZATION, HeaderValue::try_from(basic).unwrap());
        }
        let http: Arc<Http> = Http::new(Deadlines::default());
        let answer = http.send(&call).await.unwrap();
        assert!(answer.status.is_success(), "{} of {}", answer.status, answer.url);
        answer.headers
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}/v2/{path}", self.port)).unwrap()
    }

    /// Pushes an image's blobs, and its manifest under a tag.
    pub(super) async fn push(&self, repository: &str, tag: &str, image: &TestImage) {
        for blob in image.layers.iter().map(|(packed, _)| packed).chain([&image.config]) {
            let start = self.url(&format!("{repository}/blobs/uploads/"));
            let headers = self.call(Method::POST, start.clone(), "text/plain", b"").await;
            let mut url = start.join(headers[LOCATION].to_str().unwrap()).unwrap();
            url.path_and_query.push_str(&format!("&digest={}", Digest::of(blob)));
            self.call(Method::PUT, url, "application/octet-stream", blob).await;
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        self.push_manifest(repository, tag, kind, &image.manifest).await;
    }

    pub(super) async fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &str,
        manifest: &[u8],
    ) {
        let url = self.url(&format!("{repository}/manifests/{tag}"));
        self.call(Method::PUT, url, kind, manifest).await;
    }
}
