//! Docker's configuration files as pull secrets carry them, and which entries fit an image.
//!
//! The rules are the kubelet's: globs within each part of the host name, equal ports, the path as
//! a prefix; the most specific entry comes first.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::error::{Error, Result};
use super::super::reference::Reference;
use super::credentials::Credentials;

/// Credentials by registry and path.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    key: String,
    pattern: Pattern,
    credentials: Credentials,
}

/// `*.example.com:5000/path` in its parts.
#[derive(Debug, Clone)]
struct Pattern {
    labels: Vec<String>,
    port: String,
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    auths: Option<BTreeMap<String, RawEntry>>,
}

#[derive(Deserialize)]
struct RawEntry {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Keyring {
    /// Adds the entries of a `.dockerconfigjson`.
    pub fn add_docker_config(&mut self, json: &[u8]) -> Result<()> {
        let raw: RawConfig =
            serde_json::from_slice(json).map_err(|e| Error::malformed(".dockerconfigjson", e))?;
        self.add(raw.auths.unwrap_or_default())
    }

    /// Adds the entries of the older `.dockercfg`, which is the `auths` alone.
    pub fn add_docker_cfg(&mut self, json: &[u8]) -> Result<()> {
        self.add(serde_json::from_slice(json).map_err(|e| Error::malformed(".dockercfg", e))?)
    }

    fn add(&mut self, entries: BTreeMap<String, RawEntry>) -> Result<()> {
        for (key, entry) in entries {
            let credentials = entry.credentials().ok_or_else(|| {
                let reason = format!("auth of {key} is not base64 of user:password");
                Error::malformed("docker configuration", reason)
            })?;
            self.entries.push(Entry { pattern: Pattern::parse(&key), key, credentials });
        }
        // Longer keys before shorter ones and names before wildcards, as the kubelet sorts.
        self.entries.sort_by(|a, b| b.key.cmp(&a.key));
        Ok(())
    }

    /// What to try for an image, in this order; nothing fits more often than not.
    pub fn lookup(&self, image: &Reference) -> Vec<Credentials> {
        let target = Pattern::parse(&image.name());
        let mut found: Vec<Credentials> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.pattern.matches(&target)) {
            if !found.contains(&entry.credentials) {
                found.push(entry.credentials.clone());
            }
        }
        found
    }
}

impl RawEntry {
    fn credentials(self) -> Option<Credentials> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = given(self.identitytoken) {
            return Some(Credentials::IdentityToken(token));
        }
        if let Some(token) = given(self.registrytoken) {
            return Some(Credentials::RegistryToken(token));
        }
        match (given(self.auth), given(self.username)) {
            (Some(auth), _) => Credentials::from_auth(&auth),
            (None, Some(username)) => {
                let password = self.password.unwrap_or_default();
                Some(Credentials::Basic { username, password })
            }
            (None, None) => Some(Credentials::Anonymous),
        }
    }
}

impl Pattern {
    /// Reads a key: a scheme and the `/v1/` or `/v2/` that docker writes mean nothing.
    fn parse(key: &str) -> Pattern {
        let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (host, ""),
        };
        let path = path.trim_end_matches('/');
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        // Docker's own name for docker.io in its files.
        let host = if matches!(host, "index.docker.io") { "docker.io" } else { host };
        Pattern {
            labels: host.to_lowercase().split('.').map(str::to_string).collect(),
            port: port.to_string(),
            path: path.to_string(),
        }
    }

    fn matches(&self, target: &Pattern) -> bool {
        self.labels.len() == target.labels.len()
            && self.labels.iter().zip(&target.labels).all(|(glob, label)| fits(glob, label))
            && self.port == target.port
            && target.path.starts_with(&self.path)
    }
}

/// Does a label fit a glob with `*` and `?`?
fn fits(glob: &str, label: &str) -> bool {
    match glob.chars().next() {
        None => label.is_empty(),
        Some('*') => {
            let rest = &glob[1..];
            label.char_indices().any(|(at, _)| fits(rest, &label[at..])) || fits(rest, "")
        }
        Some(first) => match label.chars().next() {
            Some(c) if first == '?' || first == c => {
                fits(&glob[first.len_utf8()..], &label[c.len_utf8()..])
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(keyring: &Keyring, image: &str) -> Vec<String> {
        let found = keyring.lookup(&Reference::parse(image).unwrap());
        found
            .into_iter()
            .map(|credentials| match credentials {
                Credentials::Basic { username, .. } => username,
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_most_specific_entry_comes_first() {
        let mut keyring = Keyring::default();
        keyring
            .add_docker_config(
                br#"{"auths": {
                    "https://index.docker.io/v1/": {"username": "hub", "password": "x"},
                    "quay.io": {"auth": "cXVheTp4"},
                    "quay.io/team": {"username": "team"},
                    "*.example.com": {"username": "glob"},
                    "r?g.example.com:5000": {"username": "port"},
                    "token.io": {"identitytoken": "t"}
                }}"#,
            )
            .unwrap();
        assert_eq!(users(&keyring, "nginx"), ["hub"]);
        assert_eq!(users(&keyring, "quay.io/other/x"), ["quay"]);
        assert_eq!(users(&keyring, "quay.io/team/x"), ["team", "quay"]);
        assert_eq!(users(&keyring, "a.example.com/x"), ["glob"]);
        assert_eq!(users(&keyring, "a.b.example.com/x"), [""; 0]);
        assert_eq!(users(&keyring, "reg.example.com:5000/x"), ["port"]);
        assert_eq!(users(&keyring, "reg.example.com:5001/x"), [""; 0]);
        assert_eq!(users(&keyring, "token.io/x"), ["IdentityToken(…)"]);
    }

    #[test]
    fn both_forms_are_read_and_nonsense_is_refused() {
        let mut keyring = Keyring::default();
        keyring.add_docker_cfg(br#"{"a.b": {"username": "u", "email": "e"}}"#).unwrap();
        assert_eq!(users(&keyring, "a.b/x"), ["u"]);
        assert!(keyring.add_docker_config(b"[").is_err());
        let error = keyring.add_docker_config(br#"{"auths":{"c.d":{"auth":"!"}}}"#).unwrap_err();
        assert!(error.to_string().contains("auth of c.d"), "{error}");
    }

    #[test]
    fn globs_stay_within_a_label() {
        assert!(fits("*", "abc") && fits("*", "") && fits("a*c", "abbc") && fits("a?c", "abc"));
        assert!(!fits("a*", "b") && !fits("a?", "a") && !fits("", "a"));
    }
}
