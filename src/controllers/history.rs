//! ControllerRevisions: the templates that a DaemonSet or StatefulSet has had, by number.
//!
//! A revision holds a patch that brings its template back, which `kubectl rollout undo` applies.

use std::collections::HashSet;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use super::runner::{self, Step, Views};
use super::{calls, pods};
use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::CONTROLLERREVISIONS;

/// The label that tells the pods of two templates apart.
pub const HASH: &str = "controller-revision-hash";

/// Whose history it is.
pub struct Subject<'a> {
    /// The owner's metadata.
    pub metadata: &'a ObjectMeta,
    /// The reference by which it owns.
    pub owner: OwnerReference,
    /// What chooses its revisions, as it chooses its pods.
    pub selector: &'a LabelSelector,
    /// The present template.
    pub template: Value,
    /// How often a name was taken by another template.
    pub collisions: Option<i32>,
    /// The label of a revision that holds its hash.
    pub label: &'static str,
}

/// The revisions of a subject.
#[derive(Default)]
pub struct History {
    /// That of the present template, once it is there.
    pub current: Option<ControllerRevision>,
    /// All others, oldest first.
    pub old: Vec<ControllerRevision>,
    /// What must be done before anything else.
    pub steps: Vec<Step>,
    /// Whether the name of the present template is taken by another.
    pub collides: bool,
}

/// A hash of a template in letters that make no words, another after each collision of names.
pub fn hash(template: &Value, collisions: Option<i32>) -> String {
    let mut hash = fnv(0x811c_9dc5, &template.encode());
    if let Some(count) = collisions {
        hash = fnv(hash, &count.to_le_bytes());
    }
    safe(hash)
}

/// FNV-1a, 32 bits.
fn fnv(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A number in letters that make no words, as names of generated objects are.
fn safe(number: u32) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    number.to_string().bytes().map(|digit| LETTERS[usize::from(digit) % 27] as char).collect()
}

/// The name of a revision.
pub fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

/// The value of a revision's label.
pub fn label<'a>(revision: &'a ControllerRevision, label: &str) -> &'a str {
    let labels = revision.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(label)).map_or("", String::as_str)
}

impl History {
    /// Looks at a subject's revisions.
    pub fn of(views: &Views, key: &Key, subject: &Subject<'_>) -> Self {
        let all = views.of(&CONTROLLERREVISIONS).snapshot();
        let (selector, owner) = (pods::selector(subject.selector), &subject.owner);
        let resource = &CONTROLLERREVISIONS;
        let claim = pods::claim(resource, &all, &key.namespace, &selector, owner, false);
        if !claim.calls.is_empty() {
            let steps = claim.calls.into_iter().map(Step::from).collect();
            return Self { steps, ..Self::default() };
        }
        let mut own: Vec<ControllerRevision> =
            claim.mine.iter().filter_map(|revision| runner::decode(revision)).collect();
        own.sort_by_key(|revision| (number(revision), name(revision).to_owned()));
        let data = patch(&subject.template);
        let same = |one: &ControllerRevision| calls::tree(&one.data) == data;
        let current = own.iter().rposition(same).map(|at| own.remove(at));
        let next = own.last().map_or(0, number) + 1;
        let mut history = Self { current, old: own, ..Self::default() };
        match &history.current {
            Some(current) if number(current) >= next => {}
            Some(current) => {
                let own = Key::new(&resource.group_resource(), &key.namespace, name(current));
                let patch = Value::from([("revision", next.into())]);
                history.steps.push(calls::merge(resource, &own, patch).into());
            }
            None => {
                let hash = hash(&subject.template, subject.collisions);
                let name = format!("{}-{hash}", key.name);
                history.collides = all.get(&key.namespace, &name).is_some();
                if !history.collides {
                    let revision = subject.revision(&name, &hash, next, data);
                    history.steps.push(calls::create(resource, &key.namespace, revision).into());
                }
            }
        }
        history
    }

    /// Deletes the oldest beyond `limit` that no pod is of.
    pub fn superfluous(
        &self,
        key: &Key,
        limit: i32,
        live: &HashSet<String>,
        by: &str,
    ) -> Vec<Step> {
        let is_live = |revision: &ControllerRevision| {
            live.contains(name(revision)) || live.contains(label(revision, by))
        };
        let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
        let surplus = self.old.len().saturating_sub(limit);
        let dead = self.old.iter().filter(|revision| !is_live(revision)).take(surplus);
        dead.map(|revision| {
            let resource = &CONTROLLERREVISIONS;
            let own = Key::new(&resource.group_resource(), &key.namespace, name(revision));
            let uid = revision.metadata.uid.as_deref().unwrap_or_default();
            calls::delete(resource, &own, uid).into()
        })
        .collect()
    }
}

/// What brings a template back.
fn patch(template: &Value) -> Value {
    let mut template = template.clone();
    template.set("$patch", "replace");
    Value::from([("spec", Value::from([("template", template)]))])
}

/// The template that a revision brings back.
pub fn template(revision: &ControllerRevision) -> Value {
    let mut template = calls::tree(&revision.data).at(&["spec", "template"]).clone();
    template.remove("$patch");
    template
}

impl Subject<'_> {
    fn revision(&self, name: &str, hash: &str, number: i64, data: Value) -> Value {
        let mut labels = self.template.at(&["metadata", "labels"]).clone();
        if labels.is_null() {
            labels = Value::object();
        }
        labels.set(self.label, hash);
        let mut metadata = Value::from([
            ("name", name.into()),
            ("labels", labels),
            ("ownerReferences", vec![calls::tree(&self.owner)].into()),
        ]);
        if let Some(annotations) = &self.metadata.annotations {
            metadata.set("annotations", calls::tree(annotations));
        }
        Value::from([
            ("apiVersion", "apps/v1".into()),
            ("kind", "ControllerRevision".into()),
            ("metadata", metadata),
            ("data", data),
            ("revision", number.into()),
        ])
    }
}
