//! Takes questions by UDP and TCP.

use super::cache::Key;
use super::upstream::Upstream;
use super::wire::{self, Answer, Parsed, Request};
use super::zone::{Found, Zone};
use crate::limits::{
    ACCEPT_PAUSE, DNS_ALIASES_MAX, DNS_CONNECTIONS_MAX, DNS_FORWARDS_MAX, DNS_IDLE_TIME_MAX,
    DNS_REQUEST_BYTES_MAX,
};
use hickory_proto::op::{Message, Query, ResponseCode};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A server on one address.
#[derive(Debug)]
pub struct Server {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    resolver: Arc<Resolver>,
}

/// Answers from the zone, or from upstream.
#[derive(Debug)]
struct Resolver {
    zone: Zone,
    upstream: Arc<Upstream>,
}

impl Server {
    /// Binds UDP and TCP on one port of an address; port 0 takes a free one. Several servers may
    /// share a zone and an upstream.
    ///
    /// # Errors
    /// What binding met; an unspecified address is refused, since answers to a service's clients
    /// must come from the address that was asked.
    pub async fn bind(at: SocketAddr, zone: Zone, upstream: Arc<Upstream>) -> io::Result<Server> {
        if at.ip().is_unspecified() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "dns needs one address"));
        }
        let tcp = TcpListener::bind(at).await?;
        let udp = Arc::new(UdpSocket::bind(tcp.local_addr()?).await?);
        Ok(Server { udp, tcp, resolver: Arc::new(Resolver { zone, upstream }) })
    }

    /// The address that it answers on.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn run(self) {
        tokio::join!(
            serve_udp(self.udp, self.resolver.clone()),
            serve_tcp(self.tcp, self.resolver)
        );
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, resolver: Arc<Resolver>) {
    let mut buf = vec![0; DNS_REQUEST_BYTES_MAX];
    let mut forwards = JoinSet::new();
    loop {
        // Those that are done make room.
        while forwards.try_join_next().is_some() {}
        let Some((len, client)) = received(socket.recv_from(&mut buf).await).await else {
            continue;
        };
        let request = match wire::parse(&buf[..len], false) {
            Parsed::Request(request) => request,
            Parsed::Reject(packet) => {
                send(&socket, &packet, client).await;
                continue;
            }
            Parsed::Ignore => continue,
        };
        if let Some(packet) = resolver.answer_now(&request) {
            send(&socket, &packet, client).await;
        } else if forwards.len() < DNS_FORWARDS_MAX {
            let (socket, resolver) = (socket.clone(), resolver.clone());
            forwards.spawn(async move {
                let packet = resolver.answer(&request).await;
                send(&socket, &packet, client).await;
            });
        } else {
            let packet = request.answer(Answer::code(ResponseCode::ServFail));
            send(&socket, &packet, client).await;
        }
    }
}

/// What was received. An error is one client's (it is gone already), or the machine's, short of
/// memory or descriptors: nothing tells when that is over.
async fn received<T>(outcome: io::Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::debug!(%error, "cannot receive a DNS request");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn send(socket: &UdpSocket, packet: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(packet, client).await {
        tracing::debug!(%client, %error, "cannot send a DNS answer");
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= DNS_CONNECTIONS_MAX {
            // New ones wait in the kernel until one of these ends, as each does when it idles.
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Some((stream, client)) = received(listener.accept().await).await else { continue };
        let resolver = resolver.clone();
        connections.spawn(async move {
            if let Err(error) = converse(stream, &resolver).await {
                tracing::debug!(%client, %error, "DNS connection ended");
            }
        });
    }
}

/// Answers the questions of one connection in order, until the client leaves or idles.
async fn converse(mut stream: TcpStream, resolver: &Resolver) -> io::Result<()> {
    loop {
        let read = read_packet(&mut stream, DNS_REQUEST_BYTES_MAX);
        let Some(packet) = timeout(DNS_IDLE_TIME_MAX, read).await?? else { return Ok(()) };
        let answer = match wire::parse(&packet, true) {
            Parsed::Request(request) => match resolver.answer_now(&request) {
                Some(answer) => answer,
                None => resolver.answer(&request).await,
            },
            Parsed::Reject(answer) => answer,
            Parsed::Ignore => return Ok(()),
        };
        let len = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
        timeout(DNS_IDLE_TIME_MAX, stream.write_all(&[&len[..], &answer].concat())).await??;
    }
}

/// None where the client has left.
async fn read_packet(stream: &mut TcpStream, max: usize) -> io::Result<Option<Vec<u8>>> {
    let len = match stream.read_u16().await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => usize::from(other?),
    };
    if len > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "request is too long"));
    }
    let mut packet = vec![0; len];
    stream.read_exact(&mut packet).await?;
    Ok(Some(packet))
}

impl Resolver {
    /// The answer, where nobody has to be asked.
    fn answer_now(&self, request: &Request) -> Option<Vec<u8>> {
        let answer = match self.zone.find(&request.query) {
            Found::Alias(..) => return None,
            Found::NotOurs => {
                let key = Key::new(&request.query, request.dnssec, request.checking_disabled());
                relayed(self.upstream.cached(&key)?)
            }
            found => self.own(found),
        };
        Some(request.answer(answer))
    }

    /// The answer, following aliases and asking upstream.
    async fn answer(&self, request: &Request) -> Vec<u8> {
        let mut query = request.query.clone();
        let mut aliases = Vec::new();
        let mut answer = loop {
            match self.zone.find(&query) {
                Found::Alias(record, _) if aliases.contains(&record) => {
                    break Answer::code(ResponseCode::ServFail);
                }
                Found::Alias(record, target) if aliases.len() < DNS_ALIASES_MAX => {
                    aliases.push(record);
                    if query.query_type().is_cname() {
                        break Answer::default();
                    }
                    query = Query::query(target, query.query_type());
                }
                Found::Alias(..) => break Answer::code(ResponseCode::ServFail),
                Found::NotOurs => {
                    let unchecked = request.checking_disabled();
                    let said = self.upstream.ask(&query, request.dnssec, unchecked).await;
                    break said.map_or(Answer::code(ResponseCode::ServFail), relayed);
                }
                found => break self.own(found),
            }
        };
        answer.authoritative |= !aliases.is_empty();
        answer.answers.splice(0..0, aliases.into_iter().map(|record| *record));
        request.answer(answer)
    }

    fn own(&self, found: Found) -> Answer {
        let (code, answers, additionals) = match found {
            Found::Records(answers, additionals) => (ResponseCode::NoError, answers, additionals),
            Found::NoName => (ResponseCode::NXDomain, Vec::new(), Vec::new()),
            _ => (ResponseCode::NoError, Vec::new(), Vec::new()),
        };
        let nothing = answers.is_empty();
        let authorities = nothing.then(|| self.zone.authority()).flatten().into_iter().collect();
        Answer { code, authoritative: true, answers, authorities, additionals }
    }
}

/// What upstream said, for the client.
fn relayed(message: Message) -> Answer {
    Answer {
        code: message.metadata.response_code,
        authoritative: false,
        answers: message.answers,
        authorities: message.authorities,
        additionals: message.additionals,
    }
}

#[cfg(test)]
mod tests;
