//! How pods of an old template give way to those of the present one.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::RollingUpdateDaemonSet;
use k8s_openapi::api::core::v1::Pod;

use super::{Changes, Round, is_staying, nodes};
use crate::api::meta::Meta;
use crate::controllers::pods;

/// The pods of one node: that of the present template and that of an old one.
struct Pair<'a> {
    node: &'a str,
    new: Option<&'a Pod>,
    old: Option<&'a Pod>,
}

fn rolling<'a>(round: &Round<'a>) -> Option<&'a RollingUpdateDaemonSet> {
    let strategy = round.set.spec.update_strategy.as_ref()?;
    let rolls = strategy.type_.as_deref() != Some("OnDelete");
    strategy.rolling_update.as_ref().filter(|_| rolls)
}

/// How many nodes may have two pods for a while.
pub(super) fn surge(round: &Round<'_>, nodes: i32) -> i32 {
    let limit = rolling(round).and_then(|rolling| rolling.max_surge.as_ref());
    limit.map_or(0, |limit| pods::share(limit, nodes, true))
}

/// How many nodes may be without an available pod.
fn unavailable(round: &Round<'_>, nodes: i32) -> i32 {
    let limit = rolling(round).and_then(|rolling| rolling.max_unavailable.as_ref());
    limit.map_or(1, |limit| pods::share(limit, nodes, true))
}

/// The next step of a rolling update.
pub(super) fn roll<'a>(round: &Round<'_>, by_node: &BTreeMap<String, Vec<&'a Pod>>) -> Changes<'a> {
    if rolling(round).is_none() {
        return Changes::default();
    }
    let fitting: Vec<&str> = round
        .nodes
        .iter()
        .filter(|node| nodes::fit(&round.spec, node).may_start)
        .map(Meta::name)
        .collect();
    let wanted = i32::try_from(fitting.len()).unwrap_or(i32::MAX);
    let (surge, mut most) = (surge(round, wanted), unavailable(round, wanted));
    if surge == 0 && most == 0 {
        most = 1;
    }
    // A node with more than that is for `manage` to mend, and counts as unavailable.
    let mut excess = 0;
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    let empty: &[&Pod] = &[];
    for node in by_node.keys().map(String::as_str).chain(fitting.iter().copied()) {
        if pairs.iter().any(|pair| pair.node == node) {
            continue;
        }
        let pods = by_node.get(node).map_or(empty, Vec::as_slice);
        let (new, old): (Vec<&Pod>, Vec<&Pod>) =
            pods.iter().copied().filter(|p| is_staying(p)).partition(|p| round.is_new(p));
        excess += i32::from(new.len() > 1 || old.len() > 1);
        pairs.push(Pair { node, new: new.first().copied(), old: old.first().copied() });
    }
    let old = |pod: &Pod| by_node.values().flatten().find(|p| p.metadata.uid == pod.metadata.uid);
    let (create, delete) = match surge {
        0 => (Vec::new(), replace(round, &pairs, most - excess)),
        surge => surged(round, &pairs, surge - excess, &fitting),
    };
    Changes { create, delete: delete.into_iter().filter_map(|pod| old(pod).copied()).collect() }
}

/// Old pods that may be deleted: those that are not available, and of the others so many that no
/// more than `most` nodes are without an available pod.
fn replace<'a>(round: &Round<'_>, pairs: &[Pair<'a>], most: i32) -> Vec<&'a Pod> {
    let (mut without, mut broken, mut sound) = (0, Vec::new(), Vec::new());
    for pair in pairs {
        match (pair.new, pair.old) {
            (Some(new), None) => without += i32::from(!round.is_available(new)),
            (None, Some(old)) if round.is_available(old) => sound.push(old),
            (None, Some(old)) => {
                broken.push(old);
                without += 1;
            }
            _ => without += 1,
        }
    }
    let more = usize::try_from(most - without).unwrap_or(0);
    broken.extend(sound.into_iter().take(more));
    broken
}

/// New pods beside old ones, at most `most` at a time; an old one goes when the new is available.
fn surged<'a>(
    round: &Round<'_>,
    pairs: &[Pair<'a>],
    most: i32,
    fitting: &[&str],
) -> (Vec<String>, Vec<&'a Pod>) {
    let (mut surging, mut allowed, mut candidates) = (0, Vec::new(), Vec::new());
    let (mut delete, mut misplaced, mut available) = (Vec::new(), Vec::new(), 0);
    for pair in pairs {
        let first = pair.old.or(pair.new);
        available += i32::from(first.is_some_and(|pod| round.is_available(pod)));
        let Some(old) = pair.old else { continue };
        let fits = fitting.contains(&pair.node);
        match pair.new {
            Some(new) if round.is_available(new) => delete.push(old),
            Some(_) => surging += 1,
            None if fits && round.is_available(old) => candidates.push(pair.node.to_owned()),
            None if fits => allowed.push(pair.node.to_owned()),
            None if round.is_available(old) => misplaced.push(old),
            None => delete.push(old),
        }
    }
    // Where pods have moved, an old one goes only when there are enough elsewhere.
    let wanted = i32::try_from(fitting.len()).unwrap_or(i32::MAX);
    let spare = usize::try_from(available - wanted).unwrap_or(0);
    delete.extend(misplaced.into_iter().take(spare));
    let more = usize::try_from(most - surging).unwrap_or(0);
    allowed.extend(candidates.into_iter().take(more));
    (allowed, delete)
}
