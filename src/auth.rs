//! Who is asking, and may they.
//!
//! [`Authenticator`] turns a connection and a request into a [`UserInfo`]; [`Authorizer`] answers
//! whether that user may do what [`Attributes`] describe. Both answer from memory, in microseconds,
//! as of the newest revision of the history: a grant is in force for the request after the one that
//! wrote it.
//!
//! It must not know HTTP routes, stores or what a write does.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::pki_types::CertificateDer;

use crate::api::selector::FieldSelector;
use crate::api::status::Status;

mod authentication;
mod authorization;
mod bootstrap_token;
pub mod escalation;
mod feed;
pub mod impersonation;
mod node;
pub mod oidc;
pub mod policy;
pub mod rbac;
pub mod references;
pub mod reviews;
mod rule;
pub mod service_account;
#[cfg(test)]
mod testing;
pub mod x509;

pub use authentication::{Authentication, BOOTSTRAPPERS, WEBSOCKET_BEARER};
pub use authorization::Authorization;
pub use rule::Rule;

/// Every request whose user is known carries this group.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Every request without credentials carries this group.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of a user without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The name of the proxy that says for whom it speaks: that of aggregated API servers.
pub const PROXY: &str = "system:auth-proxy";
/// Members may do everything, whatever the roles say.
pub const MASTERS: &str = "system:masters";
/// The group of all nodes.
pub const NODES: &str = "system:nodes";
/// What a node's user name starts with; the node's name follows.
pub const NODE_PREFIX: &str = "system:node:";
/// The group of all service accounts; with `:<namespace>`, of those of one namespace.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// What a service account's user name starts with; `<namespace>:<name>` follows.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// A user as authentication found it: `authentication.k8s.io/v1.UserInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserInfo {
    /// The name that roles are bound to.
    pub name: String,
    /// Tells two users of one name apart over time; empty for most.
    pub uid: String,
    /// The groups that roles are bound to.
    pub groups: Vec<String>,
    /// What else the authenticator knows, such as the pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user of this program itself or of a certificate: a name and groups, authenticated.
    pub fn system(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        groups.push(AUTHENTICATED.to_owned());
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    /// A node.
    pub fn node(name: &str) -> Self {
        Self::system(&format!("{NODE_PREFIX}{name}"), &[NODES])
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let own = format!("{SERVICE_ACCOUNTS}:{namespace}");
        let user = format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}");
        Self { uid: uid.to_owned(), ..Self::system(&user, &[SERVICE_ACCOUNTS, &own]) }
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// Whether the user belongs to `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The name of the node, if the user is one: by name and by group, as upstream asks.
    pub fn as_node(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_PREFIX)?;
        (!name.is_empty() && self.is_in(NODES)).then_some(name)
    }

    /// Namespace and name, if the user is a service account.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')
    }
}

/// What a request wants to do, as roles name it. Empty texts stand for what does not apply.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a
    /// special one such as `bind`; for a path the HTTP method in lower case.
    pub verb: &'a str,
    /// API group; empty for core, `*` for all (in reviews only).
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name; empty for a request to a path that is no resource.
    pub resource: &'a str,
    /// `status`, `log`, ...
    pub subresource: &'a str,
    /// Namespace; empty for cluster-wide resources and for requests over all namespaces.
    pub namespace: &'a str,
    /// Object name; empty for collections and creates. A list or watch whose field selector asks
    /// for one `metadata.name` carries that name.
    pub name: &'a str,
    /// The field selector of a list, watch or deletecollection: a node may list the pods that are
    /// bound to it, and no others.
    pub fields: Option<&'a FieldSelector>,
    /// The path, for a request that is for no resource.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// A request to a path that is no resource, such as `/healthz`.
    pub const fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self { path, ..Self::nothing(user, verb) }
    }

    /// A request for a resource, with no subresource, namespace or name yet.
    pub const fn resource(
        user: &'a UserInfo,
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
    ) -> Self {
        Self { group, resource, ..Self::nothing(user, verb) }
    }

    const fn nothing(user: &'a UserInfo, verb: &'a str) -> Self {
        Self {
            user,
            verb,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            fields: None,
            path: "",
        }
    }

    /// Whether this is for a resource and not for a path.
    pub const fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// `pods` or `pods/log`.
    fn what(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    /// The 403 that upstream answers when the authoriser does not allow this.
    pub fn forbidden(&self, reason: &str) -> Status {
        let user = &self.user.name;
        if !self.is_resource() {
            let path = self.path;
            let text = format!("User {user:?} cannot {} path {path:?}{}", self.verb, more(reason));
            return Status::forbidden("", "", "", &text);
        }
        let scope = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let text = format!(
            "User {user:?} cannot {} resource {:?} in API group {:?} {scope}{}",
            self.verb,
            self.what(),
            self.group,
            more(reason)
        );
        Status::forbidden(self.group, self.resource, self.name, &text)
    }
}

