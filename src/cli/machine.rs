//! What this machine says about itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::Failure;
use super::resolve::Machine;
use crate::net::link::SERVED_SIX;
use crate::sys::rtnl;

impl Machine {
    /// This machine.
    ///
    /// # Errors
    /// When the kernel does not say what the machine is called.
    pub fn this() -> Result<Self, Failure> {
        let path = "/proc/sys/kernel/hostname";
        let name = std::fs::read_to_string(path)
            .map_err(|e| Failure::Because(format!("cannot read {path}: {e}")))?;
        Ok(Self { host_name: name.trim().to_owned(), address: address(), six: six() })
    }
}

/// The address by which others most likely reach this machine: the one that the default route
/// goes out by, else the first that is not of this machine alone, else the loopback.
fn address() -> Ipv4Addr {
    routed().or_else(any).unwrap_or(Ipv4Addr::LOCALHOST)
}

/// Asks the kernel for a route to a documentation address; nothing is sent.
fn routed() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

/// The address of IPv6 that others reach this machine by: the one that the default route goes out
/// by, else the first that is not of this machine alone.
fn six() -> Option<Ipv6Addr> {
    routed_six().or_else(|| addresses()?.into_iter().find_map(reachable_six))
}

fn routed_six() -> Option<Ipv6Addr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9)).ok()?;
    reachable_six(socket.local_addr().ok()?.ip())
}

/// The address, if it is not of this machine or link alone. What rk itself gave the loopback
/// interface does not count.
fn reachable_six(address: IpAddr) -> Option<Ipv6Addr> {
    let IpAddr::V6(six) = address else { return None };
    let link = six.segments()[0] & 0xffc0 == 0xfe80;
    let own = link || six.is_loopback() || six.is_unspecified() || six == SERVED_SIX;
    (!own).then_some(six)
}

fn any() -> Option<Ipv4Addr> {
    addresses()?.into_iter().find_map(|address| match address {
        IpAddr::V4(four) if !four.is_loopback() => Some(four),
        _ => None,
    })
}

/// The addresses of this machine that are of use beyond it.
fn addresses() -> Option<Vec<IpAddr>> {
    let all = rtnl::addresses(&mut rtnl::socket().ok()?).ok()?;
    Some(all.into_iter().filter(|a| a.global).map(|a| a.address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_an_address() {
        let machine = Machine::this().unwrap();
        assert!(!machine.host_name.is_empty());
        assert!(!machine.address.is_unspecified());
    }
}
