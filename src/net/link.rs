//! One routed veth per pod: no bridge, no ARP, no address on the host's end.
//!
//! Contract: a pod has its /32 on `eth0` and a default route through 169.254.1.1, which exists only
//! as a permanent neighbour entry; the host has one route to the pod. Links are found again by name
//! and alias, so that nothing has to be written down. Where pods have an address of IPv6 as well,
//! it is a /128 with a default route through fe80::1 by the same means. Must not know which
//! addresses are free.

mod six;

use super::{Doing, Error, Result, blocking};
use crate::limits::POD_IDENTITY_BYTES_MAX;
use crate::sys::netlink::Socket;
use crate::sys::{netns, rtnl, sysctl};
use crate::util::id;
use crate::util::nets::Nets;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// The default gateway in every pod. No interface owns it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// An address of the node that only its own pods and processes can reach: for what the node serves
/// to them, such as DNS. On the loopback interface, since link-local addresses are never routed.
pub const SERVED: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 53);

/// The default gateway in every pod that has an address of IPv6. No interface owns it.
pub const GATEWAY_SIX: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// [`SERVED`] of IPv6: an address of our own, since a link-local one is not found from another
/// link. On a node that has no other it is also what the node's processes reach pods from.
pub const SERVED_SIX: Ipv6Addr = Ipv6Addr::new(0xfd72, 0x6b64, 0x6e73, 0, 0, 0, 0, 0x53);

/// What a pod's link shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// Identity of the pod (its uid): the host end's name and alias derive from it.
    pub pod: String,
    /// The pod's pinned network namespace.
    pub netns: PathBuf,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Its address of IPv6, where pods have one.
    pub six: Option<Ipv6Addr>,
    /// MTU in bytes; see [`Uplink::mtu`].
    pub mtu: u32,
    /// Processes of the node reach the pod through a loopback address (it has a host port on
    /// 127.0.0.1 or on all addresses).
    pub loopback: bool,
}

/// A pod link that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Identity of the pod.
    pub pod: String,
    /// Name of the host's end.
    pub name: String,
    /// The pod's address, when its route is in place.
    pub address: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub six: Option<Ipv6Addr>,
}

/// The interface of the default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Interface name.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its first global address: the source of what the node sends out.
    pub address: Option<Ipv4Addr>,
}

/// Name of the link inside the pod.
const POD_END: &str = "eth0";
/// What the names of the host's ends begin with.
pub(super) const NAME_PREFIX: &str = "rk";
/// What their aliases begin with, before the pod's identity.
const ALIAS_PREFIX: &str = "rk pod ";
/// The Ethernet address of every host's end: each link has two ends only, so that they need not
/// differ; given, so that nothing on the host replaces it later.
const HOST_MAC: rtnl::Mac = [0xee; 6];

/// Setting of the host: without forwarding no pod reaches anything.
const FORWARDING: (&str, &str) = ("net/ipv4/ip_forward", "1");

/// Settings of a link's host end, below `net/`; `*` is its name.
const LINK_SETTINGS: [(&str, &str); 3] = [
    // A pod can send from its own address only.
    ("ipv4/conf/*/rp_filter", "1"),
    // A pod that reaches itself through a service comes in and goes out by one link; it shall not
    // be told of a shorter way.
    ("ipv4/conf/*/send_redirects", "0"),
    // The gateway is a permanent neighbour: nothing is to be answered.
    ("ipv4/conf/*/proxy_arp", "0"),
];

/// Further setting of a link whose pod the node reaches from a loopback address. The `rk` table
/// keeps the pod from reaching the node's loopback in turn.
const LOOPBACK_SETTING: (&str, &str) = ("ipv4/conf/*/route_localnet", "1");

/// Settings inside the pod, as container runtimes have them.
const POD_SETTINGS: [(&str, &str); 2] = [
    // Ports below 1024 and ping need no privilege: the namespace is the pod's own.
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
];

