//! Manifests and indexes, docker's and OCI's, as far as a node needs them.
//!
//! Unknown fields are ignored, as the image-spec demands; what would be ambiguous is refused.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::digest::Digest;
use super::error::{Error, Result};
use super::platform::Platform;

/// Everything that a registry is told we can read.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// A pointer to some content.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Signatures and provenance stand beside the images in an index, but are none.
    fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
            || self.platform.as_ref().is_some_and(|p| p.os == "unknown")
    }
}

/// One image for one platform.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// Several manifests to choose from.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Index {
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// The entry that suits `host` best.
    pub(super) fn choose(&self, what: &str, host: &Platform) -> Result<&Descriptor> {
        choose(what, &self.manifests, host)
    }
}

/// The descriptor that suits `host` best; the first of equals.
pub(super) fn choose<'a>(
    what: &str,
    offered: impl IntoIterator<Item = &'a Descriptor> + Clone,
    host: &Platform,
) -> Result<&'a Descriptor> {
    let rank = |descriptor: &&Descriptor| match &descriptor.platform {
        _ if descriptor.is_attestation() => None,
        Some(platform) => host.rank(platform),
        None => Some(u32::MAX),
    };
    let suitable = offered.clone().into_iter().filter_map(|d| rank(&d).map(|rank| (rank, d)));
    if let Some((_, best)) = suitable.min_by_key(|(rank, _)| *rank) {
        return Ok(best);
    }
    let platforms = offered.into_iter().filter(|d| !d.is_attestation());
    let found: Vec<String> =
        platforms.filter_map(|d| d.platform.as_ref().map(Platform::to_string)).collect();
    Err(Error::NoMatchingPlatform {
        what: what.to_string(),
        wanted: host.to_string(),
        found: if found.is_empty() { "none".to_string() } else { found.join(", ") },
    })
}

/// Either of the two.
#[derive(Debug, Clone)]
pub(super) enum Document {
    Manifest(Manifest),
    Index(Index),
}

impl Document {
    /// Reads a manifest or an index.
    pub(super) fn parse(what: &str, bytes: &[u8]) -> Result<Document> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            #[serde(default)]
            schema_version: u32,
            config: Option<serde_json::Value>,
            layers: Option<serde_json::Value>,
            manifests: Option<serde_json::Value>,
            #[serde(rename = "fsLayers")]
            fs_layers: Option<serde_json::Value>,
        }
        let malformed = |e: serde_json::Error| Error::malformed(format!("manifest of {what}"), e);
        let shape: Shape = serde_json::from_slice(bytes).map_err(malformed)?;
        if shape.fs_layers.is_some() || shape.schema_version == 1 {
            let reason = "docker's manifest schema 1 is obsolete; push the image again".to_string();
            return Err(Error::Unsupported { what: format!("manifest of {what}"), reason });
        }
        // One document that is both would be read differently by different tools.
        match (shape.layers.is_some() || shape.config.is_some(), shape.manifests.is_some()) {
            (true, false) => Ok(Document::Manifest(parse_as(bytes).map_err(malformed)?)),
            (false, true) => Ok(Document::Index(parse_as(bytes).map_err(malformed)?)),
            (true, true) => {
                Err(Error::malformed(format!("manifest of {what}"), "it is an index as well"))
            }
            (false, false) => Err(Error::malformed(
                format!("manifest of {what}"),
                "it has neither layers nor manifests",
            )),
        }
    }
}

fn parse_as<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<Document, String> {
        Document::parse("x", text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn documents_are_told_apart_by_their_content() {
        let digest = Digest::of(b"");
        let descriptor = format!(r#"{{"digest":"{digest}","size":3,"annotations":null}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[]}}"#);
        assert!(matches!(parse(&manifest), Ok(Document::Manifest(m)) if m.config.size == 3));
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#);
        assert!(matches!(parse(&index), Ok(Document::Index(i)) if i.manifests.len() == 1));
    }

    #[test]
    fn what_is_ambiguous_or_unreadable_is_refused() {
        let digest = Digest::of(b"");
        let both =
            format!(r#"{{"config":{{"digest":"{digest}","size":0}},"layers":[],"manifests":[]}}"#);
        for (text, part) in [
            (both.as_str(), "it is an index as well"),
            ("{}", "neither layers nor manifests"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1 is obsolete"),
            ("<html>", "manifest of x is malformed"),
            (r#"{"config":{"digest":"sha256:12","size":0},"layers":[]}"#, "digest length"),
            (r#"{"manifests":[{"digest":"../../etc/passwd","size":0}]}"#, "digest format"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }

    #[test]
    fn attestations_are_never_chosen() {
        let host = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
        let entry = |platform: &str, os: &str| {
            let digest = Digest::of(platform.as_bytes());
            format!(
                r#"{{"digest":"{digest}","size":1,"platform":{{"architecture":"{platform}","os":"{os}"}}}}"#
            )
        };
        let of = |entries: &[String]| {
            let text = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
            serde_json::from_str::<Index>(&text).unwrap()
        };
        let index =
            of(&[entry("unknown", "unknown"), entry("arm64", "linux"), entry("amd64", "linux")]);
        assert_eq!(index.choose("x", &host).unwrap().digest, Digest::of(b"amd64"));
        let error = of(&[entry("unknown", "unknown"), entry("arm64", "linux")]);
        let error = error.choose("x", &host).unwrap_err().to_string();
        assert_eq!(error, "x: no image for platform linux/amd64, only for linux/arm64");
    }
}
