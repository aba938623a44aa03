//! `registries.yaml`: mirrors, credentials and TLS by registry, in k3s's shape.
//!
//! A file with an unknown key, a bad address or a bad pattern is refused as a whole, so that a
//! misspelt setting does not silently send a pull elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::super::error::{Error, Result, io_error};
use super::credentials::Credentials;
use super::url::Url;
use crate::limits;

/// How to talk to registries.
#[derive(Debug, Clone)]
pub struct Registries {
    mirrors: BTreeMap<String, Mirror>,
    configs: BTreeMap<String, HostConfig>,
    /// Ask the registry itself when all of its mirrors fail.
    pub default_endpoint: bool,
    /// How long to wait for what.
    pub deadlines: Deadlines,
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            mirrors: BTreeMap::new(),
            configs: BTreeMap::new(),
            default_endpoint: true,
            deadlines: Deadlines::default(),
        }
    }
}

/// How long a registry may take; after each of them the attempt has failed.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Name lookup, connection and TLS handshake.
    pub connect: Duration,
    /// From the request to the head of the answer; also for a whole small document.
    pub response: Duration,
    /// Without noticeable progress of a transfer.
    pub stall: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: limits::REGISTRY_CONNECT_MAX,
            response: limits::REGISTRY_RESPONSE_MAX,
            stall: limits::REGISTRY_STALL_MAX,
        }
    }
}

/// Where else the images of a registry can be had.
#[derive(Debug, Clone, Default)]
pub(super) struct Mirror {
    pub endpoints: Vec<Url>,
    rewrites: Vec<(regex::Regex, String)>,
}

impl Mirror {
    /// The repository's name on the mirror; the first pattern that matches decides.
    pub(super) fn rewrite(&self, repository: &str) -> String {
        let found = self.rewrites.iter().find(|(pattern, _)| pattern.is_match(repository));
        match found {
            Some((pattern, to)) => pattern.replace_all(repository, to.as_str()).into_owned(),
            None => repository.to_string(),
        }
    }
}

/// What one host wants.
#[derive(Debug, Clone, Default)]
pub(super) struct HostConfig {
    pub credentials: Credentials,
    pub tls: TlsSettings,
}

/// Certificates for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsSettings {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub insecure_skip_verify: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawFile {
    mirrors: Option<BTreeMap<String, Option<RawMirror>>>,
    configs: Option<BTreeMap<String, Option<RawConfig>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawMirror {
    endpoint: Option<Vec<String>>,
    rewrite: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    auth: Option<RawAuth>,
    tls: Option<TlsSettings>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawAuth {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
    identity_token: Option<String>,
}

impl Registries {
    /// Reads the settings; no file means none. Cheap enough to be called for every pull, so that
    /// changes need no restart.
    pub fn load(path: &Path) -> Result<Registries> {
        match std::fs::read_to_string(path) {
            Ok(text) => Registries::parse(&text)
                .map_err(|reason| Error::Config { path: path.to_path_buf(), reason }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Registries::default()),
            Err(e) => Err(io_error("read", path)(e)),
        }
    }

    fn parse(text: &str) -> std::result::Result<Registries, String> {
        let mut registries = Registries::default();
        // A file of comments only is an empty document.
        let raw: Option<RawFile> = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let raw = raw.unwrap_or_default();
        for (name, mirror) in raw.mirrors.unwrap_or_default() {
            let mirror = mirror.unwrap_or_default();
            let endpoints = mirror.endpoint.unwrap_or_default();
            let endpoints: std::result::Result<Vec<Url>, String> =
                endpoints.iter().map(|text| parse_endpoint(&name, text)).collect();
            let rewrites: std::result::Result<Vec<_>, String> = mirror
                .rewrite
                .unwrap_or_default()
                .into_iter()
                .map(|(pattern, to)| {
                    let compiled = regex::Regex::new(&pattern)
                        .map_err(|e| format!("rewrite {pattern:?} of mirror {name}: {e}"))?;
                    Ok((compiled, to))
                })
                .collect();
            let mirror = Mirror { endpoints: endpoints?, rewrites: rewrites? };
            registries.mirrors.insert(name.to_lowercase(), mirror);
        }
        for (name, config) in raw.configs.unwrap_or_default() {
            let config = config.unwrap_or_default();
            let auth = config.auth.unwrap_or_default();
            let credentials = auth.credentials().map_err(|e| format!("auth of {name}: {e}"))?;
            let config = HostConfig { credentials, tls: config.tls.unwrap_or_default() };
            registries.configs.insert(name.to_lowercase(), config);
        }
        Ok(registries)
    }

    /// The mirrors of a registry, or those of all registries.
    pub(super) fn mirror(&self, registry: &str) -> Option<&Mirror> {
        self.mirrors.get(&registry.to_lowercase()).or_else(|| self.mirrors.get("*"))
    }

    /// What the first of some names for a host says, or what all hosts have in common.
    pub(super) fn config(&self, names: &[&str]) -> Option<&HostConfig> {
        let named = names.iter().find_map(|name| self.configs.get(&name.to_lowercase()));
        named.or_else(|| self.configs.get("*"))
    }
}

impl RawAuth {
    fn credentials(self) -> std::result::Result<Credentials, String> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = given(self.identity_token) {
            return Ok(Credentials::IdentityToken(token));
        }
        if let Some(auth) = given(self.auth) {
            return Credentials::from_auth(&auth)
                .ok_or_else(|| "auth is not base64 of user:password".to_string());
        }
        match (given(self.username), given(self.password)) {
            (None, None) => Ok(Credentials::Anonymous),
            (Some(username), password) => {
                Ok(Credentials::Basic { username, password: password.unwrap_or_default() })
            }
            (None, Some(_)) => Err("a password without a username".to_string()),
        }
    }
}

