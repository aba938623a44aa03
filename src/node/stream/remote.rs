//! Remote commands over SPDY: one stream per channel, as clients before 1.31 open them.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{Output, Wanted, Wire, terminal_size};
use crate::limits::STREAM_LINGER;
use crate::node::spdy::{self, Connection, Sender, SpdyError, Stream};
use crate::runtime::TerminalSize;

/// How long a client may take to open the streams that it said it would, as kubelet's.
const STREAMS_WAIT: Duration = Duration::from_secs(30);

/// One version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Its name in `X-Stream-Protocol-Version`.
    pub name: &'static str,
    /// Errors are `Status` objects.
    structured: bool,
    /// The client opens a stream for the terminal's size.
    resizes: bool,
}

const PROTOCOLS: [Protocol; 4] = [
    Protocol { name: "v4.channel.k8s.io", structured: true, resizes: true },
    Protocol { name: "v3.channel.k8s.io", structured: false, resizes: true },
    Protocol { name: "v2.channel.k8s.io", structured: false, resizes: false },
    Protocol { name: "channel.k8s.io", structured: false, resizes: false },
];

/// Chooses the first of a client's protocols that is spoken here; the oldest where it names none.
pub fn negotiate<'a>(asked: impl Iterator<Item = &'a str>) -> Option<Protocol> {
    let mut asked = asked.flat_map(|list| list.split(',')).map(str::trim).peekable();
    if asked.peek().is_none() {
        return PROTOCOLS.last().copied();
    }
    asked.find_map(|name| PROTOCOLS.iter().find(|protocol| protocol.name == name).copied())
}

/// The streams of one command.
#[derive(Default)]
struct Streams {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    error: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    /// Where a stream of this type goes; none for types that nobody knows.
    fn place(&mut self, kind: &str) -> Option<&mut Option<Stream>> {
        match kind {
            "stdin" => Some(&mut self.stdin),
            "stdout" => Some(&mut self.stdout),
            "stderr" => Some(&mut self.stderr),
            "error" => Some(&mut self.error),
            "resize" => Some(&mut self.resize),
            _ => None,
        }
    }

    fn complete(&self, wanted: Wanted, protocol: Protocol) -> bool {
        let has = |wanted: bool, stream: &Option<Stream>| !wanted || stream.is_some();
        has(wanted.stdin, &self.stdin)
            && has(wanted.stdout, &self.stdout)
            && has(wanted.stderr && !wanted.tty, &self.stderr)
            && has(true, &self.error)
            && has(wanted.tty && protocol.resizes, &self.resize)
    }
}

/// Speaks with the client until the command's end is told or the client has gone.
///
/// # Errors
/// When the connection breaks or the client does not keep to the protocol.
pub async fn serve<T>(
    io: T,
    protocol: Protocol,
    wanted: Wanted,
    wire: Wire,
) -> Result<(), SpdyError>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (connection, driver) = spdy::connect(io)?;
    tokio::pin!(driver);
    let work = command(connection, protocol, wanted, wire);
    tokio::select! {
        done = work => done?,
        // The client has gone: dropping the work ends its session.
        ended = &mut driver => return ended,
    }
    // What was sent last must not be cut off by closing while the client still talks.
    let _ = tokio::time::timeout(STREAM_LINGER, driver).await;
    Ok(())
}

async fn command(
    mut connection: Connection,
    protocol: Protocol,
    wanted: Wanted,
    wire: Wire,
) -> Result<(), SpdyError> {
    let collected = collect(&mut connection, protocol, wanted);
    let streams = tokio::time::timeout(STREAMS_WAIT, collected)
        .await
        .map_err(|_| SpdyError::Protocol("timed out waiting for client to create streams"))??;
    let Wire { stdin, resize, out } = wire;
    let stdin_from = streams.stdin.map(|stream| stream.split().0);
    let resize_from = streams.resize.map(|stream| stream.split().0);
    let inputs = async {
        tokio::join!(forward(stdin_from, stdin), resizes(resize_from, resize));
        std::future::pending::<()>().await;
    };
    let sender = |stream: Option<Stream>| stream.map(|stream| stream.split().1);
    let to = [sender(streams.stdout), sender(streams.stderr), sender(streams.error)];
    tokio::select! {
        done = outputs(to, protocol, out) => done,
        () = inputs => Ok(()),
    }
}

async fn collect(
    connection: &mut Connection,
    protocol: Protocol,
    wanted: Wanted,
) -> Result<Streams, SpdyError> {
    let mut streams = Streams::default();
    while !streams.complete(wanted, protocol) {
        let stream =
            connection.accept().await.ok_or(SpdyError::Protocol("the client went away"))?;
        let kind = stream.headers.get("streamtype").to_owned();
        match streams.place(&kind) {
            Some(place @ None) => {
                stream.reply().await?;
                *place = Some(stream);
            }
            _ => stream.refuse().await?,
        }
    }
    Ok(streams)
}

async fn forward(from: Option<mpsc::Receiver<Bytes>>, to: Option<mpsc::Sender<Bytes>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    while let Some(bytes) = from.recv().await {
        if to.send(bytes).await.is_err() {
            return;
        }
    }
}

async fn resizes(from: Option<mpsc::Receiver<Bytes>>, to: mpsc::Sender<TerminalSize>) {
    let Some(mut from) = from else { return };
    while let Some(bytes) = from.recv().await {
        if let Some(size) = terminal_size(&bytes)
            && to.send(size).await.is_err()
        {
            return;
        }
    }
}

async fn outputs(
    to: [Option<Sender>; 3],
    protocol: Protocol,
    mut out: mpsc::Receiver<Output>,
) -> Result<(), SpdyError> {
    let [stdout, stderr, error] = to;
    while let Some(output) = out.recv().await {
        match (output, &stdout, &stderr, &error) {
            (Output::Stdout(bytes), Some(to), _, _) => to.send(bytes).await?,
            (Output::Stderr(bytes), _, Some(to), _) => to.send(bytes).await?,
            (Output::End(outcome), _, _, Some(to)) => {
                let bytes = match protocol.structured {
                    true => outcome.status().encode(),
                    false => outcome.text().into_bytes(),
                };
                if !bytes.is_empty() {
                    to.send(bytes.into()).await?;
                }
            }
            _ => {}
        }
    }
    for stream in [stdout, stderr, error].into_iter().flatten() {
        stream.finish().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_protocol_is_taken() {
        let name = |asked: &[&str]| negotiate(asked.iter().copied()).map(|p| p.name);
        assert_eq!(name(&["v4.channel.k8s.io", "v3.channel.k8s.io"]), Some("v4.channel.k8s.io"));
        assert_eq!(name(&["v9.channel.k8s.io,v2.channel.k8s.io"]), Some("v2.channel.k8s.io"));
        assert_eq!(name(&[]), Some("channel.k8s.io"));
        assert_eq!(name(&["chat"]), None);
    }
}
