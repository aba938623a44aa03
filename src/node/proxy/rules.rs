//! One service as packets see it: its addresses, and which endpoints take new connections. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{addresses, is_external_name, is_headless, port, protocol};
use crate::api::meta::Meta;
use crate::api::tree::Value;
use crate::net::service::{Endpoint, Port, Service};

/// What of the node decides between endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// Its zone; empty where it has none.
    pub zone: String,
}

/// How long a client is remembered where the service does not say.
const AFFINITY_DEFAULT_S: i64 = 10_800;

/// A service with its endpoints; none where no packet is addressed to it.
pub fn service(service: &Value, slices: &[&Value], place: &Place) -> Option<Service> {
    let elsewhere = service.label("service.kubernetes.io/service-proxy-name").is_some()
        || service.label("service.kubernetes.io/headless").is_some();
    let spec = service.get("spec");
    let cluster_ips = cluster_ips(spec);
    if elsewhere || is_external_name(service) || is_headless(service) || cluster_ips.is_empty() {
        return None;
    }
    let internal_local = spec.get("internalTrafficPolicy").str() == "Local";
    let external_local = spec.get("externalTrafficPolicy").str() == "Local";
    let candidates = candidates(slices, place);
    let to_port = |item: &Value| {
        let protocol = protocol(item.get("protocol").str())?;
        let name = item.get("name").str();
        let at_port = candidates.iter().filter_map(|c| c.at(name, protocol.number()));
        Some(Port {
            protocol,
            port: port(item.get("port"))?,
            node_port: port(item.get("nodePort")),
            endpoints: by_family(at_port, |all| {
                choose(all, internal_local || external_local, place)
            }),
        })
    };
    Some(Service {
        cluster_ips,
        external_ips: external_ips(service),
        ports: spec.get("ports").items().iter().filter_map(to_port).collect(),
        affinity: affinity(spec),
        internal_local,
        external_local,
    })
}

fn cluster_ips(spec: &Value) -> Vec<IpAddr> {
    let many = addresses(spec.get("clusterIPs"));
    if many.is_empty() { spec.get("clusterIP").str().parse().into_iter().collect() } else { many }
}

fn external_ips(service: &Value) -> Vec<IpAddr> {
    let mut all = addresses(service.at(&["spec", "externalIPs"]));
    let ingress = service.at(&["status", "loadBalancer", "ingress"]).items();
    let direct = ingress.iter().filter(|item| item.get("ipMode").str() != "Proxy");
    all.extend(direct.filter_map(|item| item.get("ip").str().parse::<IpAddr>().ok()));
    all
}

fn affinity(spec: &Value) -> Option<Duration> {
    if spec.get("sessionAffinity").str() != "ClientIP" {
        return None;
    }
    let seconds = spec.at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).as_int();
    Some(Duration::from_secs(u64::try_from(seconds.unwrap_or(AFFINITY_DEFAULT_S)).ok()?))
}

/// One endpoint of a slice with the ports of the slice.
struct Candidate<'a> {
    address: IpAddr,
    ports: &'a [Value],
    ready: bool,
    /// Still answers though it is going away.
    draining: bool,
    local: bool,
    /// Nodes and zones that it is meant for.
    nodes: BTreeSet<&'a str>,
    zones: BTreeSet<&'a str>,
}

fn candidates<'a>(slices: &[&'a Value], place: &Place) -> Vec<Candidate<'a>> {
    let of_slice = |slice: &&'a Value| {
        let slice = *slice;
        let ports = slice.get("ports").items();
        let known = matches!(slice.get("addressType").str(), "IPv4" | "IPv6");
        let items = if known { slice.get("endpoints").items() } else { &[] };
        items.iter().filter_map(move |item| candidate(item, ports, place)).collect::<Vec<_>>()
    };
    slices.iter().flat_map(of_slice).collect()
}

