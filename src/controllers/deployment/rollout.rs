//! A Deployment and its ReplicaSets as they are, and what can be read off them.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::runner::Step;
use super::super::{calls, history, pods};
use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::{Call, DEPLOYMENTS, REPLICASETS};

/// The label that tells the pods of two templates apart.
pub(super) const HASH: &str = "pod-template-hash";
/// The number of a template in the Deployment's history.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers that a template had before it was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many pods the Deployment wanted when it last sized the ReplicaSet.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many it would have allowed.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not take over.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// A size that a ReplicaSet should have.
pub(super) struct Target<'a> {
    pub(super) set: &'a ReplicaSet,
    pub(super) replicas: i32,
}

pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) key: Key,
    /// The set of the present template.
    pub(super) new: Option<ReplicaSet>,
    /// All others, oldest first.
    pub(super) old: Vec<ReplicaSet>,
}

/// The size that a ReplicaSet is asked to have.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// How many of a ReplicaSet's pods are available.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub(super) fn annotation<'a>(set: &'a ReplicaSet, key: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn created(set: &ReplicaSet) -> Option<i64> {
    set.metadata.creation_timestamp.as_ref().map(|time| pods::wall(time).seconds())
}

/// A template without the label that its ReplicaSet adds.
fn bare(mut template: Value) -> Value {
    let metadata = template.entry("metadata");
    metadata.entry("labels").remove(HASH);
    metadata.remove("creationTimestamp");
    if metadata.get("labels").is_empty() {
        metadata.remove("labels");
    }
    template
}

impl<'a> Rollout<'a> {
    pub(super) fn new(deployment: &'a Deployment, mut sets: Vec<ReplicaSet>, key: Key) -> Self {
        sets.sort_by_key(|set| (created(set), set.metadata.name.clone()));
        let template = bare(calls::tree(&deployment.spec.template));
        let same = |set: &ReplicaSet| bare(calls::tree(&set.spec.template)) == template;
        let new = sets.iter().position(same).map(|at| sets.remove(at));
        Self { deployment, key, new, old: sets }
    }

