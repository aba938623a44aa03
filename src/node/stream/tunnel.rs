//! A byte stream inside WebSocket messages: how newer clients send SPDY for port-forward.

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::limits::{STREAM_CHUNK_BYTES_MAX, STREAM_LINGER};

/// Unpacks a WebSocket into the byte stream that its messages carry; the second part must be
/// awaited and ends with either side.
pub fn unpack<T>(io: T) -> (DuplexStream, impl Future<Output = Result<(), Error>> + Send)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (near, far) = tokio::io::duplex(STREAM_CHUNK_BYTES_MAX);
    (near, carry(io, far))
}

async fn carry<T>(io: T, far: DuplexStream) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = super::websocket::config();
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (mut to, mut from) = socket.split();
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let inward = async {
        while let Some(message) = from.next().await {
            match message? {
                Message::Binary(bytes) => far_write.write_all(&bytes).await.map_err(Error::Io)?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        far_write.shutdown().await.map_err(Error::Io)
    };
    let outward = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(STREAM_CHUNK_BYTES_MAX);
            if far_read.read_buf(&mut buffer).await.map_err(Error::Io)? == 0 {
                break;
            }
            to.send(Message::binary(buffer.split().freeze())).await?;
        }
        let reason = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        to.send(Message::Close(Some(reason))).await
    };
    tokio::pin!(inward);
    tokio::select! {
        ended = &mut inward => ended,
        ended = outward => {
            ended?;
            let _ = tokio::time::timeout(STREAM_LINGER, inward).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_in_any_pieces() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut stream, carry) = unpack(near);
        tokio::spawn(carry);
        let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        client.send(Message::binary(&b"hel"[..])).await.unwrap();
        client.send(Message::binary(&b"lo"[..])).await.unwrap();
        let mut got = [0; 5];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
        stream.write_all(b"back").await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap().into_data(), &b"back"[..]);
        drop(stream);
        let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!() };
        assert_eq!(frame.code, CloseCode::Normal);
    }
}
