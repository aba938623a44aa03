//! One HTTP GET, as kubelet's probes and hooks make it.
//!
//! Redirects on the same host are followed; one that leads elsewhere counts as success. Of HTTPS
//! the certificate is not checked: a container's own is rarely signed by anyone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Answer, dial_error, join, port};
use crate::limits::PROBE_BODY_BYTES_MAX;
use crate::pki::tls;

/// How many redirects are followed, as kubelet does.
const REDIRECTS_MAX: usize = 10;

/// Where to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    tls: bool,
    host: String,
    port: u16,
    /// Path and query.
    path: String,
    headers: HeaderMap,
}

impl Target {
    /// What an action of `container` asks; `pod_ip` is asked where the action names no host.
    ///
    /// # Errors
    /// When the port, path or a header makes no sense.
    pub fn new(
        action: &HTTPGetAction,
        container: &Container,
        pod_ip: &str,
    ) -> Result<Self, String> {
        let port = port(container, &action.port)
            .ok_or_else(|| format!("couldn't find port: {:?}", action.port))?;
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
        let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self {
            tls: action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")),
            host: host.to_owned(),
            port,
            path,
            headers: headers(action)?,
        })
    }

    /// The address as messages show it.
    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", join(&self.host, self.port), self.path)
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        let uri: Uri = self.path.parse().map_err(|e| format!("{}: {e}", self.path))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        if !self.headers.contains_key(HOST) {
            let host = HeaderValue::from_str(&join(&self.host, self.port));
            request.headers_mut().insert(HOST, host.map_err(|e| e.to_string())?);
        }
        Ok(request)
    }

    /// Where a redirect leads; none when it leads to another host.
    fn redirected(&self, location: &str) -> Result<Option<Self>, String> {
        let uri: Uri = location.parse().map_err(|e| format!("{location:?}: {e}"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut next = self.clone();
        next.path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.path.rsplit_once('/').map_or("", |(dir, _)| dir)),
        };
        let Some(host) = uri.host() else { return Ok(Some(next)) };
        next.tls = uri.scheme_str() == Some("https");
        next.port = uri.port_u16().unwrap_or(if next.tls { 443 } else { 80 });
        let host = host.trim_matches(['[', ']']);
        Ok((host == self.host).then_some(next))
    }
}

fn headers(action: &HTTPGetAction) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in action.http_headers.iter().flatten() {
        let name: HeaderName = header.name.parse().map_err(|_| bad_header(&header.name))?;
        let value: HeaderValue = header.value.parse().map_err(|_| bad_header(&header.name))?;
        headers.append(name, value);
    }
    // An empty value is how a probe asks not to send one of these.
    for (name, default) in [(USER_AGENT, "kube-probe/1.37"), (ACCEPT, "*/*")] {
        match headers.get(&name) {
            None => drop(headers.insert(name, HeaderValue::from_static(default))),
            Some(value) if value.is_empty() => drop(headers.remove(name)),
            Some(_) => {}
        }
    }
    Ok(headers)
}

fn bad_header(name: &str) -> String {
    format!("invalid header {name:?}")
}

/// What came back.
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// Where a redirect to another host leads.
    pub elsewhere: Option<String>,
}

/// Asks once, redirects followed.
///
/// # Errors
/// What went wrong, in kubelet's words.
pub async fn get(target: &Target, timeout: Duration) -> Result<Reply, String> {
    let slow = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    match tokio::time::timeout(timeout, follow(target)).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(format!("Get {:?}: {error}", target.url())),
        Err(_) => Err(format!("Get {:?}: {slow}", target.url())),
    }
}