fn candidate<'a>(item: &'a Value, ports: &'a [Value], place: &Place) -> Option<Candidate<'a>> {
    let conditions = item.get("conditions");
    let ready = conditions.get("ready").as_bool().unwrap_or(true);
    let serving = conditions.get("serving").as_bool().unwrap_or(ready);
    let terminating = conditions.get("terminating").is_true();
    let hinted = |kind: &str| {
        item.at(&["hints", kind]).items().iter().map(|hint| hint.get("name").str()).collect()
    };
    Some(Candidate {
        // All addresses of one endpoint are the same thing; the first is used.
        address: item.get("addresses").items().first()?.str().parse().ok()?,
        ports,
        ready: ready && !terminating,
        draining: serving && terminating,
        local: !place.node.is_empty() && item.get("nodeName").str() == place.node,
        nodes: hinted("forNodes"),
        zones: hinted("forZones"),
    })
}

/// A candidate at one of its ports.
struct At<'c, 'a> {
    candidate: &'c Candidate<'a>,
    addr: SocketAddr,
}

impl<'a> Candidate<'a> {
    fn at(&self, name: &str, number: u8) -> Option<At<'_, 'a>> {
        let matches = |port: &&Value| {
            let same = protocol(port.get("protocol").str()).map(|p| p.number()) == Some(number);
            port.get("name").str() == name && same
        };
        let port = port(self.ports.iter().find(matches)?.get("port"))?;
        Some(At { candidate: self, addr: SocketAddr::new(self.address, port) })
    }
}

/// What is chosen among the endpoints of each family: those of the other are out of reach.
fn by_family<'c, 'a: 'c>(
    all: impl Iterator<Item = At<'c, 'a>>,
    choose: impl Fn(Vec<At<'c, 'a>>) -> Vec<Endpoint>,
) -> Vec<Endpoint> {
    let (four, six): (Vec<_>, Vec<_>) = all.partition(|at| at.addr.is_ipv4());
    let mut chosen = choose(four);
    if !six.is_empty() {
        chosen.extend(choose(six));
    }
    chosen
}

/// The endpoints of a port that take new connections: the ready ones; where there is none, those
/// that still answer while they go away. Where only this node's own count, the same for those.
fn choose(all: Vec<At<'_, '_>>, local_counts: bool, place: &Place) -> Vec<Endpoint> {
    let any_ready = all.iter().any(|at| at.candidate.ready);
    let local_ready = all.iter().any(|at| at.candidate.ready && at.candidate.local);
    let near = nearness(&all, place);
    let usable = |at: &&At<'_, '_>| {
        let candidate = at.candidate;
        let last_local = local_counts && !local_ready && candidate.local && candidate.draining;
        let own = local_counts && candidate.local && candidate.ready;
        let near_enough = candidate.ready && near(candidate);
        near_enough || own || last_local || (!any_ready && candidate.draining)
    };
    let mut chosen: Vec<Endpoint> = all
        .iter()
        .filter(usable)
        .map(|at| Endpoint { addr: at.addr, local: at.candidate.local })
        .collect();
    chosen.sort();
    chosen.dedup();
    chosen
}

