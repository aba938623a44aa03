//! Containers: ordinary ones, init containers and sidecars, ephemeral ones.

use std::collections::BTreeSet;

use crate::api::kinds::check::{self, At, Rule, required};
use crate::api::kinds::text;
use crate::api::registry::Errors;
use crate::api::tree::Value;

use super::volumes::descending;
use super::{env, probes, resize, resources, security};

/// What containers may refer to in their pod.
#[derive(Clone, Copy)]
pub struct Pod<'a> {
    /// The pod's spec.
    pub spec: &'a Value,
    /// Its well-formed volumes.
    pub volumes: &'a [&'a Value],
}

impl Pod<'_> {
    fn grace(&self) -> Option<i64> {
        self.spec.get("terminationGracePeriodSeconds").as_int()
    }

    fn restarts(&self) -> &str {
        self.spec.get("restartPolicy").str()
    }

    fn volume(&self, name: &Value) -> Option<&Value> {
        self.volumes.iter().find(|volume| volume.get("name") == name).copied()
    }
}

const COMMON: &[(&str, Rule)] = &[
    ("name", Rule::RequiredText(text::dns_label)),
    ("image", Rule::Required("")),
    ("terminationMessagePolicy", Rule::RequiredOneOf(&["File", "FallbackToLogsOnError"])),
    ("ports", Rule::Each(ports)),
    ("env", Rule::Each(env::variables)),
    ("envFrom", Rule::Each(env::sources)),
];

/// When images are pulled, containers' own and those that are volumes.
pub const PULL_POLICY: Rule = Rule::RequiredOneOf(&["Always", "IfNotPresent", "Never"]);

/// What upstream looks at after the mounts: a refusal lists its reasons in this order.
const AFTER_MOUNTS: &[(&str, Rule)] =
    &[("imagePullPolicy", PULL_POLICY), ("resources", Rule::Each(resources::validate))];

/// What an ephemeral container cannot have: it joins a pod that runs already.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
];

/// Upstream's bounds on a container's own restart rules.
const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const RESTART_ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];

const NO_SIDECAR: &str = "may not be set for init containers without restartPolicy=Always";

/// Checks all containers of a pod's or template's spec.
pub fn validate(spec: At<'_>, volumes: &[&Value], errors: &mut Errors) {
    let pod = Pod { spec: spec.value(), volumes };
    let list = spec.field("containers");
    if required(list, "", errors) {
        ordinary(list, pod, errors);
    }
    init(spec.field("initContainers"), pod, errors);
    ephemeral(spec.field("ephemeralContainers"), pod, errors);
}

fn names<'a>(spec: &'a Value, lists: &[&str]) -> Vec<&'a str> {
    lists.iter().flat_map(|list| spec.get(list).items()).map(|c| c.get("name").str()).collect()
}

fn ordinary(list: At<'_>, pod: Pod<'_>, errors: &mut Errors) {
    for container in list.items() {
        common(container, pod, errors);
        probes::lifecycle(container, pod.grace(), errors);
        probes::probes(container, pod.grace(), errors);
        restart(container, errors);
    }
    check::unique(list, "name", errors);
    host_ports(list, list.value().items(), errors);
}

fn init(list: At<'_>, pod: Pod<'_>, errors: &mut Errors) {
    let mut taken = names(pod.spec, &["containers"]);
    for container in list.items() {
        common(container, pod, errors);
        let name = container.field("name");
        restart(container, errors);
        if !name.is_empty() && taken.contains(&name.str()) {
            errors.duplicate(name, &name);
        }
        taken.push(container.value().get("name").str());
        if container.get("restartPolicy").str() == "Always" {
            probes::lifecycle(container, pod.grace(), errors);
            probes::probes(container, pod.grace(), errors);
        } else {
            resize::init_policies(container.field("resizePolicy"), errors);
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if !container.get(field).is_null() {
                    errors.forbidden(container.field(field), NO_SIDECAR);
                }
            }
        }
        host_ports(list, std::slice::from_ref(container.value()), errors);
    }
}

fn ephemeral(list: At<'_>, pod: Pod<'_>, errors: &mut Errors) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    let others = names(pod.spec, &["containers", "initContainers"]);
    for container in list.items() {
        common(container, pod, errors);
        let (name, target) = (container.field("name"), container.field("targetContainerName"));
        if others.contains(&name.str()) {
            errors.duplicate(name, &name);
        }
        if !target.is_empty() && !others.contains(&target.str()) {
            errors.not_found(target, &target);
        }
        for field in NOT_EPHEMERAL.iter().filter(|field| !container.get(field).is_empty()) {
            errors.forbidden(container.field(field), WHY);
        }
        for mount in container.field("volumeMounts").items() {
            let given = ["subPath", "subPathExpr"].into_iter().filter(|f| !mount.get(f).is_empty());
            given.for_each(|field| errors.forbidden(mount.field(field), WHY));
        }
    }
    check::unique(list, "name", errors);
}

