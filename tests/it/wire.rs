//! HTTP as it stands on the wire: curl, as the administrator or as anybody else.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk::api::tree::Value;

use crate::harness::{Cluster, PORT, SERVER};

/// What a request was answered.
#[derive(Debug)]
pub struct Reply {
    /// The status code; 0 where there was no answer.
    pub code: u16,
    /// `1.1` or `2`.
    pub version: String,
    /// The head, as it came.
    pub head: String,
    /// The body, as it came.
    pub body: Vec<u8>,
    /// What curl complained of.
    pub complaint: String,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        Value::parse(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The body, a text of JSON lines.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let text = self.text();
        text.lines().map(|line| Value::parse(line.as_bytes()).unwrap()).collect()
    }

    /// All values of a header.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        let named = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim().to_owned()).collect()
    }

    /// The first value of a header; empty where there is none.
    pub fn header(&self, name: &str) -> String {
        self.headers(name).into_iter().next().unwrap_or_default()
    }

    /// Code, reason and message of a refusal.
    #[track_caller]
    pub fn status(&self) -> (u16, String, String) {
        let status = self.json();
        assert_eq!(status.get("kind").str(), "Status", "{}", self.text());
        assert_eq!(status.get("code").as_int(), Some(self.code.into()), "{}", self.text());
        (self.code, status.get("reason").str().to_owned(), status.get("message").str().to_owned())
    }

    /// The body of what went well.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}{}", self.code, self.text(), self.complaint);
        self.json()
    }

    /// Asserts a refusal; gives its message.
    #[track_caller]
    pub fn refused(self, code: u16, reason: &str) -> String {
        let (is, said, message) = self.status();
        assert_eq!((is, &*said), (code, reason), "{message}");
        message
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Requests to one cluster.
pub struct Wire<'c> {
    cluster: &'c Cluster,
    user: Vec<String>,
}

impl<'c> Wire<'c> {
    /// As the administrator.
    pub fn new(cluster: &'c Cluster) -> Self {
        let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        let user = config.get("users").items()[0].get("user").clone();
        let file = |name: &str, key: &str| {
            let path = cluster.path(name);
            std::fs::write(&path, STANDARD.decode(user.get(key).str()).unwrap()).unwrap();
            path.display().to_string()
        };
        let certificate = file("wire.crt", "client-certificate-data");
        let key = file("wire.key", "client-key-data");
        Self { cluster, user: vec!["--cert".into(), certificate, "--key".into(), key] }
    }

    /// As whoever has a token.
    pub fn bearer(&self, token: &str) -> Self {
        let header = format!("Authorization: Bearer {}", token.trim());
        Self { cluster: self.cluster, user: vec!["-H".into(), header] }
    }

    fn file(&self) -> PathBuf {
        self.cluster.path(&format!("wire-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The command for a request, without its output.
    pub fn command(&self, path: &str, words: &[&str]) -> Command {
        let mut curl = self.cluster.command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]);
        curl.arg(self.cluster.path("data/server/tls/server-ca.crt")).args(&self.user);
        curl.arg(format!("https://{SERVER}:{PORT}{path}")).args(words);
        curl
    }

    /// Sends a request with curl's own words.
    pub fn call(&self, path: &str, words: &[&str]) -> Reply {
        let (head, body) = (self.file(), self.file());
        let mut curl = self.command(path, words);
        curl.arg("-D").arg(&head).arg("-o").arg(&body).args(["-w", "%{http_code} %{http_version}"]);
        let ran = self.cluster.machine.finish(&mut curl, "");
        let (code, version) = ran.out.split_once(' ').unwrap_or(("0", ""));
        let reply = Reply {
            code: code.parse().unwrap_or(0),
            version: version.to_owned(),
            head: std::fs::read_to_string(&head).unwrap_or_default(),
            body: std::fs::read(&body).unwrap_or_default(),
            complaint: ran.err,
        };
        drop((std::fs::remove_file(head), std::fs::remove_file(body)));
        reply
    }

    /// Reads.
    pub fn get(&self, path: &str) -> Reply {
        self.call(path, &[])
    }

    /// Reads in the form of a media type.
    pub fn get_as(&self, path: &str, media_type: &str) -> Reply {
        self.call(path, &["-H", &format!("Accept: {media_type}")])
    }

    /// Sends a body of a media type.
    pub fn send(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> Reply {
        let file = self.file();
        std::fs::write(&file, body).unwrap();
        let data = format!("@{}", file.display());
        let media_type = format!("Content-Type: {media_type}");
        let words = ["-X", method, "-H", &media_type, "--data-binary", &data];
        let reply = self.call(path, &words);
        std::fs::remove_file(file).unwrap();
        reply
    }

    /// Posts JSON.
    pub fn post(&self, path: &str, json: &str) -> Reply {
        self.send("POST", path, "application/json", json.as_bytes())
    }

    /// Replaces by JSON.
    pub fn put(&self, path: &str, json: &str) -> Reply {
        self.send("PUT", path, "application/json", json.as_bytes())
    }

    /// Merges JSON.
    pub fn merge(&self, path: &str, json: &str) -> Reply {
        self.send("PATCH", path, "application/merge-patch+json", json.as_bytes())
    }

    /// Deletes, with options in JSON.
    pub fn delete(&self, path: &str, json: &str) -> Reply {
        self.send("DELETE", path, "application/json", json.as_bytes())
    }
}
