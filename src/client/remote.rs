//! The far client: the same interface over HTTPS, for components on other machines.
//!
//! All calls and watches share one HTTP/2 connection. A view is fed by one watch into a history of
//! its own, which begins with the whole state; when the connection breaks, the feed goes on where
//! it was, or, if the server no longer knows that place, begins anew: then whoever reads sees
//! [`crate::history::Gone`], as near.

mod feed;
mod http;

use std::collections::HashMap;
use std::sync::Arc;

use ::http::{Method, Request, header};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use parking_lot::Mutex;

use super::{Call, Client, Gvr, PatchKind, Served, Verb, View};
use crate::api::registry::Registry;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::limits;
use feed::Feed;
pub use http::{Endpoint, Http};

/// A view that is fed: its resource and field selector.
type Wanted = (Gvr, String);

/// A client of a server elsewhere.
pub struct Remote {
    http: Arc<Http>,
    /// Tells which fields of an object are indexed.
    registry: Arc<Registry>,
    feeds: Arc<Mutex<HashMap<Wanted, Arc<Feed>>>>,
}

impl Remote {
    /// A client that talks through `http`, whose TLS identity says who it is.
    pub fn new(http: Arc<Http>, registry: Registry) -> Self {
        Self { http, registry: Arc::new(registry), feeds: Arc::default() }
    }

    async fn get_json(&self, path: &str, accept: &'static str) -> Result<Value, Status> {
        let request = Request::get(path).header(header::ACCEPT, accept);
        answer(&self.http, request.body(Full::default())).await
    }
}

/// The path of a resource, or of one of its objects.
fn path(resource: &Gvr, namespace: &str, name: &str, subresource: &str) -> String {
    let Gvr { group, version, plural } = resource;
    let mut path = match group.as_ref() {
        "" => format!("/api/{version}"),
        group => format!("/apis/{group}/{version}"),
    };
    if !namespace.is_empty() {
        path.push_str(&format!("/namespaces/{namespace}"));
    }
    path.push_str(&format!("/{plural}"));
    for part in [name, subresource].into_iter().filter(|part| !part.is_empty()) {
        path.push_str(&format!("/{part}"));
    }
    path
}

/// Method and body type of a verb.
fn method(verb: Verb) -> (Method, &'static str) {
    match verb {
        Verb::Get => (Method::GET, "application/json"),
        Verb::Create => (Method::POST, "application/json"),
        Verb::Update => (Method::PUT, "application/json"),
        Verb::Delete => (Method::DELETE, "application/json"),
        Verb::Patch(PatchKind::Json) => (Method::PATCH, "application/json-patch+json"),
        Verb::Patch(PatchKind::Merge) => (Method::PATCH, "application/merge-patch+json"),
        Verb::Patch(PatchKind::Strategic) => {
            (Method::PATCH, "application/strategic-merge-patch+json")
        }
    }
}

/// Sends a request and reads the answer: an object, or the error that the server gives.
///
/// # Errors
/// The server's `Status`; 503 when it cannot be reached.
pub async fn answer(
    http: &Http,
    request: Result<Request<Full<Bytes>>, ::http::Error>,
) -> Result<Value, Status> {
    let request = request.map_err(|error| Status::bad_request(error.to_string()))?;
    let unreachable = |error: &dyn std::fmt::Display| {
        Status::unavailable(format!("cannot reach the server at {}: {error}", http.endpoint()))
    };
    let exchange = async {
        let response = http.send(request).await.map_err(|error| unreachable(&error))?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), limits::ANSWER_BYTES_MAX);
        let bytes = body.collect().await.map_err(|error| unreachable(&error))?.to_bytes();
        Ok::<_, Status>((code, bytes))
    };
    let (code, bytes) = tokio::time::timeout(limits::REQUEST_TIMEOUT, exchange)
        .await
        .map_err(|_| unreachable(&"it does not answer in time"))??;
    let value = Value::parse(&bytes).unwrap_or_default();
    match code {
        200..=299 => Ok(value),
        _ => Err(Status::from_value(code, &value)),
    }
}

#[async_trait]
impl Client for Remote {
    async fn call(&self, call: Call) -> Result<Value, Status> {
        let (method, content_type) = method(call.verb);
        let path = path(&call.resource, &call.namespace, &call.name, call.subresource);
        let body = if call.body.is_null() { Vec::new() } else { call.body.encode() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content_type);
        answer(&self.http, request.body(Full::from(body))).await
    }

    fn view(&self, resource: &Gvr, field_selector: &str) -> View {
        let wanted = (resource.clone(), field_selector.to_owned());
        let mut feeds = self.feeds.lock();
        if let Some(view) = feeds.get(&wanted).and_then(|feed| feed.view()) {
            return view;
        }
        let (feed, view) = Feed::new(&wanted);
        let feed = Arc::new(feed);
        feeds.insert(wanted.clone(), Arc::clone(&feed));
        let (http, registry) = (Arc::clone(&self.http), Arc::clone(&self.registry));
        let feeds = Arc::clone(&self.feeds);
        tokio::spawn(async move {
            feed.run(&http, &registry).await;
            // A view that was taken meanwhile has a feed of its own.
            let mut feeds = feeds.lock();
            if feeds.get(&wanted).is_some_and(|current| Arc::ptr_eq(current, &feed)) {
                feeds.remove(&wanted);
            }
        });
        view
    }

    async fn served(&self) -> Result<Vec<Served>, Status> {
        const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let mut served = Vec::new();
        for path in ["/api", "/apis"] {
            let document = self.get_json(path, ACCEPT).await?;
            for group in document.get("items").items() {
                for version in group.get("versions").items() {
                    let resources = version.get("resources").items().iter();
                    served.extend(resources.map(|resource| discovered(group, version, resource)));
                }
            }
        }
        Ok(served)
    }
}

/// A resource of an aggregated discovery document.
fn discovered(group: &Value, version: &Value, resource: &Value) -> Served {
    let owned = |value: &Value| value.str().to_owned();
    let verbs = resource.get("verbs").items();
    let has = |verb: &&str| verbs.iter().any(|v| v.str() == *verb);
    Served {
        resource: Gvr {
            group: owned(group.at(&["metadata", "name"])).into(),
            version: owned(version.get("version")).into(),
            plural: owned(resource.get("resource")).into(),
        },
        kind: owned(resource.at(&["responseKind", "kind"])),
        namespaced: resource.get("scope").str() == "Namespaced",
        stored: ["list", "watch", "delete"].iter().all(has),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{DEPLOYMENTS, PODS};

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(path(&PODS, "a", "p", "status"), "/api/v1/namespaces/a/pods/p/status");
        assert_eq!(path(&DEPLOYMENTS, "", "", ""), "/apis/apps/v1/deployments");
    }

    #[test]
    fn discovery_is_read() {
        let resource = Value::parse(
            br#"{"resource":"pods","responseKind":{"kind":"Pod"},"scope":"Namespaced",
                "verbs":["delete","get","list","watch"]}"#,
        );
        let version = Value::from([("version", "v1".into())]);
        let served = discovered(&Value::object(), &version, &resource.unwrap());
        assert_eq!(served.resource, PODS);
        assert!(served.namespaced && served.stored);
    }
}
