//! How many pods each ReplicaSet should have next.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::rollout::{MAX, Rollout, Target, annotation, available, size};

/// How many pods the new set may have when it is made.
pub(super) fn first_size(rollout: &Rollout<'_>) -> i32 {
    if rollout.is_recreate() {
        return rollout.replicas();
    }
    let room = rollout.replicas() + rollout.max_surge() - rollout.total();
    room.clamp(0, rollout.replicas())
}

fn to(set: &ReplicaSet, replicas: i32) -> Option<Target<'_>> {
    (size(set) != replicas).then_some(Target { set, replicas })
}

/// All old sets down to nothing.
pub(super) fn empty_old<'a>(rollout: &'a Rollout<'_>) -> Vec<Target<'a>> {
    rollout.old.iter().filter_map(|set| to(set, 0)).collect()
}

/// `Recreate`: the old first, then all the new.
pub(super) fn recreate<'a>(rollout: &'a Rollout<'_>, blocked: bool) -> Vec<Target<'a>> {
    let old = empty_old(rollout);
    if !old.is_empty() || blocked {
        return old;
    }
    rollout.new.iter().filter_map(|set| to(set, rollout.replicas())).collect()
}

/// `RollingUpdate`: the new set up as far as the surge allows, else the old down as far as
/// availability allows.
pub(super) fn rolling<'a>(rollout: &'a Rollout<'_>) -> Vec<Target<'a>> {
    let Some(new) = &rollout.new else { return Vec::new() };
    if let Some(target) = to(new, next_new_size(rollout, new)) {
        return vec![target];
    }
    shrink_old(rollout, new)
}

fn next_new_size(rollout: &Rollout<'_>, new: &ReplicaSet) -> i32 {
    let (wanted, current) = (rollout.replicas(), size(new));
    if current >= wanted {
        return wanted;
    }
    let room = wanted + rollout.max_surge() - rollout.total();
    current + room.clamp(0, wanted - current)
}

/// Takes pods from the old sets: first those that are not available anyway, then others as far as
/// enough stay available.
fn shrink_old<'a>(rollout: &'a Rollout<'_>, new: &ReplicaSet) -> Vec<Target<'a>> {
    let min_available = rollout.replicas() - rollout.max_unavailable();
    let new_unavailable = size(new) - available(new);
    let mut spare = rollout.total() - min_available - new_unavailable;
    let mut sizes: Vec<i32> = rollout.old.iter().map(size).collect();
    for (set, left) in rollout.old.iter().zip(&mut sizes) {
        let unhealthy = (*left - available(set)).clamp(0, spare.max(0));
        *left -= unhealthy;
        spare -= unhealthy;
    }
    let all_available: i32 = rollout.all().map(available).sum();
    let mut spare = spare.min(all_available - min_available);
    for left in &mut sizes {
        let taken = (*left).clamp(0, spare.max(0));
        *left -= taken;
        spare -= taken;
    }
    rollout.old.iter().zip(sizes).filter_map(|(set, left)| to(set, left)).collect()
}

/// After the Deployment itself was scaled, or while it is paused: each set gets its share of the
/// change, so that a rollout in the middle stays in the middle.
pub(super) fn proportional<'a>(rollout: &'a Rollout<'_>) -> Vec<Target<'a>> {
    let active: Vec<&ReplicaSet> = rollout.all().filter(|set| size(set) > 0).collect();
    let wanted = rollout.replicas();
    if let [] | [_] = active.as_slice() {
        let only = active.first().copied().or(rollout.new.as_ref()).or(rollout.old.last());
        return only.into_iter().filter_map(|set| resize(rollout, set, wanted)).collect();
    }
    if rollout.new.as_ref().is_some_and(|new| is_saturated(rollout, new)) {
        return empty_old(rollout);
    }
    if rollout.is_recreate() {
        return Vec::new();
    }
    share(rollout, active)
}

/// A new size, or only new annotations where someone else has set the size already.
fn resize<'a>(rollout: &Rollout<'_>, set: &'a ReplicaSet, replicas: i32) -> Option<Target<'a>> {
    let noted = rollout.size_annotations().fields().all(|(k, v)| annotation(set, k) == v.as_str());
    (size(set) != replicas || !noted).then_some(Target { set, replicas })
}

/// Whether the new set has all the pods that the Deployment wants, and all are available.
fn is_saturated(rollout: &Rollout<'_>, new: &ReplicaSet) -> bool {
    let wanted = rollout.replicas();
    let noted = annotation(new, super::rollout::DESIRED).and_then(|text| text.parse().ok());
    size(new) == wanted && noted == Some(wanted) && available(new) == wanted
}

fn share<'a>(rollout: &'a Rollout<'_>, mut active: Vec<&'a ReplicaSet>) -> Vec<Target<'a>> {
    let wanted = rollout.replicas();
    let allowed = if wanted > 0 { wanted + rollout.max_surge() } else { 0 };
    let change = allowed - rollout.total();
    // Growth favours the newest of equal sets, shrinking the oldest. `all` is oldest first.
    if change > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| Reverse(size(set)));
    let mut sizes: Vec<i32> = Vec::new();
    let mut given = 0;
    for set in &active {
        let part = proportion(rollout, set, allowed, change - given);
        given += part;
        sizes.push(size(set) + part);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + change - given).max(0);
    }
    active.iter().zip(sizes).filter_map(|(set, replicas)| resize(rollout, set, replicas)).collect()
}

/// A set's part of a change, never beyond what is left of it.
fn proportion(rollout: &Rollout<'_>, set: &ReplicaSet, allowed: i32, left: i32) -> i32 {
    if left == 0 || size(set) == 0 {
        return 0;
    }
    if rollout.replicas() == 0 {
        return -size(set);
    }
    let before = annotation(set, MAX).and_then(|text| text.parse().ok()).filter(|max| *max > 0);
    let before = before.unwrap_or(allowed);
    let exact = f64::from(size(set)) * f64::from(allowed) / f64::from(before);
    #[allow(clippy::cast_possible_truncation, reason = "replica counts are far below 2^31")]
    let part = exact.round() as i32 - size(set);
    if left > 0 { part.clamp(0, left) } else { part.clamp(left, 0) }
}
