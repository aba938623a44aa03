//! IPv6 beside IPv4: pods with an address of each, services by either, and nothing of the one where
//! only the other is wanted.

use crate::net::world::{
    MTU, NODE, PATIENCE, REMOTE_POD, Space, World, on_a_node, route, set_address,
};
use rk::net::Protocol::{Tcp, Udp};
use rk::net::link::{self, PodLink};
use rk::net::service::{Config, Desired, Endpoint, HostPort, Port, Proxy, Service, TABLE};
use rk::net::{remove_all, traces};
use rk::sys::{nft, rtnl};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const A: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 42, 0, 2), six(0xfd42, 2));
const B: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 42, 0, 3), six(0xfd42, 3));
const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 9);
const VIP_SIX: Ipv6Addr = six(0xfd43, 9);
const NODE_SIX: Ipv6Addr = six(0xfd77, 1);
const OUTSIDE_SIX: Ipv6Addr = six(0xfd77, 2);
const NODE_PORT: u16 = 30080;

const fn six(first: u16, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last)
}

fn config() -> Config {
    Config {
        table: TABLE.into(),
        pod_cidr: "10.42.0.0/24,fd42::/64".parse().unwrap(),
        cluster_cidr: "10.42.0.0/16,fd42::/56".parse().unwrap(),
        service_cidr: "10.43.0.0/16,fd43::/112".parse().unwrap(),
        unmasqueraded: Vec::new(),
    }
}

/// The node has an address of IPv6 towards the machine outside.
fn wire_six(w: &World) {
    set_address("uplink", (NODE_SIX, 64));
    route("uplink", (Ipv6Addr::UNSPECIFIED, 0), OUTSIDE_SIX);
    w.outside.run(|| {
        set_address("eth0", (OUTSIDE_SIX, 64));
        route("eth0", (Ipv6Addr::UNSPECIFIED, 0), NODE_SIX);
    });
}

fn link_of(space: &Space, (four, six): (Ipv4Addr, Ipv6Addr)) -> PodLink {
    PodLink { six: Some(six), ..space.link(four) }
}

/// A pod with both addresses that answers on 8080 of both.
async fn pod(name: &str, addresses: (Ipv4Addr, Ipv6Addr)) -> Space {
    let pod = Space::new(name);
    link::add(link_of(&pod, addresses)).await.unwrap();
    pod.serve_tcp((addresses.0, 8080));
    pod.serve_tcp((addresses.1, 8080));
    pod.serve_udp((addresses.1, 8080));
    pod
}

/// Port 80 to 8080 of these, on both virtual addresses and a port of the node.
fn web(endpoints: &[IpAddr]) -> Service {
    let pods = config().pod_cidr;
    let endpoint =
        |ip: &IpAddr| Endpoint { addr: SocketAddr::new(*ip, 8080), local: pods.contains(ip) };
    let endpoints: Vec<Endpoint> = endpoints.iter().map(endpoint).collect();
    let port = |protocol| Port {
        protocol,
        port: 80,
        node_port: Some(NODE_PORT),
        endpoints: endpoints.clone(),
    };
    Service {
        cluster_ips: vec![VIP.into(), VIP_SIX.into()],
        ports: vec![port(Tcp), port(Udp)],
        ..Service::default()
    }
}

fn desired(service: Service) -> Arc<Desired> {
    let services = [("ns/web".to_owned(), Arc::new(service))].into();
    let node_ips = vec![NODE.into(), NODE_SIX.into()];
    Arc::new(Desired { node_ips, services, ..Desired::default() })
}

async fn proxy(service: Service) -> Proxy {
    link::prepare(config().service_cidr).await.unwrap();
    let proxy = Proxy::open(config()).await.unwrap();
    proxy.apply(desired(service)).await.unwrap();
    proxy
}

fn refused<T: std::fmt::Debug>(outcome: std::io::Result<T>) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

async fn dropped(space: &Space, to: (Ipv6Addr, u16)) {
    let dial = rk::net::forward::dial_address(&space.netns, to.into());
    assert!(timeout(Duration::from_millis(300), dial).await.is_err());
}

#[test]
fn pods_reach_each_other_by_either_family_at_once() {
    on_a_node(|w| async move {
        link::prepare(config().service_cidr).await.unwrap();
        let (a, b, node) = (pod("a", A).await, pod("b", B).await, Space::node());
        assert_eq!(a.ask_any((B.1, 8080)).await.unwrap(), ("b".into(), A.1.into()));
        assert_eq!(a.ask((B.0, 8080)).await.unwrap(), ("b".into(), A.0));
        // The node has no other address of IPv6 than the one that it serves at.
        let from_node = node.ask_any((B.1, 8080)).await.unwrap();
        assert_eq!(from_node, ("b".into(), link::SERVED_SIX.into()));
        wire_six(&w);
        let from_node = node.ask_any((B.1, 8080)).await.unwrap();
        assert_eq!(from_node, ("b".into(), NODE_SIX.into()), "its own where it has one");
        node.serve_tcp((NODE_SIX, 81));
        assert_eq!(a.ask_any((NODE_SIX, 81)).await.unwrap(), ("node".into(), A.1.into()));
        drop(b);
    });
}

