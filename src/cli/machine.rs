//! What this machine says about itself.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use super::Failure;
use super::resolve::Machine;
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
        Ok(Self { host_name: name.trim().to_owned(), address: address() })
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

fn any() -> Option<Ipv4Addr> {
    let addresses = rtnl::addresses(&mut rtnl::socket().ok()?).ok()?;
    let mut global = addresses.into_iter().filter(|a| a.global && !a.address.is_loopback());
    global.next().map(|a| a.address)
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
