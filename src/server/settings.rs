//! What a server and a node are told at start, checked and ready to use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::schema;
use crate::auth::oidc;
use crate::node::config::{Config, Taint};
use crate::util::id;
use crate::util::nets::Nets;

/// Where a node's own server listens, as every tool expects.
const NODE_PORT: u16 = 10250;
/// How many pods may run on a node, as k3s.
const PODS_MAX: u32 = 110;
/// The data directory of an installation; others are for trying things out.
const INSTALLED: &str = "/var/lib/rk";

/// A server's configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of everything that must outlive a restart.
    pub data_dir: PathBuf,
    /// Folder of sockets and mounts.
    pub run_dir: PathBuf,
    /// What the API server listens on.
    pub listen: SocketAddr,
    /// Where others reach the API server.
    pub advertise: Ipv4Addr,
    /// Further names and addresses in its certificate.
    pub tls_san: Vec<String>,
    /// Addresses and names of the cluster.
    pub network: ClusterNetwork,
    /// Ports for services of type NodePort.
    pub node_ports: RangeInclusive<u16>,
    /// The join token, where one is given.
    pub token: Option<String>,
    /// Where to put the administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Its permissions.
    pub kubeconfig_mode: u32,
    /// The node of this machine.
    pub node: NodeSettings,
    /// Whether pods run on this machine.
    pub runs_pods: bool,
    /// An outside issuer whose tokens name users.
    pub oidc: Option<oidc::Settings>,
}

impl Settings {
    /// The first service address: that of the API server.
    pub fn api_service(&self) -> Ipv4Addr {
        let services = self.network.service_cidr.four;
        services.hosts().next().unwrap_or(services.addr())
    }

    /// Who issues service-account tokens.
    pub fn issuer(&self) -> String {
        format!("https://kubernetes.default.svc.{}", self.network.cluster_domain)
    }

    /// All names and addresses by which clients may call the API server.
    pub fn hosts(&self) -> Vec<String> {
        let domain = &self.network.cluster_domain;
        let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1", "kubernetes"]
            .into_iter()
            .chain(["kubernetes.default", "kubernetes.default.svc"])
            .map(str::to_owned)
            .collect();
        hosts.push(format!("kubernetes.default.svc.{domain}"));
        hosts.push(self.api_service().to_string());
        hosts.push(self.advertise.to_string());
        hosts.push(self.node.name.clone());
        hosts.extend(self.node.ips(&self.network).iter().map(IpAddr::to_string));
        if !self.listen.ip().is_unspecified() {
            hosts.push(self.listen.ip().to_string());
        }
        hosts.extend(self.tls_san.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        hosts.retain(|host| seen.insert(host.clone()));
        hosts
    }
}

/// What all nodes of a cluster must agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetwork {
    /// Addresses of pods.
    pub cluster_cidr: Nets,
    /// Addresses of services.
    pub service_cidr: Nets,
    /// The service address of the cluster's DNS.
    pub cluster_dns: Ipv4Addr,
    /// The same of IPv6, where services have addresses of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_dns_six: Option<Ipv6Addr>,
    /// The domain of services' and pods' names.
    pub cluster_domain: String,
}

impl ClusterNetwork {
    /// The service addresses of the cluster's DNS, IPv4 first.
    pub fn dns(&self) -> Vec<IpAddr> {
        let six = self.cluster_dns_six.map(IpAddr::V6);
        std::iter::once(self.cluster_dns.into()).chain(six).collect()
    }
}

/// A node's configuration.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Its name in the cluster.
    pub name: String,
    /// The address that other nodes reach it by.
    pub ip: Ipv4Addr,
    /// The same of IPv6, which only a cluster with both families asks for.
    pub six: Option<Ipv6Addr>,
    /// Labels of a new node.
    pub labels: Vec<(String, String)>,
    /// Taints of a new node.
    pub taints: Vec<Taint>,
    /// How to talk to registries (`registries.yaml`); it need not exist.
    pub registries: PathBuf,
}

impl NodeSettings {
    /// Its addresses in a cluster with these families.
    fn ips(&self, network: &ClusterNetwork) -> Vec<IpAddr> {
        let six = self.six.filter(|_| network.cluster_cidr.six.is_some());
        std::iter::once(self.ip.into()).chain(six.map(IpAddr::V6)).collect()
    }

    /// What the node is told, with its files below these folders.
    pub fn config(&self, data_dir: &Path, run_dir: &Path, network: &ClusterNetwork) -> Config {
        let places = Places::new(data_dir);
        Config {
            name: self.name.clone(),
            ips: self.ips(network),
            labels: self.labels.clone(),
            taints: self.taints.clone(),
            data_dir: data_dir.join("agent"),
            run_dir: run_dir.to_owned(),
            log_dir: places.logs,
            registries: self.registries.clone(),
            cgroup_root: places.cgroup,
            listen: (Ipv4Addr::UNSPECIFIED, NODE_PORT).into(),
            cluster_cidr: network.cluster_cidr,
            service_cidr: network.service_cidr,
            cluster_dns: network.dns(),
            cluster_domain: network.cluster_domain.clone(),
            pods_max: PODS_MAX,
            version: format!("{}+rk{}", schema::builtin().release(), env!("CARGO_PKG_VERSION")),
        }
    }
}

/// What a node has outside of its folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Containers' logs.
    pub logs: PathBuf,
    /// The cgroup of everything that runs.
    pub cgroup: String,
}

impl Places {
    /// Those of the node whose files are in `data_dir`. Log collectors look in one place: a cluster
    /// for trying things out must not be seen there, nor share a cgroup with the installed one.
    pub fn new(data_dir: &Path) -> Self {
        if data_dir == Path::new(INSTALLED) {
            return Self { logs: "/var/log/pods".into(), cgroup: "rk".to_owned() };
        }
        let hash = id::hash(data_dir.as_os_str().as_encoded_bytes());
        Self { logs: data_dir.join("agent/logs"), cgroup: format!("rk-{hash:016x}") }
    }
}
