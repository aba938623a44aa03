//! What a pod's spec says where its author said nothing.

use crate::api::kinds::fallback::{self, Fallback};
use crate::api::quantity::Quantity;
use crate::api::tree::Value;

use Fallback::{Flag, Map, Number, NumberIfAbsent, Text, TextIfAbsent};

/// The lists of containers in a spec.
pub const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

const SPEC: &[(&str, Fallback)] = &[
    ("dnsPolicy", Text("ClusterFirst")),
    ("restartPolicy", Text("Always")),
    ("securityContext", Map),
    ("terminationGracePeriodSeconds", NumberIfAbsent(30)),
    ("schedulerName", Text("default-scheduler")),
    ("volumes[].hostPath.type", TextIfAbsent("")),
    ("volumes[].secret.defaultMode", NumberIfAbsent(0o644)),
    ("volumes[].configMap.defaultMode", NumberIfAbsent(0o644)),
    ("volumes[].downwardAPI.defaultMode", NumberIfAbsent(0o644)),
    ("volumes[].downwardAPI.items[].fieldRef.apiVersion", Text("v1")),
    ("volumes[].projected.defaultMode", NumberIfAbsent(0o644)),
    ("volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion", Text("v1")),
    ("volumes[].projected.sources[].serviceAccountToken.expirationSeconds", NumberIfAbsent(3600)),
];

const CONTAINER: &[(&str, Fallback)] = &[
    ("resources", Map),
    ("terminationMessagePath", Text("/dev/termination-log")),
    ("terminationMessagePolicy", Text("File")),
    ("ports[].protocol", Text("TCP")),
    ("env[].valueFrom.fieldRef.apiVersion", Text("v1")),
    ("env[].valueFrom.fileKeyRef.optional", Flag(false)),
    ("lifecycle.postStart.httpGet.path", Text("/")),
    ("lifecycle.postStart.httpGet.scheme", Text("HTTP")),
    ("lifecycle.preStop.httpGet.path", Text("/")),
    ("lifecycle.preStop.httpGet.scheme", Text("HTTP")),
];

const PROBE: &[(&str, Fallback)] = &[
    ("timeoutSeconds", Number(1)),
    ("periodSeconds", Number(10)),
    ("successThreshold", Number(1)),
    ("failureThreshold", Number(3)),
    ("httpGet.path", Text("/")),
    ("httpGet.scheme", Text("HTTP")),
    ("grpc.service", TextIfAbsent("")),
];

/// Fills in a pod's or a template's spec.
pub fn spec(spec: &mut Value) {
    if spec.as_object().is_none() {
        *spec = Value::object();
    }
    for volume in list(spec, "volumes") {
        if volume.fields().all(|(key, source)| key == "name" || source.is_null()) {
            volume.set("emptyDir", Value::object());
        }
    }
    for volume in list(spec, "volumes") {
        let image = volume.get("image");
        if image.as_object().is_some() && image.get("pullPolicy").is_empty() {
            let policy = pull_policy(image.get("reference").str());
            volume.entry("image").set("pullPolicy", policy);
        }
    }
    fallback::apply(spec, SPEC);
    account(spec);
    for name in CONTAINER_LISTS {
        list(spec, name).iter_mut().for_each(container);
    }
    if let Some(overhead) = spec.get_mut("overhead") {
        amounts(overhead);
    }
}

/// Fills in what only pods get, and templates leave to the pods that are made of them.
pub fn pod(spec: &mut Value) {
    let grace = spec.get("terminationGracePeriodSeconds").as_int();
    if grace.is_some_and(|seconds| seconds < 0) {
        spec.set("terminationGracePeriodSeconds", 1);
    }
    for name in ["initContainers", "containers"] {
        list(spec, name).iter_mut().for_each(requests_from_limits);
    }
    if spec.get("enableServiceLinks").is_null() {
        spec.set("enableServiceLinks", true);
    }
    if spec.get("hostNetwork").is_true() {
        for name in ["initContainers", "containers"] {
            list(spec, name).iter_mut().for_each(host_ports);
        }
    }
}

/// Keeps a status' one address and its list of addresses in step; the one address decides.
pub fn status(status: &mut Value) {
    let ip = status.get("podIP").str().to_owned();
    let first = status.get("podIPs").items().first().map(|first| first.get("ip").str().to_owned());
    match first {
        Some(first) if ip.is_empty() => status.set("podIP", first),
        Some(first) if first == ip => {}
        None if ip.is_empty() => {}
        _ => status.set("podIPs", vec![Value::from([("ip", ip.into())])]),
    }
}

fn list<'a>(spec: &'a mut Value, name: &str) -> &'a mut [Value] {
    spec.get_mut(name).map(Value::items_mut).unwrap_or_default()
}

/// The old name of the service account follows the new one.
fn account(spec: &mut Value) {
    if spec.get("serviceAccountName").is_empty() && !spec.get("serviceAccount").is_empty() {
        let old = spec.get("serviceAccount").clone();
        spec.set("serviceAccountName", old);
    }
    if !spec.get("serviceAccountName").is_empty() {
        let name = spec.get("serviceAccountName").clone();
        spec.set("serviceAccount", name);
    }
}

