//! One HTTPS GET of a JSON document: the issuer's own words about itself.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::api::tree::Value;
use crate::limits;

/// The document at a URL.
///
/// # Errors
/// When the server cannot be reached or trusted, answers anything but 200, or with no document.
pub(super) async fn json(url: &Uri, tls: &Arc<ClientConfig>) -> Result<Value, String> {
    let asked = tokio::time::timeout(limits::OIDC_FETCH_TIMEOUT, get(url, tls)).await;
    let body = asked.unwrap_or_else(|_| Err("it does not answer in time".to_owned()));
    let body = body.map_err(|e| format!("GET {url}: {e}"))?;
    Value::parse(&body).map_err(|e| format!("GET {url}: the answer is no JSON: {e}"))
}

async fn get(url: &Uri, tls: &Arc<ClientConfig>) -> Result<Bytes, String> {
    let host = url.host().ok_or("the URL has no host")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((bare.as_str(), port)).await.map_err(|e| e.to_string())?;
    let name = ServerName::try_from(bare).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    let stream = stream.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or(host, |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("rk/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        if response.status() != 200 {
            return Err(format!("it answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), limits::OIDC_DOCUMENT_BYTES_MAX);
        body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|e| e.to_string())
    };
    let mut answer = std::pin::pin!(answer);
    // The connection goes with its answer; one that ends first may have brought all of it.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}