fn common(container: At<'_>, pod: Pod<'_>, errors: &mut Errors) {
    check::apply(COMMON, container, errors);
    mounts(container, pod, errors);
    check::apply(AFTER_MOUNTS, container, errors);
    resize::policies(container.field("resizePolicy"), pod.restarts(), errors);
    let host_users = pod.spec.get("hostUsers").as_bool() != Some(false);
    security::container(container.field("securityContext"), host_users, errors);
}

fn ports(list: At<'_>, errors: &mut Errors) {
    for port in list.items() {
        Rule::Text(text::port_name).check(port.field("name"), errors);
        let (number, host) = (port.field("containerPort"), port.field("hostPort"));
        if number.as_int().unwrap_or(0) == 0 {
            errors.required(number, "");
        } else {
            check::between(number, 1, 65535, errors);
        }
        if host.as_int() != Some(0) {
            check::between(host, 1, 65535, errors);
        }
        Rule::RequiredOneOf(&["SCTP", "TCP", "UDP"]).check(port.field("protocol"), errors);
    }
    check::unique(list, "name", errors);
}

/// Two containers cannot take one port of the node.
fn host_ports(list: At<'_>, containers: &[Value], errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (number, port) in container.get("ports").items().iter().enumerate() {
            let host = port.get("hostPort").as_int().unwrap_or(0);
            let (protocol, ip) = (port.get("protocol").str(), port.get("hostIP").str());
            let place = format!("{protocol}/{ip}/{host}");
            if host != 0 && !taken.insert(place.clone()) {
                let path = format!("{list}[{index}].ports[{number}].hostPort");
                errors.duplicate(path, &place.into());
            }
        }
    }
}

fn mounts(container: At<'_>, pod: Pod<'_>, errors: &mut Errors) {
    let list = container.field("volumeMounts");
    let mut points: Vec<&str> = Vec::new();
    for mount in list.items() {
        let (name, point) = (mount.field("name"), mount.field("mountPath"));
        required(name, "", errors);
        if pod.volume(name.value()).is_none() {
            errors.not_found(name, &name.str().into());
        }
        required(point, "", errors);
        if points.contains(&point.str()) {
            errors.invalid(point, &point.str().into(), "must be unique");
        }
        points.push(mount.value().get("mountPath").str());
        let expression = mount.field("subPathExpr");
        if !expression.is_empty() && !mount.get("subPath").is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(expression, &expression, why);
        }
        modes(container, list, mount.value(), errors);
    }
}

/// How a mount shows its volume. Upstream reports faults of it under the list, without the mount's
/// index.
fn modes(container: At<'_>, list: At<'_>, mount: &Value, errors: &mut Errors) {
    let path = list.to_string();
    let at = At::path(&path, mount);
    for field in ["subPath", "subPathExpr"].into_iter().filter(|f| !mount.get(f).is_empty()) {
        descending(at.field(field), errors);
    }
    propagation(container, at.field("mountPropagation"), errors);
    read_only(at, errors);
}

fn propagation(container: At<'_>, mode: At<'_>, errors: &mut Errors) {
    if mode.is_null() {
        return;
    }
    check::one_of(mode, &["Bidirectional", "HostToContainer", "None"], errors);
    let privileged = container.value().at(&["securityContext", "privileged"]).is_true();
    if mode.str() == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(mode, why);
    }
}

fn read_only(mount: At<'_>, errors: &mut Errors) {
    let recursive = mount.field("recursiveReadOnly");
    if matches!(recursive.str(), "Enabled" | "IfPossible") {
        if !mount.get("readOnly").is_true() {
            errors.forbidden(recursive, "may only be specified when readOnly is true");
        }
        if !matches!(mount.get("mountPropagation").str(), "" | "None") {
            let why = "may only be specified when mountPropagation is None or not specified";
            errors.forbidden(recursive, why);
        }
    } else {
        Rule::OneOf(&["Disabled", "Enabled", "IfPossible"]).check(recursive, errors);
    }
}

/// When a container is started again, where it does not go by its pod.
fn restart(container: At<'_>, errors: &mut Errors) {
    let (policy, rules) = (container.field("restartPolicy"), container.field("restartPolicyRules"));
    Rule::OneOf(&["Always", "Never", "OnFailure"]).check(policy, errors);
    let count = rules.value().items().len();
    if policy.is_null() && count > 0 {
        errors.required(policy, "must specify restartPolicy when restart rules are used");
    }
    if count > RESTART_RULES_MAX {
        errors.too_many(rules, count, RESTART_RULES_MAX);
    }
    for rule in rules.items() {
        check::one_of(rule.field("action"), RESTART_ACTIONS, errors);
        let codes = rule.field("exitCodes");
        if codes.is_null() {
            errors.required(codes, "must be specified");
            continue;
        }
        check::one_of(codes.field("operator"), &["In", "NotIn"], errors);
        let values = codes.field("values");
        if values.value().items().len() > EXIT_CODES_MAX {
            errors.too_many(values, values.value().items().len(), EXIT_CODES_MAX);
        }
    }
}
