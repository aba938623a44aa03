//! One service as DNS sees it. Pure.

use std::sync::Arc;

use super::{addresses, is_external_name, is_headless, port, protocol};
use crate::api::tree::Value;
use crate::net::dns::{Endpoint, NamedPort, Service, Target};

/// A service's names; none where it has no address yet.
pub fn service(service: &Value, slices: &[&Value]) -> Option<Service> {
    let spec = service.get("spec");
    let target = if is_external_name(service) {
        Target::ExternalName(spec.get("externalName").str().trim_end_matches('.').to_owned())
    } else if is_headless(service) {
        Target::Headless(slices.iter().flat_map(|slice| endpoints(slice)).collect())
    } else {
        let ips = addresses(spec.get("clusterIPs"));
        let one = || spec.get("clusterIP").str().parse().into_iter().collect();
        let ips = if ips.is_empty() { one() } else { ips };
        if ips.is_empty() {
            return None;
        }
        Target::ClusterIps(ips)
    };
    Some(Service { target, ports: named_ports(spec.get("ports")) })
}

fn named_ports(ports: &Value) -> Vec<NamedPort> {
    let named = |item: &Value| {
        let name = item.get("name").str().to_owned();
        let protocol = protocol(item.get("protocol").str())?;
        Some(NamedPort { name, protocol, port: port(item.get("port"))? })
    };
    ports.items().iter().filter_map(named).filter(|port| !port.name.is_empty()).collect()
}

/// The published endpoints of a slice: whoever makes slices says that unready ones are ready where
/// they shall be published.
fn endpoints(slice: &Value) -> Vec<Endpoint> {
    let ports: Arc<[NamedPort]> = named_ports(slice.get("ports")).into();
    let published = |item: &&Value| item.at(&["conditions", "ready"]).as_bool().unwrap_or(true);
    let endpoint = |item: &Value| {
        let hostname = item.get("hostname").as_str().map(str::to_owned);
        let address = item.get("addresses").items().first()?.str().parse().ok()?;
        Some(Endpoint { address, hostname, ports: Arc::clone(&ports) })
    };
    slice.get("endpoints").items().iter().filter(published).filter_map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Protocol;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_virtual_address_with_named_ports() {
        let text = r#"{"spec":{"clusterIP":"10.43.0.9","ports":[
            {"name":"http","port":80},{"port":9}]}}"#;
        let service = service(&parse(text), &[]).unwrap();
        assert_eq!(service.target, Target::ClusterIps(vec!["10.43.0.9".parse().unwrap()]));
        let http = NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 80 };
        assert_eq!(service.ports, [http]);
    }

    #[test]
    fn a_headless_service_leads_to_ready_endpoints() {
        let slice = parse(
            r#"{"ports":[{"name":"db","port":5432}],"endpoints":[
              {"addresses":["10.42.0.2"],"hostname":"db-0","conditions":{"ready":true}},
              {"addresses":["10.42.0.3"]},
              {"addresses":["10.42.0.4"],"conditions":{"ready":false}}]}"#,
        );
        let headless = parse(r#"{"spec":{"clusterIP":"None"}}"#);
        let Target::Headless(list) = service(&headless, &[&slice]).unwrap().target else {
            panic!()
        };
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].hostname.as_deref(), Some("db-0"));
        assert_eq!(list[1].ports[0].port, 5432);
    }

    #[test]
    fn other_hosts_and_services_without_address() {
        let external = parse(r#"{"spec":{"type":"ExternalName","externalName":"a.example."}}"#);
        let target = service(&external, &[]).unwrap().target;
        assert_eq!(target, Target::ExternalName("a.example".into()));
        assert_eq!(service(&parse(r#"{"spec":{}}"#), &[]), None);
    }
}
