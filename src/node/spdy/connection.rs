//! One connection: streams as the client opens them, bytes both ways.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::{Mutex, mpsc};

use super::SpdyError;
use super::frame::{Frame, decode, encode};
use super::headers::{Headers, Packer, Unpacker};
use crate::limits::{SPDY_STREAM_FRAMES_MAX, SPDY_STREAMS_MAX};

/// Status codes of a reset.
const REFUSED: u32 = 3;
const CANCEL: u32 = 5;

/// Takes a connection over: the streams come from the first part, the second must be awaited for
/// anything to happen and ends with the connection.
///
/// # Errors
/// Only when compression cannot be set up.
pub fn connect<T: AsyncRead + AsyncWrite + Send + 'static>(
    io: T,
) -> Result<(Connection, impl Future<Output = Result<(), SpdyError>> + Send), SpdyError> {
    let (reader, writer) = tokio::io::split(io);
    let writer: Box<dyn AsyncWrite + Send + Unpin> = Box::new(writer);
    let writer = Arc::new(Mutex::new(Writer { io: writer, packer: Packer::new()? }));
    let (opened, streams) = mpsc::channel(SPDY_STREAMS_MAX);
    let reader = Reader { io: reader, open: HashMap::new(), opened, writer: Arc::clone(&writer) };
    Ok((Connection { streams }, reader.run()))
}

/// The streams that a client opens.
pub struct Connection {
    streams: mpsc::Receiver<Stream>,
}

impl Connection {
    /// The next stream; none once the connection has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }
}

/// Writes whole frames.
struct Writer {
    io: Box<dyn AsyncWrite + Send + Unpin>,
    packer: Packer,
}

impl Writer {
    async fn write(&mut self, frame: &Frame) -> Result<(), SpdyError> {
        let mut head = BytesMut::new();
        let tail = encode(frame, &mut self.packer, &mut head)?;
        self.io.write_all(&head).await?;
        self.io.write_all(&tail).await?;
        Ok(self.io.flush().await?)
    }
}

/// One stream of a connection.
pub struct Stream {
    id: u32,
    /// What the client said when it opened the stream.
    pub headers: Headers,
    received: mpsc::Receiver<Bytes>,
    writer: Arc<Mutex<Writer>>,
}

/// The sending half of a stream.
#[derive(Clone)]
pub struct Sender {
    id: u32,
    writer: Arc<Mutex<Writer>>,
}

impl Stream {
    /// Tells the client that the stream is taken.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn reply(&self) -> Result<(), SpdyError> {
        let frame = Frame::SynReply { id: self.id, headers: Headers::default() };
        self.writer.lock().await.write(&frame).await
    }

    /// Tells the client that the stream is not taken.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn refuse(self) -> Result<(), SpdyError> {
        let frame = Frame::Reset { id: self.id, status: REFUSED };
        self.writer.lock().await.write(&frame).await
    }

    /// The halves of the stream. The receiver ends when the client closes its half.
    pub fn split(self) -> (mpsc::Receiver<Bytes>, Sender) {
        (self.received, Sender { id: self.id, writer: self.writer })
    }
}

impl Sender {
    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send(&self, bytes: Bytes) -> Result<(), SpdyError> {
        self.frame(Frame::Data { id: self.id, fin: false, bytes }).await
    }

    /// Closes this half of the stream.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn finish(&self) -> Result<(), SpdyError> {
        self.frame(Frame::Data { id: self.id, fin: true, bytes: Bytes::new() }).await
    }

    /// Breaks the stream off.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn reset(&self) -> Result<(), SpdyError> {
        self.frame(Frame::Reset { id: self.id, status: CANCEL }).await
    }

    async fn frame(&self, frame: Frame) -> Result<(), SpdyError> {
        self.writer.lock().await.write(&frame).await
    }
}

struct Reader<T> {
    io: ReadHalf<T>,
    /// Where the bytes of open streams go.
    open: HashMap<u32, mpsc::Sender<Bytes>>,
    opened: mpsc::Sender<Stream>,
    writer: Arc<Mutex<Writer>>,
}

