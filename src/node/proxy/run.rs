//! Follows services and slices, and makes kernel and resolver match.
//!
//! Events that come while the kernel is being changed are taken together next time: under load the
//! work grows with the number of services that change, not with that of events.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::rules::Place;
use super::table::Table;
use crate::api::meta::Meta;
use crate::client::{Client, ENDPOINTSLICES, SERVICES, View};
use crate::history::{Cursor, Gone};
use crate::limits::EVENTS_PER_READ;
use crate::net::dns;
use crate::net::link::{SERVED, SERVED_SIX};
use crate::net::service::{self, Desired};
use crate::node::config::Config;
use crate::node::network::HostPorts;
use crate::util::backoff::Backoff;
use crate::util::nets::Nets;

/// The service of the cluster's DNS.
const DNS_SERVICE: &str = "kube-system/kube-dns";
const DNS_PORT: u16 = 53;
/// First and longest wait after the kernel refused.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The cluster's DNS as this node answers it.
pub struct Dns {
    zone: dns::Zone,
    /// Where it answers.
    at: Vec<SocketAddr>,
}

impl Dns {
    /// Begins to answer on the addresses that only this node's pods and processes reach; `six` says
    /// whether there is one of IPv6.
    ///
    /// # Errors
    /// When an address cannot be bound or the domain is no name.
    pub async fn start(config: &Config, six: bool) -> std::io::Result<Self> {
        let domain = dns::Domain {
            name: config.cluster_domain.clone(),
            servers: config.cluster_dns.clone(),
            reverse: config.service_cidr.iter().chain(config.cluster_cidr.iter()).collect(),
        };
        let wrong = || std::io::Error::other(format!("{:?} is no domain", config.cluster_domain));
        let zone = dns::Zone::new(domain).ok_or_else(wrong)?;
        let served: Vec<IpAddr> =
            [Some(SERVED.into()), six.then(|| SERVED_SIX.into())].into_iter().flatten().collect();
        let own: Vec<IpAddr> = config.cluster_dns.iter().chain(&served).copied().collect();
        let upstream = Arc::new(dns::Upstream::from_file("/etc/resolv.conf".into(), own));
        let at: Vec<_> = served.into_iter().map(|ip| SocketAddr::new(ip, DNS_PORT)).collect();
        for address in &at {
            let server = dns::Server::bind(*address, zone.clone(), Arc::clone(&upstream)).await?;
            tokio::spawn(server.run());
        }
        Ok(Self { zone, at })
    }
}

/// Follows services for ever.
pub async fn run(
    client: Arc<dyn Client>,
    config: Arc<Config>,
    pods: Nets,
    host_ports: watch::Receiver<HostPorts>,
    dns: Option<Dns>,
) {
    let services = client.view(&SERVICES, "");
    let slices = client.view(&ENDPOINTSLICES, "");
    let nodes = client.view(&crate::client::NODES, "");
    tokio::join!(services.synced(), slices.synced(), nodes.synced());
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let proxy = loop {
        match service::Proxy::open(settings(&config, pods)).await {
            Ok(proxy) => break proxy,
            Err(error) => {
                let delay = backoff.fail();
                tracing::warn!(%error, "cannot read the service table; trying again in {delay:?}");
                tokio::time::sleep(delay).await;
            }
        }
    };
    tokio::spawn(watch_loss(proxy.clone(), host_ports.clone()));
    let place = place(&config, &nodes);
    let mut follower =
        Follower { config, services, slices, place, proxy, host_ports, dns, backoff };
    loop {
        let gone = follower.follow().await;
        tracing::info!(%gone, "looking at all services anew");
    }
}

fn settings(config: &Config, pods: Nets) -> service::Config {
    service::Config {
        table: service::TABLE.to_owned(),
        pod_cidr: pods,
        cluster_cidr: config.cluster_cidr,
        service_cidr: config.service_cidr,
        unmasqueraded: Vec::new(),
    }
}

