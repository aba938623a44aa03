//! Asks the host's resolvers.

use super::cache::{Cache, Key};
use super::resolv::Resolv;
use super::wire;
use crate::limits::{DNS_FORWARDS_MAX, DNS_TRY_TIME_MAX, RESOLV_CONF_AGE_MAX};
use crate::util::clock;
use hickory_proto::op::{Message, Query, ResponseCode};
use parking_lot::Mutex;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const PORT: u16 = 53;
/// How often each resolver is asked before the client is told that it failed.
const ROUNDS: usize = 2;

/// The resolvers of the host, and what they said.
#[derive(Debug)]
pub struct Upstream {
    source: Source,
    /// Ourselves: a resolver under one of these addresses would ask us in turn.
    own: Vec<IpAddr>,
    known: Mutex<Known>,
    cache: Mutex<Cache>,
    /// The resolver that answered last.
    preferred: AtomicUsize,
    places: Semaphore,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Fixed,
}

#[derive(Debug)]
struct Known {
    servers: Vec<SocketAddr>,
    read: Option<Instant>,
}

impl Upstream {
    /// The resolvers that a `resolv.conf` names; the file is read again when it is asked for and
    /// some seconds old. Those with one of our `own` addresses are left out.
    pub fn from_file(path: PathBuf, own: Vec<IpAddr>) -> Upstream {
        Upstream::new(Source::File(path), own, Vec::new())
    }

    /// These resolvers.
    pub fn fixed(servers: Vec<SocketAddr>) -> Upstream {
        Upstream::new(Source::Fixed, Vec::new(), servers)
    }

    fn new(source: Source, own: Vec<IpAddr>, servers: Vec<SocketAddr>) -> Upstream {
        Upstream {
            source,
            own,
            known: Mutex::new(Known { servers, read: None }),
            cache: Mutex::default(),
            preferred: AtomicUsize::new(0),
            places: Semaphore::new(DNS_FORWARDS_MAX),
        }
    }

    /// What is known without asking.
    pub(super) fn cached(&self, key: &Key) -> Option<Message> {
        self.cache.lock().get(key, clock::instant())
    }

    /// What the resolvers say; none where none of them answers, or too many are being asked.
    pub(super) async fn ask(
        &self,
        query: &Query,
        dnssec: bool,
        unchecked: bool,
    ) -> Option<Message> {
        let key = Key::new(query, dnssec, unchecked);
        if let Some(message) = self.cached(&key) {
            return Some(message);
        }
        let _place = self.places.try_acquire().ok()?;
        let message = self.ask_all(query, dnssec, unchecked).await?;
        self.cache.lock().put(key, &message, clock::instant());
        Some(message)
    }

    async fn ask_all(&self, query: &Query, dnssec: bool, unchecked: bool) -> Option<Message> {
        let servers = self.servers().await;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = None;
        for n in 0..ROUNDS * servers.len() {
            let index = (first + n) % servers.len();
            let (id, packet) = wire::question(query, dnssec, unchecked);
            match timeout(DNS_TRY_TIME_MAX, exchange(servers[index], id, &packet, query)).await {
                // Another resolver may know better.
                Ok(Ok(message)) if failed(&message) => failure = Some(message),
                Ok(Ok(message)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Some(message);
                }
                Ok(Err(error)) => {
                    tracing::debug!(server = %servers[index], %error, "resolver failed")
                }
                Err(_) => tracing::debug!(server = %servers[index], "resolver did not answer"),
            }
        }
        failure
    }

    async fn servers(&self) -> Vec<SocketAddr> {
        let Source::File(path) = &self.source else { return self.known.lock().servers.clone() };
        let now = clock::instant();
        {
            let mut known = self.known.lock();
            let young = |read: Instant| now.duration_since(read) < RESOLV_CONF_AGE_MAX;
            if known.read.is_some_and(young) {
                return known.servers.clone();
            }
            // Others go on with what there is while this one reads.
            known.read = Some(now);
        }
        let text = tokio::fs::read_to_string(path).await.unwrap_or_default();
        let servers = Resolv::parse(&text).servers.into_iter();
        let foreign = servers.filter(|ip| !self.own.contains(ip) && !ip.is_unspecified());
        let servers: Vec<_> = foreign.map(|ip| SocketAddr::new(ip, PORT)).collect();
        self.known.lock().servers.clone_from(&servers);
        servers
    }
}

fn failed(message: &Message) -> bool {
    matches!(message.metadata.response_code, ResponseCode::ServFail | ResponseCode::Refused)
}

/// Asks one resolver: by UDP from a port of its own, which together with the id nobody can guess,
/// and by TCP where the answer does not fit.
async fn exchange(
    server: SocketAddr,
    id: u16,
    packet: &[u8],
    query: &Query,
) -> io::Result<Message> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buf = vec![0; usize::from(wire::UDP_BYTES)];
    loop {
        let len = socket.recv(&mut buf).await?;
        match wire::reply(&buf[..len], id, query) {
            Some(message) if message.metadata.truncation => break,
            Some(message) => return Ok(message),
            None => (),
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let len = (packet.len() as u16).to_be_bytes();
    stream.write_all(&[&len, packet].concat()).await?;
    let len = stream.read_u16().await?;
    let mut buf = vec![0; usize::from(len)];
    stream.read_exact(&mut buf).await?;
    wire::reply(&buf, id, query)
        .ok_or_else(|| io::Error::other("another answer than was asked for"))
}
