//! Remote commands over WebSocket: one channel number before each message.
//!
//! `v5.channel.k8s.io` is what clients since 1.31 ask for: it can close a channel by a message on
//! channel 255. The older versions differ in the form of the error; `base64` ones send text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Output, Wanted, Wire, terminal_size};
use crate::limits::{STREAM_CHUNK_BYTES_MAX, STREAM_LINGER, WEBSOCKET_MESSAGE_BYTES_MAX};
use crate::runtime::TerminalSize;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// One version of the channel protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, empty where the client asked for none.
    pub name: &'static str,
    base64: bool,
    /// Errors are `Status` objects.
    structured: bool,
    /// Channels can be closed one by one.
    closes: bool,
}

const fn protocol(name: &'static str, base64: bool, structured: bool, closes: bool) -> Protocol {
    Protocol { name, base64, structured, closes }
}

const PROTOCOLS: [Protocol; 9] = [
    protocol("v5.channel.k8s.io", false, true, true),
    protocol("v4.channel.k8s.io", false, true, false),
    protocol("v4.base64.channel.k8s.io", true, true, false),
    protocol("v3.channel.k8s.io", false, false, false),
    protocol("v2.channel.k8s.io", false, false, false),
    protocol("channel.k8s.io", false, false, false),
    protocol("binary.channel.k8s.io", false, false, false),
    protocol("base64.channel.k8s.io", true, false, false),
    protocol("", false, false, false),
];

/// Chooses the first protocol of a client's list (`Sec-WebSocket-Protocol`) that is spoken here.
pub fn negotiate(asked: &str) -> Option<Protocol> {
    let known = |name: &str| PROTOCOLS.iter().find(|protocol| protocol.name == name).copied();
    asked.split(',').map(str::trim).find_map(known)
}

/// How messages are read and written in general.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * (STREAM_CHUNK_BYTES_MAX * 2))
        .max_message_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
}

/// Speaks with the client until the command's end is told or the client has gone.
///
/// # Errors
/// When the connection breaks or the client does not keep to the protocol.
pub async fn serve<T>(
    io: T,
    protocol: Protocol,
    wanted: Wanted,
    mut wire: Wire,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
    let (mut to, mut from) = socket.split();
    // Old clients take the first message for the sign that the command runs.
    let first = match wanted {
        Wanted { stdout: true, .. } => STDOUT,
        Wanted { stderr: true, tty: false, .. } => STDERR,
        _ => ERROR,
    };
    to.send(encode(protocol, first, &[])).await?;
    // Input that the process has not taken yet. Until it has, the client is not listened to; its
    // output must flow nevertheless, or a process that waits for its reader waits for ever.
    let mut waiting: Option<Input> = None;
    loop {
        tokio::select! {
            output = wire.out.recv() => {
                let last = matches!(output, Some(Output::End(_)) | None);
                if let Some(output) = output {
                    for message in messages(protocol, output) {
                        to.send(message).await?;
                    }
                }
                if last {
                    break;
                }
            }
            () = hand_on(&mut wire.stdin, &wire.resize, &mut waiting), if waiting.is_some() => {}
            message = from.next(), if waiting.is_none() => match message {
                // The client is gone, or wishes to be: so is its session.
                None | Some(Ok(Message::Close(_))) => return Ok(()),
                Some(message) => waiting = Input::of(protocol, message?),
            },
        }
    }
    let reason = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    to.send(Message::Close(Some(reason))).await?;
    // The close is complete when the client has answered it.
    let answered = async { while from.next().await.is_some_and(|message| message.is_ok()) {} };
    let _ = tokio::time::timeout(STREAM_LINGER, answered).await;
    Ok(())
}

/// What an output is on the wire.
fn messages(protocol: Protocol, output: Output) -> Vec<Message> {
    match output {
        Output::Stdout(bytes) => vec![encode(protocol, STDOUT, &bytes)],
        Output::Stderr(bytes) => vec![encode(protocol, STDERR, &bytes)],
        Output::End(outcome) if protocol.structured => {
            vec![encode(protocol, ERROR, &outcome.status().encode())]
        }
        Output::End(outcome) => match outcome.text() {
            text if text.is_empty() => Vec::new(),
            text => vec![encode(protocol, ERROR, text.as_bytes())],
        },
    }
}

fn encode(protocol: Protocol, channel: u8, bytes: &[u8]) -> Message {
    if protocol.base64 {
        // The channel is a digit, so that the whole is text.
        let digit = char::from(b'0' + channel);
        return Message::text(format!("{digit}{}", STANDARD.encode(bytes)));
    }
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.put_slice(bytes);
    Message::binary(message.freeze())
}

/// A message's channel and bytes.
fn decode(protocol: Protocol, message: Message) -> Option<(u8, Bytes)> {
    let bytes: Bytes = match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => text.into(),
        _ => return None,
    };
    let (first, rest) = bytes.split_first()?;
    if protocol.base64 {
        let decoded = STANDARD.decode(rest).ok()?;
        return Some((first.checked_sub(b'0')?, decoded.into()));
    }
    Some((*first, bytes.slice(1..)))
}

/// What a client sends to a process.
enum Input {
    Stdin(Bytes),
    /// Standard input ends.
    Close,
    Resize(TerminalSize),
}

