//! What a server and a node are told at start, checked and ready to use.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::node::config::Taint;

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
    /// Addresses of pods.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of services.
    pub service_cidr: Ipv4Net,
    /// The service address of the cluster's DNS.
    pub cluster_dns: Ipv4Addr,
    /// The domain of services' and pods' names.
    pub cluster_domain: String,
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
}

impl Settings {
    /// The first service address: that of the API server.
    pub fn api_service(&self) -> Ipv4Addr {
        self.service_cidr.hosts().next().unwrap_or(self.service_cidr.addr())
    }

    /// Who issues service-account tokens.
    pub fn issuer(&self) -> String {
        format!("https://kubernetes.default.svc.{}", self.cluster_domain)
    }

    /// All names and addresses by which clients may call the API server.
    pub fn hosts(&self) -> Vec<String> {
        let domain = &self.cluster_domain;
        let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1", "kubernetes"]
            .into_iter()
            .chain(["kubernetes.default", "kubernetes.default.svc"])
            .map(str::to_owned)
            .collect();
        hosts.push(format!("kubernetes.default.svc.{domain}"));
        hosts.push(self.api_service().to_string());
        hosts.push(self.advertise.to_string());
        hosts.push(self.node.name.clone());
        hosts.push(self.node.ip.to_string());
        if !self.listen.ip().is_unspecified() {
            hosts.push(self.listen.ip().to_string());
        }
        hosts.extend(self.tls_san.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        hosts.retain(|host| seen.insert(host.clone()));
        hosts
    }
}

/// A node's configuration.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Its name in the cluster.
    pub name: String,
    /// The address that other nodes reach it by.
    pub ip: Ipv4Addr,
    /// Labels of a new node.
    pub labels: Vec<(String, String)>,
    /// Taints of a new node.
    pub taints: Vec<Taint>,
}