/// Makes the node ready for pods: forwarding, and a route that lets the node's own processes reach
/// virtual addresses where there is no default route. To be called again after a change of
/// addresses does no harm.
pub async fn prepare(services: Nets) -> Result<()> {
    blocking(move || {
        sysctl::write(FORWARDING.0, FORWARDING.1).doing("prepare the node")?;
        if services.six.is_some() {
            six::prepare()?;
        }
        let mut s = socket()?;
        rtnl::set_up(&mut s, rtnl::LOOPBACK).doing("switch loopback on")?;
        for net in services.iter() {
            let served = served(net.addr().is_ipv6());
            let (to, prefix) = (net.network(), net.prefix_len());
            let route = rtnl::Route { to, prefix, index: rtnl::LOOPBACK, via: None };
            let doing = format!("add address {}", served.address);
            rtnl::add_address(&mut s, served).doing(doing)?;
            rtnl::replace_route(&mut s, route).doing(format!("route {net}"))?;
        }
        Ok(())
    })
    .await
}

/// [`SERVED`] or [`SERVED_SIX`], where it is.
const fn served(six: bool) -> rtnl::Address {
    let (address, prefix) =
        if six { (IpAddr::V6(SERVED_SIX), 128) } else { (IpAddr::V4(SERVED), 32) };
    rtnl::Address { index: rtnl::LOOPBACK, address, prefix, global: false }
}

fn is_served(address: &rtnl::Address) -> bool {
    [IpAddr::V4(SERVED), IpAddr::V6(SERVED_SIX)].contains(&address.address)
}

/// Connects a pod. Where the link exists it is completed; where it does not match, it is replaced.
pub async fn add(link: PodLink) -> Result<Live> {
    blocking(move || connect(&link)).await
}

/// Removes a pod's link with its route. Removing what is not there changes nothing.
pub async fn remove(pod: String) -> Result<()> {
    blocking(move || {
        let mut s = socket()?;
        match find(&mut s, &pod)? {
            Some(link) => delete(&mut s, &link),
            None => Ok(()),
        }
    })
    .await
}

/// All pod links that rk made, whatever became of their pods.
pub async fn list() -> Result<Vec<Live>> {
    blocking(|| list_now(&mut socket()?)).await
}

/// The interface of the default route.
pub async fn uplink() -> Result<Option<Uplink>> {
    blocking(|| {
        let mut s = socket()?;
        let routes = rtnl::routes(&mut s).doing("list routes")?;
        let default = routes.iter().filter(|r| r.route.prefix == 0 && r.route.to.is_ipv4());
        let default = default.min_by_key(|r| r.metric);
        let links = rtnl::links(&mut s).doing("list links")?;
        let Some(link) = default.and_then(|r| links.iter().find(|l| l.index == r.route.index))
        else {
            return Ok(None);
        };
        let addresses = rtnl::addresses(&mut s).doing("list addresses")?;
        let own = addresses.iter().filter(|a| a.index == link.index && a.global);
        let address = own.filter_map(|a| four(a.address)).next();
        let (name, mtu) = (link.name.clone(), link.mtu);
        Ok(Some(Uplink { name, mtu, address }))
    })
    .await
}

/// The name of a pod's link on the host: two letters and 48 bits of a hash of its identity.
pub fn host_name(pod: &str) -> String {
    format!("{NAME_PREFIX}{:012x}", id::hash(pod.as_bytes()) >> 16)
}

/// Every link, address and route that rk made, in words.
pub(super) fn traces(s: &mut Socket) -> Result<Vec<String>> {
    let links = rtnl::links(s).doing("list links")?;
    let links = links.iter().filter(|link| is_ours(link)).map(|link| format!("link {}", link.name));
    let addresses = rtnl::addresses(s).doing("list addresses")?;
    let served = addresses.iter().filter(|a| is_served(a));
    let routes = rtnl::routes(s).doing("list routes")?;
    let routes = routes.iter().filter(|known| known.protocol == rtnl::PROTOCOL);
    let routes = routes.map(|known| format!("route {}/{}", known.route.to, known.route.prefix));
    Ok(links.chain(served.map(|a| format!("address {}", a.address))).chain(routes).collect())
}

/// Whether rk made the link. One without an alias: it stopped between making and naming it.
fn is_ours(link: &rtnl::Link) -> bool {
    identity(link).is_some() || (link.alias.is_none() && has_our_name(link))
}

/// Removes every link and route that rk made.
pub(super) fn remove_all(s: &mut Socket) -> Result<()> {
    for link in rtnl::links(s).doing("list links")? {
        if is_ours(&link) {
            delete(s, &link)?;
        }
    }
    for address in rtnl::addresses(s).doing("list addresses")?.into_iter().filter(is_served) {
        let doing = format!("delete address {}", address.address);
        rtnl::delete_address(s, address).doing(doing)?;
    }
    for known in rtnl::routes(s).doing("list routes")? {
        if known.protocol == rtnl::PROTOCOL {
            rtnl::delete_route(s, known.route).doing(format!("delete route {}", known.route.to))?;
        }
    }
    Ok(())
}

