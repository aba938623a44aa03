//! Links, addresses, routes and neighbours over route netlink.
//!
//! Contract: each call is one request, answered at once, in the namespace of the socket. Calls that
//! set something replace what is there. Lists are of IPv4 and IPv6 together.

use super::netlink::{self, ACK, Attrs, CREATE, DUMP, EXCL, Family, Messages, REPLACE, Socket};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

const AF_ANY: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The address is not looked for elsewhere before it is used.
const IFA_F_NODAD: u8 = 2;
const IFF_UP: u32 = 1;
const OPERATIONAL: u8 = 6;
const GROUP_LINK: u32 = 1;
const RT_TABLE_MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;
const RTNH_F_ONLINK: u32 = 4;
const NUD_PERMANENT: u16 = 0x80;

/// Marks the routes that rk makes, as `ip route` shows by number.
pub const PROTOCOL: u8 = 82;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alias, a text for people; rk keeps a pod's identity there.
    pub alias: Option<String>,
    /// Its kind, such as `veth`; none for hardware.
    pub kind: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// The index of what it leads to: of a veth the other end, in that end's namespace.
    pub peer: Option<u32>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// It is switched on.
    pub up: bool,
    /// It sends: the other end is on as well, and the kernel has taken note.
    pub running: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix in bits.
    pub prefix: u8,
    /// It is of use beyond this machine: the kernel may choose it as a source.
    pub global: bool,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub to: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
    /// The outgoing interface.
    pub index: u32,
    /// The next hop, which need not be in any network of the interface.
    pub via: Option<IpAddr>,
}

/// A route as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The route.
    pub route: Route,
    /// Who made it; rk's have [`PROTOCOL`].
    pub protocol: u8,
    /// Lower ones are preferred.
    pub metric: u32,
}

/// One end of a veth pair that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its Ethernet address; given rather than random, so that nothing renames or changes it.
    pub mac: Option<Mac>,
    /// Its alias.
    pub alias: Option<&'a str>,
    /// Its namespace; none for the socket's.
    pub netns: Option<BorrowedFd<'a>>,
}

/// A socket for the calls below.
pub fn socket() -> netlink::Result<Socket> {
    Socket::open(Family::Route)
}

/// Makes a veth pair, each end in its namespace from the start; the near one is switched on (the
/// kernel cannot do so with the far one, which has no peer yet). `EEXIST` where a name is taken.
pub fn add_veth(s: &mut Socket, mtu: u32, near: End<'_>, far: End<'_>) -> netlink::Result<()> {
    let mut m = Messages::default();
    m.open(NEWLINK, ACK | CREATE | EXCL, &link_header(0, IFF_UP, IFF_UP));
    end(&mut m, mtu, near);
    m.nest(IFLA_LINKINFO, |m| {
        m.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |m| {
            m.nest(VETH_INFO_PEER, |m| {
                m.raw(&link_header(0, 0, 0));
                end(m, mtu, far);
            });
        });
    });
    s.transact(m)?;
    // The kernel takes an alias only for a link that exists.
    match near.alias {
        Some(alias) => set_alias(s, near.name, alias),
        None => Ok(()),
    }
}

