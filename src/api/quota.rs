//! What objects come to in the terms of ResourceQuotas. Pure.
//!
//! The names of a quota fall to the resources whose objects they count: `requests.cpu` to pods,
//! `services.nodeports` to services, `count/jobs.batch` to jobs. Admission charges by this, and the
//! quota controller counts by it, so that both agree.

use std::collections::BTreeMap;
use std::time::Duration;

use super::amounts::{Amounts, Totals};
use super::kinds::core::pod::resources;
use super::kinds::storage::claimed_class;
use super::meta::{GroupResource, Meta};
use super::quantity::Quantity;
use super::selector::LabelSelector;
use super::tree::Value;
use crate::util::clock::Wall;

/// What of a pod the names without `requests.` and `limits.` stand for.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Of these a quota demands that every container says how much it needs: a mistake of old, which
/// upstream keeps for those who rely on it.
const DEMANDED: &[&str] =
    &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds that have a name of their own besides `count/…`.
const ALIASED: &[&str] = &["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];
/// Between a storage class and what is counted of it.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// The objects of a namespace, for whoever counts them.
pub trait Census {
    /// How many objects of a resource there are.
    fn count(&self, resource: &GroupResource) -> usize;

    /// The objects of a resource.
    fn objects(&self, resource: &GroupResource) -> Vec<Value>;
}

/// The resource whose objects a name counts; `None` for a name that nothing is counted by.
pub fn counted_by(name: &str) -> Option<GroupResource> {
    let core = |plural| Some(GroupResource::new("", plural));
    if let Some(kind) = name.strip_prefix("count/") {
        let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
        return Some(GroupResource::new(group, plural));
    }
    match name {
        "services" | "services.nodeports" | "services.loadbalancers" => core("services"),
        "persistentvolumeclaims" | "requests.storage" => core("persistentvolumeclaims"),
        _ if ALIASED.contains(&name) => core(name),
        _ if is_of_class(name) => core("persistentvolumeclaims"),
        _ if is_of_pods(name) => core("pods"),
        _ => None,
    }
}

fn is_of_class(name: &str) -> bool {
    let counted = |what| matches!(what, "persistentvolumeclaims" | "requests.storage");
    name.split_once(OF_CLASS).is_some_and(|(_, what)| counted(what))
}

fn is_of_pods(name: &str) -> bool {
    let plain = name.strip_prefix("requests.");
    let bare = plain.or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    name == "pods"
        || COMPUTE.contains(&bare)
        || name.starts_with("hugepages-")
        || plain.is_some_and(|plain| plain.starts_with("hugepages-") || is_device(plain))
}

/// Whether a resource that is asked for is counted as `requests.…` only.
fn is_device(name: &str) -> bool {
    resources::is_extended(name) || name.starts_with("deviceclass.resource.kubernetes.io/")
}

/// The name by which the objects of a resource are counted.
pub fn count_name(resource: &GroupResource) -> String {
    format!("count/{}", resource.as_str())
}

/// Whether quotas never look at a resource.
pub fn is_ignored(resource: &GroupResource) -> bool {
    const VIRTUAL: &[&str] = &["authentication.k8s.io", "authorization.k8s.io"];
    VIRTUAL.contains(&resource.group())
        || matches!(resource.as_str(), "events" | "events.events.k8s.io" | "bindings")
}

/// What an object comes to.
pub fn usage(resource: &GroupResource, object: &Value, now: Wall) -> Amounts {
    let mut usage = Amounts::default();
    let one = Quantity::whole(1);
    usage.set(count_name(resource), one);
    match resource.as_str() {
        "pods" if pod_counts(object, now) => usage.add(&of_pod(object)),
        "services" => usage.add(&of_service(object.get("spec"))),
        "persistentvolumeclaims" => usage.add(&of_claim(object)),
        name if ALIASED.contains(&name) => usage.set(name, one),
        _ => {}
    }
    usage
}

/// Whether a pod's needs count: not when it has ended, or should have by now.
fn pod_counts(pod: &Value, now: Wall) -> bool {
    let ended = matches!(pod.at(&["status", "phase"]).str(), "Succeeded" | "Failed");
    !ended && deadline(pod).is_none_or(|end| now <= end)
}

/// When a pod that is being deleted stops counting, be it there or not.
pub fn deadline(pod: &Value) -> Option<Wall> {
    let grace_s = pod.metadata().get("deletionGracePeriodSeconds").as_int()?;
    Some(pod.deletion()?.after(Duration::from_secs(u64::try_from(grace_s).unwrap_or(0))))
}

fn of_pod(pod: &Value) -> Amounts {
    let overhead = Amounts::of(pod.at(&["spec", "overhead"]));
    let (mut requests, mut limits) =
        (Amounts::of_resized(pod, "requests"), Amounts::of_resized(pod, "limits"));
    requests.add(&overhead);
    // What has no limit gets none by its overhead.
    for (name, more) in overhead.iter() {
        if let Some(limit) = limits.get(name).filter(|limit| !limit.is_zero()) {
            limits.set(name, limit + more);
        }
    }
    of_amounts(&requests, &limits)
}

/// Requests and limits under the names that quotas have for them.
fn of_amounts(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::default();
    usage.set("pods", Quantity::whole(1));
    for (name, amount) in requests.iter() {
        let shared = COMPUTE.contains(&name) || name.starts_with("hugepages-");
        if shared {
            usage.set(name, amount);
        }
        if shared || is_device(name) {
            usage.set(format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| COMPUTE.contains(name)) {
        usage.set(format!("limits.{name}"), amount);
    }
    usage
}

fn of_service(spec: &Value) -> Amounts {
    let ports = spec.get("ports").items();
    // Ports are allocated later: what counts is what will be.
    let (node_ports, balancers) = match spec.get("type").str() {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if spec.get("allocateLoadBalancerNodePorts") == &Value::Bool(false) => {
            (ports.iter().filter(|port| port.get("nodePort").as_int() > Some(0)).count(), 1)
        }
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    let whole = |count: usize| Quantity::whole(i64::try_from(count).unwrap_or(i64::MAX));
    let mut usage = Amounts::default();
    usage.set("services", whole(1));
    usage.set("services.nodeports", whole(node_ports));
    usage.set("services.loadbalancers", whole(balancers));
    usage
}

fn of_claim(claim: &Value) -> Amounts {
    let spec = claim.get("spec");
    let asked = Quantity::of(spec.at(&["resources", "requests", "storage"])).ok();
    let granted = Quantity::of(claim.at(&["status", "allocatedResources", "storage"])).ok();
    let storage = asked.map(|asked| asked.max(granted.unwrap_or(asked)));
    let class = claimed_class(claim).unwrap_or_default();
    let mut usage = Amounts::default();
    let mut set = |what: &str, amount: Quantity| {
        usage.set(what, amount);
        if !class.is_empty() {
            usage.set(format!("{class}{OF_CLASS}{what}"), amount);
        }
    };
    set("persistentvolumeclaims", Quantity::whole(1));
    if let Some(storage) = storage {
        set("requests.storage", storage.rounded_up());
    }
    usage
}

/// What a pod must say for a quota on these names and does not; `None` where nothing is missing.
pub fn unsaid<'n>(pod: &Value, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let spec = pod.get("spec");
    let demanded: Vec<&str> = names.filter(|name| DEMANDED.contains(name)).collect();
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for container in ["containers", "initContainers"].iter().flat_map(|l| spec.get(l).items()) {
        let list = |name| Amounts::of(container.at(&["resources", name]));
        let said = of_amounts(&list("requests"), &list("limits"));
        for name in demanded.iter().filter(|name| said.get(name).is_none()) {
            missing.entry(name).or_default().push(container.get("name").str());
        }
    }
    let part = |(name, containers): (&&str, &mut Vec<&str>)| {
        containers.sort_unstable();
        containers.dedup();
        format!("{name} for: {}", containers.join(","))
    };
    let parts: Vec<String> = missing.iter_mut().map(part).collect();
    (!parts.is_empty()).then(|| format!("must specify {}", parts.join("; ")))
}

/// Whether a quota's scopes hold an object of a resource. Only pods and claims are in scopes.
pub fn in_scope(spec: &Value, resource: &GroupResource, object: &Value) -> bool {
    let holds = |scope: &str, one: &Value| match resource.as_str() {
        "pods" => pod_in(scope, one, object),
        "persistentvolumeclaims" => claim_in(scope, one, object),
        _ => false,
    };
    let scopes = spec.get("scopes").items().iter();
    let selected = spec.at(&["scopeSelector", "matchExpressions"]).items().iter();
    let mut exists = Value::object();
    exists.set("operator", "Exists");
    scopes.into_iter().all(|scope| holds(scope.str(), &exists))
        && selected.into_iter().all(|one| holds(one.get("scopeName").str(), one))
}

/// Whether a quota has scopes at all.
pub fn is_scoped(spec: &Value) -> bool {
    let selected = spec.at(&["scopeSelector", "matchExpressions"]);
    !(spec.get("scopes").items().is_empty() && selected.items().is_empty())
}

/// Whether a pod is to end at some time, by which it falls into another scope.
pub fn is_terminating(pod: &Value) -> bool {
    pod.at(&["spec", "activeDeadlineSeconds"]).as_int().is_some_and(|seconds| seconds >= 0)
}

fn pod_in(scope: &str, one: &Value, pod: &Value) -> bool {
    let spec = pod.get("spec");
    let best_effort = || resources::qos_class(spec) == "BestEffort";
    match scope {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => selects(one, &[spec.get("priorityClassName").str()]),
        "CrossNamespacePodAffinity" => reaches_out(spec),
        _ => false,
    }
}

fn claim_in(scope: &str, one: &Value, claim: &Value) -> bool {
    let status = claim.get("status");
    let names = [
        claim.at(&["spec", "volumeAttributesClassName"]).str(),
        status.get("currentVolumeAttributesClassName").str(),
        status.at(&["modifyVolumeStatus", "targetVolumeAttributesClassName"]).str(),
    ];
    scope == "VolumeAttributesClass" && selects(one, &names)
}

/// Whether a scope selector's requirement holds for one of the names of classes; an empty name is
/// none.
fn selects(one: &Value, names: &[&str]) -> bool {
    const KEY: &str = "class";
    let mut requirement = one.clone();
    requirement.set("key", KEY);
    let selector = Value::from([("matchExpressions", vec![requirement].into())]);
    let Ok(selector) = LabelSelector::from_object(&selector) else { return false };
    let named: Vec<&&str> = names.iter().filter(|name| !name.is_empty()).collect();
    if named.is_empty() {
        return selector.matches(&Value::object());
    }
    named.into_iter().any(|name| selector.matches(&Value::from([(KEY, (*name).into())])))
}

/// Whether a pod wants to be near, or far from, pods of other namespaces.
fn reaches_out(spec: &Value) -> bool {
    let affinity = spec.get("affinity");
    ["podAffinity", "podAntiAffinity"].iter().map(|kind| affinity.get(kind)).any(|kind| {
        let required = kind.get("requiredDuringSchedulingIgnoredDuringExecution").items().iter();
        let preferred = kind.get("preferredDuringSchedulingIgnoredDuringExecution").items();
        let terms = required.chain(preferred.iter().map(|one| one.get("podAffinityTerm")));
        terms.into_iter().any(|term| {
            !term.get("namespaces").is_empty() || !term.get("namespaceSelector").is_null()
        })
    })
}

/// What all objects of a namespace come to, by the names of a quota.
pub fn count(spec: &Value, census: &dyn Census, now: Wall) -> Amounts {
    let mut used = Amounts::default();
    let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, _) in spec.get("hard").fields() {
        if let Some(resource) = counted_by(name) {
            used.set(name, Quantity::default());
            names.entry(resource.as_str().to_owned()).or_default().push(name);
        }
    }
    for names in names.values() {
        let Some(resource) = counted_by(names[0]) else { continue };
        let mut sum = total(spec, &resource, census, now);
        sum.retain(|name, _| names.contains(&name));
        used.add(&sum);
    }
    used
}

/// What all objects of one resource come to.
fn total(spec: &Value, resource: &GroupResource, census: &dyn Census, now: Wall) -> Amounts {
    let mut sum = Amounts::default();
    let plain = !matches!(resource.as_str(), "pods" | "services" | "persistentvolumeclaims");
    if plain {
        // Each object comes to one, whatever is in it.
        let count = if is_scoped(spec) { 0 } else { census.count(resource) };
        let count = Quantity::whole(i64::try_from(count).unwrap_or(i64::MAX));
        sum.set(count_name(resource), count);
        sum.set(resource.as_str(), count);
        return sum;
    }
    let objects = census.objects(resource);
    let objects = objects.iter().filter(|object| in_scope(spec, resource, object));
    objects.for_each(|object| sum.add(&usage(resource, object, now)));
    sum
}

#[cfg(test)]
mod tests;
