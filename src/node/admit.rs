//! Whether a pod may run on this node at all: the node's own look after the scheduler's. Pure.
//!
//! A pod may come here without a scheduler, or when others have taken what the scheduler counted
//! on.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};

use super::pod::Verdict;
use super::qos;
use crate::api::quantity::Quantity;
use crate::api::selector::Labels;
use crate::api::tree::Value;
use crate::net::Protocol;
use crate::sys::{selinux, sysctl};

/// A port of the node that a pod takes.
pub type TakenPort = (Protocol, String, u16);

/// What the pods of a node take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Requests by resource, `pods` included.
    pub amounts: BTreeMap<String, Quantity>,
    /// Ports of the node.
    pub ports: Vec<TakenPort>,
}

impl Taken {
    /// What one pod takes.
    pub fn by(pod: &Pod) -> Self {
        let mut amounts = qos::pod_amounts(pod, qos::requests);
        amounts.insert("pods".to_owned(), Quantity::whole(1));
        Self { amounts, ports: host_ports(pod) }
    }

    /// Adds what another takes.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.amounts {
            let sum = self.amounts.entry(name.clone()).or_default();
            *sum = *sum + *amount;
        }
        self.ports.extend(other.ports.iter().cloned());
    }

    /// Whether this is more than the other of anything.
    pub fn exceeds(&self, other: &Self) -> bool {
        let amount = |name| other.amounts.get(name).copied().unwrap_or_default();
        self.amounts.iter().any(|(name, own)| *own > amount(name))
    }

    /// The larger of both amounts of everything.
    #[must_use]
    pub fn or_more(mut self, other: &Self) -> Self {
        for (name, amount) in &other.amounts {
            let own = self.amounts.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
        self
    }

    /// What this is more than the other.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let more = self.amounts.iter().filter_map(|(name, own)| {
            let has = other.amounts.get(name).copied().unwrap_or_default();
            (*own > has).then(|| (name.clone(), *own - has))
        });
        Self { amounts: more.collect(), ports: Vec::new() }
    }
}

/// The ports of the node that a pod asks for.
pub fn host_ports(pod: &Pod) -> Vec<TakenPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let taken = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        let number = u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?;
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let ip = port.host_ip.clone().filter(|ip| ip != "0.0.0.0" && ip != "::");
        Some((protocol, ip.unwrap_or_default(), number))
    };
    ports.filter_map(taken).collect()
}

/// Why a pod may not run on `node` (its object) beside the pods that take `taken`; none if it may.
pub fn refusal(pod: &Pod, node: &Value, taken: &Taken) -> Option<Verdict> {
    let spec = pod.spec.as_ref()?;
    let rejected = |reason: &str, message: String| Verdict {
        reason: reason.to_owned(),
        message: format!("Pod was rejected: {message}"),
        rejected: true,
    };
    if let Some(why) = forbidden_sysctl(spec) {
        return Some(rejected("SysctlForbidden", format!("forbidden sysctl: {why}")));
    }
    if asks_for_label(spec) && selinux::is_on() {
        let why = "seLinuxOptions: SELinux is on here, and rk does not label processes yet";
        return Some(rejected("SELinuxNotSupported", why.to_owned()));
    }
    if !is_selected(spec, node) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node \
                       affinity/selector";
        return Some(rejected("NodeAffinity", message.to_owned()));
    }
    if let Some(taint) = untolerated(spec, node) {
        let message =
            format!("Predicate TaintToleration failed: node(s) had untolerated taint {{{taint}}}");
        return Some(rejected("TaintToleration", message));
    }
    if host_ports(pod).iter().any(|port| taken.ports.iter().any(|other| clash(port, other))) {
        let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Some(rejected("NodePorts", message.to_owned()));
    }
    short_of(&Taken::by(pod), node, taken).map(|(reason, message)| rejected(&reason, message))
}

/// Whether a label of SELinux is asked for. Where SELinux is off there is nothing to label, and
/// every runtime leaves it at that.
fn asks_for_label(spec: &PodSpec) -> bool {
    let init = spec.init_containers.iter().flatten();
    let of_container = |c: &Container| {
        c.security_context.as_ref().is_some_and(|context| context.se_linux_options.is_some())
    };
    spec.security_context.as_ref().is_some_and(|context| context.se_linux_options.is_some())
        || spec.containers.iter().chain(init).any(of_container)
}