/// Asks once; any status from 200 to 399 is well.
pub async fn probe(target: &Target, timeout: Duration) -> Answer {
    match get(target, timeout).await {
        Err(error) => Answer::Failure(error),
        Ok(Reply { elsewhere: Some(url), .. }) => {
            Answer::Warning(format!("Probe terminated redirects, Response body: {url}"))
        }
        Ok(Reply { status, .. }) if (200..400).contains(&status.as_u16()) => Answer::Success,
        Ok(Reply { status, .. }) => {
            Answer::Failure(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
        }
    }
}

async fn follow(target: &Target) -> Result<Reply, String> {
    let mut target = target.clone();
    for _ in 0..REDIRECTS_MAX {
        let (status, location) = ask(&target).await?;
        let Some(location) = location.filter(|_| follows(status)) else {
            return Ok(Reply { status, elsewhere: None });
        };
        match target.redirected(&location)? {
            Some(next) => target = next,
            None => return Ok(Reply { status, elsewhere: Some(location) }),
        }
    }
    Err(format!("stopped after {REDIRECTS_MAX} redirects"))
}

const fn follows(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

async fn ask(target: &Target) -> Result<(StatusCode, Option<String>), String> {
    let address = join(&target.host, target.port);
    let stream =
        TcpStream::connect(&address).await.map_err(|error| dial_error(&address, &error))?;
    // A refused connection leaves a port behind otherwise.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    if target.tls {
        exchange(secure(target, stream).await?, target.request()?).await
    } else {
        exchange(stream, target.request()?).await
    }
}

async fn secure(
    target: &Target,
    stream: TcpStream,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, String> {
    let config = tls::unverified_client(&[b"http/1.1"]).map_err(|error| error.to_string())?;
    // The name that the client asked for decides which certificate is shown.
    let wanted = target.headers.get(HOST).and_then(|host| host.to_str().ok());
    let name = wanted.map_or(&*target.host, |host| host.split(':').next().unwrap_or(host));
    let name = rustls::pki_types::ServerName::try_from(name.to_owned());
    let name = name.map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| error.to_string())
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, Option<String>), String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    let work = async {
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let (head, body) = response.into_parts();
        // Reading a little lets most servers end the connection in peace.
        let _ = Limited::new(body, PROBE_BODY_BYTES_MAX).collect().await;
        let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        Ok((head.status, location.map(str::to_owned)))
    };
    // The connection is driven here and dropped with the answer: nothing outlives the probe.
    tokio::pin!(connection);
    tokio::pin!(work);
    tokio::select! {
        answer = &mut work => answer,
        ended = &mut connection => match ended {
            Ok(()) => work.await,
            Err(error) => Err(broken(&error)),
        },
    }
}

fn broken(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() {
        return "EOF".to_owned();
    }
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with the next text and gives back what was asked.
    async fn server(replies: &'static [&'static str]) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let mut asked = String::new();
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 4096];
                let n = stream.read(&mut buffer).await.unwrap();
                asked += &String::from_utf8_lossy(&buffer[..n]);
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
            asked
        });
        (port, asked)
    }

    fn target(port: u16, extra: &str) -> Target {
        let json = format!(r#"{{"port":{port},"path":"healthz?x=1"{extra}}}"#);
        let action: HTTPGetAction = serde_json::from_str(&json).unwrap();
        Target::new(&action, &Container::default(), "127.0.0.1").unwrap()
    }

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn asks_as_kubelet_does() {
        let (port, asked) = server(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]).await;
        let headers =
            r#","httpHeaders":[{"name":"X-A","value":"b"},{"name":"Host","value":"web"}]"#;
        assert_eq!(probe(&target(port, headers), TIMEOUT).await, Answer::Success);
        let asked = asked.await.unwrap().to_lowercase();
        assert!(asked.starts_with("get /healthz?x=1 http/1.1\r\n"), "{asked}");
        for line in
            ["x-a: b\r\n", "host: web\r\n", "user-agent: kube-probe/1.37\r\n", "accept: */*"]
        {
            assert!(asked.contains(line), "{line}: {asked}");
        }
    }

    #[tokio::test]
    async fn says_what_went_wrong() {
        let (port, _asked) = server(&["HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", ""]).await;
        let failed = Answer::Failure("HTTP probe failed with statuscode: 503".into());
        assert_eq!(probe(&target(port, ""), TIMEOUT).await, failed);
        let eof = format!("Get \"http://127.0.0.1:{port}/healthz?x=1\": EOF");
        assert_eq!(probe(&target(port, ""), TIMEOUT).await, Answer::Failure(eof));
        let Answer::Failure(refused) = probe(&target(port, ""), TIMEOUT).await else { panic!() };
        assert!(refused.ends_with("connect: connection refused"), "{refused}");
    }

    #[tokio::test]
    async fn a_slow_answer_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let Answer::Failure(slow) = probe(&target(port, ""), Duration::from_millis(50)).await
        else {
            panic!()
        };
        assert!(slow.ends_with("(Client.Timeout exceeded while awaiting headers)"), "{slow}");
    }

    #[tokio::test]
    async fn redirects_stay_on_the_host() {
        let (port, asked) = server(&[
            "HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 301 Moved\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0\r\n\r\n",
        ])
        .await;
        let Answer::Warning(told) = probe(&target(port, ""), TIMEOUT).await else { panic!() };
        assert!(told.contains("elsewhere.example"), "{told}");
        assert!(asked.await.unwrap().contains("GET /next HTTP/1.1"));
    }

    #[test]
    fn nonsense_is_refused() {
        let action = r#"{"port":"none"}"#;
        let action: HTTPGetAction = serde_json::from_str(action).unwrap();
        assert!(Target::new(&action, &Container::default(), "x").is_err());
    }
}
