//! LimitRanger: what pods and claims of a namespace may ask for, and what they get unasked.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::amounts::Amounts;
use crate::api::meta::{GroupResource, Meta};
use crate::api::quantity::Quantity;
use crate::api::status::Status;
use crate::api::tree::Value;

/// Says what a pod got unasked.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The limits of the request's namespace, one list per LimitRange.
fn ranges(world: &World, request: &AdmissionRequest<'_>) -> Vec<Vec<Value>> {
    let stored = world.within(&GroupResource::new("", "limitranges"), request.namespace);
    let trees = stored.iter().filter_map(|object| object.tree().ok());
    trees.map(|range| range.at(&["spec", "limits"]).items().to_vec()).collect()
}

/// Whether a request makes a pod, or asks for other amounts for one.
fn weighs_pod(request: &AdmissionRequest<'_>) -> bool {
    match request.operation {
        Operation::Create => request.is("", "pods", ""),
        Operation::Update => request.is("", "pods", "resize"),
        _ => false,
    }
}

/// Completes the needs of a pod's containers.
pub(super) fn complete(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    if !weighs_pod(request) {
        return Ok(());
    }
    for limits in ranges(world, request) {
        let containers = || limits.iter().filter(|limit| limit.get("type").str() == "Container");
        let given = |list: &str| -> Vec<(String, Value)> {
            let lists = containers().flat_map(|limit| limit.get(list).fields());
            lists.map(|(name, amount)| (name.to_owned(), amount.clone())).collect()
        };
        fill(request.object, &given("defaultRequest"), &given("default"));
    }
    Ok(())
}

/// Gives each container what it does not ask for, and writes down what that was.
fn fill(pod: &mut Value, requests: &[(String, Value)], limits: &[(String, Value)]) {
    let mut told = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.entry("spec").get_mut(list).map(Value::items_mut).unwrap_or_default();
        for container in containers {
            let lists = [("requests", "request", requests), ("limits", "limit", limits)];
            for (list, word, amounts) in lists {
                let set = fill_list(container, list, amounts);
                if !set.is_empty() {
                    let name = container.get("name").str();
                    told.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        pod.entry_at(&["metadata", "annotations"]).set(ANNOTATION, text);
    }
}

/// The names of the amounts that were missing.
fn fill_list<'a>(
    container: &mut Value,
    list: &str,
    amounts: &'a [(String, Value)],
) -> Vec<&'a str> {
    let mut set = Vec::new();
    for (name, amount) in amounts {
        if container.at(&["resources", list, name]).is_null() {
            *container.entry_at(&["resources", list, name]) = amount.clone();
            set.push(name.as_str());
        }
    }
    set.sort_unstable();
    set
}

/// Holds a new or resized pod, and a claim, to the limits of its namespace.
pub(super) fn check(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    let is_pod = weighs_pod(request);
    let is_claim = writes && request.is("", "persistentvolumeclaims", "");
    if !(is_pod || is_claim) || request.old.is_some_and(Meta::is_deleting) {
        return Ok(());
    }
    for limits in ranges(world, request) {
        let mut faults = Vec::new();
        for limit in &limits {
            match is_pod {
                true => check_pod(limit, request.object, &mut faults),
                false => check_claim(limit, request.object, &mut faults),
            }
        }
        faults.dedup();
        match faults.as_slice() {
            [] => {}
            [fault] => return Err(request.forbidden(fault)),
            several => return Err(request.forbidden(&format!("[{}]", several.join(", ")))),
        }
    }
    Ok(())
}

fn check_pod(limit: &Value, pod: &Value, faults: &mut Vec<String>) {
    let spec = pod.get("spec");
    match limit.get("type").str() {
        "Container" => {
            for container in
                ["containers", "initContainers"].iter().flat_map(|list| spec.get(list).items())
            {
                let list = |name| Amounts::of(container.at(&["resources", name]));
                Needs::new("Container", list("requests"), list("limits")).check(limit, faults);
            }
        }
        "Pod" => {
            let list = |name| Amounts::of_pod(spec, name);
            Needs::new("Pod", list("requests"), list("limits")).check(limit, faults);
        }
        _ => {}
    }
}

/// A claim only asks; what it asks for at most is bounded too.
fn check_claim(limit: &Value, claim: &Value, faults: &mut Vec<String>) {
    const KIND: &str = "PersistentVolumeClaim";
    if limit.get("type").str() != KIND {
        return;
    }
    let requests = Amounts::of(claim.at(&["spec", "resources", "requests"]));
    let needs = Needs::new(KIND, requests, Amounts::default());
    needs.at_least(limit, faults);
    for (name, most) in Amounts::of(limit.get("max")).iter() {
        let bound = format!("maximum {name} usage per {KIND} is {most}");
        match needs.requests.get(name) {
            None => faults.push(format!("{bound}.  No request is specified")),
            Some(request) if request > most => {
                faults.push(format!("{bound}, but request is {request}"));
            }
            Some(_) => {}
        }
    }
}

/// What one container, one pod or one claim asks for.
struct Needs {
    kind: &'static str,
    requests: Amounts,
    limits: Amounts,
}

impl Needs {
    const fn new(kind: &'static str, requests: Amounts, limits: Amounts) -> Self {
        Self { kind, requests, limits }
    }

    fn check(&self, limit: &Value, faults: &mut Vec<String>) {
        self.at_least(limit, faults);
        self.at_most(limit, faults);
        self.in_proportion(limit, faults);
    }

    fn of(&self, name: &str) -> (Option<Quantity>, Option<Quantity>) {
        (self.requests.get(name), self.limits.get(name))
    }

    fn at_least(&self, limit: &Value, faults: &mut Vec<String>) {
        for (name, least) in Amounts::of(limit.get("min")).iter() {
            let bound = format!("minimum {name} usage per {} is {least}", self.kind);
            faults.extend(match self.of(name) {
                (None, _) => Some(format!("{bound}.  No request is specified")),
                (Some(n), _) if n < least => Some(format!("{bound}, but request is {n}")),
                (_, Some(n)) if n < least => Some(format!("{bound}, but limit is {n}")),
                _ => None,
            });
        }
    }

    fn at_most(&self, limit: &Value, faults: &mut Vec<String>) {
        for (name, most) in Amounts::of(limit.get("max")).iter() {
            let bound = format!("maximum {name} usage per {} is {most}", self.kind);
            faults.extend(match self.of(name) {
                (_, None) => Some(format!("{bound}.  No limit is specified")),
                (_, Some(n)) if n > most => Some(format!("{bound}, but limit is {n}")),
                (Some(n), _) if n > most => Some(format!("{bound}, but request is {n}")),
                _ => None,
            });
        }
    }

    fn in_proportion(&self, limit: &Value, faults: &mut Vec<String>) {
        for (name, most) in Amounts::of(limit.get("maxLimitRequestRatio")).iter() {
            let bound = format!("{name} max limit to request ratio per {} is {most}", self.kind);
            let there = |n: Option<Quantity>| n.filter(|n| !n.is_zero());
            let (request, limit) = self.of(name);
            let Some(request) = there(request) else {
                faults.push(format!("{bound}, but no request is specified or request is 0"));
                continue;
            };
            let Some(limit) = there(limit) else {
                faults.push(format!("{bound}, but no limit is specified or limit is 0"));
                continue;
            };
            let ratio = limit.ratio_to(request);
            if ratio > most.ratio_to(Quantity::whole(1)) {
                faults.push(format!("{bound}, but provided ratio is {ratio:.6}"));
            }
        }
    }
}
