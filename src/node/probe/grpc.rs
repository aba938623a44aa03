//! One question of the gRPC health protocol (`grpc.health.v1.Health/Check`), over plain HTTP/2.
//!
//! Question and answer are two tiny messages, so they are written by hand.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Answer, dial_error, join};
use crate::limits::PROBE_BODY_BYTES_MAX;

/// The answer's one state in which all is well.
const SERVING: u64 = 1;

/// The names of gRPC's statuses, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Asks whether `service` (empty for the server as a whole) is serving.
pub async fn probe(host: &str, port: u16, service: &str, timeout: Duration) -> Answer {
    let address = join(host, port);
    match tokio::time::timeout(timeout, ask(&address, service)).await {
        Ok(Ok(SERVING)) => Answer::Success,
        Ok(Ok(state)) => {
            Answer::Failure(format!("service unhealthy (responded with {:?})", name(state)))
        }
        Ok(Err(why)) => Answer::Failure(why),
        Err(_) => Answer::Failure(format!(
            "timeout: failed to connect service {address:?} within {}s: context deadline exceeded",
            timeout.as_secs()
        )),
    }
}

const fn name(state: u64) -> &'static str {
    match state {
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "?",
    }
}

async fn ask(address: &str, service: &str) -> Result<u64, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| dial_error(address, &error))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string())?;
    let work = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, PROBE_BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let code = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
        match code.and_then(|code| code.to_str().ok()) {
            None | Some("0") => answer(&body.to_bytes()),
            Some(code) => {
                let told =
                    trailers.get("grpc-message").or_else(|| head.headers.get("grpc-message"));
                Err(refused(code, told.and_then(|text| text.to_str().ok()).unwrap_or_default()))
            }
        }
    };
    tokio::pin!(connection);
    tokio::select! {
        answer = work => answer,
        ended = &mut connection => Err(match ended {
            Ok(()) => "EOF".to_owned(),
            Err(error) => error.to_string(),
        }),
    }
}

/// What a status other than OK is told as.
fn refused(code: &str, message: &str) -> String {
    if code == "12" {
        return format!(
            "error: this server does not implement the grpc health protocol \
             (grpc.health.v1.Health): {message}"
        );
    }
    let name = code.parse().ok().and_then(|code: usize| CODES.get(code));
    let name = name.map_or_else(|| format!("Code({code})"), |name| (*name).to_owned());
    format!("error: health rpc probe failed: rpc error: code = {name} desc = {message}")
}

/// `HealthCheckRequest{service}` as one gRPC message.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).unwrap_or(0));
}

/// The state in a `HealthCheckResponse`, which has nothing but field 1; an empty one is 0.
fn answer(framed: &[u8]) -> Result<u64, String> {
    let message = framed.get(5..).ok_or("the answer is cut short")?;
    match message {
        [] => Ok(0),
        [0x08, state, ..] if *state < 0x80 => Ok(u64::from(*state)),
        _ => Err("the answer is not a HealthCheckResponse".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_protocol_has_them() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(answer(&[0, 0, 0, 0, 2, 8, 1]), Ok(SERVING));
        assert_eq!(answer(&[0, 0, 0, 0, 0]), Ok(0));
        assert!(answer(&[0]).is_err());
    }

    #[test]
    fn refusals_are_told_by_name() {
        assert!(
            refused("12", "unknown service").ends_with("(grpc.health.v1.Health): unknown service")
        );
        let failed = "error: health rpc probe failed: rpc error: code =";
        assert_eq!(refused("5", "no such"), format!("{failed} NotFound desc = no such"));
        assert_eq!(refused("99", ""), format!("{failed} Code(99) desc = "));
    }

    async fn serve(listener: tokio::net::TcpListener, state: u8) {
        let (stream, _) = listener.accept().await.unwrap();
        let service =
            hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, state]))
                    .with_trailers(async move { Some(Ok(trailers)) });
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    #[tokio::test]
    async fn asks_a_server() {
        for (state, expected) in [
            (1, Answer::Success),
            (2, Answer::Failure("service unhealthy (responded with \"NOT_SERVING\")".into())),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(serve(listener, state));
            assert_eq!(probe("127.0.0.1", port, "s", Duration::from_secs(5)).await, expected);
            server.abort();
        }
    }
}
