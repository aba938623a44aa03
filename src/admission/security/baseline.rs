//! What `baseline` forbids: the ways out of a container that are known.

use std::collections::BTreeSet;

use super::pod::{Pod, containers, own, plural, quoted, setters};
use super::standard::{Violation, violation};
use crate::api::tree::Value;

/// The capabilities that container engines give anyway.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Sysctls that concern one pod only, and the minor version since which that is so.
const SYSCTLS: &[(u32, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
    (37, "net.ipv4.tcp_notsent_lowat"),
    (37, "net.ipv4.tcp_slow_start_after_idle"),
];

/// SELinux types that a container may have, and since when.
const SELINUX_TYPES: &[(u32, &str)] = &[
    (0, ""),
    (0, "container_init_t"),
    (0, "container_kvm_t"),
    (0, "container_t"),
    (31, "container_engine_t"),
];

fn is_known(table: &[(u32, &str)], minor: u32, name: &str) -> bool {
    table.iter().any(|(since, known)| *since <= minor && *known == name)
}

/// An AppArmor profile that is not the runtime's own or one of the machine's.
pub fn app_armor(pod: Pod<'_>) -> Option<Violation> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut values = BTreeSet::new();
    let mut bad = |profile| is_bad_profile(profile, &mut values);
    let of_pod = bad(pod.context(&["appArmorProfile"]));
    let names = pod.named(|c| bad(own(c, &["appArmorProfile"])));
    let annotations = pod.metadata.get("annotations").fields();
    let annotations: Vec<String> = annotations
        .map(|(key, value)| (key, value.str()))
        .filter(|(key, value)| {
            key.starts_with(PREFIX) && !is_fine_annotation(value, &["", RUNTIME])
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let mut who: Vec<String> = setters(of_pod, &names).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().map(str::to_owned).chain(annotations).collect();
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    let (who, values) = (who.join(" and "), quoted(values));
    violation(reason, format!("{who} must not set AppArmor profile type to {values}"))
}

const RUNTIME: &str = "runtime/default";

/// Whether an annotation names a profile of the machine, or one of those that are given.
fn is_fine_annotation(value: &str, fine: &[&str]) -> bool {
    fine.contains(&value) || value.starts_with("localhost/")
}

/// Whether a profile is there that is neither the runtime's nor the machine's; its type is noted.
fn is_bad_profile<'a>(profile: &'a Value, values: &mut BTreeSet<&'a str>) -> bool {
    let kind = profile.get("type").str();
    let bad = !profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost");
    if bad {
        values.insert(kind);
    }
    bad
}

/// Capabilities beyond the usual.
pub fn capabilities(pod: Pod<'_>) -> Option<Violation> {
    let (names, added) = adding(pod, |name| CAPABILITIES.contains(&name));
    if names.is_empty() {
        return None;
    }
    violation("non-default capabilities", not_add(&names, &added))
}

/// Containers that add capabilities which are not fine, and these.
pub fn adding<'a>(
    pod: Pod<'a>,
    is_fine: impl Fn(&str) -> bool,
) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut found = BTreeSet::new();
    let names = pod.named(|container| {
        let added = own(container, &["capabilities", "add"]).items().iter().map(Value::str);
        let bad: Vec<&str> = added.filter(|name| !is_fine(name)).collect();
        found.extend(&bad);
        !bad.is_empty()
    });
    (names, found)
}

/// What containers must not do that add these capabilities.
pub fn not_add(names: &[&str], added: &BTreeSet<&str>) -> String {
    let (names, added) = (containers(names), quoted(added));
    format!("{names} must not include {added} in securityContext.capabilities.add")
}

/// The machine's own namespaces.
pub fn host_namespaces(pod: Pod<'_>) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
    let set: Vec<String> = fields
        .filter(|field| pod.spec.get(field).is_true())
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { violation("host namespaces", set.join(", ")) }
}

/// Files of the machine.
pub fn host_paths(pod: Pod<'_>) -> Option<Violation> {
    let volumes = pod.spec.get("volumes").items().iter();
    let names: Vec<&str> = volumes
        .filter(|volume| !volume.get("hostPath").is_null())
        .map(|volume| volume.get("name").str())
        .collect();
    if names.is_empty() {
        return None;
    }
    let word = plural(names.len(), "volume", "volumes");
    violation("hostPath volumes", format!("{word} {}", quoted(names)))
}

/// Ports of the machine.
pub fn host_ports(pod: Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let names = pod.named(|container| {
        let used = container.get("ports").items().iter();
        let used: Vec<String> = used
            .filter_map(|port| port.get("hostPort").as_int().filter(|port| *port != 0))
            .map(|port| port.to_string())
            .collect();
        let any = !used.is_empty();
        ports.extend(used);
        any
    });
    if names.is_empty() {
        return None;
    }
    let uses = plural(names.len(), "uses", "use");
    let word = plural(ports.len(), "hostPort", "hostPorts");
    let ports: Vec<String> = ports.into_iter().collect();
    violation("hostPort", format!("{} {uses} {word} {}", containers(&names), ports.join(", ")))
}

