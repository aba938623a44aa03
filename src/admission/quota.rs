//! ResourceQuota: what a write costs, and whether the quotas of its namespace can bear it.
//!
//! This only works it out: [`Charge::on`] says what a quota becomes, and is asked once more within
//! the commit that stores the object, on the quota as it is then. So no writers, however many, can
//! together use more than there is, and nothing is charged for an object that is not stored. What
//! is given back when objects go is seen to by the quota controller.

use std::sync::Arc;

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::amounts::{Amounts, Totals};
use crate::api::meta::{GroupResource, Key, Meta};
use crate::api::quota;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::Object;
use crate::util::clock;

/// What one write costs one quota.
#[derive(Debug)]
pub struct Charge {
    /// The quota as it was looked at.
    seen: Arc<Object>,
    /// What it becomes if it still is so.
    tree: Value,
    requested: Amounts,
    /// Whether it is only written down, be it too much.
    noted: bool,
}

/// What a quota says to a charge.
#[derive(Debug)]
pub enum Verdict {
    /// It becomes this.
    Becomes(Value),
    /// It is another quota than the charge was made for: work it out anew.
    Stale,
    /// It is exceeded, in upstream's words.
    Refuses(String),
}

impl Charge {
    /// The quota's key.
    pub fn key(&self) -> &Key {
        &self.seen.header.key
    }

    /// What the quota becomes, as it is stored now.
    pub fn on(&self, stored: &Object) -> Verdict {
        if stored.header.revision == self.seen.header.revision {
            return Verdict::Becomes(self.tree.clone());
        }
        let Ok(tree) = stored.tree() else { return Verdict::Stale };
        if tree.get("spec") != self.tree.get("spec") || !says_all(&tree) {
            return Verdict::Stale;
        }
        let used = Amounts::of(tree.at(&["status", "used"]));
        match bear(&tree, used, &self.requested, self.noted) {
            Ok(used) => Verdict::Becomes(with_status(tree, &used)),
            Err(why) => Verdict::Refuses(why),
        }
    }
}

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
        ("pods", "resize") => updates,
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
    let Ok(tree) = stored.tree() else { return Ok(None) };
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
    // What a claim is granted it is granted.
    let noted = request.subresource == "status";
    let used = used(world, request, &tree);
    let used = bear(&tree, used, &requested, noted).map_err(|why| request.forbidden(&why))?;
    Ok(Some(Charge { seen: stored, tree: with_status(tree, &used), requested, noted }))
}

fn with_status(mut tree: Value, used: &Amounts) -> Value {
    let hard = tree.at(&["spec", "hard"]).clone();
    tree.set("status", Value::from([("hard", hard), ("used", used.to_value())]));
    tree
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

/// Whether a quota says what is used for what it has become.
fn says_all(tree: &Value) -> bool {
    let (spec, status) = (tree.get("spec"), tree.get("status"));
    status.get("hard") == spec.get("hard")
        && spec.get("hard").fields().all(|(name, _)| {
            quota::counted_by(name).is_none() || !status.at(&["used", name]).is_null()
        })
}

/// What is used of a quota: as it says, or where it does not say yet, what there is.
fn used(world: &World, request: &AdmissionRequest<'_>, tree: &Value) -> Amounts {
    if says_all(tree) {
        return Amounts::of(tree.at(&["status", "used"]));
    }
    let census = Stored { world, namespace: request.namespace };
    quota::count(tree.get("spec"), &census, clock::now())
}

/// What is used then, if that is not too much.
fn bear(
    tree: &Value,
    mut used: Amounts,
    requested: &Amounts,
    noted: bool,
) -> Result<Amounts, String> {
    let (hard, before) = (Amounts::of(tree.at(&["spec", "hard"])), used.clone());
    used.add(requested);
    let exceeded = |name: &str| {
        requested.get(name).is_some() && hard.get(name).is_some_and(|n| used.get(name) > Some(n))
    };
    if noted || !requested.iter().any(|(name, _)| exceeded(name)) {
        return Ok(used);
    }
    let text = |amounts: &Amounts| {
        let mut amounts = amounts.clone();
        amounts.retain(|name, _| exceeded(name));
        amounts.to_text()
    };
    Err(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        tree.name(),
        text(requested),
        text(&before),
        text(&hard)
    ))
}
