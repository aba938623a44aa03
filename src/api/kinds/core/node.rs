//! Nodes.

use crate::api::kinds::check::{self, At};
use crate::api::kinds::core::pod::{resources, taints};
use crate::api::kinds::table::{AGE, NAME, columns, or_none};
use crate::api::kinds::{address, not_yet};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age, default_subresource};
use crate::api::tree::Value;
use crate::history::Fields;

/// The rules of nodes.
pub struct Node;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE: &str = "kubernetes.io/role";

impl Rules for Node {
    fn default(&self, object: &mut Value) {
        let status = object.get("status");
        if status.get("allocatable").is_null() && !status.get("capacity").is_null() {
            let all = status.get("capacity").clone();
            object.entry("status").set("allocatable", all);
        }
        let spec = object.get("spec");
        if !spec.get("podCIDR").is_empty() && spec.get("podCIDRs").is_null() {
            let only = vec![spec.get("podCIDR").clone()];
            object.entry("spec").set("podCIDRs", only);
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        default_subresource(subresource, object, old);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let spec = root.field("spec");
        // Upstream reports taints under the metadata.
        taints(At::path("metadata.taints", spec.value().get("taints")), errors);
        amounts(root.field("status"), errors);
        pod_ranges(spec.field("podCIDRs"), errors);
        not_yet::refuse(not_yet::NODE, spec, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        self.validate(object, errors);
        update(object, old, errors);
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(object, errors);
        update(object, old, errors);
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn fields(&self, object: &Value) -> Fields {
        let flag = object.at(&["spec", "unschedulable"]).is_true();
        vec![("spec.unschedulable", flag.to_string().into())]
    }

    fn selectable(&self) -> &[&'static str] {
        &["spec.unschedulable"]
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Status", "string", 0, "The status of the node"),
            ("Roles", "string", 0, "The roles of the node"),
            AGE,
            ("Version", "string", 0, "The version of the node's agent"),
            ("Internal-IP", "string", 1, "The node's address for the cluster"),
            ("External-IP", "string", 1, "The node's address for the world"),
            ("OS-Image", "string", 1, "The operating system"),
            ("Kernel-Version", "string", 1, "The kernel"),
            ("Container-Runtime", "string", 1, "What runs containers"),
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let info = object.at(&["status", "nodeInfo"]);
        let known = |key: &str| match info.get(key).str() {
            "" => "<unknown>".to_owned(),
            text => text.to_owned(),
        };
        let kernel = match info.get("architecture").str() {
            "" => known("kernelVersion"),
            architecture => format!("{} ({architecture})", known("kernelVersion")),
        };
        vec![
            object.name().into(),
            condition(object).into(),
            or_none(roles(object).join(",")).into(),
            age(object, context),
            info.get("kubeletVersion").str().into(),
            of_kind(object, "InternalIP").into(),
            of_kind(object, "ExternalIP").into(),
            known("osImage").into(),
            kernel.into(),
            known("containerRuntimeVersion").into(),
        ]
    }
}

fn amounts(status: At<'_>, errors: &mut Errors) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in status.value().get(list).fields() {
            let path = format!("{status}.{list}.{name}");
            resources::quantity(At::path(&path, amount), name, errors);
        }
    }
}

fn pod_ranges(list: At<'_>, errors: &mut Errors) {
    list.items().for_each(|range| check::formatted(range, address::range, errors));
    let ranges: Vec<&str> = list.value().items().iter().map(Value::str).collect();
    if ranges.len() > 1 && !address::is_one_of_each_family(&ranges) {
        errors.invalid(list, &list, "may specify no more than one CIDR for each IP family");
    }
}

fn update(object: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let (spec, before) = (root.field("spec"), old.get("spec"));
    let status = root.field("status");
    let addresses = status.field("addresses");
    for (index, at) in addresses.items().enumerate() {
        if addresses.value().items()[..index].contains(at.value()) {
            errors.duplicate(at, &at);
        }
    }
    let ranges = spec.field("podCIDRs");
    if !before.get("podCIDRs").is_empty() && ranges.value() != before.get("podCIDRs") {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(ranges, why);
    }
    let (id, old_id) = (spec.field("providerID"), before.get("providerID"));
    if !old_id.is_empty() && id.value() != old_id {
        let verb = if id.is_empty() { "cleared" } else { "modified" };
        errors.invalid(id, &Value::Null, &format!("field cannot be {verb} once set"));
    }
    if spec.get("externalID") != before.get("externalID") {
        errors.forbidden(spec.field("externalID"), "may not be updated");
    }
}

fn condition(node: &Value) -> String {
    let conditions = node.at(&["status", "conditions"]).items();
    let ready = conditions.iter().rev().find(|c| c.get("type").str() == "Ready");
    let word = match ready.map(|c| c.get("status").str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match node.at(&["spec", "unschedulable"]).is_true() {
        true => format!("{word},SchedulingDisabled"),
        false => word.into(),
    }
}

fn roles(node: &Value) -> Vec<String> {
    let mut roles: Vec<String> = node
        .metadata()
        .get("labels")
        .fields()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role.to_owned()),
            None => (key == ROLE).then(|| value.str().to_owned()),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    roles.dedup();
    roles
}

fn of_kind(node: &Value, kind: &str) -> String {
    let addresses = node.at(&["status", "addresses"]).items();
    let found = addresses.iter().find(|address| address.get("type").str() == kind);
    found.map_or_else(|| "<none>".into(), |address| address.get("address").str().to_owned())
}
