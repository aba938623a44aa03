//! Services as clients meet them: which endpoint answers, whom it sees, and what lasts.

use crate::net::world::{NODE, OUTSIDE, PATIENCE, REMOTE_POD, Space, World, echo, on_a_node};
use rk::net::Protocol::{self, Tcp, Udp};
use rk::net::link;
use rk::net::service::{Config, Desired, Endpoint, HostPort, Port, Proxy, Service, TABLE};
use rk::sys::{nft, sysctl};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

mod hosts;
mod lasting;

const A: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 2);
const B: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 3);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 9);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const NODE_PORT: u16 = 30080;

fn config() -> Config {
    Config {
        table: TABLE.into(),
        pod_cidr: "10.42.0.0/24".parse().unwrap(),
        cluster_cidr: "10.42.0.0/16".parse().unwrap(),
        service_cidr: "10.43.0.0/16".parse().unwrap(),
        unmasqueraded: Vec::new(),
    }
}

/// A service on every kind of address, port 80 to 8080 of these endpoints.
fn web(endpoints: &[Ipv4Addr]) -> Service {
    Service {
        cluster_ips: vec![IpAddr::V4(VIP)],
        external_ips: vec![IpAddr::V4(EXTERNAL)],
        ports: vec![port(Tcp, endpoints)],
        ..Service::default()
    }
}

fn port(protocol: Protocol, endpoints: &[Ipv4Addr]) -> Port {
    let pods = config().pod_cidr;
    let endpoint = |ip: &Ipv4Addr| Endpoint {
        addr: SocketAddr::from((*ip, 8080)),
        local: pods.four.contains(ip) || *ip == NODE,
    };
    let endpoints = endpoints.iter().map(endpoint).collect();
    Port { protocol, port: 80, node_port: Some(NODE_PORT), endpoints }
}

fn desired(service: Service) -> Arc<Desired> {
    let services = [("ns/web".to_owned(), Arc::new(service))].into();
    Arc::new(Desired { node_ips: vec![IpAddr::V4(NODE)], services, ..Desired::default() })
}

async fn proxy(service: Service) -> Proxy {
    link::prepare(config().service_cidr).await.unwrap();
    let proxy = Proxy::open(config()).await.unwrap();
    proxy.apply(desired(service)).await.unwrap();
    proxy
}

/// Two pods that answer on 8080.
async fn pods(w: &World) -> (Space, Space) {
    let (a, b) = (w.pod("a", A).await, w.pod("b", B).await);
    a.serve_tcp((A, 8080));
    b.serve_tcp((B, 8080));
    w.remote.serve_tcp((REMOTE_POD, 8080));
    (a, b)
}

fn refused<T: std::fmt::Debug>(outcome: std::io::Result<T>) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Nothing answers, not even a refusal.
async fn dropped(space: &Space, to: (Ipv4Addr, u16)) {
    let dial = rk::net::forward::dial_address(&space.netns, to.into());
    assert!(timeout(Duration::from_millis(300), dial).await.is_err());
}

#[test]
fn connections_spread_and_endpoints_see_their_clients() {
    for bridged in ["0", "1"] {
        on_a_node(|w| async move {
            sysctl::write("net/bridge/bridge-nf-call-iptables", bridged).unwrap();
            let (a, b) = pods(&w).await;
            let _proxy = proxy(web(&[A, B])).await;
            let client = w.pod("client", Ipv4Addr::new(10, 42, 0, 4)).await;
            let counts = client.ask_often((VIP, 80), 64).await;
            assert!(counts["a"] > 10 && counts["b"] > 10, "{counts:?}");
            let node = Space::node();
            for (space, address) in [(&client, Ipv4Addr::new(10, 42, 0, 4)), (&node, NODE)] {
                for to in [(VIP, 80), (EXTERNAL, 80), (NODE, NODE_PORT)] {
                    assert_eq!(space.ask(to).await.unwrap().1, address, "{} {to:?}", space.name);
                }
            }
            for to in [(EXTERNAL, 80), (NODE, NODE_PORT)] {
                assert_eq!(w.outside.ask(to).await.unwrap().1, OUTSIDE, "{to:?}");
            }
            drop((a, b));
        });
    }
}

