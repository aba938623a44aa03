//! A node, its pods and a machine outside, as network namespaces of one process.

use rk::net::link::{self, Live, PodLink};
use rk::sys::{netns, rtnl};
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// The node's address towards the machine outside.
pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The machine outside.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// MTU of the node's uplink.
pub const MTU: u32 = 1450;
/// Nothing in a namespace takes this long.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a test inside a new namespace: a node with an uplink and a default route.
pub fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send) {
    let node = netns::create().unwrap();
    let passed = netns::within(node.as_fd(), || {
        // Threads of the runtime inherit the namespace of this one.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(test(World::new()));
    });
    passed.unwrap();
}

/// A pod of another node, which has a way back to this node's pods.
pub const REMOTE_POD: Ipv4Addr = Ipv4Addr::new(10, 42, 1, 5);
/// This node's address towards the other one, as on an overlay.
const OVERLAY: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
/// The other node's.
const OVERLAY_PEER: Ipv4Addr = Ipv4Addr::new(10, 42, 1, 0);

/// The machines around the node.
pub struct World {
    /// A machine that is no part of the cluster.
    pub outside: Space,
    /// Another node with one pod.
    pub remote: Space,
}

impl World {
    fn new() -> World {
        let (outside, remote) = (Space::new("outside"), Space::new("remote"));
        let default = (Ipv4Addr::UNSPECIFIED, 0);
        wire("uplink", (NODE, 24), &outside, (OUTSIDE, 24));
        route("uplink", default, OUTSIDE);
        outside.run(|| route("eth0", default, NODE));
        wire("overlay", (OVERLAY, 32), &remote, (REMOTE_POD, 32));
        route("overlay", (Ipv4Addr::new(10, 42, 1, 0), 24), OVERLAY_PEER);
        remote.run(|| {
            set_address("eth0", (OVERLAY_PEER, 32));
            route("eth0", default, OVERLAY);
        });
        World { outside, remote }
    }

    /// A pod that is connected.
    pub async fn pod(&self, name: &str, address: Ipv4Addr) -> Space {
        let pod = Space::new(name);
        pod.connect(address).await;
        pod
    }
}

/// Connects the calling thread's namespace with another.
fn wire(name: &str, near: (Ipv4Addr, u8), space: &Space, far: (Ipv4Addr, u8)) {
    let end = |name, netns| rtnl::End { name, mac: None, alias: None, netns };
    let there = end("eth0", Some(space.netns.as_fd()));
    rtnl::add_veth(&mut rtnl::socket().unwrap(), MTU, end(name, None), there).unwrap();
    set_address(name, near);
    space.run(|| set_address("eth0", far));
    rtnl::await_running(&mut rtnl::socket().unwrap(), name).unwrap();
}

pub fn set_address(name: &str, (address, prefix): (impl Into<IpAddr>, u8)) {
    let mut s = rtnl::socket().unwrap();
    let index = rtnl::link(&mut s, name).unwrap().unwrap().index;
    rtnl::set_up(&mut s, rtnl::LOOPBACK).unwrap();
    rtnl::set_up(&mut s, index).unwrap();
    let address = address.into();
    rtnl::add_address(&mut s, rtnl::Address { index, address, prefix, global: true }).unwrap();
}

pub fn route<A: Into<IpAddr>>(name: &str, (to, prefix): (A, u8), via: A) {
    let mut s = rtnl::socket().unwrap();
    let index = rtnl::link(&mut s, name).unwrap().unwrap().index;
    let (to, via) = (to.into(), Some(via.into()));
    rtnl::replace_route(&mut s, rtnl::Route { to, prefix, index, via }).unwrap();
}

/// A network namespace that sockets can be opened in.
pub struct Space {
    pub name: String,
    pub netns: File,
}

impl Space {
    pub fn new(name: &str) -> Space {
        Space { name: name.to_owned(), netns: netns::create().unwrap() }
    }

    /// The namespace of the calling thread: the node.
    pub fn node() -> Space {
        Space { name: "node".to_owned(), netns: netns::current().unwrap() }
    }

