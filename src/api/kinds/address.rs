//! IP addresses and ranges in objects: well-formed, and of a sort that makes sense where they
//! stand.

use std::net::{IpAddr, Ipv6Addr};

use super::check::At;
use super::text;
use crate::api::registry::Errors;

/// Checks an address of something that listens; reports all that is wrong with it.
pub fn endpoint(at: At<'_>, errors: &mut Errors) {
    let before = errors.len();
    super::check::formatted(at, text::ip, errors);
    let Ok(ip) = at.str().parse::<IpAddr>() else {
        if errors.len() > before && !at.str().contains('.') {
            errors.invalid(at, &at.str().into(), "must be a valid IP address");
        }
        return;
    };
    unicast(at, ip, errors);
}

/// Reports an address that nothing can be reached by from elsewhere.
pub fn unicast(at: At<'_>, ip: IpAddr, errors: &mut Errors) {
    let (link_local, multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (is_link_local(v6), v6.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("may not be unspecified ({})", at.str());
    let cases = [
        (ip.is_unspecified(), unspecified.as_str()),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    for (_, why) in cases.iter().filter(|(wrong, _)| *wrong) {
        errors.invalid(at, &at, why);
    }
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

/// What clients should know about an address that is valid but oddly written.
pub fn warning(path: &str, ip: &str) -> Option<String> {
    let parsed: Ipv6Addr = ip.parse().ok()?;
    let canonical = parsed.to_string();
    (canonical != ip).then(|| {
        format!(
            "{path}: IPv6 address {ip:?} should be in RFC 5952 canonical format ({canonical:?})"
        )
    })
}

/// What is wrong with a range, `10.9.8.0/24`.
pub fn range(text: &str) -> Vec<String> {
    use ipnet::IpNet;
    let Ok(net) = text.parse::<IpNet>() else {
        return vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into()];
    };
    let mapped = matches!(net.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let why = match net {
        _ if mapped => "must not have an IPv4-mapped IPv6 address",
        net if net.addr() != net.network() => "must not have bits set beyond the prefix length",
        _ => return Vec::new(),
    };
    vec![why.into()]
}

/// Whether there is at most one address of each family. What is no address counts as IPv4.
pub fn is_one_of_each_family(ips: &[&str]) -> bool {
    let sixes = ips.iter().filter(|ip| ip.contains(':')).count();
    sixes <= 1 && ips.len() - sixes <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tree::Value;

    #[test]
    fn only_reachable_addresses() {
        let cases = [
            ("10.0.0.1", 0),
            ("fd00::1", 0),
            ("0.0.0.0", 1),
            ("127.0.0.1", 1),
            ("::1", 1),
            ("169.254.1.1", 1),
            ("fe80::1", 1),
            ("224.0.0.5", 1),
            ("ff02::5", 1),
        ];
        for (ip, faults) in cases {
            let mut errors = Errors::default();
            let value: Value = ip.into();
            endpoint(At::path("ip", &value), &mut errors);
            assert_eq!(errors.len(), faults, "{ip}");
        }
    }

    #[test]
    fn ranges_and_families() {
        assert!(range("10.0.0.0/8").is_empty());
        assert_eq!(range("10.0.0.1/8"), ["must not have bits set beyond the prefix length"]);
        assert_eq!(range("10.0.0.1").len(), 1);
        assert!(is_one_of_each_family(&["10.0.0.1", "::1"]));
        assert!(!is_one_of_each_family(&["10.0.0.1", "10.0.0.2"]));
        assert!(warning("p", "FD00::1").unwrap().contains("\"fd00::1\""));
        assert!(warning("p", "10.0.0.1").is_none());
    }
}
