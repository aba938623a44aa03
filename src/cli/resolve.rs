//! From texts to settings: every value is checked, and all faults are reported together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::Ipv6Net;

use super::raw::{Fault, Raw};
use super::{flags, issuer};
use crate::agent;
use crate::api::kinds::text;
use crate::auth::oidc;
use crate::client::remote::Endpoint;
use crate::node::config::Taint;
use crate::pki::token::Token;
use crate::server::{ClusterNetwork, NodeSettings, Settings};
use crate::util::nets::{self, Nets};

/// Bits of the pods' IPv6 addresses that one node has.
const NODE_MASK_SIX: u8 = 64;
/// The shortest prefix of services' IPv6 addresses, as in other clusters.
const SERVICE_MASK_SIX: std::ops::RangeInclusive<u8> = 108..=124;

/// What the machine says about itself, for flags that are not given.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its host name.
    pub host_name: String,
    /// The address of its default route, or failing that any of its own.
    pub address: Ipv4Addr,
    /// The same of IPv6, where it has one.
    pub six: Option<Ipv6Addr>,
}

/// Reads flags and collects what is wrong with them.
pub struct Resolver<'a> {
    raw: &'a Raw,
    faults: Vec<Fault>,
}

impl<'a> Resolver<'a> {
    /// Reads from `raw`.
    pub const fn new(raw: &'a Raw) -> Self {
        Self { raw, faults: Vec::new() }
    }

