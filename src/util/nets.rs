//! Networks of IPv4, with one of IPv6 beside where there are both.
//!
//! IPv4 comes first everywhere: it is the family in which machines reach each other.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A network, or one of each family; as text, the two with a comma between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nets {
    /// That of IPv4.
    pub four: Ipv4Net,
    /// That of IPv6, where there is one.
    pub six: Option<Ipv6Net>,
}

/// Why a text names no networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// A part of it is no network.
    #[error("{0:?} is not a network such as 10.42.0.0/16")]
    Text(String),
    /// An address and not a network.
    #[error("{0} has bits beyond its prefix: write {1}")]
    Bits(IpNet, IpNet),
    /// IPv6 alone.
    #[error("{0} is of IPv6 alone: rk needs a network of IPv4, and takes one of IPv6 beside it")]
    SixAlone(IpNet),
    /// IPv6 first.
    #[error("{0} comes first, but the first family must be IPv4: write {1},{0}")]
    SixFirst(IpNet, IpNet),
    /// Two of one family.
    #[error("{0} and {1} are of one family: give one network of IPv4 and one of IPv6")]
    Same(IpNet, IpNet),
    /// More than two.
    #[error("{0} networks are more than one of IPv4 and one of IPv6")]
    Many(usize),
}

impl Nets {
    /// IPv4 alone.
    pub const fn only(four: Ipv4Net) -> Self {
        Self { four, six: None }
    }

    /// All of them, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + use<> {
        std::iter::once(IpNet::V4(self.four)).chain(self.six.map(IpNet::V6))
    }

    /// Whether one of them has the address.
    pub fn contains(&self, address: &IpAddr) -> bool {
        self.iter().any(|net| net.contains(address))
    }
}

impl From<Ipv4Net> for Nets {
    fn from(four: Ipv4Net) -> Self {
        Self::only(four)
    }
}

impl From<Nets> for String {
    fn from(nets: Nets) -> Self {
        nets.to_string()
    }
}

impl TryFrom<String> for Nets {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Self, Wrong> {
        text.parse()
    }
}

impl fmt::Display for Nets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.four)?;
        self.six.map_or(Ok(()), |six| write!(f, ",{six}"))
    }
}

impl FromStr for Nets {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let nets: Vec<IpNet> = text.split(',').map(net).collect::<Result<_, _>>()?;
        match nets[..] {
            [IpNet::V4(four)] => Ok(Self::only(four)),
            [IpNet::V4(four), IpNet::V6(six)] => Ok(Self { four, six: Some(six) }),
            [six @ IpNet::V6(_), four @ IpNet::V4(_)] => Err(Wrong::SixFirst(six, four)),
            [six] => Err(Wrong::SixAlone(six)),
            [one, other] => Err(Wrong::Same(one, other)),
            _ => Err(Wrong::Many(nets.len())),
        }
    }
}

fn net(text: &str) -> Result<IpNet, Wrong> {
    let net: IpNet = text.trim().parse().map_err(|_| Wrong::Text(text.to_owned()))?;
    match net.trunc() {
        right if right == net => Ok(net),
        right => Err(Wrong::Bits(net, right)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_one_of_each() {
        for text in ["10.42.0.0/16", "10.42.0.0/16,2001:cafe:42::/56"] {
            assert_eq!(text.parse::<Nets>().unwrap().to_string(), text);
            let json = format!("{text:?}");
            let nets: Nets = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&nets).unwrap(), json);
        }
        let both: Nets = "10.42.0.0/16, fd00::/56".parse().unwrap();
        assert!(both.contains(&"fd00::5".parse().unwrap()));
        assert!(!both.contains(&"fd01::5".parse().unwrap()));
        assert!(!Nets::only(both.four).contains(&"fd00::5".parse().unwrap()));
        assert_eq!(both.iter().count(), 2);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("pods", "\"pods\" is not a network such as 10.42.0.0/16"),
            ("10.42.0.0/16,", "\"\" is not a network such as 10.42.0.0/16"),
            ("10.42.0.1/16", "10.42.0.1/16 has bits beyond its prefix: write 10.42.0.0/16"),
            ("10.42.0.0/16,fd00::1/56", "fd00::1/56 has bits beyond its prefix: write fd00::/56"),
            ("fd00::/56", "fd00::/56 is of IPv6 alone"),
            ("fd00::/56,10.42.0.0/16", "the first family must be IPv4: write 10.42.0.0/16,fd00::"),
            ("10.1.0.0/16,10.2.0.0/16", "10.1.0.0/16 and 10.2.0.0/16 are of one family"),
            ("10.1.0.0/16,fd00::/56,fd01::/56", "3 networks are more than one of IPv4"),
        ] {
            let said = text.parse::<Nets>().unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
