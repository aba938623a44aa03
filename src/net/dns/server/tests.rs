//! A server on loopback, and one that stands for the host's resolver.

use super::*;
use crate::net::dns::{self, Domain, Records, Target};
use crate::util::clock;
use hickory_proto::op::{Edns, MessageType};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn zone() -> Zone {
    let domain = Domain { name: "cluster.local".into(), servers: Vec::new(), reverse: Vec::new() };
    let zone = Zone::new(domain).unwrap();
    let target = |target| Arc::new(dns::Service { target, ports: Vec::new() });
    let many = (0..200).map(|n| dns::Endpoint {
        address: Ipv4Addr::new(10, 42, 0, n).into(),
        hostname: None,
        ports: Vec::new().into(),
    });
    let external = |to: &str| target(Target::ExternalName(to.into()));
    let services = [
        ("web", target(Target::ClusterIps(vec![Ipv4Addr::new(10, 43, 0, 9).into()]))),
        ("many", target(Target::Headless(many.collect()))),
        ("out", external("www.example.com")),
        ("in", external("web.ns.svc.cluster.local")),
        ("loop", external("loop.ns.svc.cluster.local")),
    ];
    let name = |name: &str| dns::Name { namespace: "ns".into(), name: name.into() };
    zone.replace(services.into_iter().map(|(n, s)| (name(n), s)).collect::<Records>());
    zone
}

/// Runs a server in front of these resolvers.
async fn serve(servers: Vec<SocketAddr>) -> SocketAddr {
    let upstream = Arc::new(Upstream::fixed(servers));
    let server = loop {
        // The port that is free for one protocol may be taken for the other.
        match Server::bind((LOOPBACK, 0).into(), zone(), upstream.clone()).await {
            Ok(server) => break server,
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::AddrInUse),
        }
    };
    let address = server.address().unwrap();
    tokio::spawn(server.run());
    address
}

/// A resolver that knows `*.example.com`, and how often it was asked by UDP. Names that begin with
/// `big` it tells only by TCP; `silent` it does not answer at first.
async fn resolver() -> (SocketAddr, Arc<AtomicUsize>) {
    // The port that is free for one may be taken for the other.
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (tcp, udp);
        }
    };
    let at = tcp.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buf = [0; 512];
        while let Ok((len, client)) = udp.recv_from(&mut buf).await {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let name = Message::from_vec(&buf[..len]).unwrap().queries[0].name().to_ascii();
            if !(name.starts_with("silent") && n == 0) {
                let reply = upstream_reply(&buf[..len], name.starts_with("big"));
                udp.send_to(&reply, client).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let packet = read_packet(&mut stream, usize::MAX).await.unwrap().unwrap();
            let reply = upstream_reply(&packet, false);
            stream.write_u16(reply.len() as u16).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    (at, asked)
}

fn upstream_reply(packet: &[u8], truncate: bool) -> Vec<u8> {
    let mut message = Message::from_vec(packet).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.metadata.truncation = truncate;
    let name = message.queries[0].name().clone();
    let ours = Name::from_ascii("example.com.").unwrap().zone_of(&name);
    if ours && message.queries[0].query_type() == RecordType::A && !truncate {
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 80)));
        message.answers = vec![Record::from_rdata(name, 60, data)];
    } else if !truncate {
        message.metadata.response_code = ResponseCode::NXDomain;
        let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 60);
        message.authorities = vec![Record::from_rdata(Name::root(), 60, RData::SOA(soa))];
    }
    message.to_vec().unwrap()
}

fn packet(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.queries = vec![Query::query(Name::from_ascii(name).unwrap(), kind)];
    message.to_vec().unwrap()
}

async fn ask_packet(server: SocketAddr, packet: &[u8]) -> Message {
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    socket.send_to(packet, server).await.unwrap();
    let mut buf = [0; 2000];
    let len = timeout(Duration::from_secs(9), socket.recv(&mut buf)).await.unwrap().unwrap();
    Message::from_vec(&buf[..len]).unwrap()
}

async fn ask(server: SocketAddr, name: &str) -> Message {
    ask_packet(server, &packet(name, RecordType::A)).await
}

/// Answers as `A name -> data`, or the code.
fn show(message: &Message) -> String {
    let shown: Vec<_> =
        message.answers.iter().map(|r| format!("{} {}", r.record_type(), r.data)).collect();
    format!("{:?} {}", message.metadata.response_code, shown.join(", "))
}

