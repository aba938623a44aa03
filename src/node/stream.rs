//! Streams between a client far away and a process or port of a pod: exec, attach, port-forward.
//!
//! Contract: a [`Process`] is something with inputs, outputs and an end; a [`Session`] is what a
//! client sees of it. [`join`] carries bytes between them. The three ways in which clients speak
//! ([`websocket`], [`remote`] over SPDY, [`forward`]) fill in sessions and never look at processes.
//! Memory per session is bounded; a slow reader holds its process back.

pub mod forward;
pub mod outcome;
pub mod remote;
pub mod tunnel;
pub mod websocket;

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::limits::STREAM_CHUNK_BYTES_MAX;
use crate::runtime::TerminalSize;
pub use outcome::Outcome;

/// Chunks that wait in one direction of a session.
const CHUNKS: usize = 4;
/// How long output of a process that has ended is waited for: what it started may hold the pipe.
const IDLE_AFTER_EXIT: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 2000 });

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// To write to.
    pub stdin: bool,
    /// To read.
    pub stdout: bool,
    /// To read; with a terminal there is none.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// What goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of standard output, or of the terminal.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// How it ended; nothing follows.
    End(Outcome),
}

/// The client's side of a process.
pub struct Session {
    /// What the client writes; ends when it closes its standard input or goes away.
    pub stdin: mpsc::Receiver<Bytes>,
    /// Sizes of the client's terminal.
    pub resize: mpsc::Receiver<TerminalSize>,
    /// What the client reads; closed when it goes away.
    pub out: mpsc::Sender<Output>,
}

/// The other side of a [`Session`]: what a way of speaking fills in and drains.
pub struct Wire {
    /// None once the client has closed its standard input.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// Sizes of the client's terminal.
    pub resize: mpsc::Sender<TerminalSize>,
    /// What the client reads.
    pub out: mpsc::Receiver<Output>,
}

/// A session and its wire.
pub fn session() -> (Session, Wire) {
    let (stdin_to, stdin) = mpsc::channel(CHUNKS);
    let (resize_to, resize) = mpsc::channel(CHUNKS);
    let (out, out_from) = mpsc::channel(CHUNKS);
    let wire = Wire { stdin: Some(stdin_to), resize: resize_to, out: out_from };
    (Session { stdin, resize, out }, wire)
}

