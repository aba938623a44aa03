//! Streams to nodes and pods: what is below an object is passed on to where it runs.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::Front;
use super::body::Body;
use super::request::{RequestInfo, ResourcePath};
use crate::api::status::Status;
use crate::apiserver::connect::{self, Service};
use crate::apiserver::engine::{Ask, State, as_served};

impl Front {
    /// Passes a stream on to its node.
    pub(super) async fn connect(
        self: &Arc<Self>,
        ask: &Ask,
        info: &RequestInfo,
        path: &ResourcePath,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Status> {
        let dialer = self.dialer.as_ref().ok_or_else(|| {
            Status::unavailable("this server has no way to nodes: it runs without agents")
        })?;
        let (node, onward) = match (&*ask.resource.plural, Service::of(ask.subresource)) {
            ("pods", Some(service)) => {
                let object = self.engine.get(ask, State::Newest)?;
                self.engine.connect(ask).await?;
                let pod = as_served(&ask.resource, &object)?;
                let query: Vec<(String, String)> =
                    info.query.pairs().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                connect::target(&pod, service, &query)?
            }
            ("nodes", _) => {
                self.engine.get(ask, State::Newest)?;
                self.engine.connect(ask).await?;
                let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
                let rest = if path.rest.is_empty() { "/" } else { &path.rest };
                (ask.name.clone(), format!("{rest}{query}"))
            }
            _ => return Err(Status::method_not_allowed()),
        };
        let response = connect::forward(dialer, &node, &onward, request).await?;
        Ok(response.map(Body::Passed))
    }
}
