//! The variables that tell containers about services: `REDIS_SERVICE_HOST` and the like.

use crate::api::meta::Meta;
use crate::api::tree::Value;

/// The service that every container is told about, in the namespace that it is in.
const ALWAYS: (&str, &str) = ("default", "kubernetes");

/// The variables for the services of a pod's namespace, and always for `default/kubernetes`.
pub fn variables<'a>(
    services: impl Iterator<Item = &'a Value>,
    namespace: &str,
    links: bool,
) -> Vec<(String, String)> {
    let mut chosen: Vec<&Value> = Vec::new();
    for service in services.filter(|service| has_address(service)) {
        let own = links && service.namespace() == namespace;
        let always = (service.namespace(), service.name()) == ALWAYS;
        if !(own || always) {
            continue;
        }
        // A service of the pod's own namespace hides the one of the same name that all are told of.
        match chosen.iter_mut().find(|other| other.name() == service.name()) {
            Some(other) if own => *other = service,
            Some(_) => {}
            None => chosen.push(service),
        }
    }
    chosen.into_iter().flat_map(of_service).collect()
}

fn has_address(service: &Value) -> bool {
    !matches!(service.at(&["spec", "clusterIP"]).str(), "" | "None")
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn of_service(service: &Value) -> Vec<(String, String)> {
    let name = upper(service.name());
    let host = service.at(&["spec", "clusterIP"]).str();
    let ports = service.at(&["spec", "ports"]).items();
    let number = |port: &Value| port.get("port").to_string();
    let mut out = vec![(format!("{name}_SERVICE_HOST"), host.to_owned())];
    if let Some(first) = ports.first() {
        out.push((format!("{name}_SERVICE_PORT"), number(first)));
    }
    for port in ports.iter().filter(|port| !port.get("name").str().is_empty()) {
        let suffix = upper(port.get("name").str());
        out.push((format!("{name}_SERVICE_PORT_{suffix}"), number(port)));
    }
    for (index, port) in ports.iter().enumerate() {
        out.extend(docker_style(&name, host, port, index == 0));
    }
    out
}

/// The variables that docker's links had.
fn docker_style(name: &str, host: &str, port: &Value, first: bool) -> Vec<(String, String)> {
    let protocol = match port.get("protocol").str() {
        "" => "tcp".to_owned(),
        protocol => protocol.to_lowercase(),
    };
    let number = port.get("port").to_string();
    let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let url = format!("{protocol}://{shown}:{number}");
    let prefix = format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
    let mut out = Vec::new();
    if first {
        out.push((format!("{name}_PORT"), url.clone()));
    }
    out.extend([
        (prefix.clone(), url),
        (format!("{prefix}_PROTO"), protocol),
        (format!("{prefix}_PORT"), number),
        (format!("{prefix}_ADDR"), host.to_owned()),
    ]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, ip: &str, ports: &str) -> Value {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}"}},
                "spec":{{"clusterIP":"{ip}","ports":[{ports}]}}}}"#
        );
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn tells_of_the_namespace_and_of_kubernetes() {
        let web = r#"{"name":"http-web","port":80,"protocol":"TCP"},{"port":53,"protocol":"UDP"}"#;
        let services = [
            service("default", "kubernetes", "10.43.0.1", r#"{"name":"https","port":443}"#),
            service("other", "db", "10.43.0.9", r#"{"port":1}"#),
            service("n", "my-web", "10.43.0.2", web),
            service("n", "headless", "None", r#"{"port":1}"#),
        ];
        let text = |links| -> Vec<String> {
            let list = variables(services.iter(), "n", links);
            list.into_iter().map(|(k, v)| format!("{k}={v}")).collect()
        };
        let kubernetes = [
            "KUBERNETES_SERVICE_HOST=10.43.0.1",
            "KUBERNETES_SERVICE_PORT=443",
            "KUBERNETES_SERVICE_PORT_HTTPS=443",
            "KUBERNETES_PORT=tcp://10.43.0.1:443",
            "KUBERNETES_PORT_443_TCP=tcp://10.43.0.1:443",
            "KUBERNETES_PORT_443_TCP_PROTO=tcp",
            "KUBERNETES_PORT_443_TCP_PORT=443",
            "KUBERNETES_PORT_443_TCP_ADDR=10.43.0.1",
        ];
        assert_eq!(text(false), kubernetes);
        let web = [
            "MY_WEB_SERVICE_HOST=10.43.0.2",
            "MY_WEB_SERVICE_PORT=80",
            "MY_WEB_SERVICE_PORT_HTTP_WEB=80",
            "MY_WEB_PORT=tcp://10.43.0.2:80",
            "MY_WEB_PORT_80_TCP=tcp://10.43.0.2:80",
            "MY_WEB_PORT_80_TCP_PROTO=tcp",
            "MY_WEB_PORT_80_TCP_PORT=80",
            "MY_WEB_PORT_80_TCP_ADDR=10.43.0.2",
            "MY_WEB_PORT_53_UDP=udp://10.43.0.2:53",
            "MY_WEB_PORT_53_UDP_PROTO=udp",
            "MY_WEB_PORT_53_UDP_PORT=53",
            "MY_WEB_PORT_53_UDP_ADDR=10.43.0.2",
        ];
        assert_eq!(text(true), [kubernetes.as_slice(), &web].concat());
    }
}
