//! The Node object: what this machine is and how it is. Pure, but for [`machine`].
//!
//! Contract: [`new_node`] is what a node registers as; [`status`] is what it says of itself.
//! Amounts and conditions of others (extended resources, a network plug-in's condition) are not
//! touched.

pub mod machine;

use std::net::IpAddr;

use crate::api::quantity::Quantity;
use crate::api::time;
use crate::api::tree::Value;
use crate::node::config::Config;
use crate::util::clock::Wall;
use machine::Machine;

/// Memory that pods may not have, so that the node itself stays alive: kubelet's eviction
/// threshold.
const MEMORY_RESERVED: i64 = 100 << 20;
/// The share of the disk that pods may fill, in percent: kubelet's eviction threshold is 10.
const DISK_ALLOCATABLE_PERCENT: i64 = 90;
/// How many images are named, as kubelet's.
pub const IMAGES_MAX: usize = 50;

/// Labels that every node has, and those of its settings.
fn labels(config: &Config, machine: &Machine) -> Value {
    let mut labels = Value::from([
        ("beta.kubernetes.io/arch", machine.architecture.as_str().into()),
        ("beta.kubernetes.io/os", "linux".into()),
        ("kubernetes.io/arch", machine.architecture.as_str().into()),
        ("kubernetes.io/hostname", config.name.as_str().into()),
        ("kubernetes.io/os", "linux".into()),
    ]);
    for (key, value) in &config.labels {
        labels.set(key, value.as_str());
    }
    labels
}

/// The object that a node registers as.
pub fn new_node(config: &Config, machine: &Machine) -> Value {
    let annotations =
        Value::from([("volumes.kubernetes.io/controller-managed-attach-detach", "true".into())]);
    let metadata = Value::from([
        ("name", config.name.as_str().into()),
        ("labels", labels(config, machine)),
        ("annotations", annotations),
    ]);
    let taint = |taint: &super::config::Taint| {
        let mut value = Value::from([
            ("key", taint.key.as_str().into()),
            ("effect", taint.effect.as_str().into()),
        ]);
        if !taint.value.is_empty() {
            value.set("value", taint.value.as_str());
        }
        value
    };
    let mut spec = Value::object();
    if !config.taints.is_empty() {
        spec.set("taints", config.taints.iter().map(taint).collect::<Vec<_>>());
    }
    Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "Node".into()),
        ("metadata", metadata),
        ("spec", spec),
    ])
}

/// What must change in the metadata of a node that is registered already; none if nothing must.
pub fn metadata_patch(node: &Value, config: &Config, machine: &Machine) -> Option<Value> {
    let wanted = labels(config, machine);
    let present = node.at(&["metadata", "labels"]);
    let mut missing = Value::object();
    for (key, value) in wanted.fields() {
        if present.get(key) != value {
            missing.set(key, value.clone());
        }
    }
    let patch = |missing| Value::from([("metadata", Value::from([("labels", missing)]))]);
    (!missing.is_empty()).then(|| patch(missing))
}

/// What changes while a node runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why pods cannot run here yet or any more; empty when they can.
    pub unready: String,
    /// Names and bytes of the images that are here.
    pub images: Vec<(Vec<String>, u64)>,
}

/// The names by which classes ask for what runs pods here, all of the same: rk's own, and the usual
/// one.
pub const HANDLERS: [&str; 2] = ["rk", "runc"];

/// The patch that makes the status so. Addresses are merged by their type, of which there may be
/// two: then the list replaces what was there.
pub fn patch(mut status: Value) -> Value {
    let addresses = status.get("addresses").items();
    let kind = |address: &Value| address.get("type").str().to_owned();
    let kinds: std::collections::BTreeSet<String> = addresses.iter().map(kind).collect();
    if kinds.len() < addresses.len() {
        let replace = Value::from([("$patch", "replace".into())]);
        let with = addresses.iter().cloned().chain([replace]).collect::<Vec<_>>();
        status.set("addresses", with);
    }
    status
}

/// The status to report. `old` is the node as the API has it: conditions keep their transition.
pub fn status(
    config: &Config,
    machine: &Machine,
    health: &Health,
    old: &Value,
    now: Wall,
) -> Value {
    let port = Value::from([("Port", i64::from(config.listen.port()).into())]);
    Value::from([
        ("addresses", addresses(config)),
        ("allocatable", amounts(config, machine, true)),
        ("capacity", amounts(config, machine, false)),
        ("conditions", conditions(health, old, now).into()),
        ("daemonEndpoints", Value::from([("kubeletEndpoint", port)])),
        ("features", Value::from([("supplementalGroupsPolicy", true.into())])),
        ("images", images(health)),
        ("nodeInfo", info(config, machine)),
        ("runtimeHandlers", handlers().into()),
    ])
}

/// What classes may name, and the one that is meant by naming none.
fn handlers() -> Vec<Value> {
    let names = std::iter::once("").chain(HANDLERS);
    names.map(|name| Value::from([("name", name.into())])).collect()
}

