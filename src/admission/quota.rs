//! ResourceQuota: what a write costs, and whether the quotas of its namespace can bear it.
//!
//! This only works it out. The object and the quotas that it is charged to are stored in one
//! commit, each quota at the revision that was looked at: so no writers, however many, can together
//! use more than there is, and nothing is charged for an object that is not stored. What is given
//! back when objects go is seen to by the quota controller.

use std::sync::Arc;

use super::plugins::World;
use super::{AdmissionRequest, Charge, Operation};
use crate::api::amounts::{Amounts, Totals};
use crate::api::meta::{GroupResource, Meta};
use crate::api::quota;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::Object;
use crate::util::clock;

/// The objects of one namespace as they are stored.
struct Stored<'a> {
    world: &'a World,
    namespace: &'a str,
}

impl quota::Census for Stored<'_> {
    fn count(&self, resource: &GroupResource) -> usize {
        self.world.within(resource, self.namespace).len()
    }

    fn objects(&self, resource: &GroupResource) -> Vec<Value> {
        let objects = self.world.within(resource, self.namespace);
        objects.iter().filter_map(|object| object.tree().ok()).collect()
    }
}

/// The quotas that a write is charged to, each as it is to be.
pub(super) fn charge(world: &World, request: &AdmissionRequest<'_>) -> Result<Vec<Charge>, Status> {
    if request.namespace.is_empty() || !costs(request) {
        return Ok(Vec::new());
    }
    let quotas = world.within(&GroupResource::new("", "resourcequotas"), request.namespace);
    let charges = quotas.into_iter().map(|stored| charge_to(world, request, stored));
    charges.filter_map(Result::transpose).collect()
}

/// Whether a write may cost anything.
fn costs(request: &AdmissionRequest<'_>) -> bool {
    let creates = request.operation == Operation::Create;
    let updates = request.operation == Operation::Update;
    let resource = &request.resource.storage;
    if quota::is_ignored(resource) {
        return false;
    }
    match (resource.as_str(), request.subresource) {
        ("pods", "") => creates || updates && changes_scope(request),
        ("services" | "persistentvolumeclaims", "") => creates || updates,
        // What a claim is granted may be more than it asked for.
        ("persistentvolumeclaims", "status") => updates,
        (_, "") => creates,
        _ => false,
    }
}

fn changes_scope(request: &AdmissionRequest<'_>) -> bool {
    let terminating = quota::is_terminating(request.object);
    request.old.is_some_and(|old| quota::is_terminating(old) != terminating)
}

fn charge_to(
    world: &World,
    request: &AdmissionRequest<'_>,
    stored: Arc<Object>,
) -> Result<Option<Charge>, Status> {
    let Ok(mut tree) = stored.tree() else { return Ok(None) };
    let resource = &request.resource.storage;
    let spec = tree.get("spec");
    let counts = |name: &str| quota::counted_by(name).as_ref() == Some(resource);
    let concerned = spec.get("hard").fields().any(|(name, _)| counts(name));
    if !concerned || !quota::in_scope(spec, resource, request.object) {
        return Ok(None);
    }
    demand(request, &tree)?;
    let requested = requested(request, spec);
    if requested.is_empty() {
        return Ok(None);
    }
    let used = used(world, request, &tree);
    let used = bear(request, &tree, used, &requested)?;
    let hard = tree.at(&["spec", "hard"]).clone();
    let status = Value::from([("hard", hard), ("used", used.to_value())]);
    tree.set("status", status);
    Ok(Some(Charge { stored, tree }))
}

/// Refuses a pod that does not say what the quota asks to know.
fn demand(request: &AdmissionRequest<'_>, tree: &Value) -> Result<(), Status> {
    if request.resource.storage.as_str() != "pods" {
        return Ok(());
    }
    let names = tree.at(&["spec", "hard"]).fields().map(|(name, _)| name);
    match quota::unsaid(request.object, names) {
        Some(why) => Err(request.forbidden(&format!("failed quota: {}: {why}", tree.name()))),
        None => Ok(()),
    }
}

/// What of the quota the object takes more than it did.
fn requested(request: &AdmissionRequest<'_>, spec: &Value) -> Amounts {
    let (resource, now) = (&request.resource.storage, clock::now());
    let mut requested = quota::usage(resource, request.object, now);
    let before = request.old.filter(|old| quota::in_scope(spec, resource, old));
    if let Some(before) = before.map(|old| quota::usage(resource, old, now)) {
        for (name, amount) in before.iter() {
            if let Some(more) = requested.get(name) {
                requested.set(name, more - amount);
            }
        }
    }
    let hard = spec.get("hard");
    requested.retain(|name, amount| {
        !amount.is_zero() && !amount.is_negative() && !hard.get(name).is_null()
    });
    requested
}

/// What is used of a quota: as it says, or where it does not say yet for what it has become, what
/// there is.
fn used(world: &World, request: &AdmissionRequest<'_>, tree: &Value) -> Amounts {
    let (spec, status) = (tree.get("spec"), tree.get("status"));
    let said = status.get("hard") == spec.get("hard")
        && spec.get("hard").fields().all(|(name, _)| {
            quota::counted_by(name).is_none() || !status.at(&["used", name]).is_null()
        });
    if said {
        return Amounts::of(status.get("used"));
    }
    let census = Stored { world, namespace: request.namespace };
    quota::count(spec, &census, clock::now())
}

/// What is used then, if that is not too much.
fn bear(
    request: &AdmissionRequest<'_>,
    tree: &Value,
    mut used: Amounts,
    requested: &Amounts,
) -> Result<Amounts, Status> {
    let (hard, before) = (Amounts::of(tree.at(&["spec", "hard"])), used.clone());
    used.add(requested);
    let exceeded = |name: &str| {
        requested.get(name).is_some() && hard.get(name).is_some_and(|n| used.get(name) > Some(n))
    };
    if !requested.iter().any(|(name, _)| exceeded(name)) {
        return Ok(used);
    }
    let text = |amounts: &Amounts| {
        let mut amounts = amounts.clone();
        amounts.retain(|name, _| exceeded(name));
        amounts.to_text()
    };
    // Claims are granted what they are granted: that is only noted.
    if request.subresource == "status" {
        return Ok(used);
    }
    Err(request.forbidden(&format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        tree.name(),
        text(requested),
        text(&before),
        text(&hard)
    )))
}
