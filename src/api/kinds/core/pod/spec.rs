//! The rules of a pod's spec, which pods and templates share.

use crate::api::kinds::check::{self, At, Rule, required};
use crate::api::kinds::{metadata, text};
use crate::api::registry::Errors;
use crate::api::tree::Value;

use super::{containers, placement, resources, security, volumes};

const DNS_SERVERS_MAX: usize = 3;
const DNS_SEARCHES_MAX: usize = 32;
const DNS_SEARCH_BYTES_MAX: usize = 2048;

const RULES: &[(&str, Rule)] = &[
    ("restartPolicy", Rule::RequiredOneOf(&["Always", "OnFailure", "Never"])),
    (
        "dnsPolicy",
        Rule::RequiredOneOf(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
    ),
    ("nodeSelector", Rule::Each(metadata::labels)),
    ("affinity.nodeAffinity", Rule::Each(placement::node_affinity)),
    (
        "readinessGates[].conditionType",
        Rule::Each(|at, errors| {
            check::formatted(at, text::label_key, errors);
        }),
    ),
    ("schedulingGates", Rule::Each(placement::gates)),
    ("serviceAccountName", Rule::Text(text::dns_subdomain)),
    ("nodeName", Rule::Text(text::dns_subdomain)),
    ("activeDeadlineSeconds", Rule::Between(1, i32::MAX as i64)),
    ("hostname", Rule::Text(text::dns_label)),
    ("subdomain", Rule::Text(text::dns_label)),
    ("tolerations", Rule::Each(placement::tolerations)),
    ("hostAliases[].ip", Rule::Each(|at, errors| check::formatted(at, text::ip, errors))),
    (
        "hostAliases[].hostnames[]",
        Rule::Each(|at, errors| {
            check::formatted(at, text::dns_subdomain, errors);
        }),
    ),
    ("priorityClassName", Rule::Text(text::dns_subdomain)),
    ("runtimeClassName", Rule::Text(text::dns_subdomain)),
    ("preemptionPolicy", Rule::OneOf(&["PreemptLowerPriority", "Never"])),
    ("overhead", Rule::Each(|at, errors| resources::overhead(&at.to_string(), at.value(), errors))),
    ("os", Rule::Each(system)),
];

/// Checks a pod's or a template's spec. `is_pod` is false for templates, whose host ports are
/// filled in only in the pods made of them.
pub fn validate(spec: At<'_>, is_pod: bool, errors: &mut Errors) {
    if spec.get("terminationGracePeriodSeconds").is_null() {
        errors.required(spec.field("terminationGracePeriodSeconds"), "");
    }
    let sound = volumes::validate(spec.field("volumes"), errors);
    containers::validate(spec, &sound, errors);
    host_network(spec, is_pod, errors);
    check::apply(RULES, spec, errors);
    security::pod(spec.field("securityContext"), spec.value(), errors);
    namespaces(spec, errors);
    dns(spec, errors);
    if spec.get("serviceAccount").str() != spec.get("serviceAccountName").str() {
        let name = spec.get("serviceAccountName").str();
        let why = format!("must be the same as serviceAccountName: {name:?}");
        let path = format!("{spec}.deprecatedServiceAccount");
        errors.invalid(path, spec.get("serviceAccount"), &why);
    }
}

/// Checks a pod template: its labels, annotations and spec.
pub fn template(at: At<'_>, errors: &mut Errors) {
    let meta = at.value().get("metadata");
    metadata::labels(At::path(&format!("{at}.labels"), meta.get("labels")), errors);
    metadata::annotations(At::path(&format!("{at}.annotations"), meta.get("annotations")), errors);
    validate(at.field("spec"), false, errors);
    let spec = at.field("spec");
    if !spec.get("ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.forbidden(spec.field("ephemeralContainers"), why);
    }
}

fn system(os: At<'_>, errors: &mut Errors) {
    let name = os.field("name");
    if required(name, "", errors) && !matches!(name.str(), "linux" | "windows") {
        errors.not_supported(os, &name, &["linux", "windows"]);
    }
}

fn host_network(spec: At<'_>, is_pod: bool, errors: &mut Errors) {
    if !spec.get("hostNetwork").is_true() {
        return;
    }
    for container in spec.field("containers").items() {
        for port in container.field("ports").items() {
            let host = port.get("hostPort").as_int().unwrap_or(0);
            let own = port.get("containerPort").as_int().unwrap_or(0);
            if host != own && (is_pod || host != 0) {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(port.field("hostPort"), &host.into(), why);
            }
        }
    }
}

fn namespaces(spec: At<'_>, errors: &mut Errors) {
    let share = spec.field("shareProcessNamespace");
    if share.is_true() && spec.get("hostPID").is_true() {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(share, &share, why);
    }
}

fn dns(spec: At<'_>, errors: &mut Errors) {
    let config = spec.field("dnsConfig");
    let (servers, searches) = (config.field("nameservers"), config.field("searches"));
    if spec.get("dnsPolicy").str() == "None" {
        if config.is_null() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            return errors.required(config, why);
        }
        if servers.value().items().is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.required(servers, why);
        }
    }
    if servers.value().items().len() > DNS_SERVERS_MAX {
        let why = format!("must not have more than {DNS_SERVERS_MAX} nameservers");
        errors.invalid(servers, &servers, &why);
    }
    servers.items().for_each(|server| check::formatted(server, text::ip, errors));
    search_list(searches, errors);
    for option in config.field("options").items() {
        if option.get("name").is_empty() {
            errors.required(option, "must not be empty");
        }
    }
}

fn search_list(searches: At<'_>, errors: &mut Errors) {
    let texts: Vec<&str> = searches.value().items().iter().map(Value::str).collect();
    if texts.len() > DNS_SEARCHES_MAX {
        let why = format!("must not have more than {DNS_SEARCHES_MAX} search paths");
        errors.invalid(searches, &searches, &why);
    }
    if texts.join(" ").len() > DNS_SEARCH_BYTES_MAX {
        let why = format!(
            "must not have more than {DNS_SEARCH_BYTES_MAX} characters (including spaces) in the \
             search list"
        );
        errors.invalid(searches, &searches, &why);
    }
    for search in searches.items().filter(|search| search.str() != ".") {
        let name = search.str().strip_suffix('.').unwrap_or(search.str());
        for fault in text::dns_subdomain_underscore(name) {
            errors.invalid(search, &name.into(), &fault);
        }
    }
}
