//! A pod's sandbox and containers as the runtime takes them. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};

use super::env::lookup;
use super::expand::expand;
use super::hosts::Names;
use super::security::Security;
use crate::node::dirs::PodDirs;
use crate::node::pod::{Kind, Plan};
use crate::node::qos;
use crate::node::volume::{mount, payload};
use crate::runtime::image::{ImageConfig, Prepared};
use crate::runtime::{
    ContainerSpec, LogTarget, Mount, MountSource, PidShare, PodSandbox, Propagation, Rootfs, Share,
};
use crate::sys::sysctl;

/// Bytes of a log before it is rotated, and how many files are kept: kubelet's.
const LOG_BYTES_MAX: u64 = 10 << 20;
const LOG_FILES_MAX: u32 = 5;
/// Where a container leaves its last words, unless its spec says otherwise.
pub const TERMINATION_PATH: &str = "/dev/termination-log";

/// What the node writes on a pod's sandbox, to know it again.
pub mod label {
    /// The pod's namespace.
    pub const NAMESPACE: &str = "namespace";
    /// The pod's name.
    pub const NAME: &str = "name";
    /// Counts the pod's sandboxes.
    pub const EPOCH: &str = "epoch";
}

/// A pod's sandbox.
pub fn sandbox(pod: &Pod, names: &Names, epoch: u32) -> PodSandbox {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let share = |host: Option<bool>| if host == Some(true) { Share::Host } else { Share::Pod };
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    let parameter =
        |one: &k8s_openapi::api::core::v1::Sysctl| (sysctl::dotted(&one.name), one.value.clone());
    let uid = text(&pod.metadata.uid);
    PodSandbox {
        hostname: names.hostname.clone(),
        net: share(spec.host_network),
        ipc: share(spec.host_ipc),
        // A pod in the host's network has the host's name.
        uts: share(spec.host_network),
        pid: match (spec.host_pid, spec.share_process_namespace) {
            (Some(true), _) => PidShare::Host,
            (_, Some(true)) => PidShare::Pod,
            _ => PidShare::Container,
        },
        sysctls: sysctls.into_iter().flatten().map(parameter).collect(),
        cgroup: qos::cgroup(pod, &uid),
        resources: qos::pod_resources(pod),
        shm_bytes: None,
        labels: BTreeMap::from([
            (label::NAMESPACE.to_owned(), text(&pod.metadata.namespace)),
            (label::NAME.to_owned(), text(&pod.metadata.name)),
            (label::EPOCH.to_owned(), epoch.to_string()),
        ]),
        id: uid,
    }
}

/// What a container is made from.
pub struct Inputs<'a> {
    /// Its pod.
    pub pod: &'a Pod,
    /// Which of its containers.
    pub plan: &'a Plan<'a>,
    /// The runtime's name for it.
    pub id: String,
    /// Its restart count.
    pub number: i32,
    /// How the image wants to be run.
    pub image: &'a ImageConfig,
    /// Its root file system.
    pub rootfs: Prepared,
    /// The pod's and its own variables.
    pub env: Vec<(String, String)>,
    /// What the pod is called.
    pub hostname: &'a str,
    /// Its security settings.
    pub security: Security,
    /// The pod's directories.
    pub dirs: &'a PodDirs,
    /// Where sub-paths were bound, and images mounted, by index of the volume mount.
    pub subpaths: BTreeMap<usize, PathBuf>,
    /// Memory of the node.
    pub capacity_bytes: i64,
    /// For whoever adopts it.
    pub labels: BTreeMap<String, String>,
    /// The container whose PID namespace it joins.
    pub pid_of: Option<String>,
}

/// Why a container cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Neither pod nor image says what to run.
    #[error("no command specified")]
    NoCommand,
    /// A mount names a volume that the pod does not have.
    #[error("cannot find volume {0:?} to mount into container {1:?}")]
    NoVolume(String, String),
}

