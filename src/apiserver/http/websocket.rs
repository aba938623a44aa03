//! Answers as messages: a watch, or a log, that a client asks for over WebSocket (RFC 6455), as
//! browsers must.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Body, Upload};
use crate::auth::WEBSOCKET_BEARER;
use crate::limits;

/// The headers of an upgrade: what is passed on must not ask for another.
const HEADERS: [HeaderName; 7] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_ACCEPT,
];

/// What is sent as a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each line, as text: a watch.
    Lines,
    /// Bytes as they come: a log.
    Bytes,
    /// The same in base64, as text.
    Base64,
}

/// A connection that its client wants to be a WebSocket.
pub struct Socket {
    upgrade: OnUpgrade,
    key: String,
    /// The subprotocol that is spoken, where the client asked for any.
    protocol: Option<String>,
    form: Form,
}

impl Socket {
    /// What a request asks for, if it is a WebSocket that is to carry lines; the request is then
    /// one without it.
    pub fn of_lines(request: &mut Request<Upload>) -> Option<Self> {
        Self::of(request, |_| Form::Lines)
    }

    /// The same for bytes as they come, in the form that the subprotocol says.
    pub fn of_bytes(request: &mut Request<Upload>) -> Option<Self> {
        Self::of(request, |protocol| match protocol {
            Some("base64.binary.k8s.io") => Form::Base64,
            _ => Form::Bytes,
        })
    }

    fn of(request: &mut Request<Upload>, form: fn(Option<&str>) -> Form) -> Option<Self> {
        let headers = request.headers();
        let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
        if !upgrade.eq_ignore_ascii_case("websocket") {
            return None;
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?.to_owned();
        let protocol = protocol(headers);
        let upgrade = hyper::upgrade::on(&mut *request);
        for name in HEADERS {
            request.headers_mut().remove(name);
        }
        let form = form(protocol.as_deref());
        Some(Self { upgrade, key, protocol, form })
    }

    /// Makes an answer the messages of the socket; one that is no success stays as it is.
    pub fn carry(self, response: Response<Body>) -> Response<Body> {
        if !response.status().is_success() {
            return response;
        }
        let Ok(accept) = HeaderValue::from_str(&derive_accept_key(self.key.as_bytes())) else {
            return response;
        };
        let protocol = self.protocol.as_deref().and_then(|name| HeaderValue::from_str(name).ok());
        let body = response.into_body();
        tokio::spawn(async move {
            let Ok(io) = self.upgrade.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None);
            if let Err(error) = speak(socket.await, body, self.form).await {
                tracing::debug!(%error, "a WebSocket broke off");
            }
        });
        switching(accept, protocol)
    }
}

/// The first subprotocol that is one, and not a hidden token.
fn protocol(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let names = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let mut names = names.map(str::trim).filter(|name| !name.is_empty());
    names.find(|name| !name.starts_with(WEBSOCKET_BEARER)).map(str::to_owned)
}

fn switching(accept: HeaderValue, protocol: Option<HeaderValue>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// Sends a body as messages until it ends or the client goes.
async fn speak<T>(socket: WebSocketStream<T>, mut body: Body, form: Form) -> Result<(), Error>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut to, mut from) = socket.split();
    let mut rest = BytesMut::new();
    loop {
        tokio::select! {
            frame = body.frame() => {
                let Some(frame) = frame.transpose().map_err(Error::Io)? else { break };
                let Ok(mut rope) = frame.into_data() else { continue };
                let bytes = rope.copy_to_bytes(rope.remaining());
                for message in messages(&mut rest, bytes, form) {
                    to.send(message).await?;
                }
            }
            message = from.next() => match message {
                None | Some(Ok(Message::Close(_))) => return Ok(()),
                Some(message) => drop(message?),
            },
        }
    }
    to.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })))
        .await?;
    // The close is complete when the client has answered it.
    let answered = async { while from.next().await.is_some_and(|message| message.is_ok()) {} };
    let _ = tokio::time::timeout(limits::STREAM_LINGER, answered).await;
    Ok(())
}

/// The messages that some bytes of a body make; of lines, what is not whole yet stays in `rest`.
fn messages(rest: &mut BytesMut, bytes: Bytes, form: Form) -> Vec<Message> {
    match form {
        Form::Bytes => vec![Message::binary(bytes)],
        Form::Base64 => vec![Message::text(STANDARD.encode(bytes))],
        Form::Lines => {
            rest.extend_from_slice(&bytes);
            let mut messages = Vec::new();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.split_to(end + 1);
                messages.push(Message::text(String::from_utf8_lossy(&line).into_owned()));
            }
            messages
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_of_their_own() {
        let mut rest = BytesMut::new();
        let mut said = |bytes: &'static [u8]| -> Vec<String> {
            let messages = messages(&mut rest, Bytes::from_static(bytes), Form::Lines);
            messages.into_iter().map(|message| message.to_string()).collect()
        };
        assert_eq!(said(b"{1}\n{2}\n{3"), ["{1}\n", "{2}\n"]);
        assert_eq!(said(b"}\n"), ["{3}\n"]);
    }

    #[test]
    fn a_hidden_token_is_no_protocol() {
        let mut headers = HeaderMap::new();
        let asked = format!("{WEBSOCKET_BEARER}abc, base64.binary.k8s.io");
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, asked.parse().unwrap());
        assert_eq!(protocol(&headers).as_deref(), Some("base64.binary.k8s.io"));
    }
}
