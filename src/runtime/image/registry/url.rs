//! The few things that a registry client does with URLs.

use std::fmt;

use super::super::error::{Error, Result};

/// An `http` or `https` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub origin: Origin,
    /// Begins with `/`.
    pub path_and_query: String,
}

/// Where connections lead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// TLS or plain.
    pub secure: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// `host[:port]` as in a Host header; the scheme's own port is left out.
    pub(super) fn authority(&self) -> String {
        let is_v6 = self.host.contains(':');
        let host = if is_v6 { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// This machine itself?
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// Is the host (without port) this machine itself, by its name alone?
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `host[:port]` in its parts.
pub(super) fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (authority, None),
    };
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

impl Url {
    /// Reads a whole URL; a user name in it is refused.
    pub(super) fn parse(text: &str) -> Option<Url> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = split_authority(authority)?;
        if host.contains('@') || !text.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return None;
        }
        let path = path.split('#').next().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let path_and_query = format!("{slash}{path}");
        Some(Url { origin: Origin { secure, host, port }, path_and_query })
    }

    /// Where a `Location` header on this URL leads.
    pub(super) fn join(&self, location: &str) -> Result<Url> {
        let absolute = if location.contains("://") {
            Url::parse(location)
        } else if let Some(rest) = location.strip_prefix("//") {
            Url::parse(&format!("{}://{rest}", self.scheme()))
        } else {
            let path = if location.starts_with('/') {
                location.to_string()
            } else {
                let own = self.path_and_query.split('?').next().unwrap_or_default();
                let dir = own.rfind('/').map_or("/", |slash| &own[..=slash]);
                format!("{dir}{location}")
            };
            Url::parse(&format!("{}://{}{path}", self.scheme(), self.origin.authority()))
        };
        absolute.ok_or_else(|| Error::Transport {
            action: "redirected from",
            url: self.to_string(),
            reason: format!("{location:?} is no address"),
        })
    }

    fn scheme(&self) -> &'static str {
        if self.origin.secure { "https" } else { "http" }
    }
}

impl fmt::Display for Url {
    /// Without the query: it may hold a signature that gives access.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme(), self.origin.authority())
    }
}

/// Text as part of a query or form.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        for (given, shown, port) in [
            ("https://a.b/c?d=e#f", "https://a.b/c", 443),
            ("http://A.b:80", "http://a.b/", 80),
            ("https://[::1]:5000/v2/", "https://[::1]:5000/v2/", 5000),
            ("HTTPS://x?y", "https://x/", 443),
        ] {
            let url = Url::parse(given).unwrap();
            assert_eq!((url.to_string().as_str(), url.origin.port), (shown, port));
        }
        for wrong in
            ["a.b/c", "ftp://a", "https://", "https://u:p@h/", "https://a b/", "http://a:x"]
        {
            assert_eq!(Url::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn locations_lead_on() {
        let url = Url::parse("https://a.b:1/c/d?e").unwrap();
        let to = |location: &str| url.join(location).unwrap();
        assert_eq!(to("/x?y=z").path_and_query, "/x?y=z");
        assert_eq!(to("x").to_string(), "https://a.b:1/c/x");
        assert_eq!(to("//h/x").to_string(), "https://h/x");
        assert_eq!(to("http://h/x").origin.port, 80);
        assert!(url.join("ftp://x").is_err());
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("repository:a/b:pull"), "repository%3Aa%2Fb%3Apull");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (host, wanted) in
            [("localhost", true), ("127.9.9.9", true), ("::1", true), ("127.evil.com", false)]
        {
            assert_eq!(is_loopback(host), wanted, "{host}");
        }
    }
}
