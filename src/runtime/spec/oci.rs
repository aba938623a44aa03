//! From the plain structs to the OCI runtime specification that libcontainer reads.
//!
//! Pure. What libcontainer would do at the wrong time or not at all stays out of the bundle and is
//! done by the container's own first process: capabilities and seccomp (it drops the first before
//! the second could be loaded), propagation of single mounts (it ignores it), the working directory
//! (it does not make it), and anything over `/dev` (it would change the host's).

use super::privileges::Node;
use super::user::Identity;
use super::{ContainerSpec, Mount, MountSource, PidShare, PodSandbox, Propagation, Share};
use crate::sys::cgroup::DeviceKind;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a bundle is made of beside the two specs.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a PodSandbox,
    /// The container.
    pub container: &'a ContainerSpec,
    /// Who runs it.
    pub identity: &'a Identity,
    /// Its mounted root.
    pub root: &'a Path,
    /// The pod's pinned namespaces and its `/dev/shm`.
    pub pins: &'a Path,
    /// Devices to make.
    pub nodes: &'a [Node],
    /// The container's cgroup, absolute below the hierarchies' roots.
    pub cgroup: &'a str,
    /// v1 hierarchies: name below `/sys/fs/cgroup` and the host's directory of this container's
    /// group. Empty on v2.
    pub cgroup_v1: &'a [(String, PathBuf)],
    /// The PID namespace to join.
    pub pid_namespace: Option<&'a Path>,
    /// Whether the kernel has AppArmor.
    pub apparmor: bool,
}

/// The `config.json` of the bundle.
pub fn config(context: &Context<'_>) -> Value {
    let container = context.container;
    let mut config = json!({
        "ociVersion": "1.0.2",
        "root": { "path": context.root, "readonly": container.read_only_root },
        "process": process(context),
        "mounts": mounts(context),
        "linux": {
            "namespaces": namespaces(context),
            "cgroupsPath": context.cgroup,
            "devices": context.nodes.iter().map(device).collect::<Vec<_>>(),
        },
    });
    if !container.privileged && !container.unmasked_proc {
        config["linux"]["maskedPaths"] = json!(MASKED);
        config["linux"]["readonlyPaths"] = json!(READ_ONLY);
    }
    if container.mounts.iter().any(|mount| propagation(mount) == Propagation::Bidirectional) {
        config["linux"]["rootfsPropagation"] = json!("shared");
    }
    config
}

