//! What a link needs for IPv6 alone: settings of the host, of its end and of the pod's.

use super::super::{Doing, Result};
use crate::sys::sysctl;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr};

/// Where the settings of interfaces are.
const INTERFACES: &str = "/proc/sys/net/ipv6/conf";

/// Settings of the host's end, below `net/ipv6/conf/`.
const HOST_END: [(&str, &str); 3] = [
    // No address of its own: the gateway and the pod are permanent neighbours, nothing is asked.
    ("addr_gen_mode", "1"),
    // A pod is no router.
    ("accept_ra", "0"),
    ("disable_ipv6", "0"),
];

/// Settings of the pod's end.
const POD_END: [(&str, &str); 3] = [("accept_dad", "0"), ("accept_ra", "0"), ("disable_ipv6", "0")];

/// Makes the host forward. What it has learned from routers it goes on learning: the kernel stops
/// that by itself on a machine that forwards.
pub(super) fn prepare() -> Result<()> {
    let doing = "prepare the node for IPv6";
    sysctl::write("net/ipv6/conf/lo/disable_ipv6", "0").doing(doing)?;
    for interface in std::fs::read_dir(INTERFACES).doing(doing)? {
        let name = interface.doing(doing)?.file_name();
        let setting = format!("net/ipv6/conf/{}/accept_ra", name.to_string_lossy());
        if sysctl::read(&setting).is_ok_and(|value| value == "1") {
            sysctl::write(&setting, "2").doing(doing)?;
        }
    }
    sysctl::write("net/ipv6/conf/all/forwarding", "1").doing(doing)
}

/// Sets up the host's end of a link, with IPv6 or without.
pub(super) fn set_up_host(name: &str, wanted: bool) -> Result<()> {
    let doing = || format!("set up link {name}");
    if wanted {
        return write(name, &HOST_END).doing(doing());
    }
    // No link-local chatter while the pod has no IPv6.
    match write(name, &[("disable_ipv6", "1")]) {
        // A kernel without IPv6 has no such setting.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.doing(doing()),
    }
}

/// Sets up the pod's end, before it is switched on.
pub(super) fn set_up_pod(name: &str) -> Result<()> {
    let enabled = [("disable_ipv6", "0")];
    let all = write("lo", &enabled).and_then(|()| write(name, &POD_END));
    all.doing("set up the pod's end of the link")
}

fn write(name: &str, settings: &[(&str, &str)]) -> std::io::Result<()> {
    settings.iter().try_for_each(|(setting, value)| {
        sysctl::write(&format!("net/ipv6/conf/{name}/{setting}"), value)
    })
}

/// The address, if it is of IPv6.
pub(super) fn of(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(six) => Some(six),
        IpAddr::V4(_) => None,
    }
}