    /// The settings, if nothing was wrong.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn done<T>(self, settings: T) -> Result<T, Vec<Fault>> {
        if self.faults.is_empty() { Ok(settings) } else { Err(self.faults) }
    }

    fn fault(&mut self, name: &str, why: &str) {
        self.faults.push(Fault(format!("{}: {why}", self.raw.origin(name))));
    }

    /// The text of a flag, or its default from the table.
    fn text(&self, name: &str) -> &'a str {
        let default = flags::find(name).map_or("", |flag| flag.default);
        self.raw.one(name).unwrap_or(default)
    }

    /// The value of a flag; what does not parse is a fault and reads as `otherwise`.
    fn parsed<T: FromStr>(&mut self, name: &str, what: &str, otherwise: T) -> T {
        let text = self.text(name);
        text.parse().unwrap_or_else(|_| {
            self.fault(name, &format!("{text:?} is not {what}"));
            otherwise
        })
    }

    /// The value of a flag, if it is given.
    fn given<T: FromStr>(&mut self, name: &str, what: &str) -> Option<T> {
        let text = self.raw.one(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(name, &format!("{text:?} is not {what}"));
        }
        parsed
    }

    /// A folder of this machine.
    pub fn path(&mut self, name: &str) -> PathBuf {
        let path = PathBuf::from(self.text(name));
        if !path.is_absolute() {
            self.fault(name, &format!("{:?} is not an absolute path", path.display().to_string()));
        }
        path
    }

    fn port(&mut self, name: &str) -> u16 {
        let port = self.parsed(name, "a port between 1 and 65535", 1);
        if port == 0 {
            self.fault(name, "0 is not a port between 1 and 65535");
        }
        port
    }

    /// Networks with room for services or pods.
    fn networks(&mut self, name: &str) -> Option<Nets> {
        let parsed = self.text(name).parse();
        parsed.inspect_err(|why: &nets::Wrong| self.fault(name, &why.to_string())).ok()
    }

    /// An address of IPv4, with one of IPv6 after it or not.
    fn addresses(&mut self, name: &str) -> Option<(Ipv4Addr, Option<Ipv6Addr>)> {
        let text = self.raw.one(name)?;
        let (four, six) = text.split_once(',').map_or((text, None), |(a, b)| (a, Some(b)));
        let four = four.trim().parse();
        let Ok(four) = four else {
            self.fault(name, &format!("{text:?} is not an IPv4 address"));
            return None;
        };
        match six.map(|six| six.trim().parse()) {
            None => Some((four, None)),
            Some(Ok(six)) => Some((four, Some(six))),
            Some(Err(_)) => {
                let why = "is not an IPv4 address and an IPv6 address with a comma between them";
                self.fault(name, &format!("{text:?} {why}"));
                None
            }
        }
    }

    /// The token, given in itself or in a file.
    pub fn token(&mut self) -> Option<String> {
        let (name, token) = match (self.raw.one("token"), self.raw.one("token-file")) {
            (Some(_), Some(_)) => {
                self.fault("token-file", "cannot be given together with a token");
                return None;
            }
            (Some(token), None) => ("token", token.to_owned()),
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(text) => ("token-file", text),
                Err(error) => {
                    self.fault("token-file", &format!("cannot read {path}: {error}"));
                    return None;
                }
            },
            (None, None) => return None,
        };
        if let Err(error) = Token::parse(&token) {
            self.fault(name, &error.to_string());
        }
        Some(token)
    }

    /// The node's settings.
    pub fn node(&mut self, machine: &Machine) -> NodeSettings {
        let name = self.raw.one("node-name").unwrap_or(&machine.host_name).to_lowercase();
        if let Some(why) = text::dns_subdomain(&name).first() {
            self.fault("node-name", &format!("{name:?} cannot name a node: {why}"));
        }
        let given = self.addresses("node-ip");
        let (ip, six) = given.unwrap_or((machine.address, machine.six));
        let (mut labels, mut taints) = (Vec::new(), Vec::new());
        for text in self.raw.many("node-label") {
            match label(text) {
                Ok(label) => labels.push(label),
                Err(why) => self.fault("node-label", &format!("{text:?} is no label: {why}")),
            }
        }
        for text in self.raw.many("node-taint") {
            match taint(text) {
                Ok(taint) => taints.push(taint),
                Err(why) => self.fault("node-taint", &format!("{text:?} is no taint: {why}")),
            }
        }
        NodeSettings { name, ip, six, labels, taints, registries: self.path("private-registry") }
    }

    /// Names or addresses of machines.
    fn hosts(&mut self, name: &str) -> Vec<String> {
        let hosts = self.raw.many(name);
        for host in hosts {
            let plain = host.strip_prefix("*.").unwrap_or(host).to_lowercase();
            if host.parse::<IpAddr>().is_err() && !text::dns_subdomain(&plain).is_empty() {
                self.fault(name, &format!("{host:?} is neither an address nor a name"));
            }
        }
        hosts.to_vec()
    }

    /// An outside issuer of tokens, if there is one; `own` is the cluster's.
    fn issuer(&mut self, own: &str) -> Option<oidc::Settings> {
        let name = "kube-apiserver-arg";
        issuer::issuer(self.raw.many(name), own).unwrap_or_else(|faults| {
            faults.iter().for_each(|why| self.fault(name, why));
            None
        })
    }

    fn mode(&mut self) -> u32 {
        let name = "write-kubeconfig-mode";
        let text = self.text(name);
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => mode,
            _ => {
                self.fault(name, &format!("{text:?} is not an octal mode such as 600"));
                0o600
            }
        }
    }

    fn node_ports(&mut self) -> std::ops::RangeInclusive<u16> {
        let name = "service-node-port-range";
        let text = self.text(name);
        let range = text.split_once('-').and_then(|(first, last)| {
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            (first > 0 && first <= last).then_some(first..=last)
        });
        range.unwrap_or_else(|| {
            self.fault(name, &format!("{text:?} is not a range such as 30000-32767"));
            1..=1
        })
    }

    /// The networks of pods and of services, and where the cluster's DNS is among the latter.
    fn network(&mut self) -> ClusterNetwork {
        let (pods, services) = (self.networks("cluster-cidr"), self.networks("service-cidr"));
        if let (Some(pods), Some(services)) = (pods, services) {
            self.match_networks(pods, services);
        }
        let unknown = Nets::only(ipnet::Ipv4Net::default());
        let (cluster_dns, cluster_dns_six) =
            services.map_or((Ipv4Addr::UNSPECIFIED, None), |services| self.cluster_dns(services));
        let cluster_domain = self.text("cluster-domain").trim_end_matches('.').to_owned();
        if let Some(why) = text::dns_subdomain(&cluster_domain).first() {
            self.fault("cluster-domain", &format!("{cluster_domain:?} is not a domain: {why}"));
        }
        ClusterNetwork {
            cluster_cidr: pods.unwrap_or(unknown),
            service_cidr: services.unwrap_or(unknown),
            cluster_dns,
            cluster_dns_six,
            cluster_domain,
        }
    }

    /// Pods and services are of the same families and have no address in common.
    fn match_networks(&mut self, pods: Nets, services: Nets) {
        for (pods, services) in pods.iter().zip(services.iter()) {
            if pods.contains(&services) || services.contains(&pods) {
                self.fault("service-cidr", &format!("{services} overlaps with {pods} of pods"));
            }
        }
        match (pods.six, services.six) {
            (None, Some(six)) => {
                let why = format!("{six} is of IPv6, but pods have none: add a network of IPv6");
                self.fault("service-cidr", &format!("{why} to --cluster-cidr"));
            }
            (Some(six), None) => {
                let why =
                    format!("{six} is of IPv6, but services have none: add a network of IPv6");
                self.fault("cluster-cidr", &format!("{why} to --service-cidr"));
            }
            (Some(pods), Some(services)) => self.masks(pods, services),
            (None, None) => {}
        }
    }

    fn masks(&mut self, pods: Ipv6Net, services: Ipv6Net) {
        if pods.prefix_len() > NODE_MASK_SIX {
            let why =
                format!("{pods} has no room for nodes, each of which takes a /{NODE_MASK_SIX}");
            self.fault("cluster-cidr", &why);
        }
        if !SERVICE_MASK_SIX.contains(&services.prefix_len()) {
            let (least, most) = (SERVICE_MASK_SIX.start(), SERVICE_MASK_SIX.end());
            let why = format!("{services} is not between /{least} and /{most}");
            self.fault("service-cidr", &why);
        }
    }

    fn cluster_dns(&mut self, services: Nets) -> (Ipv4Addr, Option<Ipv6Addr>) {
        let tenth = services.four.hosts().nth(9);
        let tenth_six = services.six.and_then(|six| {
            let tenth = Ipv6Addr::from_bits(six.network().to_bits() + 10);
            six.contains(&tenth).then_some(tenth)
        });
        let given = self.addresses("cluster-dns");
        let Some(address) = given.map(|(four, _)| four).or(tenth) else {
            let why = format!("{} has no room for services", services.four);
            self.fault("service-cidr", &why);
            return (Ipv4Addr::UNSPECIFIED, None);
        };
        let six = given.map_or(tenth_six, |(_, six)| six);
        for address in [Some(IpAddr::V4(address)), six.map(IpAddr::V6)].into_iter().flatten() {
            if !services.contains(&address) {
                self.fault("cluster-dns", &format!("{address} is not one of {services}"));
            }
        }
        (address, six)
    }
}

