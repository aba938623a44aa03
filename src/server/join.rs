//! Lets machines become nodes.
//!
//! Who shows the join token names its node and a secret of its own making. The first one to come
//! gets the name; later ones must bring the same secret, which is kept as a hash in a Secret of
//! `kube-system`. Deleting the Node frees its name. A node that shows its certificate gets a new
//! one for the same name.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{ClusterNetwork, Settings};
use crate::api::kinds::text;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::apiserver::http::Door;
use crate::auth::{BOOTSTRAPPERS, UserInfo};
use crate::client::{Client, NODES, SECRETS};
use crate::pki::{Authority, Error, Pki, Profile, request, token};

/// Where the hashes of nodes' secrets are.
const NAMESPACE: &str = "kube-system";
/// The group of nodes.
const NODES_GROUP: &str = "system:nodes";

/// What a machine says that wants to be a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The node's name.
    pub node: String,
    /// Where others reach it.
    pub addresses: Vec<IpAddr>,
    /// Proves later that it is the same machine.
    pub secret: String,
    /// A certificate signing request, in PEM, for the node's key.
    pub certificate_request: String,
}

/// What a node gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// What it shows as a client, in PEM.
    pub client_certificate: String,
    /// What it shows as a server, in PEM.
    pub serving_certificate: String,
    /// Whose certificates servers show, in PEM.
    pub server_authority: String,
    /// Whose certificates clients of the node show, in PEM.
    pub client_authority: String,
    /// What all nodes must agree on.
    #[serde(flatten)]
    pub network: ClusterNetwork,
}

/// Lets nodes in.
pub(super) struct Joining {
    settings: Settings,
    server: Arc<Authority>,
    client: Arc<Authority>,
    cluster: Arc<dyn Client>,
}

impl Joining {
    /// Signs with `pki`'s authorities and keeps secrets through `cluster`.
    pub(super) fn new(settings: &Settings, pki: &Pki, cluster: Arc<dyn Client>) -> Self {
        let (server, client) = (Arc::clone(&pki.server), Arc::clone(&pki.client));
        Self { settings: settings.clone(), server, client, cluster }
    }

    fn grant(&self, request: &Request) -> Result<Grant, Error> {
        let key = request::public_key(&request.certificate_request)?;
        let user = format!("system:node:{}", request.node);
        let mut hosts = vec![request.node.clone()];
        hosts.extend(request.addresses.iter().map(ToString::to_string));
        Ok(Grant {
            client_certificate: self.client.certify(&Profile::client(&user, NODES_GROUP), &key)?,
            serving_certificate: self
                .server
                .certify(&Profile::server(&request.node, &hosts), &key)?,
            server_authority: self.server.certificate_pem().to_owned(),
            client_authority: self.client.certificate_pem().to_owned(),
            network: self.settings.network.clone(),
        })
    }

    /// Whether the user may be the node that it says it is.
    async fn check(&self, user: &UserInfo, request: &Request) -> Result<(), Status> {
        if user.as_node() == Some(&request.node) {
            return Ok(());
        }
        if !user.is_in(BOOTSTRAPPERS) {
            return Err(refusal(format!("{} may not join as a node", user.name)));
        }
        let settings = &self.settings;
        if settings.runs_pods && request.node == settings.node.name {
            return Err(taken(&request.node));
        }
        self.claim(request).await
    }

    /// Gives the name to the first who asks for it, and to nobody else.
    async fn claim(&self, request: &Request) -> Result<(), Status> {
        let hash = token::hash(&request.secret);
        let object = secret(&request.node, &hash);
        match self.cluster.create(&SECRETS, NAMESPACE, object.clone()).await {
            Err(status) if status.is_already_exists() => {}
            Err(status) => return Err(status),
            // A node that never joined, such as one made by hand, has its name for itself.
            Ok(made) if self.is_registered(&request.node).await? => {
                let name = made.at(&["metadata", "name"]).str();
                self.cluster.delete(&SECRETS, NAMESPACE, name, Value::Null).await?;
                return Err(taken(&request.node));
            }
            Ok(_) => return Ok(()),
        }
        let name = secret_name(&request.node);
        let stored = self.cluster.get(&SECRETS, NAMESPACE, &name).await?;
        if stored.at(&["data", "hash"]).str() == STANDARD.encode(&hash) {
            return Ok(());
        }
        if self.is_registered(&request.node).await? {
            return Err(taken(&request.node));
        }
        let mut object = object;
        // Of two machines that ask for a freed name at once only one gets it.
        let revision = stored.at(&["metadata", "resourceVersion"]).clone();
        object.entry("metadata").set("resourceVersion", revision);
        self.cluster.update(&SECRETS, NAMESPACE, &name, object).await.map(drop)
    }

    async fn is_registered(&self, node: &str) -> Result<bool, Status> {
        match self.cluster.get(&NODES, "", node).await {
            Ok(_) => Ok(true),
            Err(status) if status.is_not_found() => Ok(false),
            Err(status) => Err(status),
        }
    }
}

#[async_trait]
impl Door for Joining {
    async fn join(&self, user: &UserInfo, request: Value) -> Result<Value, Status> {
        let request: Request = request
            .to()
            .map_err(|error| Status::bad_request(format!("this is no request to join: {error}")))?;
        if let Some(why) = text::dns_subdomain(&request.node).first() {
            let node = &request.node;
            return Err(Status::bad_request(format!("{node:?} cannot name a node: {why}")));
        }
        self.check(user, &request).await?;
        let grant = self.grant(&request).map_err(|e| Status::bad_request(e.to_string()))?;
        tracing::info!(node = request.node, addresses = ?request.addresses, "let a node in");
        Value::of(&grant).map_err(|error| Status::internal(error.to_string()))
    }
}

fn secret_name(node: &str) -> String {
    format!("{node}.node-secret.rk")
}

fn secret(node: &str, hash: &str) -> Value {
    Value::from([
        ("metadata", Value::from([("name", secret_name(node).into())])),
        ("data", Value::from([("hash", STANDARD.encode(hash).into())])),
        ("type", "rk/node-secret".into()),
    ])
}

fn refusal(message: String) -> Status {
    Status::new(403, "Forbidden", message)
}

fn taken(node: &str) -> Status {
    refusal(format!(
        "another machine is the node {node:?}: give this one another name by --node-name, or, if \
         it takes the other's place, free the name first by: kubectl delete node {node}"
    ))
}
