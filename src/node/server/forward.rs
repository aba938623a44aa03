//! Ports of pods.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;

use super::upgrade::{self, Wish};
use super::{Answer, find};
use crate::api::status::Status;
use crate::net::forward::dial;
use crate::node::shared::Shared;
use crate::node::stream::forward::{Dial, PROTOCOL, TUNNEL_PROTOCOL, serve};
use crate::node::stream::tunnel::unpack;

/// `/portForward/{namespace}/{pod}`.
pub(super) fn forward(
    shared: &Arc<Shared>,
    namespace: &str,
    name: &str,
    request: Request<Incoming>,
) -> Answer {
    let handle = find::pod(shared, namespace, name)?;
    let to: Dial = match handle.netns() {
        Some(netns) => Arc::new(move |port| Box::pin(dial(netns.clone(), port))),
        None => Arc::new(|port| Box::pin(tokio::net::TcpStream::connect(("127.0.0.1", port)))),
    };
    let pod = handle.sandbox().id.clone();
    let headers = request.headers();
    match upgrade::wish(headers)? {
        Wish::Spdy => {
            let offered = upgrade::stream_protocols(headers).join(",");
            if !offered.is_empty() && !offered.split(',').any(|name| name.trim() == PROTOCOL) {
                return Err(Status::forbidden("", "", "", "no protocol of yours is spoken"));
            }
            upgrade::spdy(request, PROTOCOL, move |io| async move {
                if let Err(error) = serve(io, &pod, to).await {
                    tracing::debug!(%error, "a port-forward broke off");
                }
            })
        }
        Wish::WebSocket => {
            let offered = upgrade::sub_protocols(headers);
            if !offered.split(',').any(|name| name.trim() == TUNNEL_PROTOCOL) {
                return Err(Status::bad_request("no sub-protocol of yours is spoken here"));
            }
            upgrade::websocket(request, TUNNEL_PROTOCOL, move |io| async move {
                let (stream, carry) = unpack(io);
                let carried = tokio::spawn(carry);
                if let Err(error) = serve(stream, &pod, to).await {
                    tracing::debug!(%error, "a port-forward broke off");
                }
                // What was sent last is on its way until the tunnel is closed.
                let _ = carried.await;
            })
        }
    }
}