fn clash(a: &TakenPort, b: &TakenPort) -> bool {
    a.0 == b.0 && a.2 == b.2 && (a.1 == b.1 || a.1.is_empty() || b.1.is_empty())
}

/// The first resource of which the node has too little: reason and message.
pub fn short_of(wanted: &Taken, node: &Value, taken: &Taken) -> Option<(String, String)> {
    for (name, wanted) in &wanted.amounts {
        if wanted.is_zero() {
            continue;
        }
        let has = Quantity::of(node.at(&["status", "allocatable", name])).unwrap_or_default();
        let used = taken.amounts.get(name).copied().unwrap_or_default();
        if used + *wanted <= has {
            continue;
        }
        let shown = |q: Quantity| if name == "cpu" { q.milli_value() } else { q.value() };
        let message = format!(
            "Node didn't have enough resource: {name}, requested: {}, used: {}, capacity: {}",
            shown(*wanted),
            shown(used),
            shown(has)
        );
        return Some((format!("OutOf{name}"), message));
    }
    None
}

/// Kernel parameters of a pod's own namespaces that cannot harm others.
const SAFE_SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Why a pod may not set a parameter that it asks for.
fn forbidden_sysctl(spec: &PodSpec) -> Option<String> {
    let sysctls = spec.security_context.as_ref()?.sysctls.as_ref()?;
    let host_network = spec.host_network == Some(true);
    let host_ipc = spec.host_ipc == Some(true);
    let fault = |name: String| {
        let shared = |space| Some(format!("{name:?} not allowed with host {space} enabled"));
        match &*name {
            safe if !SAFE_SYSCTLS.contains(&safe) => Some(format!("{name:?} not allowlisted")),
            safe if safe.starts_with("net.") && host_network => shared("Net"),
            safe if safe.starts_with("kernel.") && host_ipc => shared("IPC"),
            _ => None,
        }
    };
    sysctls.iter().find_map(|one| fault(sysctl::dotted(&one.name)))
}

/// Whether selector and required affinity choose the node.
fn is_selected(spec: &PodSpec, node: &Value) -> bool {
    let labels = node.at(&["metadata", "labels"]);
    let by_selector = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.label(key) == Some(value.as_str()));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let by_affinity = required
        .is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(term, node)));
    by_selector && by_affinity
}

/// A term without requirements chooses nothing.
fn matches(term: &NodeSelectorTerm, node: &Value) -> bool {
    let labels = node.at(&["metadata", "labels"]);
    let name = node.at(&["metadata", "name"]).as_str();
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let by_label = expressions.iter().all(|r| satisfies(r, labels.label(&r.key)));
    let by_field =
        fields.iter().all(|r| satisfies(r, if r.key == "metadata.name" { name } else { None }));
    !(expressions.is_empty() && fields.is_empty()) && by_label && by_field
}

fn satisfies(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|known| known == value));
    let compared = |order: fn(&i64, &i64) -> bool| {
        let value = value.and_then(|value| value.parse::<i64>().ok());
        let bound = values.first().and_then(|bound| bound.parse::<i64>().ok());
        matches!((value, bound), (Some(value), Some(bound)) if order(&value, &bound))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}