fn container(container: &mut Value) {
    fallback::apply(container, CONTAINER);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            fallback::apply(probe, PROBE);
        }
    }
    if container.as_object().is_some() && container.get("imagePullPolicy").is_empty() {
        let policy = pull_policy(container.get("image").str());
        container.set("imagePullPolicy", policy);
    }
    for list in ["limits", "requests"] {
        if let Some(list) = container.get_mut("resources").and_then(|r| r.get_mut(list)) {
            amounts(list);
        }
    }
}

/// `Always` for what may change under its name: the tag `latest`, be it implied. What is no image
/// reference is found out by who pulls it.
pub fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').unwrap_or((image, ""));
    let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
    let (last, tag) = last.split_once(':').unwrap_or((last, ""));
    // The first part is a registry's name, which may have capitals, if it could be a host's.
    let (host, path) = folder.split_once('/').unwrap_or((folder, ""));
    let is_host = host.contains(['.', ':']) || host == "localhost";
    let lower = |part: &str| !part.contains(|c: char| c.is_ascii_uppercase());
    let sound = !last.is_empty() && lower(last) && lower(path) && (is_host || lower(host));
    match (tag, digest) {
        ("latest", _) | ("", "") if sound => "Always",
        _ => "IfNotPresent",
    }
}

/// Quantities in canonical form, no finer than a thousandth. What is none stays for validation.
pub fn amounts(list: &mut Value) {
    for (_, amount) in list.as_object_mut().into_iter().flat_map(|map| map.iter_mut()) {
        if let Ok(quantity) = Quantity::of(amount) {
            *amount = quantity.rounded_to_milli().to_string().into();
        }
    }
}

fn requests_from_limits(container: &mut Value) {
    let limits = container.at(&["resources", "limits"]).clone();
    for (name, limit) in limits.fields() {
        let request = container.entry_at(&["resources", "requests", name]);
        if request.is_null() {
            *request = limit.clone();
        }
    }
}

fn host_ports(container: &mut Value) {
    for port in list(container, "ports") {
        if port.get("hostPort").is_empty() && !port.get("containerPort").is_null() {
            let same = port.get("containerPort").clone();
            port.set("hostPort", same);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Value {
        Value::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_spec_is_filled_in_as_upstream_does() {
        let mut value = parse(
            r#"{"serviceAccountName":"x","volumes":[{"name":"v"},{"name":"h","hostPath":{"path":"/x"}},
                {"name":"p","projected":{"sources":[{"serviceAccountToken":{"path":"t"}}]}}],
                "containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],
                "livenessProbe":{"httpGet":{"port":80}},
                "resources":{"limits":{"cpu":"0.5","memory":"1024Mi"},"requests":{"cpu":"100n"}}}]}"#,
        );
        spec(&mut value);
        pod(&mut value);
        let expected = parse(
            r#"{"serviceAccountName":"x","serviceAccount":"x","dnsPolicy":"ClusterFirst",
                "restartPolicy":"Always","securityContext":{},"terminationGracePeriodSeconds":30,
                "schedulerName":"default-scheduler","enableServiceLinks":true,
                "volumes":[{"name":"v","emptyDir":{}},{"name":"h","hostPath":{"path":"/x","type":""}},
                {"name":"p","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":
                {"expirationSeconds":3600,"path":"t"}}]}}],
                "containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],
                "livenessProbe":{"httpGet":{"port":80,"path":"/","scheme":"HTTP"},"timeoutSeconds":1,
                "periodSeconds":10,"successThreshold":1,"failureThreshold":3},
                "terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File",
                "imagePullPolicy":"Always","resources":{"limits":{"cpu":"500m","memory":"1Gi"},
                "requests":{"cpu":"1m","memory":"1Gi"}}}]}"#,
        );
        assert_eq!(value, expected, "{value}");
    }

    #[test]
    fn only_latest_is_pulled_always() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
            ("nginx:latest@sha256:00", "Always"),
            ("Host.io/a/b", "Always"),
            ("UPPER", "IfNotPresent"),
            ("", "IfNotPresent"),
        ];
        for (image, policy) in cases {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn host_network_takes_host_ports() {
        let mut value =
            parse(r#"{"hostNetwork":true,"containers":[{"ports":[{"containerPort":80}]}]}"#);
        pod(&mut value);
        let port = value.get("containers").items()[0].get("ports").items()[0].get("hostPort");
        assert_eq!(port.as_int(), Some(80));
    }

    #[test]
    fn addresses_are_kept_in_step() {
        let cases = [
            (r#"{"podIP":"1"}"#, r#"{"podIP":"1","podIPs":[{"ip":"1"}]}"#),
            (r#"{"podIPs":[{"ip":"1"}]}"#, r#"{"podIP":"1","podIPs":[{"ip":"1"}]}"#),
            (r#"{"podIP":"1","podIPs":[{"ip":"2"}]}"#, r#"{"podIP":"1","podIPs":[{"ip":"1"}]}"#),
            ("{}", "{}"),
        ];
        for (given, kept) in cases {
            let mut value = parse(given);
            status(&mut value);
            assert_eq!(value.to_string(), kept);
        }
    }
}