/// Which endpoints the hints allow here: hints count only where every ready endpoint has them and
/// one is meant for this place.
fn nearness(all: &[At<'_, '_>], place: &Place) -> impl Fn(&Candidate<'_>) -> bool {
    let ready = || all.iter().map(|at| at.candidate).filter(|candidate| candidate.ready);
    let by_node = ready().all(|c| !c.nodes.is_empty())
        && ready().any(|c| c.nodes.contains(place.node.as_str()));
    let by_zone = !place.zone.is_empty()
        && ready().all(|c| !c.zones.is_empty())
        && ready().any(|c| c.zones.contains(place.zone.as_str()));
    let (node, zone) = (place.node.clone(), place.zone.clone());
    move |candidate| match (by_node, by_zone) {
        (true, _) => candidate.nodes.contains(node.as_str()),
        (false, true) => candidate.zones.contains(zone.as_str()),
        (false, false) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { node: "here".into(), zone: "a".into() }
    }

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    /// Endpoints as `address@node` with `-` unready, `~` draining, `!` terminating and deaf, and
    /// `>zone` as hint.
    fn slice(endpoints: &str) -> Value {
        let one = |word: &str| {
            let (word, zone) = word.split_once('>').unwrap_or((word, ""));
            let (word, conditions) = match word.split_at(1) {
                ("-", rest) => (rest, r#""ready":false"#),
                ("~", rest) => (rest, r#""ready":false,"serving":true,"terminating":true"#),
                ("!", rest) => (rest, r#""ready":false,"serving":false,"terminating":true"#),
                _ => (word, r#""ready":true"#),
            };
            let (address, node) = word.split_once('@').unwrap();
            let hints = match zone {
                "" => String::new(),
                zone => format!(r#","hints":{{"forZones":[{{"name":"{zone}"}}]}}"#),
            };
            format!(
                r#"{{"addresses":["10.42.0.{address}"],"nodeName":"{node}",
                    "conditions":{{{conditions}}}{hints}}}"#
            )
        };
        let list: Vec<String> = endpoints.split_whitespace().map(one).collect();
        parse(&format!(
            r#"{{"addressType":"IPv4","ports":[{{"name":"","port":8080,"protocol":"TCP"}},
                {{"name":"dns","port":53,"protocol":"UDP"}}],"endpoints":[{}]}}"#,
            list.join(",")
        ))
    }

    fn chosen(spec: &str, endpoints: &str) -> String {
        let text = format!(
            r#"{{"metadata":{{"name":"s"}},"spec":{{"clusterIP":"10.43.0.9",
                "ports":[{{"port":80,"targetPort":8080}}]{spec}}}}}"#
        );
        let service = service(&parse(&text), &[&slice(endpoints)], &place()).unwrap();
        let one = |endpoint: &Endpoint| {
            let last = endpoint.addr.ip().to_string();
            let mark = if endpoint.local { "*" } else { "" };
            format!("{}{mark}", last.rsplit('.').next().unwrap())
        };
        service.ports[0].endpoints.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    const INTERNAL: &str = r#","internalTrafficPolicy":"Local""#;
    const EXTERNAL: &str = r#","externalTrafficPolicy":"Local""#;

    #[test]
    fn endpoints_that_take_connections() {
        let cases = [
            ("", "1@here 2@there", "1* 2"),
            ("", "1@here -2@there ~3@there", "1*"),
            ("", "-1@here ~2@there !3@there", "2"),
            ("", "!1@here", ""),
            (INTERNAL, "~1@here 2@there", "1* 2"),
            (EXTERNAL, "~1@here 2@here 3@there", "2* 3"),
            ("", "1@here>a 2@there>b", "1*"),
            ("", "1@here>a 2@there", "1* 2"),
            ("", "1@here>c 2@there>b", "1* 2"),
            (EXTERNAL, "1@here>b 2@there>a", "1* 2"),
            ("", "", ""),
        ];
        for (spec, endpoints, expected) in cases {
            assert_eq!(chosen(spec, endpoints), expected, "{spec} {endpoints}");
        }
    }

    #[test]
    fn all_addresses_and_ports_are_there() {
        let text = r#"{"metadata":{"name":"s"},"spec":{"type":"NodePort",
            "clusterIP":"10.43.0.9","clusterIPs":["10.43.0.9"],"externalIPs":["192.0.2.7"],
            "sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":5}},
            "ports":[{"port":80,"nodePort":30080},
              {"name":"dns","port":53,"protocol":"UDP"},{"port":99999}]},
            "status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.8"},
              {"ip":"192.0.2.9","ipMode":"Proxy"}]}}}"#;
        let service = service(&parse(text), &[&slice("1@there")], &place()).unwrap();
        assert_eq!(service.external_ips.len(), 2);
        assert_eq!(service.affinity, Some(Duration::from_secs(5)));
        assert_eq!(service.ports.len(), 2);
        assert_eq!(service.ports[0].node_port, Some(30_080));
        assert_eq!(service.ports[1].endpoints[0].addr.port(), 53);
    }

    #[test]
    fn not_every_service_has_packets() {
        for spec in [
            r#""clusterIP":"None""#,
            r#""type":"ExternalName","externalName":"x.example""#,
            r#""ports":[]"#,
        ] {
            let text = format!(r#"{{"metadata":{{"name":"s"}},"spec":{{{spec}}}}}"#);
            assert_eq!(service(&parse(&text), &[], &place()), None, "{spec}");
        }
        let other = r#"{"metadata":{"labels":{"service.kubernetes.io/service-proxy-name":"x"}},
            "spec":{"clusterIP":"10.43.0.9"}}"#;
        assert_eq!(service(&parse(other), &[], &place()), None);
    }
}
