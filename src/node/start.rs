//! Starts a node: what runs, in which order.
//!
//! Contract: [`start`] returns once the machine is found fit to be a node; registration and all
//! else come up by themselves and go on trying. [`Running::stop`] ends what this process does and
//! leaves containers running.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::config::{Config, image_store};
use super::heartbeat::Heartbeat;
use super::images::Images;
use super::network::Network;
use super::objects::Objects;
use super::pods::Pods;
use super::proxy;
use super::report::{Health, machine::Machine};
use super::shared::Shared;
use super::{gc, server};
use crate::api::tree::Value;
use crate::client::events::Recorder;
use crate::client::{Client, NODES, SERVICES};
use crate::runtime::image::Store;
use crate::runtime::{self, Runtime};
use crate::util::backoff::Backoff;
use crate::util::nets::Nets;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory cannot be made.
    #[error("cannot make {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime cannot start.
    #[error("cannot start the container runtime: {0}")]
    Runtime(#[from] runtime::Error),
    /// The images cannot be used.
    #[error("cannot open the image store: {0}")]
    Images(#[from] runtime::image::Error),
    /// The node's own port cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// First and longest wait between tries to register.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A node that runs.
pub struct Running {
    tasks: JoinSet<()>,
}

impl Running {
    /// Ends what this process does for the node. Containers go on.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Starts a node that reaches the cluster through `client` and shows `tls` to who connects to it.
///
/// # Errors
/// When this machine cannot be a node, or not with these settings.
pub async fn start(
    config: Config,
    client: Arc<dyn Client>,
    tls: Arc<rustls::ServerConfig>,
) -> Result<Running, StartError> {
    let config = Arc::new(config);
    for path in [&config.data_dir, &config.run_dir, &config.log_dir] {
        make(path)?;
    }
    let listener = tokio::net::TcpListener::bind(config.listen).await;
    let listener =
        listener.map_err(|source| StartError::Listen { address: config.listen, source })?;
    let runtime = runtime::Config {
        cgroup_root: config.cgroup_root.clone(),
        ..runtime::Config::new(config.run_dir.join("runtime"), config.data_dir.join("runtime"))
    };
    let store = Store::open(&image_store(&config.data_dir))?;
    let shared = Arc::new(Shared {
        machine: Machine::read(&config.data_dir),
        runtime: Runtime::open(runtime).await?,
        images: Images::new(store, config.registries.clone()),
        network: Network::default(),
        objects: Objects::new(Arc::clone(&client), &config.name),
        services: client.view(&SERVICES, ""),
        nodes: client.view(&NODES, &format!("metadata.name={}", config.name)),
        recorder: Recorder::start(Arc::clone(&client), "kubelet", &config.name),
        accounts: parking_lot::Mutex::default(),
        freed: watch::Sender::new(0),
        client,
        config,
    });
    let mut tasks = JoinSet::new();
    let health = watch::Sender::new(Health {
        unready: "container runtime network not ready: the node has no pod cidr yet".to_owned(),
        ..Health::default()
    });
    let heartbeat = Heartbeat::new(
        Arc::clone(&shared.client),
        Arc::clone(&shared.config),
        shared.machine.clone(),
        health.subscribe(),
        shared.recorder.clone(),
    );
    tasks.spawn(beat(heartbeat));
    tasks.spawn(report_images(Arc::clone(&shared), health.clone()));
    tasks.spawn(gc::collect_images(Arc::clone(&shared)));
    tasks.spawn(server::serve(listener, tls, Arc::clone(&shared)));
    tasks.spawn(run(shared, health));
    Ok(Running { tasks })
}

fn make(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path)
        .map_err(|source| StartError::Directory { path: path.to_owned(), source })
}

/// Registers, however long that takes (the server may be away), and stays registered.
async fn beat(heartbeat: Heartbeat) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    while let Err(error) = heartbeat.register().await {
        let delay = backoff.fail();
        tracing::info!(%error, "cannot register this node yet; trying again in {delay:?}");
        tokio::time::sleep(delay).await;
    }
    heartbeat.run().await;
}

/// Runs pods and their network. Links are adopted before pods are: a pod that seemed to have no
/// address would be taken out of its services.
async fn run(shared: Arc<Shared>, health: watch::Sender<Health>) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    while let Err(error) = shared.network.adopt().await {
        let delay = backoff.fail();
        tracing::warn!(%error, "cannot look at the pods' links; trying again in {delay:?}");
        tokio::time::sleep(delay).await;
    }
    tokio::join!(bring_network_up(Arc::clone(&shared), health), run_pods(shared));
}