/// A taint that forbids the pod to run here.
fn untolerated(spec: &PodSpec, node: &Value) -> Option<String> {
    let taints = node.at(&["spec", "taints"]).items().iter().filter_map(|t| t.to::<Taint>().ok());
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let mut forbidding = taints.filter(|taint| taint.effect == "NoExecute");
    let taint = forbidding.find(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))?;
    Some(format!("{}: {}", taint.key, taint.value.unwrap_or_default()))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let effect = text(&toleration.effect);
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = text(&toleration.key);
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "Exists" => true,
        _ => !key.is_empty() && text(&toleration.value) == text(&taint.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"{"metadata":{"name":"n1","labels":{"disk":"ssd","rank":"5"}},
        "spec":{"taints":[{"key":"gone","effect":"NoExecute"},{"key":"x","effect":"NoSchedule"}]},
        "status":{"allocatable":{"cpu":"2","memory":"1Gi","pods":"3"}}}"#;
    const TOLERANT: &str = r#""tolerations":[{"operator":"Exists"}]"#;

    fn pod(spec: &str) -> Pod {
        let text = format!(
            r#"{{"metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"c"}}],{spec}}}}}"#
        );
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn reason(spec: &str, taken: &Taken) -> String {
        let node = Value::parse(NODE.as_bytes()).unwrap();
        refusal(&pod(spec), &node, taken).map_or_else(String::new, |verdict| verdict.reason)
    }

    #[test]
    fn selectors_taints_and_sysctls() {
        let cases = [
            (String::new() + TOLERANT, ""),
            (r#""nodeName":"n1""#.to_owned(), "TaintToleration"),
            (
                r#""tolerations":[{"key":"gone","operator":"Exists","effect":"NoExecute"}]"#.into(),
                "",
            ),
            (r#""tolerations":[{"key":"gone"}]"#.into(), ""),
            (r#""tolerations":[{"key":"gone","value":"x"}]"#.into(), "TaintToleration"),
            (format!(r#"{TOLERANT},"nodeSelector":{{"disk":"ssd"}}"#), ""),
            (format!(r#"{TOLERANT},"nodeSelector":{{"disk":"hdd"}}"#), "NodeAffinity"),
            (
                format!(
                    r#"{TOLERANT},"securityContext":{{"sysctls":[{{"name":"kernel.msgmax","value":"1"}}]}}"#
                ),
                "SysctlForbidden",
            ),
            (
                format!(
                    r#"{TOLERANT},"securityContext":{{"sysctls":[{{"name":"kernel/shm_rmid_forced","value":"1"}}]}}"#
                ),
                "",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(reason(&spec, &Taken::default()), expected, "{spec}");
        }
    }

    #[test]
    fn affinity_has_all_operators() {
        let affinity = |kind: &str, requirement: &str| {
            format!(
                r#"{TOLERANT},"affinity":{{"nodeAffinity":{{
                "requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[
                {{"{kind}":[{requirement}]}}]}}}}}}"#
            )
        };
        let cases = [
            ("matchExpressions", r#"{"key":"disk","operator":"In","values":["ssd"]}"#, true),
            ("matchExpressions", r#"{"key":"disk","operator":"NotIn","values":["ssd"]}"#, false),
            ("matchExpressions", r#"{"key":"disk","operator":"Exists"}"#, true),
            ("matchExpressions", r#"{"key":"disk","operator":"DoesNotExist"}"#, false),
            ("matchExpressions", r#"{"key":"rank","operator":"Gt","values":["4"]}"#, true),
            ("matchExpressions", r#"{"key":"rank","operator":"Lt","values":["4"]}"#, false),
            ("matchFields", r#"{"key":"metadata.name","operator":"In","values":["n1"]}"#, true),
            ("matchFields", r#"{"key":"metadata.name","operator":"In","values":["n2"]}"#, false),
            ("matchExpressions", "", false),
        ];
        for (kind, requirement, chosen) in cases {
            let refused = reason(&affinity(kind, requirement), &Taken::default());
            assert_eq!(refused.is_empty(), chosen, "{requirement}");
        }
    }

    #[test]
    fn resources_and_ports_are_counted() {
        let asking = |cpu: &str, port: &str| {
            let text = format!(
                r#"{{"metadata":{{}},"spec":{{{TOLERANT},"containers":[{{"name":"c",
                    "ports":[{port}],"resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
            );
            serde_json::from_str::<Pod>(&text).unwrap()
        };
        let node = Value::parse(NODE.as_bytes()).unwrap();
        let first = asking("1500m", r#"{"containerPort":80,"hostPort":8080}"#);
        let mut taken = Taken::default();
        assert_eq!(refusal(&first, &node, &taken), None);
        taken.add(&Taken::by(&first));
        let verdict = refusal(&asking("600m", ""), &node, &taken).unwrap();
        assert_eq!(verdict.reason, "OutOfcpu");
        assert_eq!(
            verdict.message,
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 1500, \
             capacity: 2000"
        );
        let same = asking("0", r#"{"containerPort":1,"hostPort":8080,"hostIP":"127.0.0.1"}"#);
        assert_eq!(refusal(&same, &node, &taken).unwrap().reason, "NodePorts");
        let udp = asking("0", r#"{"containerPort":1,"hostPort":8080,"protocol":"UDP"}"#);
        assert_eq!(refusal(&udp, &node, &taken), None);
        (0..2).for_each(|_| taken.add(&Taken::by(&udp)));
        assert_eq!(refusal(&asking("0", ""), &node, &taken).unwrap().reason, "OutOfpods");
    }
}
