//! A pod's names: host name, domain, and the text of its `/etc/hosts`.

use k8s_openapi::api::core::v1::{HostAlias, Pod};

/// The first line of a hosts file that the node manages.
const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";
const FIXED: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    fe00::0\tip6-mcastprefix\n\
    fe00::1\tip6-allnodes\n\
    fe00::2\tip6-allrouters\n";
/// The longest host name that the kernel takes without its trailing zero.
const HOSTNAME_MAX: usize = 63;

/// How a pod is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// What `hostname` says in the pod.
    pub hostname: String,
    /// Its fully qualified name, where it has one of its own.
    pub fqdn: Option<String>,
}

/// A pod's names, by its spec and the cluster's domain.
///
/// # Errors
/// When the full name shall be the host name and is too long for it.
pub fn names(pod: &Pod, cluster_domain: &str) -> Result<Names, String> {
    let spec = pod.spec.as_ref();
    if let Some(name) = spec.and_then(|spec| spec.hostname_override.clone()) {
        return Ok(Names { hostname: name, fqdn: None });
    }
    let given = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let short =
        given.unwrap_or_else(|| shortened(pod.metadata.name.as_deref().unwrap_or_default()));
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref()).filter(|s| !s.is_empty());
    let fqdn =
        subdomain.map(|subdomain| format!("{short}.{subdomain}.{namespace}.svc.{cluster_domain}"));
    let as_hostname = spec.and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let hostname = match &fqdn {
        Some(fqdn) if as_hostname && fqdn.len() > 64 => {
            return Err(format!(
                "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is \
                 too long (64 characters is the max, {} characters requested)",
                fqdn.len()
            ));
        }
        Some(fqdn) if as_hostname => fqdn.clone(),
        _ => short,
    };
    Ok(Names { hostname, fqdn })
}

/// A pod's name cut to what a host name may be.
fn shortened(name: &str) -> String {
    let cut = name.get(..HOSTNAME_MAX).unwrap_or(name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The hosts file of a pod with a network of its own.
pub fn of_pod(ips: &[String], names: &Names, aliases: &[HostAlias]) -> String {
    let mut text = format!("{HEADER}{FIXED}");
    let own = match &names.fqdn {
        Some(fqdn) => {
            let short = fqdn.split('.').next().unwrap_or_default();
            format!("{fqdn}\t{short}")
        }
        None => names.hostname.clone(),
    };
    for ip in ips {
        text += &format!("{ip}\t{own}\n");
    }
    text + &of_aliases(aliases)
}

/// The hosts file of a pod in the host's network: the host's own, and aliases.
pub fn of_host(hosts: &str, aliases: &[HostAlias]) -> String {
    format!("{HEADER_HOST_NETWORK}{hosts}{}", of_aliases(aliases))
}

fn of_aliases(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line = |alias: &HostAlias| {
        let names = alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>();
        format!("{}\t{}\n", alias.ip, names.join("\t"))
    };
    let lines: String = aliases.iter().map(line).collect();
    format!("\n# Entries added by HostAliases.\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        let text = format!(
            r#"{{"metadata":{{"name":"web-0","namespace":"n"}},
                "spec":{{"containers":[]{spec}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn names_follow_the_spec() {
        let of = |spec: &str| {
            let names = names(&pod(spec), "cluster.local").unwrap();
            (names.hostname, names.fqdn.unwrap_or_default())
        };
        let full = "web-0.sub.n.svc.cluster.local".to_owned();
        assert_eq!(of(""), ("web-0".into(), String::new()));
        assert_eq!(of(r#","hostname":"h""#), ("h".into(), String::new()));
        assert_eq!(of(r#","subdomain":"sub""#), ("web-0".into(), full.clone()));
        let as_hostname = r#","subdomain":"sub","setHostnameAsFQDN":true"#;
        assert_eq!(of(as_hostname), (full.clone(), full));
        let long = format!(r#","subdomain":"{}","setHostnameAsFQDN":true"#, "s".repeat(50));
        assert!(names(&pod(&long), "cluster.local").is_err());
    }

    #[test]
    fn long_names_are_cut() {
        let name = format!("{}-.x", "a".repeat(62));
        assert_eq!(shortened(&name), "a".repeat(62));
    }

    #[test]
    fn the_file_is_as_kubelet_writes_it() {
        let names = Names { hostname: "h".into(), fqdn: Some("h.sub.n.svc.c".into()) };
        let alias =
            HostAlias { ip: "1.2.3.4".into(), hostnames: Some(vec!["a".into(), "b".into()]) };
        let text = of_pod(&["10.42.0.2".into()], &names, &[alias]);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with(
            "10.42.0.2\th.sub.n.svc.c\th\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
        ));
        assert_eq!(
            of_host("127.0.0.1 x\n", &[]),
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 x\n"
        );
    }
}
