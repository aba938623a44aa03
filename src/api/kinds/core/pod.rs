//! Pods: what they may say, what may change in them, and how they are shown.

use crate::api::kinds::check::At;
use crate::api::kinds::not_yet;
use crate::api::kinds::table::columns;
use crate::api::kinds::workload;
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, default_subresource};
use crate::api::time;
use crate::api::tree::Value;
use crate::history::Fields;

mod containers;
pub mod defaults;
mod env;
mod overlaps;
mod placement;
mod probes;
mod resize;
pub mod resources;
mod security;
pub mod spec;
mod table;
mod update;
mod volumes;
pub mod warnings;

pub use env::subscript;
pub use placement::{taints, tolerations};
pub use probes::port as port_number_or_name;

/// The rules of pods.
pub struct Pod;

impl Rules for Pod {
    fn default(&self, object: &mut Value) {
        let spec = object.entry("spec");
        defaults::spec(spec);
        defaults::pod(spec);
        if let Some(status) = object.get_mut("status") {
            defaults::status(status);
        }
    }

    fn prepare_create(&self, object: &mut Value, context: Context) {
        let class = resources::qos_class(object.get("spec"));
        let mut status = Value::from([("phase", "Pending".into()), ("qosClass", class.into())]);
        if !object.at(&["spec", "schedulingGates"]).is_empty() {
            let condition = Value::from([
                ("type", "PodScheduled".into()),
                ("status", "False".into()),
                ("reason", "SchedulingGated".into()),
                ("message", "Scheduling is blocked due to non-empty scheduling gates".into()),
                ("lastProbeTime", Value::Null),
                ("lastTransitionTime", time::format(context.now).into()),
            ]);
            status.set("conditions", vec![condition]);
        }
        object.set("status", status);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        match subresource {
            "ephemeralcontainers" => {
                let list = object.entry("spec").remove("ephemeralContainers");
                let version = object.metadata().get("resourceVersion").clone();
                *object = old.clone();
                if !version.is_null() {
                    object.entry("metadata").set("resourceVersion", version);
                }
                match list.is_empty() {
                    true => drop(object.entry("spec").remove("ephemeralContainers")),
                    false => object.entry("spec").set("ephemeralContainers", list),
                }
            }
            "resize" => resize::prepare(object, old),
            _ => {
                default_subresource(subresource, object, old);
                keep_status(object, old);
            }
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        metadata_and_spec(object, errors);
        let spec = object.get("spec");
        if !spec.get("ephemeralContainers").is_empty() {
            errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
        }
        if !spec.get("nodeName").is_empty() && !spec.get("schedulingGates").is_empty() {
            let why = "cannot be set until all schedulingGates have been cleared";
            errors.forbidden("spec.nodeName", why);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        metadata_and_spec(object, errors);
        update::validate(object, old, errors);
    }

    fn validate_subresource(
        &self,
        subresource: &str,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        match subresource {
            "ephemeralcontainers" => {
                metadata_and_spec(object, errors);
                update::ephemeral(object, old, errors);
            }
            "resize" => {
                metadata_and_spec(object, errors);
                resize::validate(object, old, errors);
            }
            _ => update::status(object, old, errors),
        }
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        if !old.is_null() {
            return Vec::new();
        }
        let mut told = Vec::new();
        let faults = workload::name_faults(object, old);
        if !faults.is_empty() {
            told.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising \
                 behavior; a DNS label is recommended: [{}]",
                faults.join(" ")
            ));
        }
        told.extend(warnings::of(At::root(object), false));
        told
    }

    fn grace_period_s(&self, object: &Value, asked_s: Option<i64>) -> Option<i64> {
        let (spec, status) = (object.get("spec"), object.get("status"));
        let over = matches!(status.get("phase").str(), "Failed" | "Succeeded");
        if over || spec.get("nodeName").is_empty() {
            return Some(0);
        }
        let own = || spec.get("terminationGracePeriodSeconds").as_int().unwrap_or(0);
        let period = asked_s.unwrap_or_else(own);
        Some(if period < 0 { 1 } else { period })
    }

    fn fields(&self, object: &Value) -> Fields {
        let text = |path: &[&str]| -> Box<str> { object.at(path).str().into() };
        let flag = object.at(&["spec", "hostNetwork"]).is_true();
        vec![
            ("spec.nodeName", text(&["spec", "nodeName"])),
            ("spec.restartPolicy", text(&["spec", "restartPolicy"])),
            ("spec.schedulerName", text(&["spec", "schedulerName"])),
            ("spec.serviceAccountName", text(&["spec", "serviceAccountName"])),
            ("spec.hostNetwork", flag.to_string().into()),
            ("status.phase", text(&["status", "phase"])),
            ("status.podIP", text(&["status", "podIP"])),
            ("status.nominatedNodeName", text(&["status", "nominatedNodeName"])),
        ]
    }

    fn selectable(&self) -> &[&'static str] {
        &[
            "spec.hostNetwork",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.nominatedNodeName",
            "status.phase",
            "status.podIP",
        ]
    }

    fn columns(&self) -> Vec<Column> {
        columns(table::HEADINGS)
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        table::row(object, context)
    }
}

fn metadata_and_spec(pod: &Value, errors: &mut Errors) {
    let root = At::root(pod);
    let at = root.field("spec");
    update::annotations(pod, errors);
    spec::validate(at, true, errors);
    not_yet::refuse(not_yet::POD, at, errors);
    if at.get("serviceAccountName").is_empty() {
        for volume in at.field("volumes").items() {
            let projected = volume.field("projected");
            for source in projected.field("sources").items() {
                let token = source.field("serviceAccountToken");
                if !token.is_null() {
                    let why = "must not be specified when serviceAccountName is not set";
                    errors.forbidden(token, why);
                }
            }
        }
    }
    for list in ["initContainers", "containers"] {
        for container in at.field(list).items() {
            let image = container.field("image");
            if image.str().trim() != image.str() {
                errors.invalid(image, &image, "must not have leading or trailing whitespace");
            }
        }
    }
}

/// What old kubelets leave out of a status stays.
fn keep_status(pod: &mut Value, old: &Value) {
    let before = old.get("status");
    let status = pod.entry("status");
    for field in ["qosClass", "observedGeneration"] {
        if status.get(field).is_empty() && !before.get(field).is_null() {
            status.set(field, before.get(field).clone());
        }
    }
    let conditions = status.get_mut("conditions").map(Value::items_mut).unwrap_or_default();
    for condition in conditions.iter_mut().filter(|c| c.get("observedGeneration").is_empty()) {
        let kind = condition.get("type").clone();
        let same = before.get("conditions").items().iter().find(|c| *c.get("type") == kind);
        let generation = same.map_or(&Value::Null, |c| c.get("observedGeneration"));
        if !generation.is_null() {
            condition.set("observedGeneration", generation.clone());
        }
    }
}