/// The reason of the event, when `status` says otherwise than the node's object whether the node is
/// ready.
pub fn turned(node: &Value, status: &Value) -> Option<&'static str> {
    let ready = |status: &Value| {
        let conditions = status.get("conditions").items();
        let ready = conditions.iter().find(|condition| condition.get("type").str() == "Ready");
        ready.is_some_and(|ready| ready.get("status").str() == "True")
    };
    match (ready(node.get("status")), ready(status)) {
        (false, true) => Some("NodeReady"),
        (true, false) => Some("NodeNotReady"),
        _ => None,
    }
}

fn addresses(config: &Config) -> Value {
    let one = |kind: &str, address: String| {
        Value::from([("type", kind.into()), ("address", address.into())])
    };
    let mut list: Vec<Value> =
        config.ips.iter().map(|ip: &IpAddr| one("InternalIP", ip.to_string())).collect();
    list.push(one("Hostname", config.name.clone()));
    list.into()
}

/// What the node has, or what of it pods may have.
pub fn amounts(config: &Config, machine: &Machine, allocatable: bool) -> Value {
    let (memory, disk) = if allocatable {
        let disk = machine.disk_bytes / 100 * DISK_ALLOCATABLE_PERCENT;
        let huge: i64 = machine.hugepages.iter().map(|(_, bytes)| bytes).sum();
        ((machine.memory_bytes - MEMORY_RESERVED - huge).max(0), disk)
    } else {
        (machine.memory_bytes, machine.disk_bytes)
    };
    // Whole kibibytes print as such; other amounts would be a long number.
    let kibibytes = |bytes: i64| Quantity::bytes(bytes >> 10 << 10).to_string();
    let mut value = Value::from([
        ("cpu", machine.cpus.to_string().into()),
        ("ephemeral-storage", kibibytes(disk).into()),
        ("memory", kibibytes(memory).into()),
        ("pods", config.pods_max.to_string().into()),
    ]);
    for (size, bytes) in &machine.hugepages {
        value.set(&format!("hugepages-{size}"), Quantity::bytes(*bytes).to_string());
    }
    value
}

fn info(config: &Config, machine: &Machine) -> Value {
    Value::from([
        ("architecture", machine.architecture.as_str().into()),
        ("bootID", machine.boot_id.as_str().into()),
        ("containerRuntimeVersion", concat!("rk://", env!("CARGO_PKG_VERSION")).into()),
        ("kernelVersion", machine.kernel.as_str().into()),
        ("kubeProxyVersion", "".into()),
        ("kubeletVersion", config.version.as_str().into()),
        ("machineID", machine.machine_id.as_str().into()),
        ("operatingSystem", "linux".into()),
        ("osImage", machine.os_image.as_str().into()),
        ("swap", Value::from([("capacity", machine.swap_bytes.into())])),
        ("systemUUID", machine.system_uuid.as_str().into()),
    ])
}

fn images(health: &Health) -> Value {
    let mut list: Vec<&(Vec<String>, u64)> = health.images.iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let one = |(names, bytes): &(Vec<String>, u64)| {
        let names: Vec<Value> = names.iter().map(|name| name.as_str().into()).collect();
        let size = i64::try_from(*bytes).unwrap_or(i64::MAX);
        Value::from([("names", names.into()), ("sizeBytes", size.into())])
    };
    let named = list.into_iter().filter(|(names, _)| !names.is_empty());
    named.take(IMAGES_MAX).map(one).collect::<Vec<_>>().into()
}

