//! Streams to nodes, pods and services: what is below an object is passed on to where it runs.

use std::io;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::body::Body;
use super::request::{RequestInfo, ResourcePath};
use super::{Front, Upload};
use crate::api::meta::{GroupResource, Meta};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::apiserver::connect::links::Links;
use crate::apiserver::connect::{self, NodeDialer, Service, Stream};
use crate::apiserver::engine::{Ask, State, as_served};
use crate::limits;
use crate::pki::tls;
use crate::util::id;

/// Where a proxied request goes.
#[derive(Debug, PartialEq)]
struct Endpoint {
    secure: bool,
    address: String,
    port: u16,
}

impl Front {
    /// Passes a stream on.
    pub(super) async fn connect(
        self: &Arc<Self>,
        ask: &Ask,
        info: &RequestInfo,
        path: &ResourcePath,
        request: Request<Upload>,
    ) -> Result<Response<Body>, Status> {
        if ask.subresource == "proxy" && !self.is_own_server(ask)? {
            return self.proxy(ask, path, request).await;
        }
        let (node, onward) = match Service::of(ask.subresource) {
            Some(service) => {
                let object = self.engine.get(ask, State::Newest)?;
                let pod = as_served(&ask.resource, &object)?;
                let query: Vec<(String, String)> =
                    info.query.pairs().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                connect::target(&pod, service, &query)?
            }
            None => {
                let (_, name, _) = connect::proxy_name(&ask.name)?;
                (name.to_owned(), onward(path, &request))
            }
        };
        self.engine.connect(ask).await?;
        if let Some(location) = with_slash(path, &request) {
            return moved(&location);
        }
        let links = links(path, &request, &node);
        let response = connect::forward(self.dialer()?, &node, &onward, request).await?;
        let response = if path.subresource == "proxy" { links.apply(response) } else { response };
        Ok(response.map(Body::Passed))
    }

    /// Whether a proxy leads to a node's own server: where no port is named, or its port.
    fn is_own_server(&self, ask: &Ask) -> Result<bool, Status> {
        if ask.resource.plural != "nodes" {
            return Ok(false);
        }
        let (_, name, port) = connect::proxy_name(&ask.name)?;
        let named = Ask { name: name.to_owned(), ..ask.clone() };
        let node = as_served(&ask.resource, &self.engine.get(&named, State::Newest)?)?;
        let own = node.at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
        Ok(port.is_empty() || own.to_string() == port)
    }

    fn dialer(&self) -> Result<&Arc<dyn NodeDialer>, Status> {
        self.dialer.as_ref().ok_or_else(|| Status::unavailable("this server has no way to nodes"))
    }

    /// Passes a request on to a pod, or to one behind a service.
    async fn proxy(
        &self,
        ask: &Ask,
        path: &ResourcePath,
        request: Request<Upload>,
    ) -> Result<Response<Body>, Status> {
        let (scheme, name, port) = connect::proxy_name(&ask.name)?;
        let named = Ask { name: name.to_owned(), ..ask.clone() };
        let object = as_served(&ask.resource, &self.engine.get(&named, State::Newest)?)?;
        self.engine.connect(&named).await?;
        let secure = scheme == "https";
        let (address, port) = match &*ask.resource.plural {
            "pods" => behind_pod(&object, port, secure)?,
            "nodes" => behind_node(&object, port)?,
            _ => self.behind_service(&object, port)?,
        };
        if let Some(location) = with_slash(path, &request) {
            return moved(&location);
        }
        let endpoint = Endpoint { secure, address, port };
        let onward = onward(path, &request);
        let unreachable = |error: io::Error| {
            let (address, port) = (&endpoint.address, endpoint.port);
            Status::unavailable(format!("error trying to reach {address}:{port}: {error}"))
        };
        let dialled = tokio::time::timeout(limits::NODE_DIAL_TIMEOUT, dial(&endpoint));
        let stream = match dialled.await {
            Ok(stream) => stream.map_err(unreachable)?,
            Err(_) => return Err(unreachable(io::ErrorKind::TimedOut.into())),
        };
        let host = format!("{}:{}", endpoint.address, endpoint.port);
        let links = links(path, &request, &host);
        let response = connect::pass(stream, &onward, &host, request).await.map_err(unreachable)?;
        Ok(links.apply(response).map(Body::Passed))
    }