/// Reads bytes.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Takes bytes.
pub type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// A process that a client talks to.
pub struct Process {
    /// Its standard input, if it is wanted.
    pub stdin: Option<Sink>,
    /// Its standard output, or its terminal.
    pub stdout: Option<Reader>,
    /// Its standard error.
    pub stderr: Option<Reader>,
    /// Sets its terminal's size; none without a terminal.
    pub resize: Option<Box<dyn FnMut(TerminalSize) + Send>>,
    /// Its end.
    pub end: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// Carries bytes between a process and a client until the process has ended and all is told, or the
/// client has gone.
pub async fn join(process: Process, session: Session) {
    let Session { stdin, resize, out } = session;
    let (ended_to, ended) = tokio::sync::watch::channel(false);
    let outputs = async {
        let stdout = pump(process.stdout, &out, Output::Stdout, ended.clone());
        let stderr = pump(process.stderr, &out, Output::Stderr, ended.clone());
        let end = async {
            let outcome = process.end.await;
            ended_to.send_replace(true);
            outcome
        };
        let (outcome, (), ()) = tokio::join!(end, stdout, stderr);
        // An error means that the client has gone.
        let _ = out.send(Output::End(outcome)).await;
    };
    let inputs = async {
        tokio::join!(feed(stdin, process.stdin), sizes(resize, process.resize));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = outputs => {}
        () = inputs => {}
        () = out.closed() => {}
    }
}

async fn feed(mut from: mpsc::Receiver<Bytes>, to: Option<Sink>) {
    let Some(mut to) = to else { return };
    while let Some(bytes) = from.recv().await {
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    // Dropping it would do for pipes; a socket needs to be told.
    let _ = to.shutdown().await;
}

async fn sizes(
    mut from: mpsc::Receiver<TerminalSize>,
    to: Option<Box<dyn FnMut(TerminalSize) + Send>>,
) {
    let Some(mut to) = to else { return };
    while let Some(size) = from.recv().await {
        to(size);
    }
}

async fn pump(
    from: Option<Reader>,
    out: &mpsc::Sender<Output>,
    wrap: fn(Bytes) -> Output,
    mut ended: tokio::sync::watch::Receiver<bool>,
) {
    let Some(mut from) = from else { return };
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(STREAM_CHUNK_BYTES_MAX);
        let read = read_until_idle(&mut from, &mut buffer, &mut ended).await;
        if read == 0 || out.send(wrap(buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}

/// Reads; gives up when the process has ended and nothing comes for a while.
async fn read_until_idle(
    from: &mut Reader,
    buffer: &mut BytesMut,
    ended: &mut tokio::sync::watch::Receiver<bool>,
) -> usize {
    let idle = async {
        // An error means that the end has come and was not even told.
        let _ = ended.wait_for(|ended| *ended).await;
        tokio::time::sleep(IDLE_AFTER_EXIT).await;
    };
    tokio::select! {
        // A terminal whose other end is closed reads as an error: that is its end of file.
        read = from.read_buf(buffer) => read.unwrap_or(0),
        () = idle => 0,
    }
}

/// A terminal's size as clients send it: `{"Width":80,"Height":24}`.
pub fn terminal_size(json: &[u8]) -> Option<TerminalSize> {
    let value = crate::api::tree::Value::parse(json).ok()?;
    let side = |key| value.get(key).as_int().and_then(|n| u16::try_from(n).ok());
    Some(TerminalSize { width: side("Width")?, height: side("Height")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(end: impl Future<Output = Outcome> + Send + 'static) -> Process {
        Process { stdin: None, stdout: None, stderr: None, resize: None, end: Box::pin(end) }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_comes_last() {
        let (session, mut wire) = session();
        let (near, far) = tokio::io::duplex(64);
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let (near_read, near_write) = tokio::io::split(near);
        // A process that answers in capitals once its input ends.
        let cat = async move {
            let mut input = String::new();
            far_read.read_to_string(&mut input).await.unwrap();
            far_write.write_all(input.to_uppercase().as_bytes()).await.unwrap();
            far_write.shutdown().await.unwrap();
            Outcome::Exit(3)
        };
        let process = Process {
            stdin: Some(Box::new(near_write)),
            stdout: Some(Box::new(near_read)),
            ..process(cat)
        };
        let joined = tokio::spawn(join(process, session));
        let stdin = wire.stdin.take().unwrap();
        stdin.send(Bytes::from_static(b"hel")).await.unwrap();
        stdin.send(Bytes::from_static(b"lo")).await.unwrap();
        drop(stdin);
        assert_eq!(wire.out.recv().await, Some(Output::Stdout(Bytes::from_static(b"HELLO"))));
        assert_eq!(wire.out.recv().await, Some(Output::End(Outcome::Exit(3))));
        assert_eq!(wire.out.recv().await, None);
        joined.await.unwrap();
    }

    #[tokio::test]
    async fn a_pipe_that_somebody_holds_open_does_not_hold_the_client() {
        let (session, mut wire) = session();
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b"last words").await.unwrap();
        let process =
            Process { stdout: Some(Box::new(near)), ..process(async { Outcome::Exit(0) }) };
        tokio::spawn(join(process, session));
        assert_eq!(wire.out.recv().await, Some(Output::Stdout(Bytes::from_static(b"last words"))));
        assert_eq!(wire.out.recv().await, Some(Output::End(Outcome::Exit(0))));
        drop(far);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_session() {
        let (session, wire) = session();
        let joined = tokio::spawn(join(process(std::future::pending()), session));
        drop(wire);
        joined.await.unwrap();
    }

    #[test]
    fn sizes_are_read() {
        let size = terminal_size(br#"{"Width":80,"Height":24}"#).unwrap();
        assert_eq!((size.width, size.height), (80, 24));
        assert!(terminal_size(b"{}").is_none() && terminal_size(b"x").is_none());
    }
}