#[test]
fn links_are_adopted_repaired_and_removed_with_both_addresses() {
    on_a_node(|_w| async move {
        link::prepare(config().service_cidr).await.unwrap();
        let a = pod("a", A).await;
        let live = link::list().await.unwrap();
        assert_eq!((live[0].address, live[0].six), (Some(A.0), Some(A.1)));
        a.run(|| {
            let mut s = rtnl::socket().unwrap();
            let all = rtnl::addresses(&mut s).unwrap();
            let lost = *all.iter().find(|a| a.address == IpAddr::V6(A.1)).unwrap();
            rtnl::delete_address(&mut s, lost).unwrap();
        });
        link::add(link_of(&a, A)).await.unwrap();
        let _b = pod("b", B).await;
        assert_eq!(a.ask_any((B.1, 8080)).await.unwrap(), ("b".into(), A.1.into()));
        assert!(traces().await.unwrap().iter().any(|trace| trace.contains("fd43::/112")));
        let proxy = Proxy::open(config()).await.unwrap();
        proxy.apply(desired(web(&[]))).await.unwrap();
        remove_all().await.unwrap();
        assert_eq!(traces().await.unwrap(), [""; 0]);
    });
}

#[test]
fn a_pod_sends_from_its_own_address_of_ipv6_only() {
    on_a_node(|_w| async move {
        let (a, b) = (pod("a", A).await, pod("b", B).await);
        let _proxy = proxy(web(&[])).await;
        let forged = six(0xfd42, 9);
        a.run(|| set_address("eth0", (forged, 128)));
        let receiver = b.udp((B.1, 53));
        a.udp((forged, 5000)).send_to(b"forged", (B.1, 53)).await.unwrap();
        a.udp((A.1, 5000)).send_to(b"honest", (B.1, 53)).await.unwrap();
        let mut buf = [0; 6];
        timeout(PATIENCE, receiver.recv_from(&mut buf)).await.unwrap().unwrap();
        assert_eq!(&buf, b"honest");
    });
}

#[test]
fn services_answer_by_both_families() {
    on_a_node(|w| async move {
        wire_six(&w);
        let (a, b) = (pod("a", A).await, pod("b", B).await);
        let proxy = proxy(web(&[A.0.into(), B.0.into(), A.1.into(), B.1.into()])).await;
        let client = pod("client", (Ipv4Addr::new(10, 42, 0, 4), six(0xfd42, 4))).await;
        let node = Space::node();
        for to in [IpAddr::from(VIP), VIP_SIX.into()] {
            let counts = client.ask_often((to, 80), 64).await;
            assert!(counts["a"] > 10 && counts["b"] > 10, "{to} {counts:?}");
        }
        for to in [(VIP_SIX, 80), (NODE_SIX, NODE_PORT)] {
            assert_eq!(client.ask_any(to).await.unwrap().1, IpAddr::from(six(0xfd42, 4)));
            assert_eq!(node.ask_any(to).await.unwrap().1, IpAddr::from(NODE_SIX), "{to:?}");
        }
        let seen = w.outside.ask_any((NODE_SIX, NODE_PORT)).await.unwrap().1;
        assert_eq!(seen, IpAddr::from(OUTSIDE_SIX));
        w.outside.serve_tcp((OUTSIDE_SIX, 443));
        assert_eq!(a.ask_any((OUTSIDE_SIX, 443)).await.unwrap().1, IpAddr::from(NODE_SIX));
        // A pod meets itself, and an endpoint of one family is none of the other.
        proxy.apply(desired(web(&[A.1.into()]))).await.unwrap();
        assert_eq!(a.ask_any((VIP_SIX, 80)).await.unwrap().0, "a");
        refused(client.dial((VIP, 80)).await);
        refused(client.dial((six(0xfd43, 0x77), 80)).await);
        refused(node.dial((VIP_SIX, 81)).await);
        proxy.apply(desired(web(&[]))).await.unwrap();
        refused(client.dial((VIP_SIX, 80)).await);
        refused(w.outside.dial((NODE_SIX, NODE_PORT)).await);
        drop(b);
    });
}