/// The settings of a server.
///
/// # Errors
/// Everything that is wrong with its flags.
pub fn server(raw: &Raw, machine: &Machine) -> Result<Settings, Vec<Fault>> {
    let mut read = Resolver::new(raw);
    let bind: IpAddr = read.parsed("bind-address", "an IP address", Ipv4Addr::UNSPECIFIED.into());
    let port = read.port("https-listen-port");
    let node = read.node(machine);
    let given = read.given("advertise-address", "an IPv4 address");
    let advertise = given.unwrap_or(match bind {
        IpAddr::V4(bind) if !bind.is_unspecified() => bind,
        _ => node.ip,
    });
    if advertise.is_loopback() || advertise.is_unspecified() {
        let why = "pods cannot reach this machine at";
        let what = "give --advertise-address or --node-ip an address of one of its interfaces";
        read.fault("advertise-address", &format!("{why} {advertise}: {what}"));
    }
    let network = read.network();
    let settings = Settings {
        data_dir: read.path("data-dir"),
        run_dir: read.path("run-dir"),
        listen: SocketAddr::new(bind, port),
        advertise,
        tls_san: read.hosts("tls-san"),
        network,
        node_ports: read.node_ports(),
        token: read.token(),
        kubeconfig: read.path("write-kubeconfig"),
        kubeconfig_mode: read.mode(),
        node,
        runs_pods: !raw.is_on("disable-agent"),
        oidc: None,
    };
    let oidc = read.issuer(&settings.issuer());
    read.done(Settings { oidc, ..settings })
}