    /// A path that leads to the namespace as long as this value lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd()).into()
    }

    pub async fn connect(&self, address: Ipv4Addr) -> Live {
        link::add(self.link(address)).await.unwrap()
    }

    pub fn link(&self, address: Ipv4Addr) -> PodLink {
        let (pod, netns) = (self.name.clone(), self.path());
        PodLink { pod, netns, address, six: None, mtu: MTU, loopback: false }
    }

    /// Runs something short inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::within(self.netns.as_fd(), work).unwrap()
    }

    /// Answers every connection with this space's name and the client's address, then with what the
    /// client sends.
    pub fn serve_tcp(&self, at: impl Into<SocketAddr>) {
        let at = at.into();
        let listener = self.run(|| std::net::TcpListener::bind(at)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let name = self.name.clone();
        tokio::spawn(async move {
            while let Ok((stream, client)) = listener.accept().await {
                tokio::spawn(answer(stream, format!("{name} {}\n", client.ip())));
            }
        });
    }

    /// Answers every packet with this space's name and the client's address.
    pub fn serve_udp(&self, at: impl Into<SocketAddr>) {
        let socket = self.udp(at);
        let name = self.name.clone();
        tokio::spawn(async move {
            let mut buf = [0; 64];
            while let Ok((_, client)) = socket.recv_from(&mut buf).await {
                let answer = format!("{name} {}\n", client.ip());
                let _ = socket.send_to(answer.as_bytes(), client).await;
            }
        });
    }

    /// A UDP socket inside.
    pub fn udp(&self, at: impl Into<SocketAddr>) -> UdpSocket {
        let at = at.into();
        let socket = self.run(|| std::net::UdpSocket::bind(at)).unwrap();
        socket.set_nonblocking(true).unwrap();
        UdpSocket::from_std(socket).unwrap()
    }

    /// Connects from inside.
    pub async fn dial(&self, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        let dial = rk::net::forward::dial_address(&self.netns, to.into());
        tokio::time::timeout(PATIENCE, dial).await?
    }

    /// Who answers a new connection from inside, and which client address it sees.
    pub async fn ask(&self, to: impl Into<SocketAddr>) -> io::Result<(String, Ipv4Addr)> {
        let mut stream = self.dial(to).await?;
        read_answer(&mut stream).await
    }

    /// The same where either may be of IPv6.
    pub async fn ask_any(&self, to: impl Into<SocketAddr>) -> io::Result<(String, IpAddr)> {
        let mut stream = self.dial(to).await?;
        read(&mut stream).await
    }

    /// Who answers `times` connections from inside, counted.
    pub async fn ask_often(
        &self,
        to: impl Into<SocketAddr>,
        times: usize,
    ) -> BTreeMap<String, usize> {
        let to = to.into();
        let mut counts = BTreeMap::new();
        for _ in 0..times {
            *counts.entry(self.ask_any(to).await.unwrap().0).or_insert(0) += 1;
        }
        counts
    }

    /// Who answers a packet from this socket, and which client address it sees.
    pub async fn ask_udp(
        &self,
        socket: &UdpSocket,
        to: impl Into<SocketAddr>,
    ) -> io::Result<(String, IpAddr)> {
        let to = to.into();
        let mut buf = [0; 64];
        socket.send_to(b"?", to).await?;
        let (len, from) = tokio::time::timeout(PATIENCE, socket.recv_from(&mut buf)).await??;
        assert_eq!(from, to, "the answer comes from where the question went");
        Ok(parse(&buf[..len]))
    }
}

async fn answer(mut stream: TcpStream, greeting: String) {
    let (mut read, mut write) = stream.split();
    if write.write_all(greeting.as_bytes()).await.is_ok() {
        let _ = tokio::io::copy(&mut read, &mut write).await;
    }
}

/// The greeting on a new connection.
pub async fn read_answer(stream: &mut TcpStream) -> io::Result<(String, Ipv4Addr)> {
    match read(stream).await? {
        (name, IpAddr::V4(address)) => Ok((name, address)),
        (name, IpAddr::V6(address)) => panic!("{name} saw {address}"),
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<(String, IpAddr)> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await??);
    }
    Ok(parse(&line))
}

fn parse(line: &[u8]) -> (String, IpAddr) {
    let line = std::str::from_utf8(line).unwrap();
    let (name, address) = line.trim_end().split_once(' ').unwrap();
    (name.to_owned(), address.parse().unwrap())
}

/// Sends a line on a connection and reads it back.
pub async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"still here").await?;
    let mut buf = [0; 10];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut buf)).await??;
    assert_eq!(&buf, b"still here");
    Ok(())
}
