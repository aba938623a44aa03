//! The objects that every cluster has: the initial namespaces, the roles and bindings, the priority
//! classes of the system, its flow schemas and levels, what is registered, the range of cluster
//! addresses, the Service by which pods reach the API server, and the one by which they reach the
//! cluster's DNS.
//!
//! They are made at start, before the server says that it is ready, and again whenever one goes.

mod flow;
mod registration;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures_util::future::join_all;

use crate::api::kinds::scheduling::{SYSTEM_CLASSES, SystemClass};
use crate::api::meta::{Meta, split_api_version};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::policy;
use crate::client::{
    APISERVICES, CONFIGMAPS, Client, ENDPOINTS, ENDPOINTSLICES, FLOWSCHEMAS, Gvr, NAMESPACES,
    PRIORITYCLASSES, PRIORITYLEVELCONFIGURATIONS, SERVICECIDRS, SERVICES, View,
};
use crate::limits;
use crate::util::nets::Nets;

/// What the objects say of this server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address by which pods reach the server's port.
    pub advertise_address: Ipv4Addr,
    /// The server's port.
    pub port: u16,
    /// The ClusterIP of `default/kubernetes`: the first of the range.
    pub service_address: Ipv4Addr,
    /// The ClusterIPs of the cluster's DNS.
    pub dns_addresses: Vec<IpAddr>,
    /// The addresses of Services.
    pub service_cidrs: Nets,
    /// Group and version of everything that is built in.
    pub served: Vec<(String, String)>,
    /// The authority that signs clients' certificates, as PEM.
    pub client_authority: String,
    /// The authority that signs proxies' certificates, as PEM.
    pub request_header_authority: String,
}

/// How an object that is there is brought back to what it should be.
type Repair = fn(&Value, &Value) -> Option<Value>;

/// An object that must be there.
struct Wanted {
    resource: Gvr,
    object: Value,
    repair: Repair,
}

/// It only has to be there; what users made of it stays.
fn leave(_: &Value, _: &Value) -> Option<Value> {
    None
}

/// The given fields are ours, everything else is the user's.
fn restore(stored: &Value, wanted: &Value) -> Option<Value> {
    const OURS: [&str; 5] = ["subsets", "endpoints", "ports", "addressType", "data"];
    let mut merged = stored.clone();
    for key in OURS {
        if !wanted.get(key).is_null() {
            merged.set(key, wanted.get(key).clone());
        }
    }
    (merged != *stored).then_some(merged)
}

/// A second address comes where the cluster got a second family; otherwise it only has to be there.
fn second(stored: &Value, wanted: &Value) -> Option<Value> {
    let mut grown = stored.clone();
    for (list, policy) in [("cidrs", None), ("clusterIPs", Some("ipFamilyPolicy"))] {
        let (have, want) = (stored.at(&["spec", list]).items(), wanted.at(&["spec", list]).items());
        if want.len() == 2 && *have == want[..1] {
            let spec = grown.entry("spec");
            spec.set(list, want.to_vec());
            if let Some(policy) = policy {
                spec.set(policy, wanted.at(&["spec", policy]).clone());
            }
        }
    }
    (grown != *stored).then_some(grown)
}

/// Makes what is missing. The server is ready after it.
///
/// # Errors
/// The first that the server answers; those that are made stay.
pub async fn ensure(client: &dyn Client, settings: &Settings) -> Result<(), Status> {
    let (first, rest): (Vec<Wanted>, Vec<Wanted>) =
        wanted(settings).into_iter().partition(|wanted| wanted.resource == NAMESPACES);
    for group in [first, rest] {
        // Together: they share transactions.
        let results = join_all(group.iter().map(|wanted| ensure_one(client, wanted))).await;
        results.into_iter().collect::<Result<(), Status>>()?;
    }
    Ok(())
}

/// Makes again what goes missing, until the future is dropped.
pub async fn keep(client: Arc<dyn Client>, settings: Settings) {
    const WATCHED: [Gvr; 6] =
        [NAMESPACES, SERVICES, ENDPOINTS, ENDPOINTSLICES, CONFIGMAPS, SERVICECIDRS];
    let wanted = wanted(&settings);
    let watched = WATCHED.iter().map(|resource| {
        let own: Vec<&Wanted> = wanted.iter().filter(|w| w.resource == *resource).collect();
        keep_resource(client.view(resource, ""), &*client, own)
    });
    join_all(watched).await;
}

