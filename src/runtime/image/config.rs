//! What an image says about how it wants to be run.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::digest::Digest;
use super::error::{Error, Result};
use super::platform::Platform;
use crate::limits;

/// The defaults that an image gives its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// First words of the command.
    pub entrypoint: Vec<String>,
    /// Words that follow the entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value` in order.
    pub env: Vec<String>,
    /// Empty, `uid`, `name`, `uid:gid` or `name:group`.
    pub user: String,
    /// Empty means `/`.
    pub working_dir: String,
    /// A name (`SIGQUIT`) or a number.
    pub stop_signal: Option<String>,
    /// Absolute paths that want a volume of their own.
    pub volumes: Vec<String>,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// `80/tcp`; information only.
    pub exposed_ports: Vec<String>,
    /// What it was built for.
    pub platform: Platform,
    /// RFC 3339 time at which it was built, if it says so.
    pub created: Option<String>,
}

/// An image's configuration file.
#[derive(Debug, Clone)]
pub(super) struct ConfigFile {
    pub config: ImageConfig,
    /// Digests of the uncompressed layers, the lowest first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(flatten)]
    platform: Platform,
    created: Option<String>,
    config: Option<RawConfig>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Option<Vec<Digest>>,
}

/// Docker writes `null` where it means "nothing", so that every field is optional.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    labels: Option<BTreeMap<String, String>>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

impl ConfigFile {
    /// Reads the configuration of the image `what`.
    pub(super) fn parse(what: &str, bytes: &[u8]) -> Result<ConfigFile> {
        let what = || format!("configuration of {what}");
        let raw: RawFile =
            serde_json::from_slice(bytes).map_err(|e| Error::malformed(what(), e))?;
        let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() > limits::IMAGE_LAYERS_MAX {
            let reason =
                format!("{} layers, at most {} fit", diff_ids.len(), limits::IMAGE_LAYERS_MAX);
            return Err(Error::Unsupported { what: what(), reason });
        }
        let config = raw.config.unwrap_or_default();
        let config = ImageConfig {
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
            volumes: config.volumes.unwrap_or_default().into_keys().collect(),
            labels: config.labels.unwrap_or_default(),
            exposed_ports: config.exposed_ports.unwrap_or_default().into_keys().collect(),
            platform: raw.platform,
            created: raw.created,
        };
        Ok(ConfigFile { config, diff_ids })
    }

    /// Refuses an image that was built for another kind of machine.
    pub(super) fn check_platform(&self, what: &str, host: &Platform) -> Result<()> {
        match host.rank(&self.config.platform) {
            Some(_) => Ok(()),
            None => Err(Error::NoMatchingPlatform {
                what: what.to_string(),
                wanted: host.to_string(),
                found: self.config.platform.to_string(),
            }),
        }
    }
}

/// The names of the layers with all that is below them, the lowest first.
pub(super) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = chain.last().map_or_else(|| diff_id.clone(), |below| below.chain(diff_id));
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_absences_are_the_same() {
        for text in [
            r#"{"rootfs":{"type":"layers","diff_ids":null}}"#,
            r#"{"config":null,"rootfs":{}}"#,
            r#"{"config":{"Env":null,"Cmd":null,"Volumes":null,"StopSignal":""},"rootfs":{}}"#,
        ] {
            let file = ConfigFile::parse("x", text.as_bytes()).unwrap();
            assert_eq!(file.config, ImageConfig::default(), "{text}");
            assert!(file.diff_ids.is_empty());
        }
    }

    #[test]
    fn every_field_is_read() {
        let text = r#"{"architecture":"arm","os":"linux","variant":"v7","created":"2026-01-01T00:00:00Z",
            "config":{"Entrypoint":["/e"],"Cmd":["c"],"Env":["A=b"],"User":"www:web","WorkingDir":"/w",
            "StopSignal":"SIGQUIT","Volumes":{"/v":{}},"Labels":{"k":"v"},"ExposedPorts":{"80/tcp":{}}},
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let c = ConfigFile::parse("x", text.as_bytes()).unwrap().config;
        assert_eq!((c.entrypoint[0].as_str(), c.cmd[0].as_str()), ("/e", "c"));
        assert_eq!((c.env[0].as_str(), c.user.as_str()), ("A=b", "www:web"));
        assert_eq!((c.working_dir.as_str(), c.stop_signal.as_deref()), ("/w", Some("SIGQUIT")));
        assert_eq!((c.volumes[0].as_str(), c.exposed_ports[0].as_str()), ("/v", "80/tcp"));
        assert_eq!(c.labels["k"], "v");
        assert_eq!(c.platform.to_string(), "linux/arm/v7");
        assert_eq!(c.created.as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn too_many_layers_are_refused() {
        let ids = vec![format!("\"{}\"", Digest::of(b"")); limits::IMAGE_LAYERS_MAX + 1];
        let text = format!(r#"{{"rootfs":{{"diff_ids":[{}]}}}}"#, ids.join(","));
        let error = ConfigFile::parse("x", text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("at most"), "{error}");
    }

    #[test]
    fn a_chain_grows_layer_by_layer() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(chain_ids(&[a.clone(), b.clone()]), [a.clone(), a.chain(&b)]);
    }
}