/// The process part alone; for an exec it is the whole of what libcontainer needs.
pub fn process(context: &Context<'_>) -> Value {
    let (container, identity) = (context.container, context.identity);
    let mut process = json!({
        "terminal": container.tty,
        "user": { "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.gids },
        "args": container.args,
        // The real one is set by the first process; this has what libcontainer insists on.
        "env": ["PATH=/usr/bin:/bin", "HOME=/"],
        "cwd": "/",
    });
    // Left out when false: libcontainer takes any value for a wish.
    if container.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    if let (Some(profile), true) = (&container.apparmor, context.apparmor) {
        process["apparmorProfile"] = json!(profile);
    }
    process
}

/// The container's environment: as wished, with what every program expects.
pub fn environment(
    pod: &PodSandbox,
    container: &ContainerSpec,
    identity: &Identity,
    more: &[(String, String)],
    tty: bool,
) -> Vec<String> {
    let mut all: Vec<(&str, &str)> =
        vec![("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")];
    if tty {
        all.push(("TERM", "xterm"));
    }
    if !pod.hostname.is_empty() {
        all.push(("HOSTNAME", &pod.hostname));
    }
    all.push(("HOME", identity.home.as_deref().unwrap_or("/")));
    for (name, value) in container.env.iter().chain(more) {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// How a mount passes later mounts on.
pub fn propagation(mount: &Mount) -> Propagation {
    match mount.source {
        MountSource::Bind { propagation, .. } => propagation,
        MountSource::Tmpfs { .. } => Propagation::Private,
    }
}

/// Whether a mount must wait until libcontainer has made its own `/dev`: it is over `/dev`, or
/// below such a one.
pub fn is_late(container: &ContainerSpec, mount: &Mount) -> bool {
    let over = |mount: &Mount| mount.destination == Path::new("/dev");
    mount.destination.starts_with("/dev") && container.mounts.iter().any(over)
}

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn namespaces(context: &Context<'_>) -> Value {
    let pod = context.pod;
    let pinned = |kind: &str, name: &str| json!({ "type": kind, "path": context.pins.join(name) });
    let mut list = vec![json!({ "type": "mount" })];
    for (share, kind, name) in
        [(pod.net, "network", "net"), (pod.ipc, "ipc", "ipc"), (pod.uts, "uts", "uts")]
    {
        if share == Share::Pod {
            list.push(pinned(kind, name));
        }
    }
    match (context.pid_namespace, pod.pid) {
        (Some(path), _) => list.push(json!({ "type": "pid", "path": path })),
        (None, PidShare::Host) => {}
        (None, _) => list.push(json!({ "type": "pid" })),
    }
    // As containerd: a group of its own is shown as the root, unless it sees all of the host's.
    if context.cgroup_v1.is_empty() && !context.container.privileged {
        list.push(json!({ "type": "cgroup" }));
    }
    Value::Array(list)
}

fn device(node: &Node) -> Value {
    json!({
        "path": node.path,
        "type": if node.kind == DeviceKind::Block { "b" } else { "c" },
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
    })
}

fn mounts(context: &Context<'_>) -> Value {
    let container = context.container;
    let hidden = |destination: &str| {
        let covers = |mount: &&Mount| Path::new(destination).starts_with(&mount.destination);
        container.mounts.iter().filter(|mount| !is_late(container, mount)).any(|m| covers(&m))
    };
    let mut list = defaults(context);
    list.retain(|mount| !hidden(mount["destination"].as_str().unwrap_or_default()));
    // Outer ones first, whatever order they were wished in.
    let mut own: Vec<&Mount> =
        container.mounts.iter().filter(|mount| !is_late(container, mount)).collect();
    own.sort_by_key(|mount| mount.destination.components().count());
    list.extend(own.into_iter().map(mount));
    Value::Array(list)
}

fn defaults(context: &Context<'_>) -> Vec<Value> {
    let writable = if context.container.privileged { "rw" } else { "ro" };
    let mut list = vec![
        special("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        special("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        special(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        special("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        special("/sys", "sysfs", &["nosuid", "noexec", "nodev", writable]),
    ];
    let options = ["nosuid", "noexec", "nodev", writable];
    if context.cgroup_v1.is_empty() {
        list.push(special("/sys/fs/cgroup", "cgroup", &options));
    } else {
        // Libcontainer would mount these writable.
        let root = ["nosuid", "noexec", "nodev", "mode=755"];
        list.push(special("/sys/fs/cgroup", "tmpfs", &root));
        list.extend(context.cgroup_v1.iter().map(|(name, directory)| {
            let at = format!("/sys/fs/cgroup/{name}");
            bind(&at, directory, &["bind", "nosuid", "noexec", "nodev", writable])
        }));
    }
    let shm = match context.pod.ipc {
        Share::Pod => context.pins.join("shm"),
        Share::Host => PathBuf::from("/dev/shm"),
    };
    list.push(bind("/dev/shm", &shm, &["bind", "nosuid", "noexec", "nodev"]));
    list
}

fn special(destination: &str, kind: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": kind, "options": options })
}

fn bind(destination: &str, source: &Path, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

fn mount(mount: &Mount) -> Value {
    let mut options: Vec<String> = Vec::new();
    if mount.read_only {
        options.push("ro".into());
    }
    if mount.recursive_read_only {
        options.push("rro".into());
    }
    match &mount.source {
        MountSource::Bind { path, .. } => {
            options.push("rbind".into());
            json!({
                "destination": mount.destination, "type": "bind", "source": path,
                "options": options,
            })
        }
        MountSource::Tmpfs { size_bytes, mode } => {
            options.extend(["nosuid".into(), "nodev".into(), format!("mode={mode:o}")]);
            options.extend(size_bytes.map(|size| format!("size={size}")));
            json!({
                "destination": mount.destination, "type": "tmpfs", "source": "tmpfs",
                "options": options,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(pod: &PodSandbox, container: &ContainerSpec) -> Value {
        let v1 = [("memory".to_owned(), PathBuf::from("/sys/fs/cgroup/memory/rk/x"))];
        config(&Context {
            pod,
            container,
            identity: &Identity { uid: 5, gid: 6, gids: vec![6, 7], home: None },
            root: Path::new("/root-of-it"),
            pins: Path::new("/pins"),
            nodes: &[],
            cgroup: "/rk/x",
            cgroup_v1: if container.labels.contains_key("v2") { &[] } else { &v1 },
            pid_namespace: None,
            apparmor: false,
        })
    }

    fn list(value: &Value, field: &str) -> Vec<String> {
        let list = value.as_array().unwrap();
        list.iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
    }

    fn bound(destination: &str) -> Mount {
        let propagation = Propagation::Private;
        Mount {
            destination: destination.into(),
            source: MountSource::Bind { path: "/host".into(), propagation },
            read_only: true,
            recursive_read_only: false,
        }
    }

    #[test]
    fn namespaces_are_joined_made_or_left_out() {
        let container = ContainerSpec::default();
        let pod = PodSandbox::default();
        let config = config_of(&pod, &container);
        let kinds = list(&config["linux"]["namespaces"], "type");
        assert_eq!(kinds, ["mount", "network", "ipc", "uts", "pid"]);
        assert_eq!(config["linux"]["namespaces"][1]["path"], "/pins/net");
        let pod = PodSandbox {
            net: Share::Host,
            uts: Share::Host,
            ipc: Share::Host,
            pid: PidShare::Host,
            ..pod
        };
        let config = config_of(&pod, &container);
        assert_eq!(list(&config["linux"]["namespaces"], "type"), ["mount"]);
        let v2 = ContainerSpec { labels: [("v2".into(), String::new())].into(), ..container };
        let config = config_of(&pod, &v2);
        assert_eq!(list(&config["linux"]["namespaces"], "type"), ["mount", "cgroup"]);
    }

    #[test]
    fn own_mounts_replace_defaults_and_go_from_the_outside_in() {
        let mounts = vec![bound("/a/b"), bound("/dev/shm"), bound("/a"), bound("/sys")];
        let container = ContainerSpec { mounts, ..ContainerSpec::default() };
        let config = config_of(&PodSandbox::default(), &container);
        assert_eq!(
            list(&config["mounts"], "destination"),
            ["/proc", "/dev", "/dev/pts", "/dev/mqueue", "/a", "/sys", "/a/b", "/dev/shm"]
        );
    }

    #[test]
    fn mounts_over_dev_wait() {
        let mounts = vec![bound("/dev"), bound("/dev/x"), bound("/data")];
        let container = ContainerSpec { mounts, ..ContainerSpec::default() };
        let destinations =
            list(&config_of(&PodSandbox::default(), &container)["mounts"], "destination");
        assert!(destinations.contains(&"/dev".into()) && destinations.contains(&"/data".into()));
        assert!(!destinations.contains(&"/dev/x".into()));
        let late: Vec<_> =
            container.mounts.iter().filter(|mount| is_late(&container, mount)).collect();
        assert_eq!(late.len(), 2);
    }

    #[test]
    fn privileges_are_absent_unless_wished() {
        let config = config_of(&PodSandbox::default(), &ContainerSpec::default());
        assert!(config["process"].get("noNewPrivileges").is_none());
        assert!(config["process"].get("capabilities").is_none());
        assert!(config["linux"].get("maskedPaths").is_some());
        assert!(config["linux"].get("rootfsPropagation").is_none());
        let spec = ContainerSpec { privileged: true, ..ContainerSpec::default() };
        let config = config_of(&PodSandbox::default(), &spec);
        assert!(config["linux"].get("maskedPaths").is_none());
        let sys = config["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys");
        assert!(sys.unwrap()["options"].as_array().unwrap().contains(&json!("rw")));
    }

    #[test]
    fn the_environment_has_what_programs_expect() {
        let pod = PodSandbox { hostname: "web-0".into(), ..PodSandbox::default() };
        let env = [("A", "1"), ("PATH", "/own"), ("A", "2")];
        let owned = |(n, v): (&str, &str)| (n.to_owned(), v.to_owned());
        let container = ContainerSpec { env: env.map(owned).to_vec(), ..ContainerSpec::default() };
        let identity = Identity { home: Some("/home/x".into()), ..Identity::default() };
        let more = [owned(("B", "3"))];
        assert_eq!(
            environment(&pod, &container, &identity, &more, true),
            ["PATH=/own", "TERM=xterm", "HOSTNAME=web-0", "HOME=/home/x", "A=2", "B=3"]
        );
    }
}
