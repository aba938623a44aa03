//! A pod's `/etc/resolv.conf`.

use k8s_openapi::api::core::v1::Pod;

/// What the C library takes of each; more is left out and told.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

/// A resolver's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolv {
    /// Addresses of servers.
    pub nameservers: Vec<String>,
    /// Domains to try.
    pub searches: Vec<String>,
    /// `ndots:5` and the like.
    pub options: Vec<String>,
}

/// What the cluster offers.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Addresses of the cluster's DNS.
    pub servers: Vec<String>,
    /// `cluster.local`.
    pub domain: String,
}

impl Resolv {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Self {
        let mut resolv = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(keyword) = words.next() else { continue };
            let rest = words.map(str::to_owned);
            match keyword {
                "nameserver" => resolv.nameservers.extend(rest.take(1)),
                // The last of these lines counts.
                "search" => resolv.searches = rest.filter(|domain| domain != ".").collect(),
                "options" => resolv.options = rest.collect(),
                _ => {}
            }
        }
        resolv
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text += &format!("search {}\n", self.searches.join(" "));
        }
        for server in &self.nameservers {
            text += &format!("nameserver {server}\n");
        }
        if !self.options.is_empty() {
            text += &format!("options {}\n", self.options.join(" "));
        }
        text
    }

    /// Cuts to what the C library takes; returns what was too much.
    pub fn fit(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        if self.nameservers.len() > NAMESERVERS_MAX {
            self.nameservers.truncate(NAMESERVERS_MAX);
            told.push(format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied \
                 nameserver line is: {}",
                self.nameservers.join(" ")
            ));
        }
        let before = self.searches.len();
        self.searches.truncate(SEARCHES_MAX);
        while self.searches.join(" ").len() > SEARCH_CHARS_MAX {
            self.searches.pop();
        }
        if self.searches.len() < before {
            told.push(format!(
                "Search Line limits were exceeded, some search paths have been omitted, the \
                 applied search line is: {}",
                self.searches.join(" ")
            ));
        }
        told
    }

    fn append(&mut self, other: &Self) {
        let add = |list: &mut Vec<String>, more: &[String]| {
            for item in more {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
        };
        add(&mut self.nameservers, &other.nameservers);
        add(&mut self.searches, &other.searches);
        for option in &other.options {
            let name = |option: &str| option.split(':').next().map(str::to_owned);
            self.options.retain(|known| name(known) != name(option));
            self.options.push(option.clone());
        }
    }
}

/// The configuration of a pod; `host` is the node's own.
pub fn of_pod(pod: &Pod, cluster: &Cluster, host: &Resolv) -> Resolv {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let host_network = spec.is_some_and(|spec| spec.host_network == Some(true));
    let by_cluster = match policy {
        "ClusterFirst" => !host_network,
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut resolv = match policy {
        "None" => Resolv::default(),
        _ if by_cluster && !cluster.servers.is_empty() => of_cluster(pod, cluster, host),
        _ => host.clone(),
    };
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        let option = |option: &k8s_openapi::api::core::v1::PodDNSConfigOption| {
            let name = option.name.clone().unwrap_or_default();
            option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}"))
        };
        resolv.append(&Resolv {
            nameservers: config.nameservers.clone().unwrap_or_default(),
            searches: config.searches.clone().unwrap_or_default(),
            options: config.options.iter().flatten().map(option).collect(),
        });
    }
    resolv
}

fn of_cluster(pod: &Pod, cluster: &Cluster, host: &Resolv) -> Resolv {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = &cluster.domain;
    let searches =
        vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    let mut resolv = Resolv {
        nameservers: cluster.servers.clone(),
        searches,
        options: vec!["ndots:5".to_owned()],
    };
    resolv.append(&Resolv { searches: host.searches.clone(), ..Resolv::default() });
    resolv
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(spec: &str) -> String {
        let text = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n"}},"spec":{{"containers":[]{spec}}}}}"#
        );
        let cluster =
            Cluster { servers: vec!["10.43.0.10".into()], domain: "cluster.local".into() };
        let host = "# x\nnameserver 9.9.9.9 # y\nsearch example.org .\noptions edns0\n";
        of_pod(&serde_json::from_str(&text).unwrap(), &cluster, &Resolv::parse(host)).text()
    }

    const CLUSTER: &str = "search n.svc.cluster.local svc.cluster.local cluster.local example.org\n\
        nameserver 10.43.0.10\noptions ndots:5\n";
    const HOST: &str = "search example.org\nnameserver 9.9.9.9\noptions edns0\n";

    #[test]
    fn the_policy_chooses() {
        assert_eq!(resolved(""), CLUSTER);
        assert_eq!(resolved(r#","hostNetwork":true"#), HOST);
        let with_host = r#","hostNetwork":true,"dnsPolicy":"ClusterFirstWithHostNet""#;
        assert_eq!(resolved(with_host), CLUSTER);
        assert_eq!(resolved(r#","dnsPolicy":"Default""#), HOST);
    }

    #[test]
    fn the_config_adds_and_overrides() {
        let config = r#","dnsConfig":{"nameservers":["1.1.1.1"],"searches":["a.b"],
            "options":[{"name":"ndots","value":"2"},{"name":"single"}]}"#;
        let none = format!(r#"{config},"dnsPolicy":"None""#);
        let expected = "search a.b\nnameserver 1.1.1.1\noptions ndots:2 single\n";
        assert_eq!(resolved(&none), expected);
        let both = resolved(config);
        assert!(both.contains("nameserver 10.43.0.10\nnameserver 1.1.1.1\n"), "{both}");
        assert!(both.ends_with("options ndots:2 single\n"), "{both}");
    }

    #[test]
    fn too_much_is_cut_and_told() {
        let mut resolv = Resolv {
            nameservers: (1..6).map(|i| format!("10.0.0.{i}")).collect(),
            searches: (0..40).map(|i| format!("d{i}")).collect(),
            options: Vec::new(),
        };
        assert_eq!(resolv.fit().len(), 2);
        assert_eq!((resolv.nameservers.len(), resolv.searches.len()), (3, 32));
    }
}