/// The container as the runtime takes it.
///
/// # Errors
/// When it says nothing to run, or mounts what is not there.
pub fn container(inputs: Inputs<'_>) -> Result<ContainerSpec, BuildError> {
    let spec = &*inputs.plan.spec;
    let env = environment(&inputs);
    let args = args(spec, inputs.image, &inputs.env)?;
    let mounts = mounts(&inputs)?;
    let log = LogTarget {
        path: inputs.dirs.log(&spec.name, inputs.number),
        max_bytes: LOG_BYTES_MAX,
        max_files: LOG_FILES_MAX,
    };
    let of_lifecycle = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone());
    let security = inputs.security;
    let own_cwd = spec.working_dir.as_deref().filter(|dir| !dir.is_empty());
    Ok(ContainerSpec {
        id: inputs.id,
        rootfs: Rootfs::Overlay {
            lower: inputs.rootfs.lower,
            upper: inputs.rootfs.upper,
            work: inputs.rootfs.work,
        },
        read_only_root: security.read_only_root,
        args,
        env,
        cwd: own_cwd.unwrap_or(&inputs.image.working_dir).to_owned(),
        user: security.user,
        mounts,
        devices: Vec::new(),
        capabilities: security.capabilities,
        privileged: security.privileged,
        no_new_privileges: security.no_new_privileges,
        unmasked_proc: security.unmasked_proc,
        seccomp: security.seccomp,
        apparmor: security.apparmor,
        resources: qos::container_resources(spec),
        oom_score_adj: qos::oom_score_adj(inputs.pod, spec, inputs.capacity_bytes),
        tty: spec.tty == Some(true),
        stdin: spec.stdin == Some(true),
        stdin_once: spec.stdin_once == Some(true),
        stop_signal: of_lifecycle.or_else(|| inputs.image.stop_signal.clone()),
        pid_of: inputs.pid_of,
        log: Some(log),
        labels: inputs.labels,
    })
}

/// The image's variables, the host name, the container's own; later ones win.
fn environment(inputs: &Inputs<'_>) -> Vec<(String, String)> {
    let of_image = inputs.image.env.iter().map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    });
    let mut env: Vec<(String, String)> = of_image.collect();
    let hostname = ("HOSTNAME".to_owned(), inputs.hostname.to_owned());
    for (name, value) in std::iter::once(hostname).chain(inputs.env.iter().cloned()) {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => env.push((name, value)),
        }
    }
    env
}

/// A command replaces the image's entry point and its arguments; arguments alone replace only
/// those.
fn args(
    spec: &Container,
    image: &ImageConfig,
    env: &[(String, String)],
) -> Result<Vec<String>, BuildError> {
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        let expand = |text: &String| expand(text, |name| lookup(env, name));
        list.iter().flatten().map(expand).collect()
    };
    let (command, own) = (expanded(&spec.command), expanded(&spec.args));
    let args = match (command.is_empty(), own.is_empty()) {
        (false, _) => [command, own].concat(),
        (true, false) => [image.entrypoint.clone(), own].concat(),
        (true, true) => [image.entrypoint.clone(), image.cmd.clone()].concat(),
    };
    if args.is_empty() { Err(BuildError::NoCommand) } else { Ok(args) }
}

/// Files of a pod's own that every container sees, unless it mounts something else there.
const MANAGED: [&str; 3] = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"];

fn mounts(inputs: &Inputs<'_>) -> Result<Vec<Mount>, BuildError> {
    let spec = &*inputs.plan.spec;
    let wishes = spec.volume_mounts.as_deref().unwrap_or_default();
    let mut mounts = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        mounts.push(volume(inputs, index, wish)?);
    }
    let files = [inputs.dirs.hosts(), inputs.dirs.resolv(), inputs.dirs.hostname()];
    for (place, file) in MANAGED.into_iter().zip(files) {
        if !wishes.iter().any(|wish| wish.mount_path.trim_end_matches('/') == place) {
            mounts.push(bind(place, file, false));
        }
    }
    let path = spec.termination_message_path.as_deref().filter(|path| !path.is_empty());
    let words = inputs.dirs.termination(&spec.name, inputs.number);
    mounts.push(bind(path.unwrap_or(TERMINATION_PATH), words, false));
    Ok(mounts)
}

