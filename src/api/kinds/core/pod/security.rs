//! Who a pod and its containers run as, and what they may do.

use crate::api::kinds::check::{self, At, Rule, required};
use crate::api::registry::Errors;
use crate::api::tree::Value;

use super::volumes::descending;

/// libcontainer's range of user and group ids.
const ID_MAX: i64 = i32::MAX as i64;
const SYSCTL_BYTES_MAX: usize = 253;
const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

const POD: &[(&str, Rule)] = &[
    ("fsGroup", Rule::Between(0, ID_MAX)),
    ("runAsUser", Rule::Between(0, ID_MAX)),
    ("runAsGroup", Rule::Between(0, ID_MAX)),
    ("supplementalGroups[]", Rule::Between(0, ID_MAX)),
    ("fsGroupChangePolicy", Rule::OneOf(&["Always", "OnRootMismatch"])),
    ("supplementalGroupsPolicy", Rule::OneOf(&["Merge", "Strict"])),
    ("seLinuxChangePolicy", Rule::OneOf(&["MountOption", "Recursive"])),
    ("seccompProfile", Rule::Each(seccomp)),
    ("appArmorProfile", Rule::Each(apparmor)),
];

const CONTAINER: &[(&str, Rule)] = &[
    ("runAsUser", Rule::Between(0, ID_MAX)),
    ("runAsGroup", Rule::Between(0, ID_MAX)),
    ("procMount", Rule::OneOf(&["Default", "Unmasked"])),
    ("seccompProfile", Rule::Each(seccomp)),
    ("appArmorProfile", Rule::Each(apparmor)),
];

/// Checks a pod's security context. `spec` says which namespaces are the host's.
pub fn pod(context: At<'_>, spec: &Value, errors: &mut Errors) {
    check::apply(POD, context, errors);
    sysctls(context.field("sysctls"), spec, errors);
}

/// Checks a container's security context. `host_users` is false in a user namespace.
pub fn container(context: At<'_>, host_users: bool, errors: &mut Errors) {
    check::apply(CONTAINER, context, errors);
    let proc = context.field("procMount");
    if host_users && proc.str() == "Unmasked" {
        errors.invalid(proc, &proc, "`hostUsers` must be false to use `Unmasked`");
    }
    if context.get("allowPrivilegeEscalation").as_bool() == Some(false) {
        escalation(context, errors);
    }
}

fn escalation(context: At<'_>, errors: &mut Errors) {
    let without = "cannot set `allowPrivilegeEscalation` to false and";
    if context.get("privileged").is_true() {
        errors.invalid(context, &context, &format!("{without} `privileged` to true"));
    }
    let added = context.value().at(&["capabilities", "add"]).items();
    if added.iter().any(|name| name.str() == "CAP_SYS_ADMIN") {
        let why = format!("{without} `capabilities.Add` CAP_SYS_ADMIN");
        errors.invalid(context, &context, &why);
    }
}

fn seccomp(at: At<'_>, errors: &mut Errors) {
    let (kind, local) = (at.field("type"), at.field("localhostProfile"));
    if required(kind, "type is required when seccompProfile is set", errors) {
        check::one_of(kind, PROFILES, errors);
    }
    match (kind.str() == "Localhost", local.is_null()) {
        (true, true) => errors.required(local, "must be set when seccomp type is Localhost"),
        (true, false) => descending(local, errors),
        (false, true) => {}
        (false, false) => {
            errors.invalid(local, &at, "can only be set when seccomp type is Localhost");
        }
    }
}

fn apparmor(at: At<'_>, errors: &mut Errors) {
    const ABSENT: &str = "must be set when AppArmor type is Localhost";
    let (kind, local) = (at.field("type"), at.field("localhostProfile"));
    if required(kind, "type is required when appArmorProfile is set", errors) {
        check::one_of(kind, PROFILES, errors);
    }
    if kind.str() != "Localhost" {
        if !local.is_null() {
            errors.invalid(local, &local, "can only be set when AppArmor type is Localhost");
        }
    } else if local.str().trim() != local.str() {
        errors.invalid(local, &local, "must not be padded with whitespace");
    } else {
        required(local, ABSENT, errors);
    }
}

fn sysctls(list: At<'_>, spec: &Value, errors: &mut Errors) {
    for sysctl in list.items() {
        let name = sysctl.field("name");
        if required(name, "", errors) && !is_sysctl(name.str()) {
            let why =
                format!("must have at most {SYSCTL_BYTES_MAX} characters and match regex {SYSCTL}");
            errors.invalid(name, &name, &why);
        }
        for (host, mine) in [
            ("hostNetwork", of_network as fn(&str) -> bool),
            ("hostIPC", of_ipc as fn(&str) -> bool),
        ] {
            if spec.get(host).is_true() && mine(&name.str().replace('/', ".")) {
                let why = format!("may not be specified when '{host}' is true");
                errors.invalid(name, &name, &why);
            }
        }
    }
    check::unique(list, "name", errors);
}

fn is_sysctl(name: &str) -> bool {
    let part = |part: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(b);
        let bytes = part.as_bytes();
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
    };
    name.len() <= SYSCTL_BYTES_MAX && name.split(['.', '/']).all(part)
}

fn of_network(name: &str) -> bool {
    name.starts_with("net.")
}

fn of_ipc(name: &str) -> bool {
    name == "kernel.sem"
        || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<String> {
        let value = Value::parse(json.as_bytes()).unwrap();
        let mut errors = Errors::default();
        pod(At::path("spec.securityContext", &value), &Value::object(), &mut errors);
        container(At::path("c", &value), true, &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn ids_and_profiles_are_checked() {
        assert_eq!(
            faults(r#"{"fsGroup":-1,"seccompProfile":{"type":"Localhost"}}"#),
            [
                "spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                "c.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            ]
        );
        assert_eq!(faults(r#"{"appArmorProfile":{"type":"X"}}"#).len(), 2);
    }

    #[test]
    fn privilege_excludes_its_denial() {
        let found = faults(r#"{"privileged":true,"allowPrivilegeEscalation":false}"#);
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with("to false and `privileged` to true"), "{found:?}");
    }

    #[test]
    fn sysctls_have_names() {
        assert!(is_sysctl("net.ipv4.ip_forward"));
        assert!(is_sysctl("net/ipv4/conf/eth0/x"));
        assert!(!is_sysctl("net..x"));
        assert_eq!(faults(r#"{"sysctls":[{"name":"a.b"},{"name":"a.b"},{}]}"#).len(), 2);
    }
}