    /// A ready endpoint of a service's port, any of them.
    fn behind_service(&self, service: &Value, port: &str) -> Result<(String, u16), Status> {
        let name = service.name();
        let port = service_port(service, port)?;
        let storage = GroupResource::new("discovery.k8s.io", "endpointslices");
        let mut found = Vec::new();
        for object in self.engine.history().snapshot(&storage).in_namespace(service.namespace()) {
            use crate::api::selector::Labels;
            if object.header.label("kubernetes.io/service-name") == Some(name)
                && let Ok(slice) = object.tree()
            {
                collect(&slice, port, &mut found);
            }
        }
        let none = || format!("no endpoints available for service \"{name}\"");
        let any = usize::from(u16::from_le_bytes(id::random::<2>()));
        match found.len() {
            0 => Err(Status::unavailable(none())),
            count => Ok(found.swap_remove(any % count)),
        }
    }
}

/// Path and query as the other end gets them.
fn onward(path: &ResourcePath, request: &Request<Upload>) -> String {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let rest = if path.rest.is_empty() { "/" } else { &path.rest };
    format!("{rest}{query}")
}

/// Where the proxied server `host` is for who asks.
fn links<B>(path: &ResourcePath, request: &Request<B>, host: &str) -> Links {
    let (uri, headers) = (request.uri(), request.headers());
    let prefix = uri.path().strip_suffix(path.rest.as_str()).unwrap_or(uri.path());
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let reader = uri.authority().map(|authority| authority.as_str()).or(named);
    Links {
        prefix: prefix.trim_end_matches('/').to_owned(),
        host: host.to_owned(),
        reader: reader.unwrap_or_default().to_owned(),
    }
}

/// Where a proxied page is really, if its path lacks the slash without which the page's relative
/// links would lead elsewhere.
fn with_slash<B>(path: &ResourcePath, request: &Request<B>) -> Option<String> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let lacking = path.subresource == "proxy" && path.rest.is_empty();
    if !reads || !lacking || request.headers().contains_key(header::UPGRADE) {
        return None;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{}/{query}", request.uri().path()))
}

fn moved(location: &str) -> Result<Response<Body>, Status> {
    Response::builder()
        .status(StatusCode::MOVED_PERMANENTLY)
        .header(header::LOCATION, location)
        .body(Body::empty())
        .map_err(|error| Status::internal(error.to_string()))
}

/// A node's address, and the port that was asked for.
fn behind_node(node: &Value, port: &str) -> Result<(String, u16), Status> {
    let addresses = node.at(&["status", "addresses"]).items();
    let internal = addresses.iter().find(|address| address.get("type").str() == "InternalIP");
    let address = internal.map(|address| address.get("address").str()).unwrap_or_default();
    if address.is_empty() {
        return Err(Status::unavailable(format!("node {} has no address yet", node.name())));
    }
    let port = port.parse().map_err(|_| Status::bad_request("the port is not a number"))?;
    Ok((address.to_owned(), port))
}

/// A pod's address, and the port that was asked for or its first.
fn behind_pod(pod: &Value, port: &str, secure: bool) -> Result<(String, u16), Status> {
    let address = pod.at(&["status", "podIP"]).str();
    if address.is_empty() {
        return Err(Status::unavailable(format!("pod {} has no address yet", pod.name())));
    }
    let first = pod
        .at(&["spec", "containers"])
        .items()
        .iter()
        .find_map(|container| container.get("ports").items().first())
        .and_then(|port| port.get("containerPort").as_int());
    let port = match (port, first) {
        ("", Some(first)) => u16::try_from(first).ok(),
        ("", None) => Some(if secure { 443 } else { 80 }),
        (port, _) => port.parse().ok(),
    };
    let port = port.ok_or_else(|| Status::bad_request("the port is not a number"))?;
    Ok((address.to_owned(), port))
}

/// The name of the service's port that was asked for, by name or number; the only one by default.
fn service_port<'s>(service: &'s Value, asked: &str) -> Result<&'s str, Status> {
    let ports = service.at(&["spec", "ports"]).items();
    let found = match (asked, ports) {
        ("", [only]) => Some(only),
        ("", _) => None,
        (asked, ports) => ports
            .iter()
            .find(|port| port.get("name").str() == asked || port.get("port").to_string() == asked),
    };
    let found = found.ok_or_else(|| {
        let name = service.name();
        Status::unavailable(format!("no service port {asked:?} found for service {name:?}"))
    })?;
    Ok(found.get("name").str())
}