impl<T: AsyncRead + AsyncWrite + Send + 'static> Reader<T> {
    async fn run(mut self) -> Result<(), SpdyError> {
        let mut unpacker = Unpacker::new();
        let mut buffer = BytesMut::with_capacity(32 << 10);
        loop {
            while let Some(frame) = decode(&mut buffer, &mut unpacker)? {
                self.handle(frame).await?;
            }
            if self.io.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), SpdyError> {
        match frame {
            Frame::SynStream { id, fin, headers } => self.open(id, fin, headers).await?,
            Frame::Data { id, fin, bytes } => self.data(id, fin, bytes).await,
            Frame::Reset { id, .. } => drop(self.open.remove(&id)),
            // An even number would be an answer to a ping of ours: there are none.
            Frame::Ping(id) if id % 2 == 1 => {
                self.writer.lock().await.write(&Frame::Ping(id)).await?;
            }
            Frame::Ping(_) | Frame::SynReply { .. } | Frame::GoAway { .. } | Frame::Other => {}
        }
        Ok(())
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) -> Result<(), SpdyError> {
        if id.is_multiple_of(2) || self.open.contains_key(&id) {
            return Err(SpdyError::Protocol("a client's streams have odd, fresh numbers"));
        }
        // Streams that nobody reads any more do not count.
        self.open.retain(|_, sender| !sender.is_closed());
        if self.open.len() >= SPDY_STREAMS_MAX {
            let refused = Frame::Reset { id, status: REFUSED };
            return self.writer.lock().await.write(&refused).await;
        }
        let (sender, received) = mpsc::channel(SPDY_STREAM_FRAMES_MAX);
        if !fin {
            self.open.insert(id, sender);
        }
        let stream = Stream { id, headers, received, writer: Arc::clone(&self.writer) };
        // Nobody accepts any more: the session is over and the connection about to be dropped.
        let _ = self.opened.send(stream).await;
        Ok(())
    }

    async fn data(&mut self, id: u32, fin: bool, bytes: Bytes) {
        let Some(sender) = self.open.get(&id) else { return };
        let gone = !bytes.is_empty() && sender.send(bytes).await.is_err();
        if fin || gone {
            self.open.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    /// A client made of the same codec.
    struct Client {
        io: DuplexStream,
        packer: Packer,
        unpacker: Unpacker,
        buffer: BytesMut,
    }

    impl Client {
        async fn send(&mut self, frame: Frame) {
            let mut out = BytesMut::new();
            let tail = encode(&frame, &mut self.packer, &mut out).unwrap();
            self.io.write_all(&out).await.unwrap();
            self.io.write_all(&tail).await.unwrap();
        }

        async fn receive(&mut self) -> Frame {
            loop {
                if let Some(frame) = decode(&mut self.buffer, &mut self.unpacker).unwrap() {
                    return frame;
                }
                assert!(self.io.read_buf(&mut self.buffer).await.unwrap() > 0, "closed");
            }
        }
    }

    fn pair() -> (Client, Connection, tokio::task::JoinHandle<Result<(), SpdyError>>) {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (connection, driver) = connect(server).unwrap();
        let client = Client {
            io: client,
            packer: Packer::new().unwrap(),
            unpacker: Unpacker::new(),
            buffer: BytesMut::new(),
        };
        (client, connection, tokio::spawn(driver))
    }

    fn data(id: u32, fin: bool, bytes: &'static [u8]) -> Frame {
        Frame::Data { id, fin, bytes: Bytes::from_static(bytes) }
    }

    #[tokio::test]
    async fn streams_carry_bytes_both_ways_and_close_halfway() {
        let (mut client, mut connection, driver) = pair();
        let headers = Headers::new(&[("streamtype", "stdin")]);
        client.send(Frame::SynStream { id: 1, fin: false, headers }).await;
        let stream = connection.accept().await.unwrap();
        assert_eq!(stream.headers.get("streamType"), "stdin");
        stream.reply().await.unwrap();
        assert!(matches!(client.receive().await, Frame::SynReply { id: 1, .. }));
        let (mut received, sender) = stream.split();
        client.send(data(1, false, b"in")).await;
        client.send(data(1, true, b"last")).await;
        assert_eq!(received.recv().await.unwrap(), "in");
        assert_eq!(received.recv().await.unwrap(), "last");
        assert_eq!(received.recv().await, None);
        sender.send(Bytes::from_static(b"out")).await.unwrap();
        sender.finish().await.unwrap();
        assert_eq!(client.receive().await, data(1, false, b"out"));
        assert_eq!(client.receive().await, data(1, true, b""));
        client.send(Frame::Ping(3)).await;
        assert_eq!(client.receive().await, Frame::Ping(3));
        drop(client);
        assert!(driver.await.unwrap().is_ok());
        assert!(connection.accept().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_does_not_block_the_connection() {
        let (mut client, mut connection, _driver) = pair();
        for id in [1, 3] {
            client.send(Frame::SynStream { id, fin: false, headers: Headers::default() }).await;
        }
        drop(connection.accept().await.unwrap());
        let (mut received, _sender) = connection.accept().await.unwrap().split();
        for _ in 0..SPDY_STREAM_FRAMES_MAX * 2 {
            client.send(data(1, false, b"lost")).await;
        }
        client.send(data(3, false, b"heard")).await;
        assert_eq!(received.recv().await.unwrap(), "heard");
    }

    #[tokio::test]
    async fn a_broken_peer_ends_its_connection() {
        let (mut client, mut connection, driver) = pair();
        client.send(Frame::SynStream { id: 2, fin: false, headers: Headers::default() }).await;
        assert!(matches!(driver.await.unwrap(), Err(SpdyError::Protocol(_))));
        assert!(connection.accept().await.is_none());
    }

    #[tokio::test]
    async fn too_many_streams_are_refused() {
        let (mut client, _connection, _driver) = pair();
        for i in 0..=u32::try_from(SPDY_STREAMS_MAX).unwrap() {
            let id = 2 * i + 1;
            client.send(Frame::SynStream { id, fin: false, headers: Headers::default() }).await;
        }
        let last = u32::try_from(SPDY_STREAMS_MAX).unwrap() * 2 + 1;
        assert_eq!(client.receive().await, Frame::Reset { id: last, status: REFUSED });
    }
}
