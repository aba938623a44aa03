//! What a node is told about itself and its cluster when it starts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::util::nets::Nets;

/// Where a node keeps its images, below its `data_dir`.
pub fn image_store(data_dir: &Path) -> PathBuf {
    data_dir.join("store")
}

/// The folder whose archives become images by themselves, below `data_dir`.
pub fn image_archives(data_dir: &Path) -> PathBuf {
    data_dir.join("images")
}

/// The settings of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub name: String,
    /// The node's addresses; the first is where others reach it.
    pub ips: Vec<IpAddr>,
    /// Labels besides those that every node has; set at each start.
    pub labels: Vec<(String, String)>,
    /// Taints to register with, as `key=value:Effect`.
    pub taints: Vec<Taint>,
    /// Files that are kept: images, volumes, containers' state.
    pub data_dir: PathBuf,
    /// Files that a reboot takes away: sockets, secrets.
    pub run_dir: PathBuf,
    /// Containers' logs, one folder per pod.
    pub log_dir: PathBuf,
    /// How to talk to registries (`registries.yaml`); it need not exist.
    pub registries: PathBuf,
    /// The cgroup below which everything of this node is.
    pub cgroup_root: String,
    /// Where the node's own HTTPS server listens.
    pub listen: std::net::SocketAddr,
    /// Addresses of all pods.
    pub cluster_cidr: Nets,
    /// Addresses of services.
    pub service_cidr: Nets,
    /// The service address at which the cluster's DNS answers.
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// How many pods may run here.
    pub pods_max: u32,
    /// The version to report: `v1.37.0+rk0.1.0`.
    pub version: String,
}

/// A taint to register with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl std::str::FromStr for Taint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a taint: write key=value:Effect");
        let (pair, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key.is_empty() || !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            return Err(wrong());
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read_as_kubectl_writes_them() {
        let taint: Taint = "a/b=c:NoSchedule".parse().unwrap();
        assert_eq!((&*taint.key, &*taint.value, &*taint.effect), ("a/b", "c", "NoSchedule"));
        assert_eq!("a:NoExecute".parse::<Taint>().unwrap().value, "");
        for text in ["a", "a=b", "a=b:Never", "=b:NoExecute"] {
            assert!(text.parse::<Taint>().is_err(), "{text}");
        }
    }
}
