//! A container's security settings: what pod and container ask for, together.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext,
};

use crate::runtime::{Capabilities, Seccomp, User};

/// The settings of a container as the runtime takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Who runs it.
    pub user: User,
    /// Changes to the default capabilities.
    pub capabilities: Capabilities,
    /// Everything that rk itself holds.
    pub privileged: bool,
    /// The root is mounted read-only.
    pub read_only_root: bool,
    /// Set-user-id programs gain nothing.
    pub no_new_privileges: bool,
    /// `/proc` without masks.
    pub unmasked_proc: bool,
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// AppArmor profile.
    pub apparmor: Option<String>,
}

/// The effective settings of a container of `pod`, whose image says `image_user`. Profiles on the
/// host lie in `profiles`.
pub fn security(pod: &Pod, container: &Container, image_user: &str, profiles: &Path) -> Security {
    let empty = (PodSecurityContext::default(), SecurityContext::default());
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let of_pod = of_pod.unwrap_or(&empty.0);
    let own = container.security_context.as_ref().unwrap_or(&empty.1);
    let privileged = own.privileged == Some(true);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let add = capabilities.add.unwrap_or_default();
    let seccomp = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    // Set-user-id cannot be refused to who has the powers already; the API refuses the wish.
    let may_not_refuse =
        privileged || add.iter().any(|cap| matches!(cap.as_str(), "SYS_ADMIN" | "CAP_SYS_ADMIN"));
    Security {
        user: user(of_pod, own, image_user),
        capabilities: Capabilities { add, drop: capabilities.drop.unwrap_or_default() },
        privileged,
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false) && !may_not_refuse,
        unmasked_proc: own.proc_mount.as_deref() == Some("Unmasked"),
        seccomp: seccomp_of(seccomp, profiles),
        apparmor: apparmor(of_pod, own),
    }
}

fn user(of_pod: &PodSecurityContext, own: &SecurityContext, image: &str) -> User {
    let groups = of_pod.supplemental_groups.iter().flatten().chain(&of_pod.fs_group);
    User {
        image: image.to_owned(),
        uid: own.run_as_user.or(of_pod.run_as_user).and_then(id),
        gid: own.run_as_group.or(of_pod.run_as_group).and_then(id),
        additional_gids: groups.copied().filter_map(id).collect(),
        strict_groups: of_pod.supplemental_groups_policy.as_deref() == Some("Strict"),
    }
}

fn id(number: i64) -> Option<u32> {
    u32::try_from(number).ok()
}

/// Kubernetes' default is no filter; the kubelet's setting that makes it the runtime's is off.
fn seccomp_of(profile: Option<&SeccompProfile>, profiles: &Path) -> Seccomp {
    let Some(profile) = profile else { return Seccomp::Unconfined };
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("RuntimeDefault", _) => Seccomp::RuntimeDefault,
        ("Localhost", Some(name)) => Seccomp::Localhost(beneath(profiles, name)),
        _ => Seccomp::Unconfined,
    }
}

/// A path below a directory, whatever the name says.
fn beneath(root: &Path, name: &str) -> PathBuf {
    let normal = Path::new(name).components().filter_map(|part| match part {
        std::path::Component::Normal(part) => Some(part),
        _ => None,
    });
    normal.fold(root.to_owned(), |path, part| path.join(part))
}

fn apparmor(of_pod: &PodSecurityContext, own: &SecurityContext) -> Option<String> {
    let profile = own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref())?;
    match profile.type_.as_str() {
        "Localhost" => profile.localhost_profile.clone(),
        "Unconfined" => Some("unconfined".to_owned()),
        _ => None,
    }
}

/// Checks `runAsNonRoot` against who would run: `image_uid` is the image's user by number, none
/// where it is a name.
///
/// # Errors
/// The message of `CreateContainerConfigError`.
pub fn check_non_root(
    pod: &Pod,
    container: &Container,
    image_user: &str,
    image_uid: Option<u32>,
) -> Result<(), String> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let wanted = own
        .and_then(|own| own.run_as_non_root)
        .or(of_pod.and_then(|of_pod| of_pod.run_as_non_root));
    if wanted != Some(true) {
        return Ok(());
    }
    let user = own.and_then(|own| own.run_as_user).or(of_pod.and_then(|of_pod| of_pod.run_as_user));
    let place =
        format!("(pod: \"{}\", container: {})", crate::node::pod::title(pod), container.name);
    match (user, image_uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        (None, None) if !image_user.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot \
             verify user is non-root {place}"
        )),
        (None, None) => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        (None, Some(_)) => Ok(()),
    }
}

/// The user part of an image's `USER`, as a number if it is one; an empty one is root.
pub fn image_uid(image_user: &str) -> Option<u32> {
    match image_user.split(':').next().unwrap_or_default() {
        "" => Some(0),
        user => user.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(of_pod: &str, own: &str) -> Pod {
        let text = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u"}},"spec":{{
                "securityContext":{{{of_pod}}},
                "containers":[{{"name":"c","securityContext":{{{own}}}}}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn secured(of_pod: &str, own: &str) -> Security {
        let pod = pod(of_pod, own);
        let container = &pod.spec.as_ref().unwrap().containers[0];
        security(&pod, container, "app", Path::new("/profiles"))
    }

    #[test]
    fn the_container_wins_over_the_pod() {
        let security = secured(
            r#""runAsUser":1000,"runAsGroup":1001,"fsGroup":2000,"supplementalGroups":[5,6],
               "seccompProfile":{"type":"RuntimeDefault"}"#,
            r#""runAsUser":7,"readOnlyRootFilesystem":true,"allowPrivilegeEscalation":false,
               "capabilities":{"add":["NET_ADMIN"],"drop":["ALL"]}"#,
        );
        assert_eq!((security.user.uid, security.user.gid), (Some(7), Some(1001)));
        assert_eq!(security.user.additional_gids, [5, 6, 2000]);
        assert_eq!(security.user.image, "app");
        assert!(security.read_only_root && security.no_new_privileges && !security.privileged);
        assert_eq!(security.seccomp, Seccomp::RuntimeDefault);
        assert_eq!(security.capabilities.drop, ["ALL"]);
    }

    #[test]
    fn the_default_has_no_filter_and_a_profile_stays_below_its_folder() {
        assert_eq!(secured("", "").seccomp, Seccomp::Unconfined);
        let profile = r#""seccompProfile":{"type":"Localhost","localhostProfile":"../a/b.json"}"#;
        assert_eq!(secured(profile, "").seccomp, Seccomp::Localhost("/profiles/a/b.json".into()));
    }

    #[test]
    fn non_root_is_checked() {
        let check = |of_pod: &str, user: &str| {
            let pod = pod(of_pod, "");
            let container = &pod.spec.as_ref().unwrap().containers[0];
            check_non_root(&pod, container, user, image_uid(user))
        };
        assert!(check("", "").is_ok());
        let must = r#""runAsNonRoot":true"#;
        assert_eq!(
            check(must, "").unwrap_err(),
            "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)"
        );
        assert!(check(must, "1000:0").is_ok());
        assert!(check(must, "nobody").unwrap_err().contains("non-numeric user (nobody)"));
        assert!(check(r#""runAsNonRoot":true,"runAsUser":5"#, "").is_ok());
        assert!(check(r#""runAsNonRoot":true,"runAsUser":0"#, "5").is_err());
    }
}
