//! The proxy that the environment prescribes: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.

use std::net::IpAddr;

use super::credentials::Credentials;
use super::url::{Origin, is_loopback, split_authority};

/// Which proxy to use for which host.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxy {
    https: Option<ProxyServer>,
    http: Option<ProxyServer>,
    except: Vec<String>,
}

/// One proxy, spoken to in plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProxyServer {
    pub host: String,
    pub port: u16,
    /// The value of a Proxy-Authorization header.
    pub authorization: Option<String>,
}

impl Proxy {
    /// What the environment of this process says; as in Go, which most tools on a node are of.
    pub(super) fn from_env() -> Proxy {
        Proxy::from_lookup(|name| std::env::var(name).ok())
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Proxy {
        let get = |name: &str| {
            let value = lookup(name).or_else(|| lookup(&name.to_lowercase()));
            value.filter(|value| !value.is_empty())
        };
        let server = |name: &str| {
            let text = get(name)?;
            let server = ProxyServer::parse(&text);
            if server.is_none() {
                tracing::warn!(variable = name, "ignoring a proxy that is not http://host:port");
            }
            server
        };
        let except = get("NO_PROXY").unwrap_or_default();
        let except = except.split(',').map(|part| part.trim().to_lowercase());
        Proxy {
            https: server("HTTPS_PROXY"),
            http: server("HTTP_PROXY"),
            except: except.filter(|part| !part.is_empty()).collect(),
        }
    }

    /// The proxy on the way to `origin`.
    pub(super) fn of(&self, origin: &Origin) -> Option<&ProxyServer> {
        let server = if origin.secure { self.https.as_ref() } else { self.http.as_ref() }?;
        let direct =
            is_loopback(&origin.host) || self.except.iter().any(|part| excepts(part, origin));
        (!direct).then_some(server)
    }
}

/// Does one part of `NO_PROXY` mean this host?
fn excepts(part: &str, origin: &Origin) -> bool {
    if part == "*" {
        return true;
    }
    if let Ok(address) = origin.host.parse::<IpAddr>() {
        return match part.split_once('/') {
            Some((network, bits)) => is_in(address, network, bits),
            None => part.parse() == Ok(address),
        };
    }
    let Some((host, port)) = split_authority(part) else { return false };
    if port.is_some_and(|port| port != origin.port) {
        return false;
    }
    let suffix = host.trim_start_matches("*.").trim_start_matches('.');
    origin.host == suffix || origin.host.ends_with(&format!(".{suffix}"))
}

fn is_in(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            let shift = 32 - bits;
            a.to_bits().checked_shr(shift) == n.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => {
            let shift = 128 - bits;
            a.to_bits().checked_shr(shift) == n.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}

impl ProxyServer {
    fn parse(text: &str) -> Option<ProxyServer> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return None,
            None => text,
        };
        let rest = rest.trim_end_matches('/');
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let (host, port) = split_authority(authority)?;
        let authorization = user.and_then(|user| {
            let (username, password) = user.split_once(':').unwrap_or((user, ""));
            let (username, password) = (decode(username), decode(password));
            Credentials::Basic { username, password }.basic()
        });
        Some(ProxyServer { host, port: port.unwrap_or(80), authorization })
    }
}

/// Undoes `%41`.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        super::super::url::Url::parse(text).unwrap().origin
    }

    #[test]
    fn the_environment_decides() {
        let proxy = Proxy::from_lookup(|name| {
            let value = match name {
                "HTTPS_PROXY" => "http://us%65r:p%40ss@proxy:3128/",
                "http_proxy" => "plain:8080",
                "NO_PROXY" => "example.com, .corp:5000,10.0.0.0/8,192.168.1.7,fd00::/8",
                _ => return None,
            };
            Some(value.to_string())
        });
        let server = proxy.of(&origin("https://quay.io")).unwrap();
        assert_eq!((server.host.as_str(), server.port), ("proxy", 3128));
        let user = Credentials::Basic { username: "user".into(), password: "p@ss".into() };
        assert_eq!(server.authorization, user.basic());
        assert_eq!(proxy.of(&origin("http://quay.io")).unwrap().port, 8080);
        for direct in [
            "https://example.com",
            "https://a.example.com",
            "https://x.corp:5000",
            "https://10.1.2.3",
            "https://192.168.1.7:5000",
            "https://[fd00::1]",
            "https://127.0.0.1",
            "https://localhost:5000",
        ] {
            assert_eq!(proxy.of(&origin(direct)), None, "{direct}");
        }
        for through in ["https://notexample.com", "https://x.corp", "https://11.1.2.3"] {
            assert!(proxy.of(&origin(through)).is_some(), "{through}");
        }
    }

    #[test]
    fn without_one_everything_is_direct() {
        let none = Proxy::from_lookup(|_| None);
        assert_eq!(none.of(&origin("https://quay.io")), None);
        let wrong = Proxy::from_lookup(|_| Some("socks5://x:1".into()));
        assert_eq!(wrong.of(&origin("https://quay.io")), None);
    }
}
