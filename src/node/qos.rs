//! Quality of service: a pod's class and what the kernel is told of it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::api::quantity::Quantity;
use crate::runtime::Resources;

/// The names and amounts of a resource list; what cannot be read counts as absent.
pub fn amounts(list: Option<&BTreeMap<String, Text>>) -> impl Iterator<Item = (&str, Quantity)> {
    list.into_iter()
        .flatten()
        .filter_map(|(name, text)| Some((name.as_str(), text.0.parse().ok()?)))
}

/// The amount of one resource.
pub fn amount(list: Option<&BTreeMap<String, Text>>, name: &str) -> Option<Quantity> {
    list?.get(name)?.0.parse().ok()
}

/// The requests of a container.
pub fn requests(container: &Container) -> Option<&BTreeMap<String, Text>> {
    container.resources.as_ref()?.requests.as_ref()
}

/// The limits of a container.
pub fn limits(container: &Container) -> Option<&BTreeMap<String, Text>> {
    container.resources.as_ref()?.limits.as_ref()
}

/// All containers that count: init and ordinary ones.
pub fn counted(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Pod) -> &'static str {
    const KINDS: [&str; 2] = ["cpu", "memory"];
    let positive = |list, kind| amount(list, kind).filter(|q| !q.is_zero());
    let (mut any, mut all) = (false, true);
    for container in counted(pod) {
        for kind in KINDS {
            let limit = positive(limits(container), kind);
            // Where only the limit is given, the request is the same.
            let request = positive(requests(container), kind).or(limit);
            any |= limit.is_some() || request.is_some();
            all &= limit.is_some() && limit == request;
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Sums of a pod's requests or limits, by resource name: ordinary containers and sidecars together,
/// or the most that an init container needs at its time; overhead on top.
pub fn pod_amounts(
    pod: &Pod,
    of: fn(&Container) -> Option<&BTreeMap<String, Text>>,
) -> BTreeMap<String, Quantity> {
    let Some(spec) = &pod.spec else { return BTreeMap::new() };
    let mut sum = BTreeMap::new();
    spec.containers.iter().for_each(|container| add(&mut sum, of(container)));
    // While an init container runs, the sidecars before it do too.
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::new());
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, of(container));
            add(&mut sum, of(container));
            raise(&mut peak, &sidecars);
        } else {
            let mut at_once = sidecars.clone();
            add(&mut at_once, of(container));
            raise(&mut peak, &at_once);
        }
    }
    raise(&mut sum, &peak);
    add(&mut sum, spec.overhead.as_ref());
    sum
}

fn add(sum: &mut BTreeMap<String, Quantity>, list: Option<&BTreeMap<String, Text>>) {
    for (name, amount) in amounts(list) {
        let entry = sum.entry(name.to_owned()).or_default();
        *entry = *entry + amount;
    }
}

