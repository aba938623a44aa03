//! What a request is about, read once off its method and path.

use http::Method;

use crate::apiserver::engine::{Query, decode};
use crate::auth::{Attributes, UserInfo};

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Objects of a resource, or a part of one.
    Resource(ResourcePath),
    /// Anything else: health, discovery, documents.
    Path,
}

/// The parts of a resource's path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourcePath {
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, empty where the path names none.
    pub namespace: String,
    /// Plural name.
    pub plural: String,
    /// Object name, empty for collections.
    pub name: String,
    /// What lies below the object; empty for the object itself.
    pub subresource: String,
    /// What follows a `proxy` subresource, with its leading slash, still encoded.
    pub rest: String,
}

/// A request as the rest of the server sees it.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// What it is about.
    pub target: Target,
    /// What it wants, as authorisation names it.
    pub verb: &'static str,
    /// Its parameters.
    pub query: Query,
}

impl RequestInfo {
    /// Reads a request's head.
    pub fn of(method: &Method, uri: &http::Uri) -> Self {
        let query = Query::parse(uri.query().unwrap_or_default());
        let Some((path, watch)) = resource_path(uri.path()) else {
            return Self { target: Target::Path, verb: path_verb(method), query };
        };
        let verb = match (method, path.name.is_empty()) {
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, true) => "deletecollection",
            (&Method::DELETE, false) => "delete",
            (&Method::GET | &Method::HEAD, _) if watch => "watch",
            (&Method::GET | &Method::HEAD, true) if query.flag("watch") == Some(true) => "watch",
            (&Method::GET | &Method::HEAD, true) => "list",
            (&Method::GET | &Method::HEAD, false) => "get",
            _ => "",
        };
        Self { target: Target::Resource(path), verb, query }
    }

    /// What a user asks for by it; `path` is the URI's.
    pub fn attributes<'a>(&'a self, user: &'a UserInfo, path: &'a str) -> Attributes<'a> {
        let Target::Resource(of) = &self.target else {
            return Attributes::path(user, self.verb, path);
        };
        // A namespace is asked for as if it lay in itself.
        let own = of.group.is_empty() && of.plural == "namespaces";
        Attributes {
            version: &of.version,
            subresource: &of.subresource,
            namespace: if own { &of.name } else { &of.namespace },
            name: &of.name,
            ..Attributes::resource(user, self.verb, &of.group, &of.plural)
        }
    }

    /// Whether the request may last as long as it likes: streams have their own ends.
    pub fn is_long(&self) -> bool {
        const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];
        let Target::Resource(path) = &self.target else { return false };
        self.verb == "watch" || STREAMS.contains(&path.subresource.as_str())
    }

    /// Whether the request only reads.
    pub fn is_read(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch" | "head" | "options")
    }
}

fn path_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// The parts of a path below `/api/v1` or `/apis/<group>/<version>`, and whether it has the old
/// form of a watch; `None` for any other path.
fn resource_path(path: &str) -> Option<(ResourcePath, bool)> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", version, rest),
        ["apis", group, version, rest @ ..] => (*group, version, rest),
        _ => return None,
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let text = |part: &str| decode(part, false);
    let (namespace, rest) = match rest {
        [] => return None,
        ["namespaces", namespace, below, more @ ..] if !is_namespace_part(below) => {
            (text(namespace), [&[*below], more].concat())
        }
        rest => (String::new(), rest.to_vec()),
    };
    let part = |at: usize| rest.get(at).map(|part| text(part)).unwrap_or_default();
    let out = ResourcePath {
        group: text(group),
        version: text(version),
        namespace,
        plural: part(0),
        name: part(1),
        subresource: part(2),
        rest: proxied(path, &rest),
    };
    Some((out, watch))
}

/// Subresources of a namespace, which are no resources in it.
fn is_namespace_part(part: &str) -> bool {
    matches!(part, "status" | "finalize")
}

/// What follows `proxy` in a path, its trailing slash included; empty where nothing does.
fn proxied(path: &str, rest: &[&str]) -> String {
    if rest.get(2) != Some(&"proxy") {
        return String::new();
    }
    let tail = rest[3..].join("/");
    match (tail.is_empty(), path.ends_with('/')) {
        (true, false) => String::new(),
        (true, true) => "/".to_owned(),
        (false, true) => format!("/{tail}/"),
        (false, false) => format!("/{tail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, uri: &str) -> (String, &'static str) {
        let info = RequestInfo::of(&method, &uri.parse().unwrap());
        let text = match info.target {
            Target::Path => "path".to_owned(),
            Target::Resource(p) => {
                let ResourcePath { group, namespace, plural, name, subresource, rest, .. } = p;
                format!("{group}|{namespace}|{plural}|{name}|{subresource}|{rest}")
            }
        };
        (text, info.verb)
    }

    #[test]
    fn paths_name_resources() {
        let get = |uri: &str| info(Method::GET, uri);
        assert_eq!(get("/api/v1/pods"), ("||pods|||".into(), "list"));
        assert_eq!(get("/api/v1/pods?watch=1"), ("||pods|||".into(), "watch"));
        assert_eq!(get("/api/v1/watch/pods"), ("||pods|||".into(), "watch"));
        assert_eq!(get("/api/v1/namespaces/a"), ("||namespaces|a||".into(), "get"));
        assert_eq!(get("/api/v1/namespaces/a/status").0, "||namespaces|a|status|");
        assert_eq!(get("/api/v1/namespaces/a/pods/b/log").0, "|a|pods|b|log|");
        assert_eq!(get("/apis/apps/v1/namespaces/a/deployments").0, "apps|a|deployments|||");
        assert_eq!(get("/api/v1/nodes/n/proxy/a%20b/c/").0, "||nodes|n|proxy|/a%20b/c/");
        assert_eq!(get("/api/v1/namespaces/a/pods/p%3A80/proxy/").0, "|a|pods|p:80|proxy|/");
    }

    #[test]
    fn everything_else_is_a_path() {
        for uri in ["/", "/healthz", "/api", "/api/v1", "/apis", "/apis/apps/v1", "/openapi/v2"] {
            assert_eq!(info(Method::GET, uri), ("path".into(), "get"), "{uri}");
        }
    }

    #[test]
    fn methods_are_verbs() {
        let verb = |method: Method, uri: &str| info(method, uri).1;
        assert_eq!(verb(Method::DELETE, "/api/v1/namespaces/a/pods"), "deletecollection");
        assert_eq!(verb(Method::DELETE, "/api/v1/namespaces/a/pods/b"), "delete");
        assert_eq!(verb(Method::POST, "/api/v1/namespaces/a/pods/b/eviction"), "create");
        assert_eq!(verb(Method::PATCH, "/api/v1/nodes/n/status"), "patch");
    }
}