/// Probes and hooks that reach for another machine than the pod.
pub fn hosts(pod: Pod<'_>) -> Option<Violation> {
    const HANDLERS: &[&[&str]] = &[
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let mut hosts: BTreeSet<&str> = BTreeSet::new();
    let names = pod.named(|container| {
        let handlers = HANDLERS.iter().map(|path| container.at(path));
        let ways = handlers.flat_map(|h| ["httpGet", "tcpSocket"].map(|way| h.get(way)));
        let given: Vec<&str> =
            ways.map(|way| way.get("host").str()).filter(|host| !host.is_empty()).collect();
        hosts.extend(&given);
        !given.is_empty()
    });
    if names.is_empty() {
        return None;
    }
    // These are named as a set, unlike everywhere else.
    let names: Vec<&str> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let uses = plural(names.len(), "uses", "use");
    let word = plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    let detail = format!("{} {uses} {word} {}", containers(&names), quoted(hosts));
    violation("probe or lifecycle host", detail)
}

/// Containers that are the machine's equals.
pub fn privileged(pod: Pod<'_>) -> Option<Violation> {
    let names = pod.named(|container| own(container, &["privileged"]).is_true());
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.privileged=true", containers(&names));
    violation("privileged", detail)
}

/// An open `/proc`, but where root is nobody outside of the pod.
pub fn proc_mount(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { any_proc_mount(pod) }
}

/// An open `/proc`.
pub fn any_proc_mount(pod: Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let names = pod.named(|container| {
        let kind = own(container, &["procMount"]).as_str().filter(|kind| *kind != "Default");
        kinds.extend(kind);
        kind.is_some()
    });
    if names.is_empty() {
        return None;
    }
    let (names, kinds) = (containers(&names), quoted(kinds));
    violation("procMount", format!("{names} must not set securityContext.procMount to {kinds}"))
}

/// SELinux labels that are more than a container's.
pub fn selinux(pod: Pod<'_>) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |options: &Value| {
        let kind = options.get("type").str();
        let known = is_known(SELINUX_TYPES, pod.minor, kind);
        if !known {
            types.insert(kind.to_owned());
        }
        let set = |field: &str| !options.get(field).str().is_empty();
        user |= set("user");
        role |= set("role");
        !known || set("user") || set("role")
    };
    let of_pod = bad(pod.context(&["seLinuxOptions"]));
    let names = pod.named(|c| bad(own(c, &["seLinuxOptions"])));
    let who = setters(of_pod, &names)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(types)));
    }
    let may_not = [(user, "user may not be set"), (role, "role may not be set")];
    what.extend(may_not.iter().filter(|(set, _)| *set).map(|(_, text)| (*text).to_owned()));
    let what = what.join("; ");
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {what}");
    violation("seLinuxOptions", detail)
}

/// A container without a filter of system calls: said by annotations at first, by fields since.
pub fn seccomp(pod: Pod<'_>) -> Option<Violation> {
    if pod.minor < 19 { annotated_seccomp(pod) } else { set_seccomp(pod) }
}

fn annotated_seccomp(pod: Pod<'_>) -> Option<Violation> {
    const KEY: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let of_containers = pod.containers().map(|container| {
        format!("container.seccomp.security.alpha.kubernetes.io/{}", container.get("name").str())
    });
    let bad: BTreeSet<String> = std::iter::once(KEY.to_owned())
        .chain(of_containers)
        .filter_map(|key| pod.annotation(&key).map(|value| (key, value)))
        .filter(|(_, value)| !is_fine_annotation(value, &[RUNTIME, "docker/default"]))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural(bad.len(), "annotation", "annotations");
    let bad: Vec<String> = bad.into_iter().collect();
    violation("seccompProfile", format!("forbidden {word} {}", bad.join(", ")))
}

/// Filters of system calls that are none.
pub fn set_seccomp(pod: Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let mut bad = |profile| is_bad_profile(profile, &mut kinds);
    let of_pod = bad(pod.context(&["seccompProfile"]));
    let names = pod.named(|c| bad(own(c, &["seccompProfile"])));
    let (who, kinds) = (setters(of_pod, &names)?, quoted(kinds));
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {kinds}");
    violation("seccompProfile", detail)
}

/// Sysctls that others than the pod would notice.
pub fn sysctls(pod: Pod<'_>) -> Option<Violation> {
    let given = pod.context(&["sysctls"]).items().iter().map(|sysctl| sysctl.get("name").str());
    let bad: Vec<&str> = given.filter(|name| !is_known(SYSCTLS, pod.minor, name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

/// Windows' privileged containers.
pub fn host_process(pod: Pod<'_>) -> Option<Violation> {
    const PATH: &[&str] = &["windowsOptions", "hostProcess"];
    let names = pod.named(|container| own(container, PATH).is_true());
    let who = setters(pod.context(PATH).is_true(), &names)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    violation("hostProcess", detail)
}