fn bind(place: &str, path: PathBuf, read_only: bool) -> Mount {
    let source = MountSource::Bind { path, propagation: Propagation::Private };
    Mount { destination: place.into(), source, read_only, recursive_read_only: false }
}

fn volume(inputs: &Inputs<'_>, index: usize, wish: &VolumeMount) -> Result<Mount, BuildError> {
    let volumes = inputs.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let found = volumes.into_iter().find(|volume| volume.name == wish.name);
    let missing = || BuildError::NoVolume(wish.name.clone(), inputs.plan.name().to_owned());
    let volume: &Volume = found.ok_or_else(missing)?;
    let whole = || mount::path(inputs.dirs, volume);
    let path = inputs.subpaths.get(&index).cloned().unwrap_or_else(whole);
    let propagation = match wish.mount_propagation.as_deref() {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    };
    let recursive = wish.recursive_read_only.as_deref();
    Ok(Mount {
        destination: wish.mount_path.clone().into(),
        source: MountSource::Bind { path, propagation },
        // What the API holds, or an image, is not for containers to change.
        read_only: wish.read_only == Some(true)
            || payload::is_served(volume)
            || volume.image.is_some(),
        recursive_read_only: matches!(recursive, Some("Enabled" | "IfPossible")),
    })
}

/// The sub-path of a volume mount with its variables filled in; none where it has none.
///
/// # Errors
/// When a variable is not known.
pub fn subpath(wish: &VolumeMount, env: &[(String, String)]) -> Result<Option<String>, String> {
    if let Some(text) = wish.sub_path_expr.as_deref().filter(|text| !text.is_empty()) {
        let missing =
            super::expand::references(text).into_iter().find(|name| lookup(env, name).is_none());
        return match missing {
            Some(name) => Err(format!("missing value for {name:?}")),
            None => Ok(Some(expand(text, |name| lookup(env, name)))),
        };
    }
    Ok(wish.sub_path.clone().filter(|path| !path.is_empty()))
}