#[test]
fn only_what_must_come_back_is_masqueraded() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let _proxy = proxy(web(&[REMOTE_POD])).await;
        let seen = |(name, address): (String, _)| {
            assert_eq!(name, "remote");
            address
        };
        // The other node has a way back to this node's pods, but to nobody else.
        assert_eq!(seen(a.ask((VIP, 80)).await.unwrap()), A);
        assert_eq!(seen(a.ask((NODE, NODE_PORT)).await.unwrap()), A);
        let overlay = Ipv4Addr::new(10, 42, 0, 1);
        assert_eq!(seen(w.outside.ask((NODE, NODE_PORT)).await.unwrap()), overlay);
        assert_eq!(seen(Space::node().ask((VIP, 80)).await.unwrap()), overlay);
        // A pod of another node that uses this node's port.
        w.remote.serve_tcp((REMOTE_POD, 8081));
        assert_eq!(seen(w.remote.ask((NODE, NODE_PORT)).await.unwrap()), overlay);
        // Pods to the world, and to pods of other nodes.
        w.outside.serve_tcp((OUTSIDE, 443));
        assert_eq!(a.ask((OUTSIDE, 443)).await.unwrap().1, NODE);
        assert_eq!(seen(a.ask((REMOTE_POD, 8080)).await.unwrap()), A);
    });
}

#[test]
fn endpoints_need_not_be_pods() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let node = Space::node();
        w.outside.serve_tcp((OUTSIDE, 8080));
        node.serve_tcp((NODE, 8080));
        let proxy = proxy(web(&[OUTSIDE])).await;
        assert_eq!(a.ask((VIP, 80)).await.unwrap(), ("outside".into(), NODE));
        assert_eq!(node.ask((VIP, 80)).await.unwrap(), ("outside".into(), NODE));
        proxy.apply(desired(web(&[NODE]))).await.unwrap();
        assert_eq!(a.ask((VIP, 80)).await.unwrap(), ("node".into(), A));
        assert_eq!(node.ask((VIP, 80)).await.unwrap().0, "node");
    });
}

#[test]
fn unmasqueraded_networks_see_pod_addresses() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        w.outside.serve_tcp((OUTSIDE, 443));
        link::prepare(config().service_cidr).await.unwrap();
        let mut config = config();
        config.unmasqueraded.push("192.168.77.0/24".parse().unwrap());
        let proxy = Proxy::open(config).await.unwrap();
        proxy.apply(desired(web(&[A]))).await.unwrap();
        assert_eq!(a.ask((OUTSIDE, 443)).await.unwrap().1, A);
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let _proxy = proxy(web(&[A])).await;
        for to in [(VIP, 80), (NODE, NODE_PORT)] {
            let (name, seen) = a.ask(to).await.unwrap();
            assert_eq!(name, "a");
            assert_ne!(seen, A, "the answer must come back through the node");
        }
    });
}

#[test]
fn what_leads_nowhere_is_refused_at_once() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let proxy = proxy(web(&[])).await;
        let node = Space::node();
        for space in [&a, &node] {
            refused(space.ask((VIP, 80)).await);
            refused(space.ask((EXTERNAL, 80)).await);
            refused(space.ask((NODE, NODE_PORT)).await);
        }
        refused(w.outside.ask((NODE, NODE_PORT)).await);
        refused(w.outside.ask((EXTERNAL, 80)).await);
        proxy.apply(desired(web(&[A]))).await.unwrap();
        for space in [&a, &node] {
            refused(space.ask((VIP, 81)).await);
            refused(space.ask((Ipv4Addr::new(10, 43, 7, 7), 80)).await);
            let socket = space.udp((Ipv4Addr::UNSPECIFIED, 0));
            socket.connect((VIP, 53)).await.unwrap();
            match socket.send(b"?").await {
                // The node's own packets are refused before they leave.
                Err(e) => assert_eq!(e.kind(), ErrorKind::PermissionDenied),
                Ok(_) => refused(timeout(PATIENCE, socket.recv(&mut [0])).await.unwrap()),
            }
        }
        assert_eq!(a.ask((VIP, 80)).await.unwrap().0, "a");
    });
}