fn raise(sum: &mut BTreeMap<String, Quantity>, other: &BTreeMap<String, Quantity>) {
    for (name, amount) in other {
        let entry = sum.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

/// Microseconds of a scheduling period.
const PERIOD_US: i64 = 100_000;

/// CPU weight in cgroup v1's terms for an amount of CPU.
fn shares(cpu: Option<Quantity>) -> u64 {
    let milli = cpu.map_or(0, Quantity::milli_value).max(0);
    u64::try_from(milli.saturating_mul(1024) / 1000).unwrap_or(0).clamp(2, 262_144)
}

/// CPU time per period for an amount of CPU.
fn quota_us(cpu: Quantity) -> i64 {
    (cpu.milli_value().saturating_mul(PERIOD_US) / 1000).max(1000)
}

/// What the kernel is told of one container.
pub fn container_resources(container: &Container) -> Resources {
    let (requests, limits) = (requests(container), limits(container));
    let limit = |name| amount(limits, name).filter(|q| !q.is_zero());
    Resources {
        cpu_shares: Some(shares(amount(requests, "cpu").or(limit("cpu")))),
        cpu_quota_us: limit("cpu").map(quota_us),
        memory_bytes: limit("memory").map(Quantity::value),
        hugepages: hugepages(limits),
        oom_group: true,
        ..Resources::default()
    }
}

/// Huge page limits by the kernel's names of their sizes.
fn hugepages(limits: Option<&BTreeMap<String, Text>>) -> BTreeMap<String, u64> {
    let named = amounts(limits).filter_map(|(name, amount)| {
        let size: Quantity = name.strip_prefix("hugepages-")?.parse().ok()?;
        let mib = size.value() >> 20;
        let name = if mib >= 1024 { format!("{}GB", mib >> 10) } else { format!("{mib}MB") };
        Some((name, u64::try_from(amount.value()).ok()?))
    });
    named.collect()
}

/// What the kernel is told of a pod as a whole. A limit holds for the pod only where every
/// container has one.
pub fn pod_resources(pod: &Pod) -> Resources {
    let all =
        |name: &str| counted(pod).all(|c| amount(limits(c), name).is_some_and(|q| !q.is_zero()));
    let limits = pod_amounts(pod, limits);
    let cpu = pod_amounts(pod, requests).get("cpu").copied();
    Resources {
        cpu_shares: Some(shares(cpu)),
        cpu_quota_us: limits.get("cpu").filter(|_| all("cpu")).map(|q| quota_us(*q)),
        memory_bytes: limits.get("memory").filter(|_| all("memory")).map(|q| q.value()),
        ..Resources::default()
    }
}

/// A pod's cgroup below the runtime's root.
pub fn cgroup(pod: &Pod, uid: &str) -> String {
    match class(pod) {
        "Guaranteed" => format!("kubepods/pod{uid}"),
        "Burstable" => format!("kubepods/burstable/pod{uid}"),
        _ => format!("kubepods/besteffort/pod{uid}"),
    }
}

/// From here on a pod's priority says that the node cannot do without it.
const NODE_CRITICAL: i32 = 2_000_001_000;

/// How readily the kernel kills a container when memory runs out.
pub fn oom_score_adj(pod: &Pod, container: &Container, capacity_bytes: i64) -> i32 {
    let critical = pod.spec.as_ref().and_then(|spec| spec.priority) >= Some(NODE_CRITICAL);
    match class(pod) {
        _ if critical => -997,
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = amount(requests(container), "memory").map_or(0, Quantity::value);
            let share = i128::from(request) * 1000 / i128::from(capacity_bytes.max(1));
            // Above every guaranteed pod, below every one without requests.
            i32::try_from(1000 - share).unwrap_or(3).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: &[&str], inits: &[&str]) -> Pod {
        let list = |resources: &[&str], more: &str| {
            let one = |r: &&str| format!(r#"{{"name":"c","resources":{{{r}}}{more}}}"#);
            resources.iter().map(one).collect::<Vec<_>>().join(",")
        };
        let text = format!(
            r#"{{"metadata":{{}},"spec":{{"containers":[{}],"initContainers":[{}]}}}}"#,
            list(containers, ""),
            list(inits, "")
        );
        serde_json::from_str(&text).unwrap()
    }

    const FULL: &str =
        r#""limits":{"cpu":"2","memory":"1Gi"},"requests":{"cpu":"2","memory":"1Gi"}"#;
    const PART: &str = r#""requests":{"cpu":"100m","memory":"256Mi"}"#;

    #[test]
    fn classes() {
        assert_eq!(class(&pod(&["", ""], &[])), "BestEffort");
        assert_eq!(class(&pod(&[FULL], &[])), "Guaranteed");
        assert_eq!(class(&pod(&[r#""limits":{"cpu":"1","memory":"1Gi"}"#], &[])), "Guaranteed");
        assert_eq!(class(&pod(&[FULL, ""], &[])), "Burstable");
        assert_eq!(class(&pod(&[FULL], &[PART])), "Burstable");
        assert_eq!(class(&pod(&[r#""limits":{"cpu":"1"}"#], &[])), "Burstable");
        assert_eq!(class(&pod(&[r#""requests":{"cpu":"0"}"#], &[])), "BestEffort");
        assert_eq!(class(&pod(&[r#""requests":{"nvidia.com/gpu":"1"}"#], &[])), "BestEffort");
    }

    #[test]
    fn sums_count_init_containers_at_their_time() {
        let mut pod = pod(&[PART, PART], &[r#""requests":{"cpu":"1"}"#, PART]);
        let cpu = |pod: &Pod| pod_amounts(pod, requests)["cpu"].to_string();
        assert_eq!(cpu(&pod), "1");
        let inits = pod.spec.as_mut().unwrap().init_containers.as_mut().unwrap();
        inits[1].restart_policy = Some("Always".into());
        assert_eq!(cpu(&pod), "1");
        pod.spec.as_mut().unwrap().init_containers.as_mut().unwrap().reverse();
        assert_eq!(cpu(&pod), "1100m");
    }

    #[test]
    fn the_kernel_is_told() {
        let pod_full = pod(&[FULL], &[]);
        let own = container_resources(&pod_full.spec.as_ref().unwrap().containers[0]);
        assert_eq!((own.cpu_shares, own.cpu_quota_us), (Some(2048), Some(200_000)));
        assert_eq!(own.memory_bytes, Some(1 << 30));
        let whole = pod_resources(&pod(&[FULL, PART], &[]));
        assert_eq!((whole.cpu_shares, whole.cpu_quota_us), (Some(2150), None));
        let none = container_resources(&pod(&[""], &[]).spec.unwrap().containers[0]);
        assert_eq!((none.cpu_shares, none.cpu_quota_us, none.memory_bytes), (Some(2), None, None));
        let huge = r#""limits":{"hugepages-2Mi":"4Mi","hugepages-1Gi":"1Gi"}"#;
        let pages = container_resources(&pod(&[huge], &[]).spec.unwrap().containers[0]).hugepages;
        assert_eq!(pages, [("1GB".to_owned(), 1u64 << 30), ("2MB".to_owned(), 4 << 20)].into());
    }

    #[test]
    fn what_a_class_costs_is_the_pod_s() {
        let mut pod = pod(&[FULL], &[]);
        let overhead = r#"{"cpu":"500m","memory":"64Mi"}"#;
        pod.spec.as_mut().unwrap().overhead = serde_json::from_str(overhead).unwrap();
        let whole = pod_resources(&pod);
        assert_eq!((whole.cpu_shares, whole.cpu_quota_us), (Some(2560), Some(250_000)));
        assert_eq!(whole.memory_bytes, Some((1 << 30) + (64 << 20)));
        assert_eq!(class(&pod), "Guaranteed");
        let own = container_resources(&pod.spec.as_ref().unwrap().containers[0]);
        assert_eq!(own.memory_bytes, Some(1 << 30));
    }

    #[test]
    fn the_oom_killer_is_told() {
        let score = |resources: &str| {
            let pod = pod(&[resources], &[]);
            oom_score_adj(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30)
        };
        assert_eq!((score(FULL), score(""), score(PART)), (-997, 1000, 750));
        assert_eq!(score(r#""requests":{"memory":"2Gi"}"#), 3);
        assert_eq!(score(r#""requests":{"memory":"1"}"#), 999);
    }
}