/// The names of the containers of a kind that a debugging container may look into.
pub const fn can_be_target(kind: Kind) -> bool {
    matches!(kind, Kind::App | Kind::Sidecar | Kind::Init)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::node::container::security;
    use crate::node::pod::plans;

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["default".into()],
            env: vec!["PATH=/bin".into(), "A=image".into()],
            working_dir: "/work".into(),
            stop_signal: Some("SIGQUIT".into()),
            ..ImageConfig::default()
        }
    }

    fn pod(container: &str, spec: &str) -> Pod {
        let text = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u"}},
                "spec":{{"containers":[{{"name":"c"{container}}}]{spec}}}}}"#
        );
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn build(
        container: &str,
        spec: &str,
        image: &ImageConfig,
    ) -> Result<ContainerSpec, BuildError> {
        let pod = pod(container, spec);
        let plans = plans(&pod);
        let dirs = PodDirs { root: "/root".into(), run: "/run".into(), logs: "/logs".into() };
        let prepared = Prepared {
            image: "sha256:0000000000000000000000000000000000000000000000000000000000000000"
                .parse()
                .unwrap(),
            lower: vec!["/l".into()],
            upper: "/u".into(),
            work: "/w".into(),
            rootfs: "/r".into(),
        };
        super::container(Inputs {
            pod: &pod,
            plan: &plans[0],
            id: "id".into(),
            number: 2,
            image,
            rootfs: prepared,
            env: vec![("A".into(), "own".into()), ("B".into(), "b".into())],
            hostname: "p",
            security: security::security(&pod, &plans[0].spec, "", Path::new("/s")),
            dirs: &dirs,
            subpaths: BTreeMap::from([(1, "/run/subpaths/c/1".into())]),
            capacity_bytes: 1 << 30,
            labels: BTreeMap::new(),
            pid_of: None,
        })
    }

    #[test]
    fn commands_and_arguments_follow_the_documented_table() {
        let args = |container: &str| build(container, "", &image()).unwrap().args.join(" ");
        assert_eq!(args(""), "/entry default");
        assert_eq!(args(r#","args":["x","$(B)"]"#), "/entry x b");
        assert_eq!(args(r#","command":["sh","-c"]"#), "sh -c");
        assert_eq!(args(r#","command":["sh"],"args":["$(A)$$(A)"]"#), "sh own$(A)");
        assert_eq!(build("", "", &ImageConfig::default()), Err(BuildError::NoCommand));
    }

    #[test]
    fn the_container_wins_over_the_image() {
        let spec = build("", "", &image()).unwrap();
        let env: Vec<String> = spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(env, ["PATH=/bin", "A=own", "HOSTNAME=p", "B=b"]);
        assert_eq!((&*spec.cwd, spec.stop_signal.as_deref()), ("/work", Some("SIGQUIT")));
        assert_eq!(spec.log.unwrap().path, Path::new("/logs/c/2.log"));
        assert_eq!(build(r#","workingDir":"/own""#, "", &image()).unwrap().cwd, "/own");
    }

    #[test]
    fn volumes_and_managed_files_are_mounted() {
        let mounts = r#","volumeMounts":[{"name":"c","mountPath":"/config"},
            {"name":"e","mountPath":"/data","subPath":"x"},
            {"name":"h","mountPath":"/etc/hosts","readOnly":true,"mountPropagation":"HostToContainer"}]"#;
        let volumes = r#","volumes":[{"name":"c","configMap":{"name":"m"}},
            {"name":"e","emptyDir":{}},{"name":"h","hostPath":{"path":"/h"}}]"#;
        let spec = build(mounts, volumes, &image()).unwrap();
        let text = |mount: &Mount| {
            let MountSource::Bind { path, .. } = &mount.source else { panic!() };
            let mark = if mount.read_only { " ro" } else { "" };
            format!("{} {}{mark}", mount.destination.display(), path.display())
        };
        let list: Vec<String> = spec.mounts.iter().map(text).collect();
        let expected = [
            "/config /root/volumes/c ro",
            "/data /run/subpaths/c/1",
            "/etc/hosts /h ro",
            "/etc/resolv.conf /root/resolv.conf",
            "/etc/hostname /root/hostname",
            "/dev/termination-log /root/containers/c/2/termination-log",
        ];
        assert_eq!(list, expected);
        let missing = build(r#","volumeMounts":[{"name":"x","mountPath":"/x"}]"#, "", &image());
        assert!(matches!(missing, Err(BuildError::NoVolume(..))));
    }

    #[test]
    fn sub_paths_are_expanded() {
        let env = [("POD".to_owned(), "p".to_owned())];
        let of = |field: &str| {
            let json = format!(r#"{{"name":"v","mountPath":"/m",{field}}}"#);
            subpath(&serde_json::from_str(&json).unwrap(), &env)
        };
        assert_eq!(of(r#""subPathExpr":"a/$(POD)""#), Ok(Some("a/p".into())));
        assert_eq!(of(r#""subPathExpr":"a/$(NO)""#), Err("missing value for \"NO\"".into()));
        assert_eq!(of(r#""subPath":"$(POD)""#), Ok(Some("$(POD)".into())));
        assert_eq!(of(r#""subPath":"""#), Ok(None));
    }

    #[test]
    fn a_sandbox_shares_what_the_pod_says() {
        let names = Names { hostname: "p".into(), fqdn: None };
        let own = sandbox(&pod("", ""), &names, 3);
        assert_eq!((own.net, own.pid, own.uts), (Share::Pod, PidShare::Container, Share::Pod));
        assert_eq!((&*own.id, &*own.cgroup), ("u", "kubepods/besteffort/podu"));
        assert_eq!(own.labels[label::EPOCH], "3");
        let host = sandbox(&pod("", r#","hostNetwork":true,"hostPID":true"#), &names, 1);
        assert_eq!((host.net, host.pid, host.uts), (Share::Host, PidShare::Host, Share::Host));
        let shared = sandbox(&pod("", r#","shareProcessNamespace":true"#), &names, 1);
        assert_eq!(shared.pid, PidShare::Pod);
    }
}