fn conditions(health: &Health, old: &Value, now: Wall) -> Vec<Value> {
    let ready = match health.unready.as_str() {
        "" => ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        why => ("Ready", false, "KubeletNotReady", why),
    };
    let list = [
        (
            "MemoryPressure",
            false,
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        ("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ready,
    ];
    list.into_iter().map(|condition| timed(condition, old, now)).collect()
}

fn timed(
    (kind, holds, reason, message): (&str, bool, &str, &str),
    old: &Value,
    now: Wall,
) -> Value {
    let status = if holds { "True" } else { "False" };
    let known = old.at(&["status", "conditions"]).items();
    let same =
        known.iter().find(|c| c.get("type").str() == kind && c.get("status").str() == status);
    let since = same.map_or_else(
        || Value::from(time::format(now)),
        |condition| condition.get("lastTransitionTime").clone(),
    );
    Value::from([
        ("type", kind.into()),
        ("status", status.into()),
        ("reason", reason.into()),
        ("message", message.into()),
        ("lastHeartbeatTime", time::format(now).into()),
        ("lastTransitionTime", since),
    ])
}

/// What of a status is worth reporting at once: all but the heartbeat's time.
pub fn essence(status: &Value) -> Value {
    let mut essence = status.clone();
    for condition in essence.entry("conditions").items_mut() {
        condition.remove("lastHeartbeatTime");
    }
    essence
}

/// The Lease by which a node says that it is alive.
pub fn lease(name: &str, uid: &str, now: Wall) -> Value {
    let owner = Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "Node".into()),
        ("name", name.into()),
        ("uid", uid.into()),
    ]);
    let metadata = Value::from([
        ("name", name.into()),
        ("namespace", super::heartbeat::NAMESPACE.into()),
        ("ownerReferences", vec![owner].into()),
    ]);
    let spec = Value::from([
        ("holderIdentity", name.into()),
        ("leaseDurationSeconds", super::heartbeat::LEASE_S.into()),
        ("renewTime", time::format_micro(now).into()),
    ]);
    Value::from([
        ("apiVersion", "coordination.k8s.io/v1".into()),
        ("kind", "Lease".into()),
        ("metadata", metadata),
        ("spec", spec),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_becomes_ready_says_so_once() {
        let ready = |status: &str| {
            let ready = Value::from([("type", "Ready".into()), ("status", status.into())]);
            Value::from([("conditions", vec![ready].into())])
        };
        let node = |status: &str| Value::from([("status", ready(status))]);
        assert_eq!(turned(&Value::object(), &ready("True")), Some("NodeReady"));
        assert_eq!(turned(&node("Unknown"), &ready("True")), Some("NodeReady"));
        assert_eq!(turned(&node("True"), &ready("True")), None);
        assert_eq!(turned(&node("True"), &ready("False")), Some("NodeNotReady"));
        assert_eq!(turned(&Value::object(), &ready("False")), None);
    }

    pub(crate) fn config() -> Config {
        Config {
            name: "n1".into(),
            ips: vec!["192.0.2.1".parse().unwrap()],
            labels: vec![("disk".into(), "ssd".into())],
            taints: vec!["a=b:NoSchedule".parse().unwrap()],
            data_dir: "/d".into(),
            run_dir: "/r".into(),
            log_dir: "/l".into(),
            registries: "/r.yaml".into(),
            cgroup_root: "rk".into(),
            listen: "0.0.0.0:10250".parse().unwrap(),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            cluster_dns: vec!["10.43.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            pods_max: 110,
            version: "v1.37.0+rk0".into(),
        }
    }

    fn machine() -> Machine {
        Machine {
            architecture: "amd64".into(),
            cpus: 4,
            memory_bytes: (1 << 30) + 5,
            disk_bytes: 100 << 30,
            hugepages: vec![("2Mi".into(), 4 << 20)],
            ..Machine::default()
        }
    }

    #[test]
    fn a_new_node_has_labels_and_taints() {
        let node = new_node(&config(), &machine());
        assert_eq!(node.at(&["metadata", "labels", "disk"]).str(), "ssd");
        assert_eq!(node.at(&["metadata", "labels", "kubernetes.io/arch"]).str(), "amd64");
        let taints = r#"[{"effect":"NoSchedule","key":"a","value":"b"}]"#;
        assert_eq!(node.at(&["spec", "taints"]).to_string(), taints);
        assert_eq!(metadata_patch(&node, &config(), &machine()), None);
        let patch = metadata_patch(&Value::object(), &config(), &machine()).unwrap();
        assert_eq!(patch.at(&["metadata", "labels", "kubernetes.io/os"]).str(), "linux");
    }

    #[test]
    fn amounts_are_whole_and_something_is_kept_back() {
        let amounts = |allocatable| amounts(&config(), &machine(), allocatable).to_string();
        assert_eq!(
            amounts(false),
            r#"{"cpu":"4","ephemeral-storage":"100Gi","hugepages-2Mi":"4Mi","memory":"1Gi","pods":"110"}"#
        );
        assert!(
            amounts(true)
                .contains(r#""ephemeral-storage":"90Gi","hugepages-2Mi":"4Mi","memory":"920Mi""#),
            "{}",
            amounts(true)
        );
    }

    #[test]
    fn conditions_keep_their_transition() {
        let health = Health { unready: "no network".into(), ..Health::default() };
        let first = status(&config(), &machine(), &health, &Value::Null, Wall::from_seconds(100));
        let node = Value::from([("status", first.clone())]);
        let second = status(&config(), &machine(), &health, &node, Wall::from_seconds(200));
        assert_eq!(essence(&first), essence(&second));
        assert_ne!(first, second);
        let healthy = Health {
            images: vec![(vec!["a".into()], 5), (vec!["b".into()], 9)],
            ..Health::default()
        };
        let third = status(&config(), &machine(), &healthy, &node, Wall::from_seconds(300));
        let ready = &third.get("conditions").items()[3];
        assert_eq!(ready.get("status").str(), "True");
        assert_eq!(ready.get("lastTransitionTime").str(), "1970-01-01T00:05:00Z");
        assert_eq!(third.get("images").items()[0].get("sizeBytes").as_int(), Some(9));
    }
}
