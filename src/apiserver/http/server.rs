//! The listener: TCP and TLS connections, each served over HTTP/1.1 or 2, and an orderly end.

use std::io;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Front;
use crate::limits;

/// Serves until `stop` turns true, then lets requests under way come to their end.
pub async fn serve(
    front: Arc<Front>,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => {
                note_panic(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Some(stream) = taken(accepted).await else { continue };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(max = limits::CONNECTIONS_MAX, "too many connections, one is refused");
            continue;
        };
        let (front, acceptor, stop) = (Arc::clone(&front), acceptor.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(front, stream, acceptor, stop).await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(place);
        });
    }
    drain(connections).await;
}

/// Waits until the server is to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could say so is gone: the process is stopping.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

/// A new connection, or a pause where the system has no more descriptors to give: what is left
/// then comes free as other connections end.
async fn taken(accepted: io::Result<(TcpStream, std::net::SocketAddr)>) -> Option<TcpStream> {
    match accepted {
        Ok((stream, _)) => {
            // Without it small answers wait for the client's acknowledgement.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection cannot be set to send at once");
            }
            Some(stream)
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Waits for connections to end, as long as it may take.
async fn drain(mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, all).await.is_err() {
        tracing::info!(left = connections.len(), "connections are cut off");
    }
}

/// One connection from handshake to end.
async fn connection(
    front: Arc<Front>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let handshake = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let shaken = handshake.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = shaken.inspect_err(|_| front.metrics.handshake_failed())?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let caller = Arc::new(front.caller(certificates));
    let service = service_fn(move |request| {
        let (front, caller) = (Arc::clone(&front), Arc::clone(&caller));
        async move { Ok::<_, std::convert::Infallible>(front.answer(caller, request).await) }
    });
    let builder = builder();
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    result.map_err(io::Error::other)
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HANDSHAKE_TIMEOUT)
        .max_buf_size(limits::HEAD_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS_MAX)
        .max_header_list_size(limits::HEAD_BYTES_MAX)
        .keep_alive_interval(limits::PING_INTERVAL);
    builder
}
