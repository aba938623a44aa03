//! The API server's way to nodes: TLS to their port, as a client that they trust.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::api::meta::{GroupResource, Key};
use crate::api::tree::Value;
use crate::apiserver::connect::{NodeDialer, Stream};
use crate::history::History;
use crate::pki::{self, Pki, Profile, Rotating, tls};

/// The user that nodes see; they let it do everything.
const USER: &str = "system:apiserver";
/// Where a node listens that does not say so itself.
const DEFAULT_PORT: i64 = 10250;

/// Dials nodes by the address in their status.
pub(super) struct Dialer {
    history: Arc<History>,
    nodes: GroupResource,
    connector: TlsConnector,
}

impl Dialer {
    /// A dialer that trusts certificates of the server authority.
    pub(super) fn new(history: &Arc<History>, pki: &Pki) -> Result<Self, pki::Error> {
        let client = Arc::clone(&pki.client);
        let issue = move || client.issue(&Profile::client(USER, crate::auth::MASTERS));
        let identity = Arc::new(Rotating::renewed_by(issue)?);
        let roots = tls::roots([pki.server.certificate_pem()])?;
        let config = tls::client(roots, Some(identity), &[b"http/1.1"])?;
        Ok(Self {
            history: Arc::clone(history),
            nodes: GroupResource::new("", "nodes"),
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Address and port of a node's server.
    fn address(&self, node: &str) -> io::Result<(String, u16)> {
        let unknown = |why: &str| io::Error::new(io::ErrorKind::NotFound, why.to_owned());
        let object = self.history.get(&Key::new(&self.nodes, "", node));
        let object = object.ok_or_else(|| unknown("there is no such node"))?;
        let tree = object.tree().map_err(io::Error::other)?;
        let status = tree.get("status");
        let port = status.at(&["daemonEndpoints", "kubeletEndpoint", "Port"]).as_int();
        let port = u16::try_from(port.unwrap_or(DEFAULT_PORT)).map_err(io::Error::other)?;
        let internal = |address: &&Value| address.get("type").str() == "InternalIP";
        let address = status.get("addresses").items().iter().find(internal);
        let address = address.ok_or_else(|| unknown("the node has not told its address yet"))?;
        Ok((address.get("address").str().to_owned(), port))
    }
}

#[async_trait]
impl NodeDialer for Dialer {
    async fn dial(&self, node: &str) -> io::Result<Box<dyn Stream>> {
        let (address, port) = self.address(node)?;
        let name = ServerName::try_from(address.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((address, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(self.connector.connect(name, stream).await?))
    }
}
