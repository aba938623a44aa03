//! Connections into a pod's network namespace, to its loopback address.
//!
//! Contract: only the socket is made inside; the stream behaves like any other. Must not know who
//! asks, or what is carried.

use crate::sys::netns;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to a port of the pod's loopback address: 127.0.0.1, or ::1 where nothing listens there.
///
/// # Errors
/// What the connect met (`ConnectionRefused` where nothing listens), or that the namespace is gone.
pub async fn dial(netns: PathBuf, port: u16) -> io::Result<TcpStream> {
    let netns = tokio::task::spawn_blocking(move || File::open(netns)).await??;
    match dial_address(&netns, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            dial_address(&netns, v6).await.map_err(|_| refused)
        }
        other => other,
    }
}

/// Connects to an address as seen from inside the namespace.
pub async fn dial_address(netns: &File, to: SocketAddr) -> io::Result<TcpStream> {
    let netns = netns.try_clone()?;
    let made = move || netns::tcp_socket(netns.as_fd(), to.is_ipv6());
    let socket = tokio::task::spawn_blocking(made).await??;
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}