fn place(config: &Config, nodes: &View) -> Place {
    let node = nodes.get("", &config.name).and_then(|node| node.tree().ok());
    let zone = node.as_ref().and_then(|node| node.label("topology.kubernetes.io/zone"));
    Place { node: config.name.clone(), zone: zone.unwrap_or_default().to_owned() }
}

/// Somebody else may delete the table; then everything is compared, at once.
async fn watch_loss(proxy: service::Proxy, host_ports: watch::Receiver<HostPorts>) {
    // Kept only so that this task ends with the node.
    let _alive = host_ports;
    let mut loss = match proxy.watch() {
        Ok(loss) => loss,
        Err(error) => return tracing::warn!(%error, "cannot watch for the loss of service rules"),
    };
    while loss.wait().await.is_ok() {
        tracing::warn!("somebody deleted the service rules; putting them back");
        proxy.recheck();
    }
}

struct Follower {
    config: Arc<Config>,
    services: View,
    slices: View,
    place: Place,
    proxy: service::Proxy,
    host_ports: watch::Receiver<HostPorts>,
    dns: Option<Dns>,
    backoff: Backoff,
}

impl Follower {
    /// Follows until events have been missed.
    async fn follow(&mut self) -> Gone {
        let (services, mut service_events) = self.services.follow();
        let (slices, mut slice_events) = self.slices.follow();
        let mut table = Table::new(self.place.clone(), self.served(), &services, &slices);
        if let Some(dns) = &self.dns {
            dns.zone.replace(table.records.clone());
        }
        let mut pending = true;
        loop {
            let mut retry = None;
            if pending {
                retry = self.apply(&table).await;
                pending = retry.is_some();
            }
            match self.next(&mut table, &mut service_events, &mut slice_events, retry).await {
                Ok(changed) => pending |= changed,
                Err(gone) => return gone,
            }
        }
    }

    /// What the node itself answers.
    fn served(&self) -> BTreeMap<String, Vec<SocketAddr>> {
        self.dns.iter().map(|dns| (DNS_SERVICE.to_owned(), dns.at.clone())).collect()
    }

    /// Waits for what comes next; returns whether the kernel has to be told.
    async fn next(
        &mut self,
        table: &mut Table,
        services: &mut Cursor,
        slices: &mut Cursor,
        retry: Option<Duration>,
    ) -> Result<bool, Gone> {
        let timer = async {
            match retry {
                Some(delay) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        let (mut of_services, mut of_slices) = (Vec::new(), Vec::new());
        tokio::select! {
            events = services.next(EVENTS_PER_READ) => of_services = events?,
            events = slices.next(EVENTS_PER_READ) => of_slices = events?,
            changed = self.host_ports.changed() => {
                if changed.is_err() {
                    // The node is stopping.
                    std::future::pending::<()>().await;
                }
                return Ok(true);
            }
            () = timer => return Ok(true),
        }
        // Both are read to the end: a service and its slices mostly change together.
        of_services.extend(services.poll(EVENTS_PER_READ)?);
        of_slices.extend(slices.poll(EVENTS_PER_READ)?);
        let touched = table.touched(&of_services, &of_slices);
        let (packets, names) =
            table.refresh(&touched, &self.services.snapshot(), &self.slices.snapshot());
        if let Some(dns) = &self.dns {
            for name in names {
                let record = table.records.get(&name).cloned();
                dns.zone.set(name, record);
            }
        }
        Ok(packets)
    }

    /// Makes the kernel match; returns when to try again if it refused.
    async fn apply(&mut self, table: &Table) -> Option<Duration> {
        let desired = Desired {
            node_ips: self.config.ips.clone(),
            services: table.services.clone(),
            host_ports: self.host_ports.borrow_and_update().clone(),
        };
        match self.proxy.apply(Arc::new(desired)).await {
            Ok(_) => {
                self.backoff.reset();
                None
            }
            Err(error) => {
                let delay = self.backoff.fail();
                tracing::warn!(%error, "cannot change the service rules; trying again in {delay:?}");
                Some(delay)
            }
        }
    }
}