#[test]
fn affinity_holds_a_client_until_its_endpoint_goes() {
    on_a_node(|w| async move {
        let (_a, _b) = pods(&w).await;
        let mut service = web(&[A, B]);
        service.affinity = Some(Duration::from_secs(100));
        let proxy = proxy(service.clone()).await;
        let client = w.pod("client", Ipv4Addr::new(10, 42, 0, 4)).await;
        let counts = client.ask_often((VIP, 80), 40).await;
        assert_eq!(counts.len(), 1, "{counts:?}");
        let chosen = if counts.contains_key("a") { A } else { B };
        let other = if chosen == A { B } else { A };
        // Another endpoint more does not move the client.
        service.ports = vec![port(Tcp, &[other, chosen, REMOTE_POD])];
        proxy.apply(desired(service.clone())).await.unwrap();
        assert_eq!(
            client.ask_often((VIP, 80), 20).await,
            [(counts.keys().next().unwrap().clone(), 20)].into()
        );
        service.ports = vec![port(Tcp, &[other])];
        proxy.apply(desired(service)).await.unwrap();
        let name = if other == A { "a" } else { "b" };
        assert_eq!(client.ask_often((VIP, 80), 10).await, [(name.to_owned(), 10)].into());
    });
}

#[test]
fn affinity_is_forgotten_after_its_time() {
    on_a_node(|w| async move {
        let (_a, _b) = pods(&w).await;
        let mut service = web(&[A, B]);
        service.affinity = Some(Duration::from_secs(1));
        let _proxy = proxy(service).await;
        let client = w.pod("client", Ipv4Addr::new(10, 42, 0, 4)).await;
        let first = client.ask((VIP, 80)).await.unwrap().0;
        let mut tries = 0;
        // One in two goes elsewhere once the client is forgotten.
        while client.ask((VIP, 80)).await.unwrap().0 == first {
            tries += 1;
            assert!(tries < 30, "never forgotten");
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    });
}

#[test]
fn local_policies_keep_clients_from_elsewhere_to_this_node() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let mut service = web(&[REMOTE_POD]);
        service.external_local = true;
        let proxy = proxy(service.clone()).await;
        dropped(&w.outside, (NODE, NODE_PORT)).await;
        dropped(&w.outside, (EXTERNAL, 80)).await;
        // Pods and processes of this node reach every endpoint.
        assert_eq!(a.ask((NODE, NODE_PORT)).await.unwrap().0, "remote");
        assert_eq!(Space::node().ask((EXTERNAL, 80)).await.unwrap().0, "remote");
        service.ports = vec![port(Tcp, &[REMOTE_POD, A])];
        proxy.apply(desired(service.clone())).await.unwrap();
        let counts = w.outside.ask_often((NODE, NODE_PORT), 20).await;
        assert_eq!(counts, [("a".to_owned(), 20)].into());
        assert_eq!(w.outside.ask((NODE, NODE_PORT)).await.unwrap().1, OUTSIDE);
        assert_eq!(a.ask_often((VIP, 80), 40).await.len(), 2);
        service.internal_local = true;
        proxy.apply(desired(service.clone())).await.unwrap();
        assert_eq!(a.ask_often((VIP, 80), 20).await, [("a".to_owned(), 20)].into());
        service.ports = vec![port(Tcp, &[REMOTE_POD])];
        proxy.apply(desired(service)).await.unwrap();
        dropped(&a, (VIP, 80)).await;
    });
}

#[test]
fn udp_clients_move_when_their_endpoint_goes() {
    on_a_node(|w| async move {
        let (a, b) = pods(&w).await;
        a.serve_udp((A, 8080));
        b.serve_udp((B, 8080));
        let of = |endpoints: &[Ipv4Addr]| Service { ports: vec![port(Udp, endpoints)], ..web(&[]) };
        let proxy = proxy(of(&[])).await;
        let client = w.pod("client", Ipv4Addr::new(10, 42, 0, 4)).await;
        // One socket each, so that every packet belongs to the same flow.
        let inside = client.udp((Ipv4Addr::UNSPECIFIED, 0));
        let outside = w.outside.udp((Ipv4Addr::UNSPECIFIED, 0));
        let node = Space::node();
        let own = node.udp((Ipv4Addr::UNSPECIFIED, 0));
        outside.send_to(b"too early", (NODE, NODE_PORT)).await.unwrap();
        for (endpoint, name) in [(A, "a"), (B, "b"), (A, "a")] {
            proxy.apply(desired(of(&[endpoint]))).await.unwrap();
            for (space, socket, to) in [
                (&client, &inside, (VIP, 80)),
                (&w.outside, &outside, (NODE, NODE_PORT)),
                (&node, &own, (VIP, 80)),
            ] {
                let (who, _) = space.ask_udp(socket, to).await.unwrap();
                assert_eq!(who, name, "{} {to:?}", space.name);
            }
        }
    });
}