impl Input {
    /// What a message means; none where it means nothing.
    fn of(protocol: Protocol, message: Message) -> Option<Self> {
        match decode(protocol, message)? {
            (STDIN, bytes) if !bytes.is_empty() => Some(Self::Stdin(bytes)),
            (RESIZE, bytes) => terminal_size(&bytes).map(Self::Resize),
            (CLOSE, bytes) if protocol.closes && bytes.first() == Some(&STDIN) => Some(Self::Close),
            _ => None,
        }
    }
}

/// Gives the process what waits for it; when dropped before its end, it still waits.
async fn hand_on(
    stdin: &mut Option<mpsc::Sender<Bytes>>,
    resize: &mpsc::Sender<TerminalSize>,
    waiting: &mut Option<Input>,
) {
    let taken = match (&*waiting, &*stdin) {
        (Some(Input::Stdin(bytes)), Some(to)) => to.send(bytes.clone()).await.is_ok(),
        (Some(Input::Resize(size)), _) => {
            // An error means that there is no terminal.
            let _ = resize.send(*size).await;
            true
        }
        (Some(Input::Close), _) => false,
        (Some(Input::Stdin(_)), None) | (None, _) => true,
    };
    if !taken {
        *stdin = None;
    }
    *waiting = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::stream::{Outcome, session};

    #[test]
    fn the_first_known_protocol_is_taken() {
        let name = |asked| negotiate(asked).map(|protocol| protocol.name);
        assert_eq!(name("v5.channel.k8s.io, v4.channel.k8s.io"), Some("v5.channel.k8s.io"));
        assert_eq!(name("v9.channel.k8s.io,channel.k8s.io"), Some("channel.k8s.io"));
        assert_eq!(name(""), Some(""));
        assert_eq!(name("chat"), None);
    }

    struct Client(WebSocketStream<tokio::io::DuplexStream>);

    impl Client {
        async fn bytes(&mut self) -> Vec<u8> {
            match self.0.next().await.unwrap().unwrap() {
                Message::Close(frame) => {
                    format!("close {}", u16::from(frame.unwrap().code)).into_bytes()
                }
                message => message.into_data().to_vec(),
            }
        }
    }

    async fn start(name: &str) -> (Client, crate::node::stream::Session) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (session, wire) = session();
        let wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
        tokio::spawn(serve(near, negotiate(name).unwrap(), wanted, wire));
        (Client(WebSocketStream::from_raw_socket(far, Role::Client, None).await), session)
    }

    #[tokio::test]
    async fn version_5_closes_halfway_and_ends_with_code_1000() {
        let (mut client, mut session) = start("v5.channel.k8s.io").await;
        assert_eq!(client.bytes().await, [STDOUT]);
        client.0.send(Message::binary(vec![STDIN, b'h', b'i'])).await.unwrap();
        assert_eq!(session.stdin.recv().await.unwrap(), "hi");
        let size = Bytes::from_static(b"\x04{\"Width\":9,\"Height\":7}");
        client.0.send(Message::binary(size)).await.unwrap();
        assert_eq!(session.resize.recv().await.unwrap().width, 9);
        client.0.send(Message::binary(vec![CLOSE, STDIN])).await.unwrap();
        assert_eq!(session.stdin.recv().await, None);
        session.out.send(Output::Stderr(Bytes::from_static(b"err"))).await.unwrap();
        assert_eq!(client.bytes().await, [STDERR, b'e', b'r', b'r']);
        session.out.send(Output::End(Outcome::Exit(5))).await.unwrap();
        let status = client.bytes().await;
        assert_eq!(status[0], ERROR);
        assert!(String::from_utf8_lossy(&status[1..]).contains("NonZeroExitCode"));
        assert_eq!(client.bytes().await, b"close 1000");
    }

    #[tokio::test]
    async fn output_flows_while_input_waits() {
        let (mut client, session) = start("v5.channel.k8s.io").await;
        assert_eq!(client.bytes().await, [STDOUT]);
        // More than fits between here and a process that does not read.
        for _ in 0..=session.stdin.max_capacity() {
            client.0.send(Message::binary(vec![STDIN, b'x'])).await.unwrap();
        }
        while session.stdin.len() < session.stdin.max_capacity() {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            session.out.send(Output::Stdout(Bytes::from_static(b"y"))).await.unwrap();
            assert_eq!(client.bytes().await, [STDOUT, b'y']);
        }
    }

    #[tokio::test]
    async fn base64_is_text() {
        let (mut client, mut session) = start("base64.channel.k8s.io").await;
        assert_eq!(client.bytes().await, b"1");
        client.0.send(Message::text("0aGk=")).await.unwrap();
        assert_eq!(session.stdin.recv().await.unwrap(), "hi");
        session.out.send(Output::Stdout(Bytes::from_static(b"hi"))).await.unwrap();
        assert_eq!(client.bytes().await, b"1aGk=");
        session.out.send(Output::End(Outcome::Exit(2))).await.unwrap();
        let text = STANDARD.decode(&client.bytes().await[1..]).unwrap();
        assert!(String::from_utf8(text).unwrap().ends_with("exit status 2"));
        assert_eq!(client.bytes().await, b"close 1000");
    }

    #[tokio::test]
    async fn a_client_that_closes_ends_its_session() {
        let (mut client, session) = start("v4.channel.k8s.io").await;
        client.0.close(None).await.unwrap();
        session.out.closed().await;
    }
}