    pub(super) fn replicas(&self) -> i32 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.deployment.spec.paused.unwrap_or(false)
    }

    pub(super) fn is_recreate(&self) -> bool {
        let strategy = self.deployment.spec.strategy.as_ref();
        strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate")
    }

    /// All sets, the new one last.
    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    /// How many pods all sets together are asked to have.
    pub(super) fn total(&self) -> i32 {
        self.all().map(size).sum()
    }

    /// Whether someone scaled the Deployment since its sets were sized.
    pub(super) fn is_scaled(&self) -> bool {
        self.all().filter(|set| size(set) > 0).any(|set| {
            let desired = annotation(set, DESIRED).and_then(|text| text.parse::<i32>().ok());
            desired.is_some_and(|desired| desired != self.replicas())
        })
    }

    fn limit(
        &self,
        pick: impl Fn(&k8s_openapi::api::apps::v1::RollingUpdateDeployment) -> Option<IntOrString>,
        up: bool,
    ) -> i32 {
        let rolling =
            self.deployment.spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
        rolling.and_then(pick).map_or(0, |limit| pods::share(&limit, self.replicas(), up))
    }

    /// How many pods there may be beyond the wanted number.
    pub(super) fn max_surge(&self) -> i32 {
        if self.is_recreate() { 0 } else { self.limit(|r| r.max_surge.clone(), true) }
    }

    /// How many of the wanted pods may be unavailable. One, where neither that nor a surge would
    /// leave room to move.
    pub(super) fn max_unavailable(&self) -> i32 {
        if self.is_recreate() || self.replicas() == 0 {
            return 0;
        }
        let limit = self.limit(|r| r.max_unavailable.clone(), false);
        let limit = if limit == 0 && self.max_surge() == 0 { 1 } else { limit };
        limit.min(self.replicas())
    }

    /// Whether all pods are of the present template, and as many as wanted are available.
    pub(super) fn is_complete(&self) -> bool {
        let Some(new) = &self.new else { return false };
        let updated = new.status.as_ref().map_or(0, |status| status.replicas);
        let total: i32 = self.all().filter_map(|s| s.status.as_ref()).map(|s| s.replicas).sum();
        updated == self.replicas() && total == updated && available(new) == updated
    }

    /// The hash of the present template, different after a collision of names.
    fn hash(&self) -> String {
        let template = bare(calls::tree(&self.deployment.spec.template));
        let collisions = self.deployment.status.as_ref().and_then(|s| s.collision_count);
        history::hash(&template, collisions)
    }

    /// What the ReplicaSet of the present template is called.
    pub(super) fn new_name(&self) -> String {
        format!("{}-{}", self.key.name, self.hash())
    }

    /// The ReplicaSet of the present template.
    pub(super) fn new_set(&self, replicas: i32) -> Value {
        let hash = self.hash();
        let spec = &self.deployment.spec;
        let owner = calls::controller_reference("apps/v1", "Deployment", &self.deployment.metadata);
        let mut template = calls::tree(&spec.template);
        template.entry_at(&["metadata", "labels"]).set(HASH, hash.as_str());
        let mut selector = calls::tree(&spec.selector);
        selector.entry("matchLabels").set(HASH, hash);
        let mut annotations = self.taken_over();
        annotations.set(REVISION, (self.max_old_revision() + 1).to_string());
        self.size_annotations().fields().for_each(|(k, v)| annotations.set(k, v.clone()));
        let metadata = Value::from([
            ("name", self.new_name().into()),
            ("labels", template.at(&["metadata", "labels"]).clone()),
            ("annotations", annotations),
            ("ownerReferences", vec![calls::tree(&owner)].into()),
        ]);
        let mut set_spec = Value::from([
            ("replicas", replicas.into()),
            ("selector", selector),
            ("template", template),
        ]);
        if let Some(seconds) = spec.min_ready_seconds {
            set_spec.set("minReadySeconds", seconds);
        }
        Value::from([
            ("apiVersion", "apps/v1".into()),
            ("kind", "ReplicaSet".into()),
            ("metadata", metadata),
            ("spec", set_spec),
        ])
    }

    /// The Deployment's annotations that its sets take over, such as the change's cause.
    fn taken_over(&self) -> Value {
        let mut annotations = Value::object();
        for (key, value) in self.deployment.metadata.annotations.iter().flatten() {
            if !OWN.contains(&key.as_str()) {
                annotations.set(key, value.as_str());
            }
        }
        annotations
    }

    /// What a set remembers of the Deployment's size.
    pub(super) fn size_annotations(&self) -> Value {
        Value::from([
            (DESIRED, self.replicas().to_string().into()),
            (MAX, (self.replicas() + self.max_surge()).to_string().into()),
        ])
    }

    fn max_old_revision(&self) -> i64 {
        let revision = |set: &ReplicaSet| annotation(set, REVISION)?.parse().ok();
        self.old.iter().filter_map(revision).max().unwrap_or(0)
    }

    /// The call that brings the new set's annotations up to date, if they are not: a template that
    /// is rolled back to becomes the newest again.
    pub(super) fn annotate_new(&self) -> Option<Step> {
        let new = self.new.as_ref()?;
        let mut wanted = self.taken_over();
        let current: i64 = annotation(new, REVISION).and_then(|r| r.parse().ok()).unwrap_or(0);
        let next = self.max_old_revision() + 1;
        if current < next {
            wanted.set(REVISION, next.to_string());
            if current > 0 {
                let before = annotation(new, REVISION_HISTORY).unwrap_or_default();
                let comma = if before.is_empty() { "" } else { "," };
                wanted.set(REVISION_HISTORY, format!("{before}{comma}{current}"));
            }
        }
        let stale = |(key, value): (&str, &Value)| annotation(new, key) != value.as_str();
        let min_ready = self.deployment.spec.min_ready_seconds.unwrap_or(0);
        let same_wait = new.spec.min_ready_seconds.unwrap_or(0) == min_ready;
        if same_wait && !wanted.fields().any(stale) {
            return None;
        }
        let patch = Value::from([
            ("metadata", Value::from([("annotations", wanted)])),
            ("spec", Value::from([("minReadySeconds", min_ready.into())])),
        ]);
        Some(calls::merge(&REPLICASETS, &self.key_of(new), patch).into())
    }

    /// The call that tells on the Deployment which revision it is at.
    pub(super) fn annotate_deployment(&self) -> Option<Step> {
        let current: i64 = annotation(self.new.as_ref()?, REVISION)?.parse().ok()?;
        // The set's own annotation may be about to be raised; then this comes with the next event.
        let revision = current.max(self.max_old_revision() + 1).to_string();
        let known = self.deployment.metadata.annotations.as_ref().and_then(|a| a.get(REVISION));
        if known == Some(&revision) {
            return None;
        }
        let annotations = Value::from([(REVISION, revision.into())]);
        let patch = Value::from([("metadata", Value::from([("annotations", annotations)]))]);
        // By way of the status, as upstream: the Deployment's generation is its users' to raise.
        let call = calls::merge(&DEPLOYMENTS, &self.key, patch);
        Some(Call { subresource: "status", ..call }.into())
    }

    fn key_of(&self, set: &ReplicaSet) -> Key {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        Key::new(&REPLICASETS.group_resource(), &self.key.namespace, name)
    }

    /// Deletes the oldest empty sets beyond the number that is kept for rolling back.
    pub(super) fn superfluous(&self) -> impl Iterator<Item = Call> {
        let keep = self.deployment.spec.revision_history_limit.unwrap_or(10);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let mut empty: Vec<&ReplicaSet> = self.old.iter().filter(|set| is_empty(set)).collect();
        empty.sort_by_key(|set| annotation(set, REVISION).and_then(|r| r.parse::<i64>().ok()));
        let surplus = self.old.len().saturating_sub(keep).min(empty.len());
        empty.into_iter().take(surplus).map(|set| {
            calls::delete(
                &REPLICASETS,
                &self.key_of(set),
                set.metadata.uid.as_deref().unwrap_or_default(),
            )
        })
    }
}

/// Whether a set has no pods, wants none, and has seen that it wants none.
fn is_empty(set: &ReplicaSet) -> bool {
    let status = set.status.as_ref();
    size(set) == 0
        && status.is_none_or(|status| status.replicas == 0)
        && status.and_then(|s| s.observed_generation).unwrap_or(0)
            >= set.metadata.generation.unwrap_or(0)
        && set.metadata.deletion_timestamp.is_none()
}
