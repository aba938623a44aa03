//! Classes: which one claims and ingresses get that name none, and what the class of a claim lets
//! change.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::kinds::storage::{IS_DEFAULT, claimed_class};
use crate::api::meta::Meta;
use crate::api::quantity::Quantity;
use crate::api::status::Status;
use crate::api::tree::Value;

const STORAGE: (&str, &str) = ("storage.k8s.io", "storageclasses");
const INGRESS: (&str, &str) = ("networking.k8s.io", "ingressclasses");
const INGRESS_DEFAULT: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
const VOLUMES: &str = "persistentvolumes";
const CLAIMS: &str = "persistentvolumeclaims";
const ATTRIBUTES: &str = "volumeattributesclasses";

/// The name of the class that is marked as the default: of several the newest, of equally old
/// ones the first by name.
fn default(world: &World, (group, plural): (&str, &str), marks: &[&str]) -> Option<String> {
    let marked = |class: &Value| marks.iter().any(|key| class.annotation(key) == Some("true"));
    let classes = world.all(group, plural).into_iter();
    let classes = classes.filter_map(|object| object.tree().ok()).filter(marked);
    let age = |class: &Value| class.metadata().get("creationTimestamp").str().to_owned();
    let newest = classes.min_by(|a, b| age(b).cmp(&age(a)).then_with(|| a.name().cmp(b.name())));
    newest.map(|class| class.name().to_owned())
}

/// DefaultStorageClass: a new claim that names no class, not even the empty one, gets the default.
pub(super) fn storage(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    let new = request.operation == Operation::Create && request.is("", CLAIMS, "");
    if new
        && claimed_class(request.object).is_none()
        && let Some(class) = default(world, STORAGE, &IS_DEFAULT)
    {
        request.object.entry("spec").set("storageClassName", class);
    }
    Ok(())
}

/// StorageObjectInUseProtection: volumes, claims and classes of attributes stay as long as they are
/// in use, for which a controller of each looks.
pub(super) fn protect(_: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    let finalizer = match request.operation {
        Operation::Create if request.is("", VOLUMES, "") => "kubernetes.io/pv-protection",
        Operation::Create if request.is("", CLAIMS, "") => "kubernetes.io/pvc-protection",
        Operation::Create if request.is(STORAGE.0, ATTRIBUTES, "") => {
            "kubernetes.io/vac-protection"
        }
        _ => return Ok(()),
    };
    let mut finalizers = request.object.metadata().get("finalizers").items().to_vec();
    if finalizers.iter().all(|other| other.str() != finalizer) {
        finalizers.push(finalizer.into());
        request.object.entry("metadata").set("finalizers", finalizers);
    }
    Ok(())
}

/// DefaultIngressClass: the same for ingresses, whose class may also stand in an annotation.
pub(super) fn ingress(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    let new = request.operation == Operation::Create && request.is(INGRESS.0, "ingresses", "");
    if new
        && request.object.at(&["spec", "ingressClassName"]).is_null()
        && request.object.annotation(INGRESS_CLASS).is_none()
        && let Some(class) = default(world, INGRESS, &INGRESS_DEFAULT)
    {
        request.object.entry("spec").set("ingressClassName", class);
    }
    Ok(())
}

/// PersistentVolumeClaimResize: a claim grows only once it is bound, and if its class lets it.
pub(super) fn resize(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let Some(old) = request.old else { return Ok(()) };
    if request.operation != Operation::Update || !request.is("", CLAIMS, "") {
        return Ok(());
    }
    let size = |claim: &Value| {
        let storage = claim.at(&["spec", "resources", "requests", "storage"]);
        Quantity::of(storage).unwrap_or(Quantity::whole(0))
    };
    if size(request.object) <= size(old) {
        return Ok(());
    }
    if old.at(&["status", "phase"]).str() != "Bound" {
        return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
    }
    if grows(world, request.object, old) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that \
               provisions the pvc must support resize";
    Err(request.forbidden(why))
}

/// Whether the class of a claim, which must stay the same, allows its volumes to grow.
fn grows(world: &World, claim: &Value, old: &Value) -> bool {
    let class = claimed_class(claim).filter(|class| !class.is_empty());
    let Some(class) = class.filter(|class| claimed_class(old) == Some(class)) else { return false };
    let stored = world.find(STORAGE, "", class).and_then(|object| object.tree().ok());
    stored.is_some_and(|class| class.get("allowVolumeExpansion").is_true())
}
