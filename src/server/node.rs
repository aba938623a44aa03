//! The node of a server's own machine.

use std::sync::Arc;

use super::{Base, Error};
use crate::api::selector::Labels;
use crate::api::tree::Value;
use crate::client::{Client, NODES, PatchKind};
use crate::limits;
use crate::node;
use crate::pki::{Profile, Rotating, tls};

/// The label of machines that run the control plane.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// Starts the node.
pub(super) async fn start(base: &Base, client: Arc<dyn Client>) -> Result<node::Running, Error> {
    let settings = &base.settings;
    let hosts = vec![settings.node.name.clone(), settings.node.ip.to_string(), "127.0.0.1".into()];
    let name = format!("system:node:{}", settings.node.name);
    let authority = Arc::clone(&base.pki.server);
    let issue = move || authority.issue(&Profile::server(&name, &hosts));
    let identity = Arc::new(Rotating::renewed_by(issue)?);
    let tls = tls::server(identity, &[base.pki.client.certificate_pem()], &[b"http/1.1"])?;
    let config = settings.node.config(&settings.data_dir, &settings.run_dir, &settings.network);
    node::start(config, client, Arc::new(tls)).await.map_err(Error::Node)
}

/// Labels this machine's node as one that runs the control plane, which it may not do itself.
pub(super) async fn label(client: Arc<dyn Client>, name: String) {
    let view = client.view(&NODES, "");
    loop {
        let (snapshot, mut events) = view.follow();
        let node = snapshot.get("", &name);
        if node.is_some_and(|node| node.header.label(CONTROL_PLANE).is_none()) {
            let labels = Value::from([(CONTROL_PLANE, "true".into())]);
            let patch = Value::from([("metadata", Value::from([("labels", labels)]))]);
            let done = client.patch(&NODES, "", &name, "", PatchKind::Merge, patch).await;
            if let Err(error) = done {
                tracing::warn!(%error, "cannot label this machine's node");
            }
        }
        // Gone means that much has happened, which is worth a look as well.
        let _ = events.next(limits::EVENTS_PER_READ).await;
    }
}