/// The settings of an agent.
///
/// # Errors
/// Everything that is wrong with its flags.
pub fn agent(raw: &Raw, machine: &Machine) -> Result<agent::Settings, Vec<Fault>> {
    let mut read = Resolver::new(raw);
    let server = Endpoint::parse(read.text("server")).unwrap_or_else(|why| {
        read.fault("server", &why);
        Endpoint { host: String::new(), port: 0 }
    });
    let token = read.token();
    if token.is_none() {
        let what = "give the secret that `rk token` prints on the server";
        read.fault("token", what);
    }
    let settings = agent::Settings {
        data_dir: read.path("data-dir"),
        run_dir: read.path("run-dir"),
        server,
        token: token.unwrap_or_default(),
        node: read.node(machine),
    };
    read.done(settings)
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let mut faults = text::label_key(key).into_iter().chain(text::label_value(value));
    faults.next().map_or_else(|| Ok((key.to_owned(), value.to_owned())), Err)
}

fn taint(text: &str) -> Result<Taint, String> {
    let (pair, effect) = text.rsplit_once(':').ok_or("it has no effect; write KEY=VALUE:EFFECT")?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err(format!(
            "the effect {effect:?} is none of NoSchedule, PreferNoSchedule, NoExecute"
        ));
    }
    let (key, value) = label(pair)?;
    Ok(Taint { key, value, effect: effect.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let address = Ipv4Addr::new(192, 168, 0, 7);
        Machine { host_name: "Board".into(), address, six: "2001:db8::7".parse().ok() }
    }

    fn raw(given: &[(&str, &str)]) -> Raw {
        let mut raw = Raw::default();
        for (name, value) in given {
            let values = value.split(' ').map(str::to_owned).collect();
            raw.typed(flags::find(name).unwrap(), values);
        }
        raw
    }

    fn faults(given: &[(&str, &str)]) -> Vec<String> {
        let faults = server(&raw(given), &machine()).unwrap_err();
        faults.into_iter().map(|fault| fault.0).collect()
    }

    #[test]
    fn nothing_given_is_a_server_as_k3s_has_it() {
        let settings = server(&Raw::default(), &machine()).unwrap();
        assert_eq!(settings.listen.to_string(), "0.0.0.0:6443");
        assert_eq!(settings.node.name, "board");
        assert_eq!(settings.advertise, Ipv4Addr::new(192, 168, 0, 7));
        assert_eq!(settings.network.cluster_dns, Ipv4Addr::new(10, 43, 0, 10));
        assert_eq!(settings.api_service(), Ipv4Addr::new(10, 43, 0, 1));
        assert_eq!(settings.kubeconfig_mode, 0o600);
        assert_eq!(settings.node_ports, 30000..=32767);
        assert!(settings.runs_pods && settings.token.is_none());
        let hosts = settings.hosts();
        for host in ["kubernetes.default.svc.cluster.local", "10.43.0.1", "board", "192.168.0.7"] {
            assert!(hosts.iter().any(|h| h == host), "{host}");
        }
    }

    #[test]
    fn the_dns_address_follows_the_services() {
        let settings = server(&raw(&[("service-cidr", "10.99.0.0/24")]), &machine()).unwrap();
        assert_eq!(settings.network.cluster_dns, Ipv4Addr::new(10, 99, 0, 10));
    }

    #[test]
    fn a_second_family_comes_with_all_that_belongs_to_it() {
        const PODS: &str = "10.42.0.0/16,2001:cafe:42::/56";
        const SERVICES: &str = "10.43.0.0/16,2001:cafe:43::/112";
        let both = |more: &[(&'static str, &'static str)]| {
            let flags = [&[("cluster-cidr", PODS), ("service-cidr", SERVICES)], more].concat();
            server(&raw(&flags), &machine()).unwrap()
        };
        let settings = both(&[]);
        let six: Ipv6Addr = "2001:cafe:43::a".parse().unwrap();
        assert_eq!(settings.network.cluster_dns_six, Some(six));
        let (data, run) = (PathBuf::from("/d"), PathBuf::from("/r"));
        let config = settings.node.config(&data, &run, &settings.network);
        let ips: Vec<String> = config.ips.iter().map(IpAddr::to_string).collect();
        assert_eq!(ips, ["192.168.0.7", "2001:db8::7"]);
        assert_eq!(config.cluster_dns.len(), 2);
        let given = both(&[("node-ip", "10.0.0.1,fd00::1"), ("cluster-dns", "10.43.0.9")]);
        assert_eq!(given.node.six, "fd00::1".parse().ok());
        assert_eq!(given.network.cluster_dns_six, None, "it is not given");
        let one = server(&Raw::default(), &machine()).unwrap();
        let config = one.node.config(&data, &run, &one.network);
        assert_eq!(config.ips, ["192.168.0.7".parse::<IpAddr>().unwrap()], "IPv4 alone");
    }

    #[test]
    fn families_that_do_not_match_are_refused() {
        for (pods, services, flag, why) in [
            ("10.42.0.0/16,fd00::/56", "10.43.0.0/16", "cluster-cidr", "to --service-cidr"),
            ("10.42.0.0/16", "10.43.0.0/16,fd01::/112", "service-cidr", "to --cluster-cidr"),
            ("10.42.0.0/16,fd00::/96", "10.43.0.0/16,fd01::/112", "cluster-cidr", "takes a /64"),
            ("10.42.0.0/16,fd00::/56", "10.43.0.0/16,fd01::/107", "service-cidr", "and /124"),
            ("10.42.0.0/16,fd00::/56", "10.43.0.0/16,fd01::/125", "service-cidr", "and /124"),
            ("10.42.0.0/16,fd00::/56", "10.43.0.0/16,fd00::/112", "service-cidr", "overlaps"),
            ("10.42.0.0/15", "10.43.0.0/16", "service-cidr", "overlaps with 10.42.0.0/15"),
        ] {
            let found = faults(&[("cluster-cidr", pods), ("service-cidr", services)]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&format!("--{flag}: ")), "{found:?}");
            assert!(found[0].contains(why), "{found:?}");
        }
        assert!(faults(&[("node-ip", "10.0.0.1,10.0.0.2")])[0].contains("with a comma between"));
        assert!(faults(&[("cluster-dns", "10.43.0.9,fd00::9")])[0].contains("is not one of"));
    }

    #[test]
    fn a_machine_without_a_network_is_told_so() {
        let machine = Machine { address: Ipv4Addr::LOCALHOST, ..machine() };
        assert!(server(&Raw::default(), &machine).is_err());
        assert!(server(&raw(&[("node-ip", "10.0.0.1")]), &machine).is_ok());
    }

    #[test]
    fn labels_and_taints_are_read() {
        let settings = server(
            &raw(&[
                ("node-label", "a=b example.com/c="),
                ("node-taint", "k=v:NoSchedule k:NoExecute"),
            ]),
            &machine(),
        );
        let node = settings.unwrap().node;
        assert_eq!(node.labels[1], ("example.com/c".into(), String::new()));
        let second = Taint { key: "k".into(), value: String::new(), effect: "NoExecute".into() };
        assert_eq!(node.taints[1], second);
    }

    #[test]
    fn all_faults_are_reported_together() {
        let found = faults(&[
            ("https-listen-port", "70000"),
            ("node-name", "a_b"),
            ("cluster-cidr", "10.42.0.1/16"),
            ("service-cidr", "10.44.7.0/24"),
            ("cluster-dns", "10.43.0.10"),
            ("service-node-port-range", "9-1"),
            ("write-kubeconfig-mode", "999"),
            ("node-taint", "k=v:Never"),
            ("token", "K10short::server:x"),
            ("data-dir", "here"),
        ]);
        assert_eq!(found.len(), 9, "{found:#?}");
        assert_eq!(found[0], "--https-listen-port: \"70000\" is not a port between 1 and 65535");
        assert!(found.iter().any(|f| f.contains("10.42.0.1/16 has bits beyond its prefix")));
    }

    #[test]
    fn a_token_comes_from_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        std::fs::write(&path, "secret\n").unwrap();
        let path = path.display().to_string();
        let settings = server(&raw(&[("token-file", &path)]), &machine()).unwrap();
        assert_eq!(settings.token.unwrap().trim(), "secret");
        assert_eq!(faults(&[("token-file", &path), ("token", "x")]).len(), 1);
        assert_eq!(faults(&[("token-file", "/nowhere")]).len(), 1);
    }
}
