//! The way from the API server to nodes and pods: exec, attach, port-forward, logs, and proxies.
//!
//! Requests are rewritten for the node's server and passed on with their body; a connection that
//! both sides agree to upgrade (WebSocket, SPDY) is joined byte for byte, so the protocols
//! themselves live in the node alone.

mod html;
pub mod links;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::http::Upload;
use crate::api::meta::Meta;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::limits;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to nodes' servers, as a client that they trust.
#[async_trait]
pub trait NodeDialer: Send + Sync {
    /// A connection, ready for HTTP/1.1, to the server of a node.
    ///
    /// # Errors
    /// When the node is not known or does not answer.
    async fn dial(&self, node: &str) -> io::Result<Box<dyn Stream>>;
}

/// A body that is passed on as it comes.
pub type Body = BoxBody<Bytes, io::Error>;

/// What below a pod is served by its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `pods/log`.
    Log,
    /// `pods/exec`.
    Exec,
    /// `pods/attach`.
    Attach,
    /// `pods/portforward`.
    PortForward,
}

impl Service {
    /// The service behind a subresource of pods.
    pub fn of(subresource: &str) -> Option<Self> {
        match subresource {
            "log" => Some(Self::Log),
            "exec" => Some(Self::Exec),
            "attach" => Some(Self::Attach),
            "portforward" => Some(Self::PortForward),
            _ => None,
        }
    }

    /// The name of the service in the node's paths.
    const fn segment(self) -> &'static str {
        match self {
            Self::Log => "containerLogs",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portForward",
        }
    }

    /// What the parameters of the API are called at the node.
    fn rename(self, parameter: &str) -> Option<&str> {
        match (self, parameter) {
            (Self::Log | Self::PortForward, name) => Some(name).filter(|n| *n != "container"),
            (_, "stdin") => Some("input"),
            (_, "stdout") => Some("output"),
            (_, "stderr") => Some("error"),
            (Self::Exec, "command") => Some("command"),
            (_, "tty") => Some("tty"),
            _ => None,
        }
    }
}

/// A pod's node, and path and query of the service there. `query` is the request's, decoded.
///
/// # Errors
/// With upstream's wording, when the pod is nowhere yet or the container cannot be told.
pub fn target(
    pod: &Value,
    service: Service,
    query: &[(String, String)],
) -> Result<(String, String), Status> {
    let node = pod.at(&["spec", "nodeName"]).str();
    if node.is_empty() {
        let message = format!("pod {} does not have a host assigned", pod.name());
        return Err(Status::bad_request(message));
    }
    let mut path = format!("/{}/{}/{}", service.segment(), pod.namespace(), pod.name());
    if service != Service::PortForward {
        let asked = query.iter().find(|(name, _)| name == "container").map(|(_, v)| v.as_str());
        path = format!("{path}/{}", container(pod, asked.unwrap_or_default(), service)?);
    }
    let passed = query.iter().filter_map(|(name, value)| {
        let renamed = service.rename(name)?;
        // Flags are "1" at the node, and left out where they are not set.
        let flag = matches!(renamed, "input" | "output" | "error" | "tty");
        let value = match (flag, value.as_str()) {
            (true, "true" | "1") => "1",
            (true, _) => return None,
            (false, value) => value,
        };
        Some(format!("{renamed}={}", encode(value)))
    });
    let passed: Vec<String> = passed.collect();
    if !passed.is_empty() {
        path = format!("{path}?{}", passed.join("&"));
    }
    Ok((node.to_owned(), path))
}

/// Percent-encodes a query value.
fn encode(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    value
        .bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The container that is meant: the one asked for, or the only one, or the annotated default.
fn container(pod: &Value, asked: &str, service: Service) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        pod.at(&["spec", list]).items().iter().map(|c| c.get("name").str()).collect()
    };
    let (main, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let known = |name: &str| [&main, &init, &ephemeral].iter().any(|list| list.contains(&name));
    if !asked.is_empty() {
        let message = || format!("container {asked} is not valid for pod {}", pod.name());
        return if known(asked) {
            Ok(asked.to_owned())
        } else {
            Err(Status::bad_request(message()))
        };
    }
    let default = pod.annotation("kubectl.kubernetes.io/default-container");
    match (main.as_slice(), default.filter(|name| known(name))) {
        ([only], _) => Ok((*only).to_owned()),
        (_, Some(default)) if service != Service::Attach => Ok(default.to_owned()),
        (several, _) => {
            let mut message = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                pod.name(),
                several.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

/// Passes a request on to a node's server and its answer back. An upgrade joins the connections.
///
/// # Errors
/// 503 when the node does not answer, in the words that clients show.
pub async fn forward(
    dialer: &Arc<dyn NodeDialer>,
    node: &str,
    path: &str,
    request: Request<Upload>,
) -> Result<Response<Body>, Status> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Status::unavailable(format!("error dialing node {node}: {error}"))
    };
    let stream = tokio::time::timeout(limits::NODE_DIAL_TIMEOUT, dialer.dial(node))
        .await
        .map_err(|_| unreachable(&"it does not answer"))?
        .map_err(|error| unreachable(&error))?;
    pass(stream, path, node, request).await.map_err(|error| unreachable(&error))
}

/// Passes a request on over a connection.
///
/// # Errors
/// When the connection breaks before there is an answer.
pub async fn pass(
    stream: Box<dyn Stream>,
    path: &str,
    host: &str,
    mut request: Request<Upload>,
) -> Result<Response<Body>, io::Error> {
    let broken = |error: hyper::Error| io::Error::other(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        // How the connection ends is seen by whoever reads the body or the upgraded stream.
        let _ = connection.with_upgrades().await;
    });
    let upgrades = request.headers().contains_key(header::UPGRADE);
    let client = upgrades.then(|| hyper::upgrade::on(&mut request));
    let onward = rewrite(request, path, host).map_err(io::Error::other)?;
    let mut answer = sender.send_request(onward).await.map_err(broken)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let node = hyper::upgrade::on(&mut answer);
        tokio::spawn(join(client, node));
    }
    Ok(answer.map(|body| body.map_err(|error| io::Error::other(error.to_string())).boxed()))
}

