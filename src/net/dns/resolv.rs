//! The host's resolver configuration.

use std::net::IpAddr;
use std::path::Path;

/// Where systemd-resolved keeps the resolvers behind its own loopback address.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// Where everybody else keeps them.
const HOST: &str = "/etc/resolv.conf";

/// What a `resolv.conf` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolv {
    /// Resolvers in order.
    pub servers: Vec<IpAddr>,
    /// Domains to search in.
    pub search: Vec<String>,
    /// Options, as they are.
    pub options: Vec<String>,
}

impl Resolv {
    /// Reads the text of a `resolv.conf`. What cannot be understood is left out, as resolvers do.
    pub fn parse(text: &str) -> Resolv {
        let mut resolv = Resolv::default();
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or("").split_whitespace();
            match words.next() {
                Some("nameserver") => resolv.servers.extend(words.next().and_then(address)),
                // The last one counts.
                Some("search" | "domain") => resolv.search = words.map(str::to_owned).collect(),
                Some("options") => resolv.options.extend(words.map(str::to_owned)),
                _ => (),
            }
        }
        resolv
    }

    /// The host's own, as its processes see it: loopback resolvers are good there.
    pub fn of_host(path: Option<&Path>) -> Resolv {
        Resolv::read(path.unwrap_or(Path::new(HOST)))
    }

    /// The host's, for use inside pods: a loopback address there is the pod's own. Where the host
    /// has only loopback resolvers, those behind systemd-resolved; where there are none either, no
    /// resolver is left.
    pub fn for_pods(path: Option<&Path>) -> Resolv {
        Resolv::of_host(path).without_loopback(|| Resolv::read(Path::new(BEHIND_RESOLVED)))
    }

    fn without_loopback(mut self, behind: impl FnOnce() -> Resolv) -> Resolv {
        let had_any = !self.servers.is_empty();
        self.servers.retain(|server| !server.is_loopback());
        if had_any && self.servers.is_empty() {
            let mut behind = behind();
            behind.servers.retain(|server| !server.is_loopback());
            self.servers = behind.servers;
        }
        self
    }

    fn read(path: &Path) -> Resolv {
        Resolv::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }
}

/// An address without its zone: a link-local resolver cannot be reached from elsewhere anyway.
fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_resolvers_read() {
        let resolv = Resolv::parse(
            "# made by hand\nnameserver 192.0.2.1\nnameserver fe80::1%eth0 ; comment\n\
             nameserver nonsense\ndomain old\nsearch a.example b.example\noptions ndots:2 rotate\n",
        );
        assert_eq!(
            resolv.servers,
            ["192.0.2.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]
        );
        assert_eq!(resolv.search, ["a.example", "b.example"]);
        assert_eq!(resolv.options, ["ndots:2", "rotate"]);
    }

    #[test]
    fn pods_get_no_loopback_resolver() {
        let with = |text: &str| {
            Resolv::parse(text)
                .without_loopback(|| Resolv::parse("nameserver 192.0.2.53\nnameserver 127.0.0.1\n"))
        };
        let servers = |text: &str| {
            with(text).servers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(servers("nameserver 127.0.0.53\nsearch x\n"), "192.0.2.53");
        assert_eq!(servers("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"), "192.0.2.1");
        assert_eq!(servers(""), "");
        assert_eq!(with("nameserver 127.0.0.53\nsearch x\n").search, ["x"]);
    }
}
