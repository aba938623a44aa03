//! IP addresses and prefixes.

use std::fmt;
use std::net::IpAddr;

use crate::api::cel::eval::{Answer, Run, Stop, no_overload};
use crate::api::cel::value::Val;

/// An IP prefix, whose address may have bits beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Cidr {
    /// Whether it is of IPv4.
    pub const fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        };
        Self { address, ..self }
    }

    fn contains(self, ip: IpAddr) -> bool {
        self.is_v4() == ip.is_ipv4()
            && Self { address: ip, ..self }.masked().address == self.masked().address
    }
}

/// Reads an address.
///
/// # Errors
/// Why it is none.
pub fn parse_ip(text: &str) -> Result<IpAddr, Stop> {
    if text.contains('%') && text.split('%').next().is_some_and(|ip| ip.parse::<IpAddr>().is_ok()) {
        let why = format!("IP address {text:?} with zone value is not allowed");
        return Err(Stop::error(why));
    }
    let ip: IpAddr = text.parse().map_err(|_| {
        let why = format!("ParseAddr({text:?}): unable to parse IP");
        Stop::error(format!("IP Address {text:?} parse error during conversion from string: {why}"))
    })?;
    mapped(ip, text)
}

fn mapped(ip: IpAddr, text: &str) -> Result<IpAddr, Stop> {
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            let why = format!("IPv4-mapped IPv6 address {text:?} is not allowed");
            Err(Stop::error(why))
        }
        ip => Ok(ip),
    }
}

/// Reads a prefix.
///
/// # Errors
/// Why it is none.
pub fn parse_cidr(text: &str) -> Result<Cidr, Stop> {
    let read = || {
        let (address, bits) = text.split_once('/')?;
        let plain = !bits.is_empty()
            && bits.bytes().all(|b| b.is_ascii_digit())
            && (bits == "0" || !bits.starts_with('0'));
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok().filter(|_| plain)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Cidr { address, bits })
    };
    const PREFIX: &str = "network address parse error during conversion from string: ";
    let cidr = read().ok_or_else(|| {
        let why = if text.contains('/') { "unable to parse" } else { "no '/'" };
        Stop::error(format!("{PREFIX}{PREFIX}netip.ParsePrefix({text:?}): {why}"))
    })?;
    mapped(cidr.address, text)?;
    Ok(cidr)
}

/// A function of an address.
pub fn ip<'a>(_run: &mut Run<'a>, name: &str, ip: IpAddr) -> Answer<'a> {
    Ok(match name {
        "family" => Val::Int(if ip.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Val::Bool(ip.is_unspecified()),
        "isLoopback" => Val::Bool(ip.is_loopback()),
        "isLinkLocalMulticast" => Val::Bool(match ip {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        }),
        "isLinkLocalUnicast" => Val::Bool(is_link_local(ip)),
        "isGlobalUnicast" => Val::Bool(match ip {
            IpAddr::V4(v4) if v4.is_broadcast() => false,
            ip => {
                !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip))
            }
        }),
        _ => return Err(no_overload()),
    })
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// A function of a prefix.
pub fn cidr<'a>(_run: &mut Run<'a>, name: &str, cidr: &Cidr, args: &[Val<'a>]) -> Answer<'a> {
    let other = |other: &Val<'a>| match other {
        Val::Cidr(other) => Ok(*other),
        Val::Str(text) => parse_cidr(text).map_err(|_| no_overload()),
        _ => Err(no_overload()),
    };
    Ok(match (name, args.get(1)) {
        ("ip", None) => Val::Ip(cidr.address),
        ("prefixLength", None) => Val::Int(cidr.bits.into()),
        ("masked", None) => Val::Cidr(cidr.masked()),
        ("containsIP", Some(Val::Ip(ip))) => Val::Bool(cidr.contains(*ip)),
        ("containsIP", Some(Val::Str(text))) => {
            Val::Bool(cidr.contains(parse_ip(text).map_err(|_| no_overload())?))
        }
        ("containsCIDR", Some(given)) => {
            let other = other(given)?;
            Val::Bool(other.bits >= cidr.bits && cidr.contains(other.masked().address))
        }
        _ => return Err(no_overload()),
    })
}