/// An endpoint with its base path; without a scheme it is TLS, except on this machine.
fn parse_endpoint(mirror: &str, text: &str) -> std::result::Result<Url, String> {
    let text = text.trim_end_matches('/');
    let url = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("https://{text}")).map(|mut url| {
            if url.origin.is_loopback() {
                url.origin.secure = false;
                url.origin.port = if url.origin.port == 443 { 80 } else { url.origin.port };
            }
            url
        }),
    };
    let mut url =
        url.ok_or_else(|| format!("endpoint {text:?} of mirror {mirror} is no address"))?;
    if url.path_and_query == "/" {
        url.path_and_query = "/v2".to_string();
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
mirrors:
  docker.io:
    endpoint: ["https://m.example.com:5000", "http://plain.example.com/v2/proxy/", "localhost:5001"]
    rewrite:
      "^library/(.*)": "public/$1"
      "^rancher/(.*)": "own/${1}-x"
  "*":
    endpoint: [https://all.example.com]
  empty:
configs:
  "m.example.com:5000":
    auth: {username: me, password: "123"}
    tls: {ca_file: /ca.pem, insecure_skip_verify: true}
  other: {auth: {auth: dXNlcjpwYXNz}}
  third: {auth: {identity_token: abc}}
  digits: {auth: {username: 0042, password: 12345}}
  none:
"#;

    #[test]
    fn the_shape_of_k3s_is_read() {
        let registries = Registries::parse(SAMPLE).unwrap();
        let mirror = registries.mirror("docker.io").unwrap();
        let shown: Vec<String> = mirror.endpoints.iter().map(Url::to_string).collect();
        assert_eq!(
            shown,
            [
                "https://m.example.com:5000/v2",
                "http://plain.example.com/v2/proxy",
                "http://localhost:5001/v2"
            ]
        );
        assert_eq!(mirror.rewrite("library/nginx"), "public/nginx");
        assert_eq!(mirror.rewrite("rancher/a"), "own/a-x");
        assert_eq!(mirror.rewrite("other/a"), "other/a");
        assert_eq!(registries.mirror("quay.io").unwrap().endpoints.len(), 1);
        assert!(registries.mirror("empty").unwrap().endpoints.is_empty());
        let config = registries.config(&["m.example.com:5000"]).unwrap();
        assert!(config.tls.insecure_skip_verify);
        let me = Credentials::Basic { username: "me".into(), password: "123".into() };
        assert_eq!(config.credentials, me);
        let user = Credentials::Basic { username: "user".into(), password: "pass".into() };
        assert_eq!(registries.config(&["x", "other"]).unwrap().credentials, user);
        let token = Credentials::IdentityToken("abc".into());
        assert_eq!(registries.config(&["third"]).unwrap().credentials, token);
        let digits = Credentials::Basic { username: "0042".into(), password: "12345".into() };
        assert_eq!(registries.config(&["digits"]).unwrap().credentials, digits);
        assert!(registries.config(&["unknown"]).is_none());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("mirror: {}", "mirror"),
            ("mirrors: {x: {endpoints: []}}", "endpoints"),
            ("mirrors: {x: {endpoint: ['ftp://y']}}", "endpoint \"ftp://y\" of mirror x"),
            ("mirrors: {x: {rewrite: {'(': ''}}}", "rewrite \"(\" of mirror x"),
            ("configs: {x: {auth: {password: p}}}", "auth of x: a password without a username"),
            ("configs: {x: {auth: {auth: '!'}}}", "auth of x"),
            ("configs: {x: {tls: {insecure: true}}}", "insecure"),
            ("mirrors: [", ""),
        ] {
            let error = Registries::parse(text).unwrap_err();
            assert!(error.contains(part), "{error} lacks {part}");
        }
        for text in ["", "# nothing\n", "mirrors:\nconfigs:\n", "{}"] {
            assert!(Registries::parse(text).is_ok(), "{text:?}");
        }
        assert!(Registries::load(Path::new("/nonexistent/registries.yaml")).is_ok());
    }
}