/// A socket for links and routes.
pub(super) fn socket() -> Result<Socket> {
    rtnl::socket().doing("open a route socket")
}

fn connect(link: &PodLink) -> Result<Live> {
    if link.pod.is_empty() || link.pod.len() > POD_IDENTITY_BYTES_MAX {
        return Err(Error::BadIdentity(link.pod.len()));
    }
    let path = link.netns.display();
    let netns = File::open(&link.netns).doing(format!("open network namespace {path}"))?;
    let mut s = socket()?;
    let near = match find(&mut s, &link.pod)? {
        Some(near) if is_complete(&near, link, &netns)? => near,
        Some(near) => {
            delete(&mut s, &near)?;
            make(&mut s, link, &netns)?
        }
        None => make(&mut s, link, &netns)?,
    };
    configure_host(&mut s, &near, link)?;
    inside(&netns, |s| configure_pod(s, link))?;
    rtnl::await_running(&mut s, &near.name).doing("wait for the link")?;
    let address = Some(link.address);
    Ok(Live { pod: link.pod.clone(), name: near.name, address, six: link.six })
}

/// The host's end of a pod's link.
fn find(s: &mut Socket, pod: &str) -> Result<Option<rtnl::Link>> {
    let name = host_name(pod);
    let found = rtnl::link(s, &name).doing(format!("look up link {name}"))?;
    match found {
        Some(link) if identity(&link).is_some_and(|found| found != pod) => {
            Err(Error::NameTaken(name))
        }
        Some(link) if link.kind.as_deref() != Some("veth") => Err(Error::NameTaken(link.name)),
        other => Ok(other),
    }
}

fn identity(link: &rtnl::Link) -> Option<&str> {
    link.alias.as_deref()?.strip_prefix(ALIAS_PREFIX)
}

fn has_our_name(link: &rtnl::Link) -> bool {
    let hex = |rest: &str| rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_hexdigit());
    link.kind.as_deref() == Some("veth") && link.name.strip_prefix(NAME_PREFIX).is_some_and(hex)
}

fn delete(s: &mut Socket, link: &rtnl::Link) -> Result<()> {
    match rtnl::delete_link(s, link.index) {
        // The pod's namespace went at the same moment, and took the link along.
        Err(e) if e.errno == nix::errno::Errno::ENODEV => Ok(()),
        other => other.doing(format!("delete link {}", link.name)),
    }
}

/// Whether the link leads into the pod's namespace and has no other address there.
fn is_complete(near: &rtnl::Link, link: &PodLink, netns: &File) -> Result<bool> {
    if identity(near).is_none() {
        return Ok(false);
    }
    inside(netns, |s| {
        let Some(far) = rtnl::link(s, POD_END).doing("look up the pod's link")? else {
            return Ok(false);
        };
        let addresses = rtnl::addresses(s).doing("list the pod's addresses")?;
        let strange = |a: &rtnl::Address| {
            a.index == far.index && four(a.address).is_some_and(|four| four != link.address)
        };
        let paired = far.peer == Some(near.index) && near.peer == Some(far.index);
        Ok(paired && far.mac == Some(pod_mac(link.address)) && !addresses.iter().any(strange))
    })
}

fn make(s: &mut Socket, link: &PodLink, netns: &File) -> Result<rtnl::Link> {
    let name = host_name(&link.pod);
    let alias = format!("{ALIAS_PREFIX}{}", link.pod);
    let near = rtnl::End { name: &name, mac: Some(HOST_MAC), alias: Some(&alias), netns: None };
    let mac = Some(pod_mac(link.address));
    let far = rtnl::End { name: POD_END, mac, alias: None, netns: Some(netns.as_fd()) };
    rtnl::add_veth(s, link.mtu, near, far).doing(format!("make link {name}"))?;
    let made = rtnl::link(s, &name).doing(format!("look up link {name}"))?;
    made.ok_or(Error::NameTaken(name))
}