fn end(m: &mut Messages, mtu: u32, end: End<'_>) {
    m.text(IFLA_IFNAME, end.name).ne32(IFLA_MTU, mtu);
    if let Some(mac) = end.mac {
        m.attr(IFLA_ADDRESS, &mac);
    }
    if let Some(netns) = end.netns {
        m.ne32(IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
    }
}

fn set_alias(s: &mut Socket, name: &str, alias: &str) -> netlink::Result<()> {
    let mut m = Messages::default();
    m.open(NEWLINK, ACK, &link_header(0, 0, 0)).text(IFLA_IFNAME, name);
    m.attr(IFLA_IFALIAS, alias.as_bytes());
    s.transact(m)
}

/// Switches a link on.
pub fn set_up(s: &mut Socket, index: u32) -> netlink::Result<()> {
    let mut m = Messages::default();
    m.open(NEWLINK, ACK, &link_header(index, IFF_UP, IFF_UP));
    s.transact(m)
}

/// Changes a link's MTU.
pub fn set_mtu(s: &mut Socket, index: u32, mtu: u32) -> netlink::Result<()> {
    let mut m = Messages::default();
    m.open(NEWLINK, ACK, &link_header(index, 0, 0)).ne32(IFLA_MTU, mtu);
    s.transact(m)
}

/// Waits until a link sends. The kernel switches the near end of a pair to sending some time after
/// the far end went up, and drops packets until then.
pub fn await_running(s: &mut Socket, name: &str) -> netlink::Result<()> {
    let mut news = None;
    loop {
        match link(s, name)? {
            Some(link) if link.running => return Ok(()),
            Some(_) => (),
            None => return Err(Errno::ENODEV.into()),
        }
        match &mut news {
            // Looked at once more before the first wait: it may have happened meanwhile.
            None => news.insert(socket()?).subscribe(GROUP_LINK)?,
            Some(news) => news.wait()?,
        }
    }
}

/// The index of the loopback interface in every namespace.
pub const LOOPBACK: u32 = 1;

/// Deletes a link, and of a pair both ends.
pub fn delete_link(s: &mut Socket, index: u32) -> netlink::Result<()> {
    let mut m = Messages::default();
    m.open(DELLINK, ACK, &link_header(index, 0, 0));
    s.transact(m)
}

/// The link of this name, if there is one.
pub fn link(s: &mut Socket, name: &str) -> netlink::Result<Option<Link>> {
    let mut m = Messages::default();
    m.open(GETLINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name);
    match s.get(m) {
        Ok(payload) => Ok(read_link(&payload)),
        Err(e) if e.errno == Errno::ENODEV => Ok(None),
        Err(e) => Err(e),
    }
}

/// All links.
pub fn links(s: &mut Socket) -> netlink::Result<Vec<Link>> {
    let mut found = Vec::new();
    let mut m = Messages::default();
    m.open(GETLINK, DUMP, &link_header(0, 0, 0));
    s.dump(m, |_, payload| found.extend(read_link(payload)))?;
    Ok(found)
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn read_link(payload: &[u8]) -> Option<Link> {
    let attrs = Attrs(payload.get(16..)?);
    Some(Link {
        index: u32::from_ne_bytes(payload[4..8].try_into().ok()?),
        name: attrs.text(IFLA_IFNAME)?.to_owned(),
        alias: attrs.text(IFLA_IFALIAS).map(str::to_owned),
        kind: attrs.nested(IFLA_LINKINFO).text(IFLA_INFO_KIND).map(str::to_owned),
        mac: attrs.get(IFLA_ADDRESS).and_then(|mac| mac.try_into().ok()),
        peer: attrs.ne32(IFLA_LINK),
        mtu: attrs.ne32(IFLA_MTU)?,
        up: u32::from_ne_bytes(payload[8..12].try_into().ok()?) & IFF_UP != 0,
        running: attrs.get(IFLA_OPERSTATE) == Some(&[OPERATIONAL]),
    })
}

/// Gives a link an address. One of IPv6 is of use at once; one that is not global is no source
/// where there is any other.
pub fn add_address(s: &mut Socket, address: Address) -> netlink::Result<()> {
    let scope = if address.global { SCOPE_GLOBAL } else { SCOPE_HOST };
    let six = address.address.is_ipv6();
    let flags = if six { IFA_F_NODAD } else { 0 };
    let mut m = Messages::default();
    m.open(NEWADDR, ACK | CREATE | REPLACE, &address_header(address, flags, scope));
    put(&mut m, IFA_LOCAL, address.address);
    put(&mut m, IFA_ADDRESS, address.address);
    if six && !address.global {
        m.attr(IFA_CACHEINFO, &deprecated());
    }
    s.transact(m)
}

/// Preferred for no time and valid for ever.
fn deprecated() -> [u8; 16] {
    let mut times = [0; 16];
    times[4..8].fill(0xff);
    times
}

/// Takes an address away from a link.
pub fn delete_address(s: &mut Socket, address: Address) -> netlink::Result<()> {
    let mut m = Messages::default();
    m.open(DELADDR, ACK, &address_header(address, 0, 0));
    put(&mut m, IFA_LOCAL, address.address);
    s.transact(m)
}

fn address_header(address: Address, flags: u8, scope: u8) -> [u8; 8] {
    let mut header = [family(address.address), address.prefix, flags, scope, 0, 0, 0, 0];
    header[4..].copy_from_slice(&address.index.to_ne_bytes());
    header
}

/// All addresses.
pub fn addresses(s: &mut Socket) -> netlink::Result<Vec<Address>> {
    let mut found = Vec::new();
    let mut m = Messages::default();
    m.open(GETADDR, DUMP, &[AF_ANY, 0, 0, 0, 0, 0, 0, 0]);
    s.dump(m, |_, payload| found.extend(read_address(payload)))?;
    Ok(found)
}

fn read_address(payload: &[u8]) -> Option<Address> {
    let attrs = Attrs(payload.get(8..)?);
    Some(Address {
        index: u32::from_ne_bytes(payload[4..8].try_into().ok()?),
        address: ip(attrs.get(IFA_LOCAL).or(attrs.get(IFA_ADDRESS))?)?,
        prefix: payload[1],
        global: payload[3] == SCOPE_GLOBAL,
    })
}

/// Sets a route in the main table.
pub fn replace_route(s: &mut Socket, route: Route) -> netlink::Result<()> {
    let mut m = Messages::default();
    let scope = if route.via.is_some() { SCOPE_GLOBAL } else { SCOPE_LINK };
    // The next hops of IPv6 are link-local, and thus on the link by themselves.
    let flags = if route.via.is_some_and(|via| via.is_ipv4()) { RTNH_F_ONLINK } else { 0 };
    m.open(
        NEWROUTE,
        ACK | CREATE | REPLACE,
        &route_header(family(route.to), route.prefix, scope, flags),
    );
    route_attrs(&mut m, route);
    s.transact(m)
}

/// Deletes a route that rk made. `ESRCH` where there is none.
pub fn delete_route(s: &mut Socket, route: Route) -> netlink::Result<()> {
    let mut m = Messages::default();
    const SCOPE_NOWHERE: u8 = 255;
    m.open(DELROUTE, ACK, &route_header(family(route.to), route.prefix, SCOPE_NOWHERE, 0));
    route_attrs(&mut m, route);
    s.transact(m)
}

/// All unicast routes of the main table.
pub fn routes(s: &mut Socket) -> netlink::Result<Vec<Known>> {
    let mut found = Vec::new();
    let mut m = Messages::default();
    m.open(GETROUTE, DUMP, &route_header(AF_ANY, 0, 0, 0));
    s.dump(m, |_, payload| found.extend(read_route(payload)))?;
    Ok(found)
}

fn route_header(family: u8, prefix: u8, scope: u8, flags: u32) -> [u8; 12] {
    let table = RT_TABLE_MAIN as u8;
    let mut header = [family, prefix, 0, 0, table, PROTOCOL, scope, RTN_UNICAST, 0, 0, 0, 0];
    header[8..].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn route_attrs(m: &mut Messages, route: Route) {
    put(m, RTA_DST, route.to);
    m.ne32(RTA_OIF, route.index);
    if let Some(via) = route.via {
        put(m, RTA_GATEWAY, via);
    }
}

fn read_route(payload: &[u8]) -> Option<Known> {
    let attrs = Attrs(payload.get(12..)?);
    let (prefix, protocol, kind) = (payload[1], payload[5], payload[7]);
    let anywhere = match payload[0] {
        AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if attrs.ne32(RTA_TABLE)? != RT_TABLE_MAIN || kind != RTN_UNICAST {
        return None;
    }
    Some(Known {
        route: Route {
            to: attrs.get(RTA_DST).map_or(Some(anywhere), ip)?,
            prefix,
            index: attrs.ne32(RTA_OIF)?,
            via: attrs.get(RTA_GATEWAY).and_then(ip),
        },
        protocol,
        metric: attrs.ne32(RTA_PRIORITY).unwrap_or(0),
    })
}

/// Pins the Ethernet address of a neighbour, so that nobody has to ask for it.
pub fn set_neighbour(s: &mut Socket, index: u32, ip: IpAddr, mac: Mac) -> netlink::Result<()> {
    let mut header = [0; 12];
    header[0] = family(ip);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    let mut m = Messages::default();
    m.open(NEWNEIGH, ACK | CREATE | REPLACE, &header);
    put(&mut m, NDA_DST, ip);
    m.attr(NDA_LLADDR, &mac);
    s.transact(m)
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn put(m: &mut Messages, kind: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => m.attr(kind, &ip.octets()),
        IpAddr::V6(ip) => m.attr(kind, &ip.octets()),
    };
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netns;
    use std::os::fd::AsFd;

    #[test]
    fn a_pair_has_its_ends_where_they_belong() {
        let (a, b) = (netns::create().unwrap(), netns::create().unwrap());
        let mac = [2, 0, 0, 0, 0, 9];
        let near = netns::within(a.as_fd(), || {
            let mut s = socket().unwrap();
            let near = End { name: "near", mac: None, alias: Some("an alias"), netns: None };
            let far = End { name: "far", mac: Some(mac), alias: None, netns: Some(b.as_fd()) };
            add_veth(&mut s, 1400, near, far).unwrap();
            assert_eq!(add_veth(&mut s, 1400, near, far).unwrap_err().errno, Errno::EEXIST);
            let link = link(&mut s, "near").unwrap().unwrap();
            assert_eq!((link.mtu, link.up, link.kind.as_deref()), (1400, true, Some("veth")));
            assert_eq!(link.alias.as_deref(), Some("an alias"));
            let to = IpAddr::from([10, 1, 2, 3]);
            let route = Route { to, prefix: 32, index: link.index, via: None };
            replace_route(&mut s, route).unwrap();
            replace_route(&mut s, route).unwrap();
            set_neighbour(&mut s, link.index, to, mac).unwrap();
            let known = Known { route, protocol: PROTOCOL, metric: 0 };
            assert!(routes(&mut s).unwrap().contains(&known));
            let six = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 3]);
            let six = Route { to: six, prefix: 128, ..route };
            replace_route(&mut s, six).unwrap();
            set_neighbour(&mut s, link.index, six.to, mac).unwrap();
            assert!(routes(&mut s).unwrap().iter().any(|known| known.route == six));
            delete_route(&mut s, six).unwrap();
            delete_route(&mut s, route).unwrap();
            assert_eq!(delete_route(&mut s, route).unwrap_err().errno, Errno::ESRCH);
            link.index
        })
        .unwrap();
        netns::within(b.as_fd(), || {
            let mut s = socket().unwrap();
            let far = link(&mut s, "far").unwrap().unwrap();
            assert_eq!((far.mac, far.up, far.peer), (Some(mac), false, Some(near)));
            set_up(&mut s, far.index).unwrap();
            assert!(link(&mut s, "far").unwrap().unwrap().running);
            let address = IpAddr::from([10, 1, 2, 3]);
            let address = Address { index: far.index, address, prefix: 32, global: true };
            add_address(&mut s, address).unwrap();
            add_address(&mut s, address).unwrap();
            let six = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 3]);
            let six = Address { address: six, prefix: 128, ..address };
            add_address(&mut s, six).unwrap();
            let found = addresses(&mut s).unwrap();
            assert!(found.contains(&address) && found.contains(&six), "{found:?}");
            delete_address(&mut s, six).unwrap();
            assert!(!addresses(&mut s).unwrap().contains(&six));
        })
        .unwrap();
        netns::within(a.as_fd(), || {
            let mut s = socket().unwrap();
            await_running(&mut s, "near").unwrap();
            delete_link(&mut s, near).unwrap();
            assert_eq!(link(&mut s, "near").unwrap(), None);
            assert_eq!(await_running(&mut s, "near").unwrap_err().errno, Errno::ENODEV);
        })
        .unwrap();
    }
}
