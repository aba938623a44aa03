//! Image references as docker and containerd read them.
//!
//! `[registry/]repository[:tag][@digest]`; a missing registry is docker.io, a single name there
//! is in `library/`, and without tag and digest the tag is `latest`. The grammar is that of the
//! distribution project's reference package.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;
use super::error::{Error, Result};

/// Longest registry plus repository; the distribution project's limit.
const NAME_BYTES_MAX: usize = 255;
/// Longest tag; part of the grammar.
const TAG_BYTES_MAX: usize = 128;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_REGISTRY_LEGACY: &str = "index.docker.io";
const DEFAULT_NAMESPACE: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const INVALID: &str = "invalid reference format";

/// A complete reference: registry and repository are never empty, and a tag or digest is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads and completes a reference.
    ///
    /// # Errors
    /// [`Error::InvalidName`] with the text that upstream's kubelet shows.
    pub fn parse(text: &str) -> Result<Reference> {
        parse(text).map_err(|reason| Error::InvalidName { reference: text.to_string(), reason })
    }

    /// `docker.io`, `registry.example.com:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given or supplied.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given; it wins over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same image under its digest alone: `docker.io/library/nginx@sha256:…`.
    pub fn at(&self, digest: &Digest) -> Reference {
        Reference { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// The short form that people write: `nginx:1.14.2`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(rest) = full.strip_prefix("docker.io/") else { return full };
        match rest.strip_prefix(DEFAULT_NAMESPACE) {
            Some(short) if !short.contains('/') => short.to_string(),
            _ => rest.to_string(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Reference::parse(text)
    }
}

fn parse(text: &str) -> std::result::Result<Reference, String> {
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!(
            "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        ));
    }
    let (registry, remainder) = split_registry(text);
    let (named, digest) = match remainder.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (remainder.as_str(), None),
    };
    let (repository, tag) = match named.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (named, None),
    };
    if repository.chars().any(char::is_uppercase) {
        return Err(format!("{INVALID}: repository name ({repository}) must be lowercase"));
    }
    if !is_registry(&registry)
        || !repository.split('/').all(is_component)
        || !tag.is_none_or(is_tag)
        || !digest.is_none_or(is_digest_shaped)
    {
        return Err(INVALID.to_string());
    }
    if registry.len() + 1 + repository.len() > NAME_BYTES_MAX {
        return Err(format!("repository name must not be more than {NAME_BYTES_MAX} characters"));
    }
    let digest = digest.map(str::parse::<Digest>).transpose().map_err(|e| e.to_string())?;
    let tag = tag.or(if digest.is_none() { Some(DEFAULT_TAG) } else { None });
    let (repository, tag) = (repository.to_string(), tag.map(str::to_string));
    Ok(Reference { registry, repository, tag, digest })
}

/// The registry, and the rest with docker.io's `library/` supplied.
fn split_registry(text: &str) -> (String, String) {
    let (registry, rest) = match text.split_once('/') {
        Some((first, rest)) if looks_like_registry(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, text),
    };
    let registry = if registry == DEFAULT_REGISTRY_LEGACY { DEFAULT_REGISTRY } else { registry };
    if registry == DEFAULT_REGISTRY && !rest.contains('/') {
        return (registry.to_string(), format!("{DEFAULT_NAMESPACE}{rest}"));
    }
    (registry.to_string(), rest.to_string())
}

/// Dots, ports and capitals do not occur in the first part of a docker.io repository.
fn looks_like_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let is_port =
        port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return is_port && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    is_port && host.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let ends_well = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Lower-case words joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_joint =
        |joint: &str| matches!(joint, "." | "_" | "__") || joint.bytes().all(|b| b == b'-');
    component.starts_with(is_word)
        && component.ends_with(is_word)
        && component.split(is_word).all(is_joint)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

/// The grammar's own idea of a digest, wider than what can be verified.
fn is_digest_shaped(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        Reference::parse(text).map(|r| r.to_string()).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn references_are_completed_as_docker_does() {
        let hex = "f".repeat(64);
        for (given, wanted) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.14.2", "docker.io/library/nginx:1.14.2"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("test.com:5000", "docker.io/library/test.com:5000"),
            ("test.com/repo", "test.com/repo:latest"),
            ("test:5000/repo:tag", "test:5000/repo:tag"),
            ("localhost/x", "localhost/x:latest"),
            ("127.0.0.1:33333/a/b_c/d__e/f--g.h:V1", "127.0.0.1:33333/a/b_c/d__e/f--g.h:V1"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("[fe80::1]/x", "[fe80::1]/x:latest"),
            ("Registry/x", "Registry/x:latest"),
        ] {
            assert_eq!(full(given), wanted, "{given}");
        }
        let digest = format!("a/b@sha256:{hex}");
        assert_eq!(full(&digest), format!("docker.io/{digest}"));
        let both = format!("quay.io/a/b:1@sha256:{hex}");
        assert_eq!(full(&both), both);
    }

    #[test]
    fn wrong_references_are_refused_with_upstreams_words() {
        let (long, hex) = ("a/".repeat(130) + "a", "a".repeat(64));
        let invalid = "invalid reference format";
        let lower = |name: &str| format!("{invalid}: repository name ({name}) must be lowercase");
        let hexadecimal =
            format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings");
        for given in [
            "",
            "nginx:",
            "nginx:bad tag",
            ":nginx",
            "a//b",
            "-a/b",
            "a___b",
            "a..b",
            "a\nb",
            "https://x.y/z",
            "x.y:port/z",
            "[::g]/z",
            "nginx@sha256:12",
            "a/b@",
            "a b",
        ] {
            let wanted = format!("couldn't parse image reference {given:?}: {invalid}");
            assert_eq!(full(given), wanted);
        }
        for (given, reason) in [
            ("Nginx", lower("library/Nginx").as_str()),
            ("x.y/A", &lower("A")),
            (&long, "repository name must not be more than 255 characters"),
            (&hex, &hexadecimal),
            (&format!("a@md5:{hex}"), "unsupported digest algorithm"),
            (&format!("a@sha512:{hex}"), "invalid checksum digest length"),
            (&format!("a:{}", "t".repeat(129)), invalid),
        ] {
            let wanted = format!("couldn't parse image reference {given:?}: {reason}");
            assert_eq!(full(given), wanted);
        }
    }

    #[test]
    fn short_forms_lead_back() {
        for text in ["nginx:1", "a/b:1", "quay.io/a/b:1", "localhost:1/x:y"] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.familiar(), text);
            assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
        }
    }
}
