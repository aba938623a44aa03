//! PodSecurity: what pods of a namespace may ask of the machine, by the namespace's labels.
//!
//! Pods are refused by the `enforce` level and warned about by the `warn` level; templates of pods
//! are only warned about. A namespace whose `enforce` level becomes stricter is answered with what
//! of its pods would be refused now. The `audit` level is read, so that a wrong one is found, and
//! has no effect: there is no audit log to write to.

use std::collections::{BTreeMap, HashSet};

use self::policy::{Level, LevelVersion, Policy};
use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::meta::{GroupResource, Meta};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::limits;

mod baseline;
mod pod;
mod policy;
mod restricted;
mod standard;

/// Parts of pods that say nothing about what a pod may do.
const HARMLESS: &[&str] =
    &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Where objects that make pods have the template: group, plural, path.
const TEMPLATES: &[(&str, &str, &[&str])] = &[
    ("", "podtemplates", &["template"]),
    ("", "replicationcontrollers", &["spec", "template"]),
    ("apps", "daemonsets", &["spec", "template"]),
    ("apps", "deployments", &["spec", "template"]),
    ("apps", "replicasets", &["spec", "template"]),
    ("apps", "statefulsets", &["spec", "template"]),
    ("batch", "cronjobs", &["spec", "jobTemplate", "spec", "template"]),
    ("batch", "jobs", &["spec", "template"]),
];

/// Refuses what the policy of its namespace forbids; answers with warnings for the client.
pub(super) fn judge(world: &World, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Status> {
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Ok(Vec::new());
    }
    let (group, plural) = (request.resource.group.as_str(), request.resource.plural.as_str());
    let whole = request.subresource.is_empty();
    match (group, plural) {
        ("", "namespaces") if whole => namespace(world, request),
        ("", "pods") if !HARMLESS.contains(&request.subresource) => pod(world, request),
        _ if whole => {
            let template = TEMPLATES.iter().find(|(g, p, _)| (*g, *p) == (group, plural));
            Ok(template
                .map(|(_, _, path)| self::template(world, request, path))
                .unwrap_or_default())
        }
        _ => Ok(Vec::new()),
    }
}

/// The policy of the request's namespace; none where everything is allowed.
fn policy_for(world: &World, request: &AdmissionRequest<'_>) -> Option<Policy> {
    let namespace = world.find(("", "namespaces"), "", request.namespace)?;
    let labels = namespace.header.labels.iter().map(|(key, value)| (&**key, &**value));
    let (policy, _) = Policy::of(labels);
    (!policy.allows_all()).then_some(policy)
}

fn pod(world: &World, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Status> {
    let Some(policy) = policy_for(world, request) else { return Ok(Vec::new()) };
    if request.old.is_some_and(|old| !is_significant(request.object, old)) {
        return Ok(Vec::new());
    }
    let judged = pod::Pod::of(request.object);
    let violations = standard::violations(policy.enforce, judged);
    if !violations.is_empty() {
        let details = standard::details(&violations);
        let why = format!("violates PodSecurity \"{}\": {details}", policy.enforce);
        return Err(request.forbidden(&why));
    }
    Ok(warning(policy.warn, judged))
}

fn template(world: &World, request: &AdmissionRequest<'_>, path: &[&str]) -> Vec<String> {
    let template = request.object.at(path);
    match policy_for(world, request) {
        Some(policy) if !template.is_null() => warning(policy.warn, pod::Pod::of(template)),
        _ => Vec::new(),
    }
}

fn warning(level: LevelVersion, judged: pod::Pod<'_>) -> Vec<String> {
    let violations = standard::violations(level, judged);
    if violations.is_empty() {
        return Vec::new();
    }
    vec![format!("would violate PodSecurity \"{level}\": {}", standard::details(&violations))]
}

/// Whether an update changes what is run in a pod: more containers, or other images.
fn is_significant(new: &Value, old: &Value) -> bool {
    let list = |pod: &Value, name: &str| pod.at(&["spec", name]).items().to_vec();
    let other_image = |new: &Value, old: &Value| new.get("image").str() != old.get("image").str();
    let fixed = ["containers", "initContainers"].iter().any(|name| {
        let (new, old) = (list(new, name), list(old, name));
        new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| other_image(new, old))
    });
    let were = list(old, "ephemeralContainers");
    let same = |new: &Value| were.iter().find(|old| old.get("name") == new.get("name"));
    fixed
        || list(new, "ephemeralContainers")
            .iter()
            .any(|new| same(new).is_none_or(|old| other_image(new, old)))
}

/// Holds a namespace's labels to what they may say; looks at its pods when it becomes stricter.
fn namespace(world: &World, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Status> {
    let labels = |namespace: &Value| Policy::of_labels(namespace.metadata().get("labels"));
    let (new, faults) = labels(request.object);
    let (old, old_faults) = match request.old {
        Some(old) => labels(old),
        None => (new, Vec::new()),
    };
    if !faults.is_empty() && faults != old_faults {
        return Err(policy::invalid(request.object_name(), &faults));
    }
    let stricter = new.enforce != old.enforce
        && new.enforce.level != Level::Privileged
        && (new.enforce.version != old.enforce.version || new.enforce.level > old.enforce.level);
    match stricter {
        true => Ok(present(world, request.object_name(), new.enforce)),
        false => Ok(Vec::new()),
    }
}

/// What of the pods in a namespace a level forbids: one warning for each set of reasons.
fn present(world: &World, namespace: &str, enforce: LevelVersion) -> Vec<String> {
    let (pods, all) = sample(world, namespace);
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in &pods {
        let violations = standard::violations(enforce, pod::Pod::of(pod));
        if !violations.is_empty() {
            groups.entry(standard::reasons(&violations)).or_default().push(pod.name().to_owned());
        }
    }
    let mut warnings = Vec::new();
    if pods.len() < all {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {} of {all} existing pods",
            pods.len()
        ));
    }
    if !groups.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \
             \"{enforce}\""
        ));
    }
    let mut lines: Vec<String> = groups.into_iter().map(|(why, pods)| line(&pods, &why)).collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

/// The pods to look at and how many there are: of each controller one first, then the others.
fn sample(world: &World, namespace: &str) -> (Vec<Value>, usize) {
    let pods = world.within(&GroupResource::new("", "pods"), namespace);
    let mut seen = HashSet::new();
    let (first, others): (Vec<_>, Vec<_>) = pods
        .iter()
        .partition(|pod| pod.header.controller().is_none_or(|owner| seen.insert(&owner.uid)));
    let chosen = first.into_iter().chain(others).take(limits::NAMESPACE_PODS_CHECKED_MAX);
    (chosen.filter_map(|pod| pod.tree().ok()).collect(), pods.len())
}

/// `first pod (and 2 other pods): reasons`.
fn line(pods: &[String], why: &str) -> String {
    let first = pods.iter().min().map(String::as_str).unwrap_or_default();
    match pods.len() {
        1 => format!("{first}: {why}"),
        2 => format!("{first} (and 1 other pod): {why}"),
        n => format!("{first} (and {} other pods): {why}", n - 1),
    }
}

#[cfg(test)]
mod tests;
