//! What a pod may be told about itself: `fieldRef` and `resourceFieldRef`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::api::quantity::Quantity;
use crate::node::pod::plans;
use crate::node::qos;

/// What of a field cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The path names nothing that pods are told.
    #[error("unsupported fieldPath: {0}")]
    Unsupported(String),
    /// No such container.
    #[error("container {0} not found")]
    NoContainer(String),
    /// Not a resource of containers.
    #[error("unsupported container resource : {0}")]
    Resource(String),
}

/// Addresses that only the node knows.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The node's.
    pub host: Vec<String>,
    /// The pod's.
    pub pod: Vec<String>,
}

/// The value of a pod's field.
///
/// # Errors
/// When the path names nothing that pods are told.
pub fn field(pod: &Pod, addresses: &Addresses, path: &str) -> Result<String, FieldError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(FieldError::Unsupported(path.to_owned())),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.hostIP" => first(&addresses.host),
        "status.hostIPs" => addresses.host.join(","),
        "status.podIP" => first(&addresses.pod),
        "status.podIPs" => addresses.pod.join(","),
        _ => return Err(FieldError::Unsupported(path.to_owned())),
    })
}

/// `metadata.labels['key']` as map and key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// Sorted lines of `key="value"`.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", quoted(value));
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// A string as Go's `%q` prints it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a container's resource: of `own`, or of the container that the selector names.
/// Limits that are not set are the node's allocatable amounts.
///
/// # Errors
/// When there is no such container or resource.
pub fn resource(
    pod: &Pod,
    own: &Container,
    selector: &ResourceFieldSelector,
    allocatable: &BTreeMap<String, Text>,
) -> Result<String, FieldError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let plans = plans(pod);
    let container = match named {
        None => own,
        Some(name) => {
            &plans
                .iter()
                .find(|plan| plan.name() == name)
                .ok_or_else(|| FieldError::NoContainer(name.to_owned()))?
                .spec
        }
    };
    let path = selector.resource.as_str();
    let amount = amount(container, path, allocatable)
        .ok_or_else(|| FieldError::Resource(path.to_owned()))?;
    let divisor = selector.divisor.as_ref().and_then(|text| text.0.parse().ok());
    let divisor = divisor.filter(|q: &Quantity| !q.is_zero()).unwrap_or(Quantity::whole(1));
    Ok(amount.per(divisor).to_string())
}

fn amount(
    container: &Container,
    path: &str,
    allocatable: &BTreeMap<String, Text>,
) -> Option<Quantity> {
    let (which, name) = path.split_once('.')?;
    let defaulted = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    if !defaulted && !name.starts_with("hugepages-") {
        return None;
    }
    let zero = Quantity::whole(0);
    match which {
        "requests" => Some(qos::amount(qos::requests(container), name).unwrap_or(zero)),
        "limits" => {
            let limit = qos::amount(qos::limits(container), name).filter(|q| !q.is_zero());
            let default = || qos::amount(Some(allocatable), name).filter(|_| defaulted);
            Some(limit.or_else(default).unwrap_or(zero))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let json = r#"{"metadata":{"name":"p","namespace":"n","uid":"u",
            "labels":{"b":"2","a":"x \"y\"\n"}},
            "spec":{"nodeName":"node","serviceAccountName":"default","containers":[
              {"name":"a","resources":{"limits":{"cpu":"1250m","memory":"64Mi"},
                "requests":{"cpu":"250m","memory":"32Mi"}}},{"name":"b"}]}}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn tells_fields() {
        let addresses = Addresses {
            host: vec!["192.0.2.1".into()],
            pod: vec!["10.42.0.2".into(), "fd::2".into()],
        };
        let cases = [
            ("metadata.name", "p"),
            ("metadata.uid", "u"),
            ("metadata.labels", "a=\"x \\\"y\\\"\\n\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("metadata.annotations['none']", ""),
            ("metadata.annotations", ""),
            ("spec.nodeName", "node"),
            ("spec.serviceAccountName", "default"),
            ("status.hostIP", "192.0.2.1"),
            ("status.podIP", "10.42.0.2"),
            ("status.podIPs", "10.42.0.2,fd::2"),
        ];
        for (path, expected) in cases {
            assert_eq!(field(&pod(), &addresses, path).as_deref(), Ok(expected), "{path}");
        }
        assert!(field(&pod(), &addresses, "spec.containers").is_err());
        assert!(field(&pod(), &addresses, "spec['x']").is_err());
    }

    #[test]
    fn tells_resources_in_their_unit() {
        let allocatable =
            [("cpu".to_owned(), Text("4".into())), ("memory".to_owned(), Text("1Gi".into()))]
                .into();
        let pod = pod();
        let own = &pod.spec.as_ref().unwrap().containers[0];
        let tell = |container: &str, resource: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                container_name: (!container.is_empty()).then(|| container.to_owned()),
                resource: resource.to_owned(),
                divisor: (!divisor.is_empty()).then(|| Text(divisor.to_owned())),
            };
            super::resource(&pod, own, &selector, &allocatable)
        };
        let cases = [
            ("", "limits.cpu", "", "2"),
            ("", "limits.cpu", "1m", "1250"),
            ("a", "requests.memory", "1Mi", "32"),
            ("", "limits.memory", "0", "67108864"),
            ("b", "limits.cpu", "", "4"),
            ("b", "limits.memory", "1Mi", "1024"),
            ("b", "requests.cpu", "1m", "0"),
            ("b", "limits.hugepages-2Mi", "", "0"),
        ];
        for (container, resource, divisor, expected) in cases {
            assert_eq!(tell(container, resource, divisor).as_deref(), Ok(expected), "{resource}");
        }
        assert!(tell("c", "limits.cpu", "").is_err());
        assert!(tell("", "limits.gpu", "").is_err());
    }
}
