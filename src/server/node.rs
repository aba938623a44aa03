//! The node of a server's own machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Base, Error, Settings};
use crate::api::schema;
use crate::api::selector::Labels;
use crate::api::tree::Value;
use crate::client::{Client, NODES, PatchKind};
use crate::limits;
use crate::node::{self, Config};
use crate::pki::{Profile, Rotating, tls};

/// Where a node's own server listens, as every tool expects.
const PORT: u16 = 10250;
/// The data directory of an installation; others are for trying things out.
const INSTALLED: &str = "/var/lib/rk";
/// How to talk to registries.
const REGISTRIES: &str = "/etc/rk/registries.yaml";
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
    let tls = tls::server(identity, &[&base.pki.client], &[b"http/1.1"])?;
    node::start(config(settings), client, Arc::new(tls)).await.map_err(Error::Node)
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

fn config(settings: &Settings) -> Config {
    let own = &settings.node;
    Config {
        name: own.name.clone(),
        ips: vec![IpAddr::V4(own.ip)],
        labels: own.labels.clone(),
        taints: own.taints.clone(),
        data_dir: settings.data_dir.join("agent"),
        run_dir: settings.run_dir.clone(),
        log_dir: log_dir(&settings.data_dir),
        registries: REGISTRIES.into(),
        cgroup_root: "rk".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        cluster_cidr: settings.cluster_cidr,
        service_cidr: settings.service_cidr,
        cluster_dns: vec![settings.cluster_dns.into()],
        cluster_domain: settings.cluster_domain.clone(),
        pods_max: 110,
        version: format!("{}+rk", schema::builtin().release()),
    }
}

/// Log collectors look in one place; a cluster for trying things out must not be seen there.
fn log_dir(data_dir: &Path) -> PathBuf {
    if data_dir == Path::new(INSTALLED) {
        "/var/log/pods".into()
    } else {
        data_dir.join("agent/logs")
    }
}
