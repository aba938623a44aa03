//! Which cluster addresses there are to give: those of the server's own ranges and of ServiceCIDRs
//! that are ready, without those that somebody reserved by an IPAddress of his own.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::scattered;
use crate::api::kinds::definition::is_true;
use crate::api::meta::GroupResource;
use crate::api::tree::Value;
use crate::history::History;
use crate::limits;
use crate::util::nets::Nets;

const GROUP: &str = "networking.k8s.io";
/// The label of the IPAddresses that only tell what Services hold.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";

/// Addresses to give.
pub(super) struct Supply {
    /// The server's own ranges first.
    ranges: Vec<IpNet>,
    reserved: HashSet<IpAddr>,
}

impl Supply {
    /// What there is now.
    pub(super) fn of(history: &History, own: Nets) -> Self {
        let snapshot = history.snapshot(&GroupResource::new(GROUP, "servicecidrs"));
        let ready = snapshot.iter().filter(|range| !range.header.deleting);
        let trees =
            ready.filter_map(|range| range.tree().ok()).filter(|range| is_true(range, "Ready"));
        let others =
            trees.flat_map(|range| nets(&range)).filter(|net| own.iter().all(|o| o != *net));
        let addresses = history.snapshot(&GroupResource::new(GROUP, "ipaddresses"));
        let by_users = addresses.iter().map(|address| &address.header);
        let by_users = by_users.filter(|h| !h.labels.iter().any(|(key, _)| **key == *MANAGED_BY));
        let reserved = by_users.filter_map(|h| h.key.name.parse().ok()).collect();
        Self { ranges: own.iter().chain(others).collect(), reserved }
    }

    /// An address that is asked for by name.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(super) fn named(&self, taken: &HashSet<IpAddr>, given: &str) -> Result<IpAddr, String> {
        let usable = |address: &IpAddr| {
            self.ranges.iter().any(|range| {
                let ends = range.addr().is_ipv4() && *address == range.broadcast();
                range.contains(address) && *address != range.network() && !ends
            })
        };
        let Some(address) = given.parse().ok().filter(usable) else {
            let own = |range: &&IpNet| range.addr().is_ipv6() == given.contains(':');
            let ranges: Vec<String> =
                self.ranges.iter().filter(own).map(ToString::to_string).collect();
            return Err(format!(
                "the provided IP ({given}) is not in the valid range. The range of valid IPs is {}",
                ranges.join(", ")
            ));
        };
        match self.is_free(taken, &address) {
            true => Ok(address),
            false => Err("provided IP is already allocated".into()),
        }
    }

    /// Any free address of a family. The low end of each range is left to those who ask for an
    /// address by name, as long as there are others.
    pub(super) fn any(&self, taken: &HashSet<IpAddr>, six: bool) -> Option<IpAddr> {
        let mut ranges = self.ranges.iter().filter(|range| range.addr().is_ipv6() == six);
        ranges.find_map(|range| self.any_of(taken, *range))
    }

    fn any_of(&self, taken: &HashSet<IpAddr>, range: IpNet) -> Option<IpAddr> {
        let size = size(range);
        let reserved =
            (size / 16).clamp(limits::STATIC_BAND_MIN, limits::STATIC_BAND_MAX).min(size);
        let free = |address: &IpAddr| self.is_free(taken, address);
        let upper = scattered(1 + reserved, size - reserved).map(|at| nth(range, at));
        upper.chain(scattered(1, reserved).map(|at| nth(range, at))).find(free)
    }

    fn is_free(&self, taken: &HashSet<IpAddr>, address: &IpAddr) -> bool {
        !taken.contains(address) && !self.reserved.contains(address)
    }
}

/// How many addresses of a range are given out: of IPv4 all but the first and the last; of IPv6 all
/// but the first, as far as numbers of four bytes go.
fn size(range: IpNet) -> u32 {
    match range {
        IpNet::V4(four) => {
            (four.broadcast().to_bits() - four.network().to_bits()).saturating_sub(1)
        }
        IpNet::V6(six) => {
            let size = six.broadcast().to_bits() - six.network().to_bits();
            u32::try_from(size).unwrap_or(u32::MAX - 1)
        }
    }
}

/// The address at a place of a range.
fn nth(range: IpNet, at: u32) -> IpAddr {
    match range {
        IpNet::V4(four) => Ipv4Addr::from_bits(four.network().to_bits() + at).into(),
        IpNet::V6(six) => Ipv6Addr::from_bits(six.network().to_bits() + u128::from(at)).into(),
    }
}

fn nets(range: &Value) -> Vec<IpNet> {
    let texts = range.at(&["spec", "cidrs"]).items().iter();
    texts.filter_map(|text| text.str().parse().ok()).collect()
}