fn configure_host(s: &mut Socket, near: &rtnl::Link, link: &PodLink) -> Result<()> {
    let loopback = link.loopback.then_some(LOOPBACK_SETTING);
    for (name, value) in LINK_SETTINGS.into_iter().chain(loopback) {
        let name = format!("net/{}", name.replace('*', &near.name));
        sysctl::write(&name, value).doing(format!("set up link {}", near.name))?;
    }
    six::set_up_host(&near.name, link.six.is_some())?;
    if near.mtu != link.mtu {
        rtnl::set_mtu(s, near.index, link.mtu).doing("set the link's MTU")?;
    }
    rtnl::set_up(s, near.index).doing("switch the link on")?;
    let mac = pod_mac(link.address);
    for (to, prefix) in addresses(link) {
        rtnl::set_neighbour(s, near.index, to, mac).doing("pin the pod's Ethernet address")?;
        let route = rtnl::Route { to, prefix, index: near.index, via: None };
        rtnl::replace_route(s, route).doing(format!("route {to}"))?;
    }
    Ok(())
}

/// The pod's addresses with the lengths of their prefixes.
fn addresses(link: &PodLink) -> impl Iterator<Item = (IpAddr, u8)> {
    let six = link.six.map(|six| (IpAddr::V6(six), 128));
    std::iter::once((IpAddr::V4(link.address), 32)).chain(six)
}

fn configure_pod(s: &mut Socket, link: &PodLink) -> Result<()> {
    for (name, value) in POD_SETTINGS {
        sysctl::write(name, value).doing("set up the pod's namespace")?;
    }
    rtnl::set_up(s, rtnl::LOOPBACK).doing("switch the pod's loopback on")?;
    let far = rtnl::link(s, POD_END).doing("look up the pod's link")?;
    let far = far.ok_or_else(|| Error::NameTaken(POD_END.to_owned()))?;
    if far.mtu != link.mtu {
        rtnl::set_mtu(s, far.index, link.mtu).doing("set the pod link's MTU")?;
    }
    if link.six.is_some() {
        six::set_up_pod(POD_END)?;
    }
    rtnl::set_up(s, far.index).doing("switch the pod's link on")?;
    let index = far.index;
    for (address, prefix) in addresses(link) {
        let (via, to) = match address {
            IpAddr::V4(_) => (GATEWAY.into(), Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => (GATEWAY_SIX.into(), Ipv6Addr::UNSPECIFIED.into()),
        };
        let address = rtnl::Address { index, address, prefix, global: true };
        rtnl::add_address(s, address).doing("give the pod its address")?;
        rtnl::set_neighbour(s, index, via, HOST_MAC).doing("pin the gateway")?;
        let route = rtnl::Route { to, prefix: 0, index, via: Some(via) };
        rtnl::replace_route(s, route).doing("set the pod's default route")?;
    }
    Ok(())
}

/// Runs `work` in the pod's namespace with a socket of that namespace.
fn inside<T: Send>(netns: &File, work: impl FnOnce(&mut Socket) -> Result<T> + Send) -> Result<T> {
    let done = netns::within(netns.as_fd(), || work(&mut socket()?));
    done.doing("enter the pod's network namespace")?
}

fn list_now(s: &mut Socket) -> Result<Vec<Live>> {
    let routes = rtnl::routes(s).doing("list routes")?;
    let links = rtnl::links(s).doing("list links")?;
    let live = links.iter().filter_map(|link| {
        let own = routes.iter().filter(|r| r.protocol == rtnl::PROTOCOL).map(|r| r.route);
        let own: Vec<_> = own.filter(|r| r.index == link.index).collect();
        let address = own.iter().filter(|r| r.prefix == 32).find_map(|r| four(r.to));
        let six = own.iter().filter(|r| r.prefix == 128).find_map(|r| six::of(r.to));
        Some(Live { pod: identity(link)?.to_owned(), name: link.name.clone(), address, six })
    });
    Ok(live.collect())
}

fn four(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(four) => Some(four),
        IpAddr::V6(_) => None,
    }
}

/// A pod's Ethernet address: locally administered, and told by its IPv4 address.
fn pod_mac(address: Ipv4Addr) -> rtnl::Mac {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_fit_and_never_change() {
        let name = host_name("8c7e0b1e-6f0d-4f6e-9a55-0f1f2a3b4c5d");
        assert_eq!(name, "rk086a83766c4e");
        assert!(name.len() <= 15);
        assert_ne!(host_name("a"), host_name("b"));
    }
}
