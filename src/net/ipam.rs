//! Addresses of this node's pods.
//!
//! Contract: an address is handed out once until it is released, and a released one only after all
//! that were free by then. Nothing is written down: after a restart the pool is made from the
//! addresses that live links have. Must not know what an address is used for.

use ipnet::Ipv4Net;
use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;

/// Why no address was given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The pod CIDR is too small to hold a pod, or larger than a pool may be.
    #[error("pod cidr {0} must be between /16 and /30")]
    Size(Ipv4Net),
    /// Every address is in use.
    #[error("no free address in pod cidr {0}")]
    Exhausted(Ipv4Net),
    /// The address is not one of the pool's.
    #[error("address {0} is not assignable from pod cidr {1}")]
    Foreign(Ipv4Addr, Ipv4Net),
    /// The address is in use.
    #[error("address {0} is already in use")]
    Taken(Ipv4Addr),
}

/// The addresses of one pod CIDR.
#[derive(Debug)]
pub struct Pool {
    cidr: Ipv4Net,
    /// Free addresses as offsets from the network address, the longest unused first.
    free: VecDeque<u16>,
}

impl Pool {
    /// A pool over `cidr` in which the `live` addresses are taken. Live addresses outside the CIDR
    /// (its value has changed) are left alone: they cannot collide.
    ///
    /// The network's own address, the first one (the node's) and the broadcast address are never
    /// handed out.
    pub fn new(cidr: Ipv4Net, live: impl IntoIterator<Item = Ipv4Addr>) -> Result<Pool, Error> {
        if !(16..=30).contains(&cidr.prefix_len()) {
            return Err(Error::Size(cidr));
        }
        let mut pool = Pool { cidr: cidr.trunc(), free: VecDeque::new() };
        let live: BTreeSet<u16> = live.into_iter().filter_map(|a| pool.offset(a)).collect();
        // What was released before the restart is unknown: start behind the youngest address.
        let start = live.last().map_or(2, |last| last + 1);
        let order = (start..pool.broadcast()).chain(2..start.min(pool.broadcast()));
        pool.free = order.filter(|offset| !live.contains(offset)).collect();
        Ok(pool)
    }

    /// The range that the addresses are of.
    pub const fn cidr(&self) -> Ipv4Net {
        self.cidr
    }

    /// Takes a free address.
    pub fn allocate(&mut self) -> Result<Ipv4Addr, Error> {
        let offset = self.free.pop_front().ok_or(Error::Exhausted(self.cidr))?;
        Ok(Ipv4Addr::from(u32::from(self.cidr.network()) + u32::from(offset)))
    }

    /// Takes a given address: one found in use after a restart.
    pub fn take(&mut self, address: Ipv4Addr) -> Result<(), Error> {
        let offset = self.offset(address).ok_or(Error::Foreign(address, self.cidr))?;
        let place = self.free.iter().position(|&free| free == offset);
        self.free.remove(place.ok_or(Error::Taken(address))?);
        Ok(())
    }

    /// Gives an address back. Giving back what is free or foreign changes nothing.
    pub fn release(&mut self, address: Ipv4Addr) {
        if let Some(offset) = self.offset(address)
            && !self.free.contains(&offset)
        {
            self.free.push_back(offset);
        }
    }

    /// How many addresses are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The offset of the broadcast address.
    fn broadcast(&self) -> u16 {
        (u32::from(self.cidr.broadcast()) - u32::from(self.cidr.network())) as u16
    }

    /// The offset of an assignable address.
    fn offset(&self, address: Ipv4Addr) -> Option<u16> {
        let offset = u32::from(address).checked_sub(u32::from(self.cidr.network()))?;
        let offset = u16::try_from(offset).ok()?;
        (2..self.broadcast()).contains(&offset).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn cidr(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn hands_out_every_assignable_address_once() {
        let mut pool = Pool::new(cidr("10.42.3.0/28"), []).unwrap();
        let all: BTreeSet<_> = (0..13).map(|_| pool.allocate().unwrap()).collect();
        assert_eq!(all.len(), 13);
        assert_eq!(all.first(), Some(&"10.42.3.2".parse().unwrap()));
        assert_eq!(all.last(), Some(&"10.42.3.14".parse().unwrap()));
        assert_eq!(pool.allocate(), Err(Error::Exhausted(cidr("10.42.3.0/28"))));
        assert_eq!(pool.free(), 0);
    }

    #[test]
    fn a_released_address_comes_back_last() {
        let mut pool = Pool::new(cidr("10.42.3.0/28"), []).unwrap();
        let taken: Vec<_> = (0..5).map(|_| pool.allocate().unwrap()).collect();
        // The one just ahead of the next in order, and twice.
        pool.release(taken[4]);
        pool.release(taken[4]);
        assert_eq!(pool.free(), 9);
        let next: Vec<_> = (0..9).map(|_| pool.allocate().unwrap()).collect();
        assert_eq!(next.iter().position(|&a| a == taken[4]), Some(8));
    }

    #[test]
    fn adopts_live_addresses_and_goes_on_after_them() {
        let live = ["10.42.3.4", "10.42.3.5", "10.9.9.9"].map(|a| a.parse().unwrap());
        let mut pool = Pool::new(cidr("10.42.3.0/24"), live).unwrap();
        assert_eq!(pool.free(), 251);
        assert_eq!(pool.take(live[0]), Err(Error::Taken(live[0])));
        assert_eq!(pool.allocate().unwrap(), "10.42.3.6".parse::<Ipv4Addr>().unwrap());
    }

    #[test]
    fn refuses_what_is_not_its_own() {
        let mut pool = Pool::new(cidr("10.42.3.0/24"), []).unwrap();
        for foreign in ["10.42.3.0", "10.42.3.1", "10.42.3.255", "10.42.2.9", "10.42.4.9"] {
            let address = foreign.parse().unwrap();
            assert_eq!(pool.take(address), Err(Error::Foreign(address, cidr("10.42.3.0/24"))));
            pool.release(address);
        }
        assert_eq!(pool.free(), 253);
        assert!(Pool::new(cidr("10.0.0.0/8"), []).is_err());
        assert!(Pool::new(cidr("10.0.0.0/31"), []).is_err());
    }
}