async fn keep_resource(view: View, client: &dyn Client, wanted: Vec<&Wanted>) {
    loop {
        let (_, mut cursor) = view.follow();
        while let Ok(events) = cursor.next(limits::EVENTS_PER_READ).await {
            for event in events {
                let key = &event.object.header.key;
                let named = |w: &&&Wanted| {
                    w.object.name() == &*key.name && w.object.namespace() == &*key.namespace
                };
                let Some(wanted) = wanted.iter().find(named) else { continue };
                if let Err(error) = ensure_one(client, wanted).await {
                    tracing::warn!(object = %key, %error, "cannot restore an object of the system");
                }
            }
        }
    }
}

async fn ensure_one(client: &dyn Client, wanted: &Wanted) -> Result<(), Status> {
    let Wanted { resource, object, repair } = wanted;
    let (namespace, name) = (object.namespace(), object.name());
    let found = match client.get(resource, namespace, name).await {
        Ok(found) => found,
        Err(error) if error.is_not_found() => {
            return match client.create(resource, namespace, object.clone()).await {
                Err(error) if !error.is_already_exists() => Err(error),
                _ => Ok(()),
            };
        }
        Err(error) => return Err(error),
    };
    match repair(&found, object) {
        Some(repaired) => match client.update(resource, namespace, name, repaired).await {
            // Somebody else changed it at the same time: that change brings us here again.
            Err(error) if !error.is_conflict() => Err(error),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

fn wanted(settings: &Settings) -> Vec<Wanted> {
    let names = ["default", "kube-system", "kube-public", "kube-node-lease"];
    let namespaces = names.map(|name| Wanted {
        resource: NAMESPACES,
        object: object("v1", "Namespace", "", name),
        repair: leave,
    });
    let roles = policy::objects().into_iter().filter_map(|object| {
        Some(Wanted { resource: resource_of(&object)?, object, repair: policy::reconciled })
    });
    let mut wanted: Vec<Wanted> = namespaces.into_iter().chain(roles).collect();
    wanted.extend(SYSTEM_CLASSES.iter().map(priority_class));
    let left =
        |resource: Gvr| move |object| Wanted { resource: resource.clone(), object, repair: leave };
    wanted.extend(flow::levels().map(left(PRIORITYLEVELCONFIGURATIONS)));
    wanted.extend(flow::schemas().map(left(FLOWSCHEMAS)));
    wanted.extend(registration::local(&settings.served).into_iter().map(left(APISERVICES)));
    wanted.push(Wanted { resource: SERVICECIDRS, object: range(settings), repair: second });
    wanted.extend(kubernetes(settings));
    wanted.push(Wanted { resource: SERVICES, object: dns(settings), repair: second });
    wanted.push(Wanted { resource: CONFIGMAPS, object: authentication(settings), repair: restore });
    wanted
}

/// Where the kinds of the bootstrap policy are served.
fn resource_of(object: &Value) -> Option<Gvr> {
    let (group, version) = split_api_version(object.get("apiVersion").str());
    let plural = match object.get("kind").str() {
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        _ => return None,
    };
    Some(Gvr {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        plural: plural.into(),
    })
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    let mut metadata = Value::from([("name", name.into())]);
    if !namespace.is_empty() {
        metadata.set("namespace", namespace);
    }
    Value::from([("apiVersion", api_version.into()), ("kind", kind.into()), ("metadata", metadata)])
}

fn priority_class(class: &SystemClass) -> Wanted {
    let mut made = object("scheduling.k8s.io/v1", "PriorityClass", "", class.name);
    made.set("value", class.value);
    made.set("description", class.description);
    Wanted { resource: PRIORITYCLASSES, object: made, repair: leave }
}

/// The addresses that this server gives to Services, as an object.
fn range(settings: &Settings) -> Value {
    let mut range = object("networking.k8s.io/v1", "ServiceCIDR", "", "kubernetes");
    let cidrs = settings.service_cidrs.iter().map(|net| net.to_string().into());
    range.set("spec", Value::from([("cidrs", cidrs.collect::<Vec<Value>>().into())]));
    range
}

/// `default/kubernetes`, its Endpoints and its EndpointSlice.
fn kubernetes(settings: &Settings) -> [Wanted; 3] {
    let label = |object: &mut Value, key: &str, value: &str| {
        object.entry_at(&["metadata", "labels"]).set(key, value);
    };
    let (address, port) = (settings.advertise_address.to_string(), i64::from(settings.port));
    let target =
        Value::from([("name", "https".into()), ("port", port.into()), ("protocol", "TCP".into())]);

    let mut service = object("v1", "Service", "default", "kubernetes");
    label(&mut service, "component", "apiserver");
    label(&mut service, "provider", "kubernetes");
    let mut service_port = target.clone();
    service_port.set("targetPort", port);
    service_port.set("port", 443i64);
    service.set("spec", service_spec(&[settings.service_address.into()], vec![service_port]));

    let mut endpoints = object("v1", "Endpoints", "default", "kubernetes");
    label(&mut endpoints, "endpointslice.kubernetes.io/skip-mirror", "true");
    let addresses = vec![Value::from([("ip", address.as_str().into())])];
    let subset =
        Value::from([("addresses", addresses.into()), ("ports", vec![target.clone()].into())]);
    endpoints.set("subsets", vec![subset]);

    let mut slice = object("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes");
    label(&mut slice, "kubernetes.io/service-name", "kubernetes");
    slice.set("addressType", "IPv4");
    slice.set("ports", vec![target]);
    let endpoint = Value::from([
        ("addresses", vec![address.into()].into()),
        ("conditions", Value::from([("ready", true.into())])),
    ]);
    slice.set("endpoints", vec![endpoint]);

    [
        Wanted { resource: SERVICES, object: service, repair: leave },
        Wanted { resource: ENDPOINTS, object: endpoints, repair: restore },
        Wanted { resource: ENDPOINTSLICES, object: slice, repair: restore },
    ]
}

fn service_spec(addresses: &[IpAddr], ports: Vec<Value>) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|ip| ip.to_string().into()).collect();
    let mut spec = Value::from([("type", "ClusterIP".into()), ("ports", ports.into())]);
    if addresses.len() > 1 {
        spec.set("ipFamilyPolicy", "RequireDualStack");
    }
    spec.set("clusterIP", addresses[0].clone());
    spec.set("clusterIPs", addresses);
    spec
}

/// `kube-system/kube-dns`: each node answers for it itself, so it has no endpoints of its own.
fn dns(settings: &Settings) -> Value {
    let mut service = object("v1", "Service", "kube-system", "kube-dns");
    let labels = service.entry_at(&["metadata", "labels"]);
    labels.set("k8s-app", "kube-dns");
    labels.set("kubernetes.io/cluster-service", "true");
    labels.set("kubernetes.io/name", "CoreDNS");
    let port = |name: &str, protocol: &str| {
        Value::from([
            ("name", name.into()),
            ("port", 53i64.into()),
            ("protocol", protocol.into()),
            ("targetPort", 53i64.into()),
        ])
    };
    let ports = vec![port("dns", "UDP"), port("dns-tcp", "TCP")];
    service.set("spec", service_spec(&settings.dns_addresses, ports));
    service
}

/// What servers behind this one need to trust it.
fn authentication(settings: &Settings) -> Value {
    let mut config = object("v1", "ConfigMap", "kube-system", "extension-apiserver-authentication");
    let data = Value::from([
        ("client-ca-file", settings.client_authority.as_str().into()),
        ("requestheader-client-ca-file", settings.request_header_authority.as_str().into()),
        ("requestheader-allowed-names", r#"["system:auth-proxy"]"#.into()),
        ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#.into()),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#.into()),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#.into()),
    ]);
    config.set("data", data);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_restored_and_the_rest_is_left() {
        let parse = |text: &str| Value::parse(text.as_bytes()).unwrap();
        let wanted = parse(r#"{"subsets":[1]}"#);
        let changed = parse(r#"{"metadata":{"labels":{"mine":"1"}},"subsets":[2]}"#);
        let restored = restore(&changed, &wanted).unwrap();
        assert_eq!(restored.to_string(), r#"{"metadata":{"labels":{"mine":"1"}},"subsets":[1]}"#);
        assert!(restore(&restored, &wanted).is_none());
    }

    #[test]
    fn a_second_family_is_added_to_what_is_there() {
        let parse = |text: &str| Value::parse(text.as_bytes()).unwrap();
        let wanted = parse(
            r#"{"spec":{"clusterIPs":["10.43.0.10","fd00::a"],"ipFamilyPolicy":"RequireDualStack"}}"#,
        );
        let one = parse(r#"{"spec":{"x":1,"clusterIPs":["10.43.0.10"]}}"#);
        let grown = second(&one, &wanted).unwrap();
        assert_eq!(grown.at(&["spec", "ipFamilyPolicy"]).str(), "RequireDualStack");
        assert_eq!(grown.at(&["spec", "x"]).as_int(), Some(1));
        assert!(second(&grown, &wanted).is_none());
        let other = parse(r#"{"spec":{"clusterIPs":["10.43.0.11"]}}"#);
        assert!(second(&other, &wanted).is_none(), "what users made of it stays");
        assert!(second(&grown, &one).is_none(), "and nothing is taken away");
    }
}
