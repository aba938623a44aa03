//! Which of the nodes that fit is best: kube-scheduler's Score plugins with their weights.

use super::filter::term_matches;
use super::node::{NodeInfo, Share};
use crate::api::selector::tolerates;
use crate::api::tree::Value;

/// The best score of one plugin.
const MAX: i64 = 100;

/// Each plugin scores all nodes together, each from 0 to 100; the weight follows.
type Plugin = fn(&Value, &Share, &[&NodeInfo]) -> Vec<i64>;
const PLUGINS: [(Plugin, i64); 6] =
    [(taints, 3), (affinity, 2), (spreading, 2), (least_allocated, 1), (balanced, 1), (images, 1)];

/// The total score of each node.
pub(super) fn totals(pod: &Value, share: &Share, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    for (plugin, weight) in PLUGINS {
        for (total, score) in totals.iter_mut().zip(plugin(pod, share, nodes)) {
            *total += weight * score;
        }
    }
    totals
}

/// Scales raw numbers to 0..=100; with `reverse`, the least is best.
fn normalise(raw: Vec<i64>, reverse: bool) -> Vec<i64> {
    let top = raw.iter().copied().max().unwrap_or(0);
    raw.into_iter()
        .map(|score| match (top, reverse) {
            (0, true) => MAX,
            (0, false) => 0,
            (top, true) => MAX - score * MAX / top,
            (top, false) => score * MAX / top,
        })
        .collect()
}

/// The fewer `PreferNoSchedule` taints that are not tolerated, the better.
fn taints(pod: &Value, _: &Share, nodes: &[&NodeInfo]) -> Vec<i64> {
    let tolerations = pod.at(&["spec", "tolerations"]).items();
    let intolerable = |node: &NodeInfo| {
        let soft = node.taints.iter().filter(|t| t.get("effect").str() == "PreferNoSchedule");
        let bad = soft.filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint)));
        i64::try_from(bad.count()).unwrap_or(i64::MAX)
    };
    normalise(nodes.iter().map(|node| intolerable(node)).collect(), true)
}

/// The weights of the preferences that a node satisfies.
fn affinity(pod: &Value, _: &Share, nodes: &[&NodeInfo]) -> Vec<i64> {
    let preferred = pod
        .at(&[
            "spec",
            "affinity",
            "nodeAffinity",
            "preferredDuringSchedulingIgnoredDuringExecution",
        ])
        .items();
    let weight = |node: &NodeInfo| {
        let met = preferred.iter().filter(|p| term_matches(p.get("preference"), node));
        met.filter_map(|p| p.get("weight").as_int()).sum()
    };
    normalise(nodes.iter().map(|node| weight(node)).collect(), false)
}

/// The fewer pods of the same owner on a node, and in its zone, the better.
fn spreading(_: &Value, share: &Share, nodes: &[&NodeInfo]) -> Vec<i64> {
    let Some(group) = share.group() else { return vec![MAX; nodes.len()] };
    let count = |node: &NodeInfo| {
        i64::try_from(node.groups.get(group).copied().unwrap_or(0)).unwrap_or(i64::MAX)
    };
    let zone = |node: &NodeInfo| node.labels.get("topology.kubernetes.io/zone").cloned();
    let in_zone = |wanted: &Option<String>| -> i64 {
        let same = nodes.iter().filter(|node| wanted.is_some() && zone(node) == *wanted);
        same.map(|node| count(node)).sum()
    };
    let raw = nodes.iter().map(|node| 2 * count(node) + in_zone(&zone(node))).collect();
    normalise(raw, true)
}

/// How much of a resource would be used, from 0 to 1.
fn used(share: &Share, node: &NodeInfo, resource: &str) -> Option<f64> {
    let there = node.allocatable.get(resource);
    let wanted = node.requested_for_score.get(resource) + share.for_score().get(resource);
    #[allow(clippy::cast_precision_loss, reason = "a ratio for a score")]
    (there > 0).then(|| (wanted as f64 / there as f64).min(1.0))
}

#[allow(clippy::cast_possible_truncation, reason = "a ratio from 0 to 1 times 100")]
fn percent(ratio: f64) -> i64 {
    (ratio * 100.0) as i64
}

/// The emptier, the better.
fn least_allocated(_: &Value, share: &Share, nodes: &[&NodeInfo]) -> Vec<i64> {
    let score = |node: &&NodeInfo| {
        let ratios: Vec<f64> =
            ["cpu", "memory"].into_iter().filter_map(|r| used(share, node, r)).collect();
        let count = i64::try_from(ratios.len()).unwrap_or(1).max(1);
        ratios.iter().map(|ratio| MAX - percent(*ratio)).sum::<i64>() / count
    };
    nodes.iter().map(score).collect()
}

/// The nearer the use of CPU and memory to each other, the better.
fn balanced(_: &Value, share: &Share, nodes: &[&NodeInfo]) -> Vec<i64> {
    let score = |node: &&NodeInfo| {
        let cpu = used(share, node, "cpu").unwrap_or(0.0);
        let memory = used(share, node, "memory").unwrap_or(0.0);
        MAX - percent((cpu - memory).abs() / 2.0)
    };
    nodes.iter().map(score).collect()
}

/// The more of the pod's images are there already, by size, the better: from 23 MB to 1 GB each.
fn images(pod: &Value, _: &Share, nodes: &[&NodeInfo]) -> Vec<i64> {
    const MB: i64 = 1 << 20;
    let containers = pod.at(&["spec", "containers"]).items();
    let (low, high) = (23 * MB, 1000 * MB * i64::try_from(containers.len()).unwrap_or(1).max(1));
    let present = |node: &NodeInfo| -> i64 {
        let names = containers.iter().map(|container| container.get("image").str());
        names.filter_map(|name| image_size(node, name)).sum()
    };
    let score = |node: &&NodeInfo| (present(node).clamp(low, high) - low) * MAX / (high - low);
    nodes.iter().map(score).collect()
}

/// The size of an image that a pod names as users do, without `docker.io/library/` or `:latest`.
fn image_size(node: &NodeInfo, name: &str) -> Option<i64> {
    let tagged = if name.rsplit('/').next()?.contains([':', '@']) {
        name.to_owned()
    } else {
        format!("{name}:latest")
    };
    let candidates =
        [tagged.clone(), format!("docker.io/{tagged}"), format!("docker.io/library/{tagged}")];
    candidates.iter().find_map(|candidate| node.images.get(candidate)).copied()
}