/// The ready endpoints of a slice for the port called `name`.
fn collect(slice: &Value, name: &str, found: &mut Vec<(String, u16)>) {
    let port = slice.get("ports").items().iter().find(|port| port.get("name").str() == name);
    let port = port.and_then(|port| port.get("port").as_int());
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { return };
    for endpoint in slice.get("endpoints").items() {
        let ready = endpoint.at(&["conditions", "ready"]).as_bool() != Some(false);
        if let (true, [address, ..]) = (ready, endpoint.get("addresses").items()) {
            found.push((address.str().to_owned(), port));
        }
    }
}

/// Connects. The certificates of pods are nobody's that could be checked, as with upstream.
async fn dial(endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((endpoint.address.as_str(), endpoint.port)).await?;
    if !endpoint.secure {
        return Ok(Box::new(stream));
    }
    let config = tls::unverified_client(&[b"http/1.1"]).map_err(io::Error::other)?;
    let name = ServerName::try_from(endpoint.address.clone()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

#[cfg(test)]
mod tests {
    use super::super::request::Target;
    use super::*;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn pods_are_reached_at_the_port_asked_for_or_their_first() {
        let pod = parse(
            r#"{"status":{"podIP":"10.42.0.5"},
                "spec":{"containers":[{"name":"a"},{"ports":[{"containerPort":8080}]}]}}"#,
        );
        assert_eq!(behind_pod(&pod, "", false).unwrap(), ("10.42.0.5".into(), 8080));
        assert_eq!(behind_pod(&pod, "99", false).unwrap().1, 99);
        assert_eq!(behind_pod(&pod, "x", false).unwrap_err().code, 400);
        assert_eq!(behind_pod(&parse("{}"), "", false).unwrap_err().code, 503);
    }

    #[test]
    fn pages_are_moved_below_the_slash_that_their_links_need() {
        let moved = |method: &Method, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            let info = RequestInfo::of(method, request.uri());
            let Target::Resource(path) = info.target else { panic!("{uri} is a resource's") };
            with_slash(&path, &request)
        };
        let root = "/api/v1/namespaces/n/pods/p:80/proxy";
        assert_eq!(moved(&Method::GET, root), Some(format!("{root}/")));
        assert_eq!(moved(&Method::HEAD, &format!("{root}?a=b")), Some(format!("{root}/?a=b")));
        assert_eq!(moved(&Method::POST, root), None);
        assert_eq!(moved(&Method::GET, &format!("{root}/")), None);
        assert_eq!(moved(&Method::GET, &format!("{root}/a")), None);
        assert_eq!(moved(&Method::GET, "/api/v1/namespaces/n/pods/p/log"), None);
    }

    #[test]
    fn nodes_are_reached_at_their_own_address() {
        let node = r#"{"metadata":{"name":"n"},"status":{"addresses":[
            {"type":"Hostname","address":"n"},{"type":"InternalIP","address":"192.0.2.1"}]}}"#;
        assert_eq!(behind_node(&parse(node), "9100").unwrap(), ("192.0.2.1".into(), 9100));
        assert_eq!(behind_node(&parse(node), "x").unwrap_err().code, 400);
        assert_eq!(behind_node(&parse("{}"), "9100").unwrap_err().code, 503);
    }

    #[test]
    fn services_are_reached_by_name_or_number_of_a_port() {
        let service = parse(
            r#"{"metadata":{"name":"s"},
                "spec":{"ports":[{"name":"http","port":80},{"name":"dns","port":53}]}}"#,
        );
        assert_eq!(service_port(&service, "http").unwrap(), "http");
        assert_eq!(service_port(&service, "53").unwrap(), "dns");
        let status = service_port(&service, "").unwrap_err();
        assert_eq!(status.message, r#"no service port "" found for service "s""#);
        let slice = parse(
            r#"{"ports":[{"name":"http","port":8080}],"endpoints":[{"addresses":["10.42.0.5"]},
                {"addresses":["10.42.0.6"],"conditions":{"ready":false}}]}"#,
        );
        let mut found = Vec::new();
        collect(&slice, "http", &mut found);
        collect(&slice, "dns", &mut found);
        assert_eq!(found, [("10.42.0.5".to_owned(), 8080)]);
    }
}