/// Imports archives before the first pod may ask for their images, then runs pods. Those that need
/// a network wait for it by themselves.
async fn run_pods(shared: Arc<Shared>) {
    super::archives::import(&shared.images, &shared.config.data_dir).await;
    tokio::join!(shared.nodes.synced(), shared.services.synced());
    Pods::new(shared).run().await;
}

/// Waits for the node's range of addresses; from then on pods can be connected, and services
/// reached.
async fn bring_network_up(shared: Arc<Shared>, health: watch::Sender<Health>) {
    let pods = pod_cidrs(&shared).await;
    let services = match pods.six {
        Some(_) => shared.config.service_cidr,
        // The cluster had no IPv6 when it gave this node its range.
        None => Nets::only(shared.config.service_cidr.four),
    };
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    while let Err(error) = shared.network.open(pods, services).await {
        let delay = backoff.fail();
        tracing::warn!(%error, "cannot prepare the network; trying again in {delay:?}");
        tell(&health, &format!("container runtime network not ready: {error}"));
        tokio::time::sleep(delay).await;
    }
    let dns = proxy::Dns::start(&shared.config, pods.six.is_some()).await;
    let dns = dns.inspect_err(|error| tracing::error!(%error, "cannot answer DNS for pods")).ok();
    tell(&health, "");
    let client = Arc::clone(&shared.client);
    let config = Arc::clone(&shared.config);
    proxy::run(client, config, pods, shared.network.ports(), dns).await;
}

fn tell(health: &watch::Sender<Health>, why: &str) {
    health.send_if_modified(|health| {
        let changed = health.unready != why;
        health.unready = why.to_owned();
        changed
    });
}

/// The ranges of addresses that the cluster gave this node.
async fn pod_cidrs(shared: &Shared) -> Nets {
    shared.nodes.synced().await;
    loop {
        let (snapshot, mut cursor) = shared.nodes.follow();
        let node = snapshot.get("", &shared.config.name).and_then(|node| node.tree().ok());
        if let Some(nets) = node.and_then(|node| given(node.get("spec"))) {
            return nets;
        }
        // Gone means that much has happened: that is worth a look as well.
        let _ = cursor.next(1).await;
    }
}

fn given(spec: &Value) -> Option<Nets> {
    let all = spec.get("podCIDRs").items().iter().map(Value::str);
    let first = std::iter::once(spec.get("podCIDR").str());
    let nets: Vec<IpNet> = first.chain(all).filter_map(|text| text.parse().ok()).collect();
    let four = nets.iter().find_map(|net| match net {
        IpNet::V4(four) => Some(*four),
        IpNet::V6(_) => None,
    });
    let six = nets.iter().find_map(|net| match net {
        IpNet::V6(six) => Some(*six),
        IpNet::V4(_) => None,
    });
    Some(Nets { four: four?, six })
}

/// Tells which images are here, as they come and go.
async fn report_images(shared: Arc<Shared>, health: watch::Sender<Health>) {
    let mut changes = shared.images.changes();
    loop {
        match shared.images.store.list().await {
            Ok(list) => {
                let one = |image: &Arc<runtime::image::Image>| {
                    let names = image.repo_digests.iter().chain(&image.tags).cloned().collect();
                    (names, image.size_bytes)
                };
                let images: Vec<_> = list.iter().map(one).collect();
                health.send_if_modified(|health| {
                    let changed = health.images != images;
                    health.images = images;
                    changed
                });
            }
            Err(error) => tracing::warn!(%error, "cannot list images"),
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
