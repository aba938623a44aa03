//! DNS as pods use it: by the address of a service whose endpoint is the node itself.

use crate::net::world::{NODE, PATIENCE, on_a_node};
use rk::net::Protocol::{Tcp, Udp};
use rk::net::dns::{self, Domain, Server, Upstream, Zone};
use rk::net::link;
use rk::net::service::{Config, Desired, Endpoint, Port, Proxy, Service};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const A: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 2);
const DNS: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 10);

/// A question for the addresses of `web.ns.svc.cluster.local`.
const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03web\x02ns\x03svc\x07cluster\x05local\0\0\x01\0\x01";

async fn serve() -> SocketAddr {
    let (name, servers) = ("cluster.local".to_owned(), vec![IpAddr::V4(DNS)]);
    let zone = Zone::new(Domain { name, servers, reverse: Vec::new() }).unwrap();
    let target = dns::Target::ClusterIps(vec![Ipv4Addr::new(10, 43, 0, 9).into()]);
    let web = dns::Service { target, ports: Vec::new() };
    let name = dns::Name { namespace: "ns".into(), name: "web".into() };
    zone.set(name, Some(Arc::new(web)));
    let upstream = Arc::new(Upstream::fixed(Vec::new()));
    let server = Server::bind((NODE, 0).into(), zone, upstream).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run());
    address
}

fn check(answer: &[u8]) {
    assert_eq!(answer[..2], QUESTION[..2]);
    assert!(answer.ends_with(&[10, 43, 0, 9]), "{answer:?}");
}

#[test]
fn pods_and_the_node_resolve_names_through_the_service() {
    on_a_node(|w| async move {
        let config = Config {
            table: "rk".into(),
            pod_cidr: "10.42.0.0/24".parse().unwrap(),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            unmasqueraded: Vec::new(),
        };
        link::prepare(config.service_cidr).await.unwrap();
        let endpoints = vec![Endpoint { addr: serve().await, local: true }];
        let port =
            |protocol| Port { protocol, port: 53, node_port: None, endpoints: endpoints.clone() };
        let cluster_ips = vec![IpAddr::V4(DNS)];
        let service =
            Service { cluster_ips, ports: vec![port(Udp), port(Tcp)], ..Service::default() };
        let services = [("kube-system/kube-dns".to_owned(), Arc::new(service))].into();
        let desired = Desired { node_ips: vec![IpAddr::V4(NODE)], services, ..Desired::default() };
        Proxy::open(config).await.unwrap().apply(Arc::new(desired)).await.unwrap();
        let pod = w.pod("a", A).await;
        for space in [&pod, &crate::net::world::Space::node()] {
            let socket = space.udp((Ipv4Addr::UNSPECIFIED, 0));
            socket.connect((DNS, 53)).await.unwrap();
            socket.send(QUESTION).await.unwrap();
            let mut buf = [0; 512];
            let len = timeout(PATIENCE, socket.recv(&mut buf)).await.unwrap().unwrap();
            check(&buf[..len]);
            let mut stream = space.dial((DNS, 53)).await.unwrap();
            stream.write_u16(QUESTION.len() as u16).await.unwrap();
            stream.write_all(QUESTION).await.unwrap();
            let len = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
            let mut buf = vec![0; len.into()];
            stream.read_exact(&mut buf).await.unwrap();
            check(&buf);
        }
    });
}
