//! Port-forward: a pair of SPDY streams, data and error, for each connection that it carries.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::limits::{SPDY_STREAMS_MAX, STREAM_CHUNK_BYTES_MAX};
use crate::node::spdy::{self, Sender, SpdyError, Stream};

/// The name of the protocol in `X-Stream-Protocol-Version`.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// The name of its tunnel in `Sec-WebSocket-Protocol`.
pub const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// Connects to a port of the pod.
pub type Dial =
    Arc<dyn Fn(u16) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> + Send + Sync>;

/// Carries connections until the client has gone.
///
/// # Errors
/// When the connection breaks or the client does not keep to the protocol.
pub async fn serve<T>(io: T, pod: &str, dial: Dial) -> Result<(), SpdyError>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut connection, driver) = spdy::connect(io)?;
    let mut pairs = Pairs { halves: HashMap::new(), pod: pod.to_owned(), dial };
    // Dropped, and with it all connections, when the client has gone.
    let mut running = JoinSet::new();
    tokio::pin!(driver);
    loop {
        tokio::select! {
            ended = &mut driver => return ended,
            stream = connection.accept() => match stream {
                Some(stream) => pairs.add(stream, &mut running).await?,
                None => return Ok(()),
            },
            Some(_) = running.join_next() => {}
        }
    }
}

struct Pairs {
    /// Streams whose other half has not come, by request.
    halves: HashMap<String, Stream>,
    pod: String,
    dial: Dial,
}

impl Pairs {
    async fn add(&mut self, stream: Stream, running: &mut JoinSet<()>) -> Result<(), SpdyError> {
        let kind = stream.headers.get("streamtype").to_owned();
        let port = stream.headers.get("port").parse::<u16>().ok().filter(|port| *port > 0);
        let (Some(port), "data" | "error") = (port, kind.as_str()) else {
            return stream.refuse().await;
        };
        // Old clients number no requests: their pairs follow each other.
        let request = stream.headers.get("requestid").to_owned();
        if self.halves.len() >= SPDY_STREAMS_MAX {
            return stream.refuse().await;
        }
        stream.reply().await?;
        let Some(other) = self.halves.remove(&request) else {
            self.halves.insert(request, stream);
            return Ok(());
        };
        let (data, error) = if kind == "data" { (stream, other) } else { (other, stream) };
        running.spawn(carry(data, error, port, self.pod.clone(), Arc::clone(&self.dial)));
        Ok(())
    }
}

/// Carries one connection; what goes wrong is told on the error stream.
async fn carry(data: Stream, error: Stream, port: u16, pod: String, dial: Dial) {
    let (from, to) = data.split();
    let (_, error) = error.split();
    let result = match dial(port).await {
        Ok(socket) => exchange(socket, from, &to).await,
        Err(error) => Err(error),
    };
    // Errors of the connection itself are its driver's business.
    if let Err(why) = result {
        let text = format!("error forwarding port {port} to pod {pod}: {why}");
        let _ = error.send(text.into()).await;
        let _ = to.reset().await;
    }
    let _ = to.finish().await;
    let _ = error.finish().await;
}

async fn exchange(
    socket: TcpStream,
    mut from: mpsc::Receiver<Bytes>,
    to: &Sender,
) -> io::Result<()> {
    let (mut read, mut write) = socket.into_split();
    let inward = async {
        while let Some(bytes) = from.recv().await {
            write.write_all(&bytes).await?;
        }
        write.shutdown().await
    };
    let outward = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(STREAM_CHUNK_BYTES_MAX);
            if read.read_buf(&mut buffer).await? == 0 {
                return to.finish().await.map_err(io::Error::other);
            }
            to.send(buffer.split().freeze()).await.map_err(io::Error::other)?;
        }
    };
    // Either half may close first; the pod's end of it ends the whole.
    let inward = async {
        // A pod that takes no more may still be sending.
        let _ = inward.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = outward => done,
        () = inward => Ok(()),
    }
}