/// A reason as it trails the forbidden text.
fn more(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// An authoriser's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes. The reason is for audit and reviews, such as the binding that grants it.
    Allow(String),
    /// Nothing here grants it; another authoriser may. With nothing else to ask: no.
    NoOpinion(String),
    /// No, whatever others say.
    Deny(String),
}

impl Decision {
    /// Whether the request may go on.
    pub const fn allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Why.
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(reason) | Self::NoOpinion(reason) | Self::Deny(reason) => reason,
        }
    }
}

/// Answers whether a user may do something.
pub trait Authorizer: Send + Sync {
    /// Decides as of the newest revision. Never blocks longer than microseconds.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// As [`Authorizer::authorize`], worded as the error that the client gets.
    ///
    /// # Errors
    /// 403 in upstream's words when the request is not allowed.
    fn check(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.authorize(attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) | Decision::Deny(reason) => {
                Err(attributes.forbidden(&reason))
            }
        }
    }
}

/// What a connection says about its other end, found once per connection.
#[derive(Debug, Clone, Default)]
pub enum Peer {
    /// No client certificate.
    #[default]
    Unknown,
    /// A certificate of our client CA: the user that it names.
    User(Arc<UserInfo>),
    /// A certificate of the request-header CA: a proxy that says in headers whom it speaks for.
    Proxy,
}

/// Finds out who is asking.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// What the client certificates of a connection mean. TLS has verified the chain against the
    /// client and request-header CAs; the client's own certificate comes first.
    fn peer(&self, certificates: &[CertificateDer<'_>]) -> Peer;

    /// Who makes a request. `None` where it carries no credentials and anonymous requests are not
    /// allowed there: the answer is 401 as for wrong ones. Impersonation comes after this.
    ///
    /// # Errors
    /// 401 for credentials that are not valid.
    async fn authenticate(
        &self,
        request: &http::request::Parts,
        peer: &Peer,
    ) -> Result<Option<Arc<UserInfo>>, Status>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_is_worded_as_upstream() {
        let user = UserInfo::system("x", &[]);
        let list = Attributes { namespace: "y", ..Attributes::resource(&user, "list", "", "pods") };
        assert_eq!(
            list.forbidden("").message,
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y""#
        );
        let log = Attributes {
            subresource: "scale",
            name: "web",
            ..Attributes::resource(&user, "get", "apps", "deployments")
        };
        assert_eq!(
            log.forbidden("").message,
            r#"deployments.apps "web" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" at the cluster scope"#
        );
        assert_eq!(
            Attributes::path(&user, "get", "/metrics").forbidden("").message,
            r#"forbidden: User "x" cannot get path "/metrics""#
        );
    }

    #[test]
    fn a_node_is_one_by_name_and_group() {
        assert_eq!(UserInfo::node("n1").as_node(), Some("n1"));
        assert_eq!(UserInfo::system("system:node:n1", &[]).as_node(), None);
        let account = UserInfo::service_account("ns", "sa", "u");
        assert_eq!(account.as_service_account(), Some(("ns", "sa")));
        assert!(account.is_in("system:serviceaccounts:ns"));
    }
}
