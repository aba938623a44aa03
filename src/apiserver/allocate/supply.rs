//! Which cluster addresses there are to give: those of the server's own range and of ServiceCIDRs
//! that are ready, without those that somebody reserved by an IPAddress of his own.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::scattered;
use crate::api::kinds::definition::is_true;
use crate::api::meta::GroupResource;
use crate::api::tree::Value;
use crate::history::History;
use crate::limits;

const GROUP: &str = "networking.k8s.io";
/// The label of the IPAddresses that only tell what Services hold.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";

/// Addresses to give.
pub(super) struct Supply {
    /// The server's own range first.
    ranges: Vec<Ipv4Net>,
    reserved: HashSet<u32>,
}

impl Supply {
    /// What there is now.
    pub(super) fn of(history: &History, own: Ipv4Net) -> Self {
        let snapshot = history.snapshot(&GroupResource::new(GROUP, "servicecidrs"));
        let ready = snapshot.iter().filter(|range| !range.header.deleting);
        let trees =
            ready.filter_map(|range| range.tree().ok()).filter(|range| is_true(range, "Ready"));
        let others = trees.flat_map(|range| nets(&range)).filter(|net| *net != own);
        let addresses = history.snapshot(&GroupResource::new(GROUP, "ipaddresses"));
        let by_users = addresses.iter().map(|address| &address.header);
        let by_users = by_users.filter(|h| !h.labels.iter().any(|(key, _)| **key == *MANAGED_BY));
        let numbers = by_users.filter_map(|h| h.key.name.parse().ok()).map(Ipv4Addr::to_bits);
        Self { ranges: std::iter::once(own).chain(others).collect(), reserved: numbers.collect() }
    }

    /// An address that is asked for by name.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(super) fn named(&self, taken: &HashSet<u32>, given: &str) -> Result<Ipv4Addr, String> {
        let usable = |address: &Ipv4Addr| {
            self.ranges.iter().any(|range| {
                range.contains(address)
                    && *address != range.network()
                    && *address != range.broadcast()
            })
        };
        let Some(address) = given.parse().ok().filter(usable) else {
            let ranges: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
            return Err(format!(
                "the provided IP ({given}) is not in the valid range. The range of valid IPs is {}",
                ranges.join(", ")
            ));
        };
        match self.is_free(taken, address.to_bits()) {
            true => Ok(address),
            false => Err("provided IP is already allocated".into()),
        }
    }

    /// Any free address. The low end of each range is left to those who ask for an address by name,
    /// as long as there are others.
    pub(super) fn any(&self, taken: &HashSet<u32>) -> Option<Ipv4Addr> {
        self.ranges.iter().find_map(|range| self.any_of(taken, *range))
    }

    fn any_of(&self, taken: &HashSet<u32>, range: Ipv4Net) -> Option<Ipv4Addr> {
        let (low, high) = (range.network().to_bits(), range.broadcast().to_bits());
        let size = high.saturating_sub(low + 1);
        let reserved =
            (size / 16).clamp(limits::STATIC_BAND_MIN, limits::STATIC_BAND_MAX).min(size);
        let free = |address: &u32| self.is_free(taken, *address);
        scattered(low + 1 + reserved, size - reserved)
            .find(free)
            .or_else(|| scattered(low + 1, reserved).find(free))
            .map(Ipv4Addr::from_bits)
    }

    fn is_free(&self, taken: &HashSet<u32>, address: u32) -> bool {
        !taken.contains(&address) && !self.reserved.contains(&address)
    }
}

fn nets(range: &Value) -> Vec<Ipv4Net> {
    let texts = range.at(&["spec", "cidrs"]).items().iter();
    texts.filter_map(|text| text.str().parse().ok()).collect()
}