/// The request as the node gets it: another path, and none of the client's credentials.
fn rewrite(
    request: Request<Upload>,
    path: &str,
    host: &str,
) -> Result<Request<Upload>, http::Error> {
    let (mut parts, body) = request.into_parts();
    parts.uri = path.parse::<Uri>()?;
    parts.version = http::Version::HTTP_11;
    strip(&mut parts.headers);
    parts.headers.insert(header::HOST, host.parse()?);
    Ok(Request::from_parts(parts, body))
}

/// Whoever the client is, it must not be that to the node or the pod.
fn strip(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::HOST);
    let impersonation: Vec<_> = headers
        .keys()
        .filter(|name| {
            name.as_str().starts_with("impersonate-") || name.as_str().starts_with("x-remote-")
        })
        .cloned()
        .collect();
    for name in impersonation {
        headers.remove(name);
    }
}

/// Joins two upgraded connections until both are done.
async fn join(client: hyper::upgrade::OnUpgrade, node: hyper::upgrade::OnUpgrade) {
    let (Ok(client), Ok(node)) = tokio::join!(client, node) else { return };
    let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut node).await {
        tracing::debug!(%error, "a stream to a node broke off");
    }
}

/// Where `pods/proxy`, `services/proxy` or `nodes/proxy` lead: scheme, name and port of
/// `[https:]name[:port]`.
///
/// # Errors
/// 400 when the name is not of that form.
pub fn proxy_name(text: &str) -> Result<(&str, &str, &str), Status> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => Ok(("http", name, "")),
        [name, port] => Ok(("http", name, port)),
        [scheme @ ("http" | "https" | ""), name, port] => {
            Ok((if scheme.is_empty() { "http" } else { scheme }, name, port))
        }
        _ => Err(Status::bad_request(format!("invalid proxy target {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: &str) -> Value {
        let text = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n"}},
            "spec":{{"nodeName":"node","containers":{containers}}}}}"#
        );
        Value::parse(text.as_bytes()).unwrap()
    }

    fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn parameters_are_renamed_for_the_node() {
        let asked = query(&[
            ("command", "sh"),
            ("command", "-c"),
            ("command", "a b&c"),
            ("stdin", "true"),
            ("stdout", "true"),
            ("tty", "false"),
            ("container", "app"),
        ]);
        let (node, path) = target(&pod(r#"[{"name":"app"}]"#), Service::Exec, &asked).unwrap();
        assert_eq!(node, "node");
        assert_eq!(path, "/exec/n/p/app?command=sh&command=-c&command=a%20b%26c&input=1&output=1");
        let asked = query(&[("follow", "true"), ("tailLines", "5")]);
        let (_, path) = target(&pod(r#"[{"name":"app"}]"#), Service::Log, &asked).unwrap();
        assert_eq!(path, "/containerLogs/n/p/app?follow=true&tailLines=5");
    }

    #[test]
    fn the_container_must_be_told_where_there_are_several() {
        let two = pod(r#"[{"name":"a"},{"name":"b"}]"#);
        let error = target(&two, Service::Log, &[]).unwrap_err();
        assert_eq!(
            error.message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        let error = target(&two, Service::Log, &query(&[("container", "c")])).unwrap_err();
        assert_eq!(error.message, "container c is not valid for pod p");
    }

    #[test]
    fn a_pod_without_a_node_cannot_be_reached() {
        let mut waiting = pod(r#"[{"name":"a"}]"#);
        waiting.entry("spec").remove("nodeName");
        let error = target(&waiting, Service::Exec, &[]).unwrap_err();
        assert_eq!(error.message, "pod p does not have a host assigned");
    }

    #[test]
    fn proxy_names_have_scheme_and_port() {
        assert_eq!(proxy_name("web").unwrap(), ("http", "web", ""));
        assert_eq!(proxy_name("web:80").unwrap(), ("http", "web", "80"));
        assert_eq!(proxy_name("https:web:443").unwrap(), ("https", "web", "443"));
        assert!(proxy_name("ftp:web:21").is_err());
    }
}