#[tokio::test]
async fn own_names_are_answered_and_others_forwarded_once() {
    let (upstream, asked) = resolver().await;
    let server = serve(vec![upstream]).await;
    let own = ask(server, "web.ns.svc.cluster.local.").await;
    assert_eq!(show(&own), "NoError A 10.43.0.9");
    assert!(own.metadata.authoritative);
    let missing = ask(server, "no.ns.svc.cluster.local.").await;
    assert_eq!(show(&missing), "NXDomain ");
    assert_eq!(missing.authorities[0].record_type(), RecordType::SOA);
    let v6 = ask_packet(server, &packet("web.ns.svc.cluster.local.", RecordType::AAAA)).await;
    assert_eq!((show(&v6).as_str(), v6.authorities.len()), ("NoError ", 1));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    for name in ["www.example.com.", "WWW.example.com."] {
        let other = ask(server, name).await;
        assert_eq!(show(&other), "NoError A 192.0.2.80");
        assert_eq!(other.queries[0].name().to_ascii(), name);
        assert!(!other.metadata.authoritative && other.metadata.recursion_available);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the second answer is remembered");
    for _ in 0..2 {
        assert_eq!(show(&ask(server, "missing.test.").await), "NXDomain ");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "and so is what is not found");
}

#[tokio::test]
async fn external_names_are_followed() {
    let (upstream, _) = resolver().await;
    let server = serve(vec![upstream]).await;
    let out = ask(server, "out.ns.svc.cluster.local.").await;
    assert_eq!(show(&out), "NoError CNAME www.example.com., A 192.0.2.80");
    let inside = ask(server, "in.ns.svc.cluster.local.").await;
    assert_eq!(show(&inside), "NoError CNAME web.ns.svc.cluster.local., A 10.43.0.9");
    assert!(show(&ask(server, "loop.ns.svc.cluster.local.").await).starts_with("ServFail"));
    let alias = ask_packet(server, &packet("out.ns.svc.cluster.local.", RecordType::CNAME)).await;
    assert_eq!(show(&alias), "NoError CNAME www.example.com.");
}

#[tokio::test]
async fn long_answers_come_by_tcp() {
    let (upstream, _) = resolver().await;
    let server = serve(vec![upstream]).await;
    let cut = ask(server, "many.ns.svc.cluster.local.").await;
    assert!(cut.metadata.truncation && !cut.answers.is_empty());
    let mut stream = TcpStream::connect(server).await.unwrap();
    // Two questions on one connection.
    for name in ["many.ns.svc.cluster.local.", "www.example.com."] {
        let packet = packet(name, RecordType::A);
        stream.write_u16(packet.len() as u16).await.unwrap();
        stream.write_all(&packet).await.unwrap();
        let answer =
            Message::from_vec(&read_packet(&mut stream, usize::MAX).await.unwrap().unwrap())
                .unwrap();
        assert!(!answer.metadata.truncation);
        assert_eq!(answer.answers.len(), if name.starts_with("many") { 200 } else { 1 });
    }
    // What does not fit between the resolver and us is asked for by TCP as well.
    assert_eq!(show(&ask(server, "big.example.com.").await), "NoError A 192.0.2.80");
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_is_passed_over() {
    let (upstream, asked) = resolver().await;
    let dead = UdpSocket::bind((LOOPBACK, 0)).await.unwrap().local_addr().unwrap();
    let server = serve(vec![dead, upstream]).await;
    assert_eq!(show(&ask(server, "www.example.com.").await), "NoError A 192.0.2.80");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let before = clock::instant();
    assert_eq!(show(&ask(server, "other.example.com.").await), "NoError A 192.0.2.80");
    assert!(before.elapsed() < Duration::from_secs(1), "the good one is asked first from now on");
    // Without any, clients are told at once.
    let server = serve(Vec::new()).await;
    assert!(show(&ask(server, "www.example.com.").await).starts_with("ServFail"));
}

#[tokio::test]
async fn a_lost_packet_is_sent_again() {
    let (upstream, asked) = resolver().await;
    let server = serve(vec![upstream]).await;
    assert_eq!(show(&ask(server, "silent.example.com.").await), "NoError A 192.0.2.80");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn rubbish_harms_nobody() {
    let server = serve(Vec::new()).await;
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    for n in 0..200_u8 {
        let len = usize::from(n) % 40;
        socket.send_to(&vec![n; len], server).await.unwrap();
    }
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&[0xff; 64]).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "the connection ends");
    let mut message =
        Message::from_vec(&packet("web.ns.svc.cluster.local.", RecordType::A)).unwrap();
    message.edns = Some(Edns::new());
    let answer = ask_packet(server, &message.to_vec().unwrap()).await;
    assert_eq!(show(&answer), "NoError A 10.43.0.9");
    assert!(answer.edns.is_some());
}

#[tokio::test]
async fn one_address_is_needed() {
    let any = (Ipv4Addr::UNSPECIFIED, 0).into();
    let upstream = Arc::new(Upstream::fixed(Vec::new()));
    assert!(Server::bind(any, zone(), upstream).await.is_err());
}