#[test]
fn affinity_and_local_policies_hold_for_ipv6() {
    on_a_node(|w| async move {
        wire_six(&w);
        let (a, b) = (pod("a", A).await, pod("b", B).await);
        let both = [A.1.into(), B.1.into()];
        let affinity = Some(Duration::from_secs(60));
        let proxy = proxy(Service { affinity, ..web(&both) }).await;
        let client = pod("client", (Ipv4Addr::new(10, 42, 0, 4), six(0xfd42, 4))).await;
        let counts = client.ask_often((VIP_SIX, 80), 16).await;
        assert_eq!(counts.len(), 1, "{counts:?}");
        let kept = counts.into_keys().next().unwrap();
        let rest = if kept == "a" { B.1 } else { A.1 };
        proxy.apply(desired(Service { affinity, ..web(&[rest.into()]) })).await.unwrap();
        assert_ne!(client.ask_any((VIP_SIX, 80)).await.unwrap().0, kept);

        let far: IpAddr = "fd42:0:0:1::5".parse().unwrap();
        let local = Service { external_local: true, internal_local: true, ..web(&[far]) };
        proxy.apply(desired(local)).await.unwrap();
        dropped(&client, (VIP_SIX, 80)).await;
        dropped(&w.outside, (NODE_SIX, NODE_PORT)).await;
        drop((a, b));
    });
}

#[test]
fn udp_flows_end_with_their_endpoints_of_ipv6() {
    on_a_node(|_w| async move {
        let (a, b) = (pod("a", A).await, pod("b", B).await);
        let proxy = proxy(web(&[A.1.into()])).await;
        let client = pod("client", (Ipv4Addr::new(10, 42, 0, 4), six(0xfd42, 4))).await;
        let socket = client.udp((six(0xfd42, 4), 0));
        assert_eq!(client.ask_udp(&socket, (VIP_SIX, 80)).await.unwrap().0, "a");
        proxy.apply(desired(web(&[B.1.into()]))).await.unwrap();
        assert_eq!(client.ask_udp(&socket, (VIP_SIX, 80)).await.unwrap().0, "b");
        drop((a, b));
    });
}

#[test]
fn host_ports_answer_by_both_families() {
    on_a_node(|w| async move {
        wire_six(&w);
        let a = pod("a", A).await;
        let proxy = proxy(web(&[])).await;
        let port = |pod: IpAddr| HostPort {
            protocol: Tcp,
            host_ip: None,
            host_port: 80,
            pod: SocketAddr::new(pod, 8080),
        };
        let mut wanted = Desired::clone(&desired(web(&[])));
        let ports = vec![port(A.0.into()), port(A.1.into())];
        wanted.host_ports.insert("a".into(), Arc::new(ports));
        proxy.apply(Arc::new(wanted)).await.unwrap();
        let from_outside = w.outside.ask_any((NODE_SIX, 80)).await.unwrap();
        assert_eq!(from_outside, ("a".into(), OUTSIDE_SIX.into()));
        assert_eq!(w.outside.ask((NODE, 80)).await.unwrap().0, "a");
        assert_eq!(a.ask_any((NODE_SIX, 80)).await.unwrap().0, "a");
        assert_eq!(Space::node().ask_any((NODE_SIX, 80)).await.unwrap().0, "a");
    });
}

/// The names of the tables of IPv6.
fn tables_six() -> Vec<String> {
    nft::tables(&mut nft::socket().unwrap(), nft::FAMILY_IP6).unwrap()
}

#[test]
fn nothing_of_ipv6_is_made_where_it_is_not_wanted() {
    on_a_node(|w| async move {
        let both = proxy(web(&[A.1.into()])).await;
        assert_eq!(tables_six(), [TABLE]);
        both.remove().await.unwrap();
        assert_eq!(tables_six(), [""; 0]);
        both.recheck();
        both.apply(desired(web(&[]))).await.unwrap();

        // The next start is without it.
        let four = Config {
            pod_cidr: config().pod_cidr.four.into(),
            cluster_cidr: config().cluster_cidr.four.into(),
            service_cidr: config().service_cidr.four.into(),
            ..config()
        };
        let proxy = Proxy::open(four).await.unwrap();
        proxy.apply(desired(web(&[REMOTE_POD.into(), A.1.into()]))).await.unwrap();
        assert_eq!(tables_six(), [""; 0]);
        let a = w.pod("a", A.0).await;
        w.remote.serve_tcp((REMOTE_POD, 8080));
        assert_eq!(a.ask((VIP, 80)).await.unwrap().0, "remote");
        a.run(|| {
            let all = rtnl::addresses(&mut rtnl::socket().unwrap()).unwrap();
            let own = |a: &&rtnl::Address| a.global && a.address.is_ipv6();
            assert_eq!(all.iter().filter(own).count(), 0, "{all:?}");
            assert_eq!(rtnl::link(&mut rtnl::socket().unwrap(), "eth0").unwrap().unwrap().mtu, MTU);
        });
    });
}
