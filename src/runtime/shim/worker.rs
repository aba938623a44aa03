//! The child that makes one container, or one more process in it, by libcontainer, and ends.
//!
//! Libcontainer changes its caller's working directory, dumpability and out-of-memory score, and
//! runs ordinary code between clone and exec. All of that is harmless in a process that has one
//! thread, does this one thing and exits; the process it made then belongs to the shim.

use super::diagnosis::Diagnosis;
use super::executor::{Command, Executor, LateMount};
use super::protocol::{Fault, FaultKind, Report};
use crate::limits::PASSWD_BYTES_MAX;
use crate::runtime::layout::{PodRecord, load, make_private};
use crate::runtime::seccomp;
use crate::runtime::spec::privileges::{self, Node};
use crate::runtime::spec::user::{self, Identity};
use crate::runtime::spec::{
    ContainerSpec, ExecSpec, MountSource, PidShare, Resources, Rootfs, oci,
};
use crate::sys::cgroup::{Cgroups, Limits, Mode};
use crate::sys::channel::{Channel, FdSocket};
use crate::sys::fs::Dir;
use crate::sys::fs::overlay::Overlay;
use crate::sys::namespace::{self, Kind};
use crate::sys::{capability, fd, mount, process};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What a worker is told by the shim that forks it.
pub(super) struct Job<'a> {
    pub(super) record: &'a PodRecord,
    /// The shim's process id.
    pub(super) shim: u32,
    pub(super) cgroups: &'a Cgroups,
    pub(super) container: &'a str,
    /// The first process of each container, for joining PID namespaces.
    pub(super) reaper: Option<i32>,
    pub(super) target: Option<i32>,
}

/// The ends that the new process gets. With a terminal there are none.
pub(super) struct Stdio {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// What is to be made.
pub(super) enum Task {
    /// The container.
    Create,
    /// Another process in it; the spec is in the file.
    Exec { spec: fs::File, init: i32, number: u64 },
}

/// The container whose PID namespace this one wants to join, if it names one.
pub(super) fn target(job: &Job<'_>) -> Option<String> {
    read_spec(job).ok()?.pid_of
}

/// Does the job in this forked child, reports, and ends.
pub(super) fn run(job: &Job<'_>, task: Task, stdio: Option<Stdio>, report: Channel) -> ! {
    process::default_signals();
    // What is being made without a shim would be nobody's.
    if process::end_with_parent(job.shim).is_err() {
        process::exit_now(1);
    }
    let outcome = isolate(task, stdio, report).map_err(Fault::from);
    let code = match outcome {
        Err(_) => 1,
        Ok((task, stdio, report)) => {
            let made = match task {
                Task::Create => create(job, stdio, &report),
                Task::Exec { spec, init, number } => exec(job, spec, init, number, stdio, &report),
            };
            i32::from(tell(&report, made).is_err())
        }
    };
    process::exit_now(code)
}

/// Closes everything that is the shim's: what the new process holds until it executes its program,
/// nobody else would see the end of.
fn isolate(
    task: Task,
    stdio: Option<Stdio>,
    report: Channel,
) -> io::Result<(Task, Option<Stdio>, Channel)> {
    let mut kept = vec![report.into_fd()];
    let with_stdio = stdio.is_some();
    kept.extend(stdio.into_iter().flat_map(|own| [own.stdin, own.stdout, own.stderr]));
    let (task, spec) = match task {
        Task::Create => (Task::Create, None),
        Task::Exec { spec, init, number } => {
            let copy = spec.try_clone()?;
            (Task::Exec { spec, init, number }, Some(OwnedFd::from(copy)))
        }
    };
    kept.extend(spec);
    let mut kept = fd::isolate(kept)?.into_iter();
    let gone = || io::Error::other("a descriptor is missing");
    let report = Channel::from_fd(kept.next().ok_or_else(gone)?)?;
    fd::set_nonblocking(&report, false)?;
    let mut take = || kept.next().ok_or_else(gone);
    let stdio = if with_stdio {
        Some(Stdio { stdin: take()?, stdout: take()?, stderr: take()? })
    } else {
        None
    };
    let task = match task {
        Task::Create => Task::Create,
        Task::Exec { spec, init, number } => {
            // Its number now means another file.
            std::mem::forget(spec);
            Task::Exec { spec: fs::File::from(take()?), init, number }
        }
    };
    Ok((task, stdio, report))
}

fn tell(report: &Channel, made: Result<(i32, Option<OwnedFd>), Fault>) -> io::Result<()> {
    let (message, master) = match made {
        Ok((pid, master)) => (Report::Made { pid }, master),
        Err(fault) => (Report::Fault(fault), None),
    };
    let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
    report.send(&serde_json::to_vec(&message)?, &fds)
}

fn create(
    job: &Job<'_>,
    stdio: Option<Stdio>,
    report: &Channel,
) -> Result<(i32, Option<OwnedFd>), Fault> {
    let spec = read_spec(job)?;
    process::set_oom_score(spec.oom_score_adj)?;
    let nodes = device_nodes(&spec)?;
    make_group(job, &spec, &nodes)?;
    namespace::leave(&[Kind::Mount])?;
    let root = mount_root(job, &spec)?;
    let identity = identity(&root, &spec)?;
    let bundle = job.record.layout.container(&job.record.sandbox.id, job.container).join("bundle");
    make_private(&bundle)?;
    let nodes: Vec<Node> = nodes.into_iter().map(|(node, _)| node).collect();
    write_config(job, &spec, &identity, &root, &nodes, &bundle)?;
    let command = Command {
        args: spec.args.clone(),
        env: oci::environment(&job.record.sandbox, &spec, &identity, &[], spec.tty),
        cwd: spec.cwd.clone(),
    };
    let mut executor = executor(&spec, command, report)?;
    executor.propagation = propagation(&spec);
    executor.late = late_mounts(&spec)?;
    let state = job.record.layout.oci(&job.record.sandbox.id);
    make_private(&state)?;
    // What a creation that was cut short has left.
    crate::runtime::layout::remove_all(&state.join(job.container))?;
    let diagnosis = Diagnosis::begin()?;
    let (builder, console) = builder(job, &state, stdio, executor, spec.tty, &bundle)?;
    let init = builder.as_init(&bundle).with_systemd(false).with_detach(true).as_sibling(false);
    let made = init.build().map_err(|error| diagnosis.fault(&error))?;
    let pid = made.pid().ok_or_else(|| Fault::new(FaultKind::Failed, "no process was made"))?;
    Ok((pid.as_raw(), console.map(FdSocket::take).transpose()?))
}

fn exec(
    job: &Job<'_>,
    mut file: fs::File,
    init: i32,
    number: u64,
    stdio: Option<Stdio>,
    report: &Channel,
) -> Result<(i32, Option<OwnedFd>), Fault> {
    io::Seek::rewind(&mut file)?;
    let wish: ExecSpec = serde_json::from_reader(file)
        .map_err(|error| Fault::new(FaultKind::Invalid, error.to_string()))?;
    let mut spec = read_spec(job)?;
    process::set_oom_score(spec.oom_score_adj)?;
    let root = PathBuf::from(format!("/proc/{init}/root"));
    let identity = identity(&root, &spec)?;
    let env = oci::environment(&job.record.sandbox, &spec, &identity, &wish.env, wish.tty);
    let cwd = if wish.cwd.is_empty() { spec.cwd.clone() } else { wish.cwd };
    let command = Command { args: wish.args.clone(), env, cwd };
    (spec.args, spec.tty) = (wish.args, wish.tty);
    let process = oci::process(&context(job, &spec, &identity, &root, &[], &[]));
    let process = fd::memory_file("process", process.to_string().as_bytes())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", process.as_raw_fd()));
    let mut executor = executor(&spec, command, report)?;
    executor.joins = true;
    executor.size = wish.size.filter(|_| wish.tty);
    // Libcontainer leaves sockets beside the state that it works on: it gets a copy.
    let state = Scratch::new(job, number)?;
    let diagnosis = Diagnosis::begin()?;
    let (builder, console) = builder(job, &state.0, stdio, executor, spec.tty, &state.0)?;
    let tenant = builder.as_tenant().with_detach(true).as_sibling(false);
    let made = tenant.with_process(Some(&path)).build();
    let pid = made.map_err(|error| diagnosis.fault(&error))?;
    Ok((pid.as_raw(), console.map(FdSocket::take).transpose()?))
}

/// A copy of libcontainer's state of a running container; gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(job: &Job<'_>, number: u64) -> Result<Self, Fault> {
        let layout = &job.record.layout;
        let pod = &job.record.sandbox.id;
        let scratch = Self(layout.pod(pod).join("x").join(number.to_string()));
        let copy = scratch.0.join(job.container);
        make_private(&copy)?;
        let original = layout.oci(pod).join(job.container).join("state.json");
        fs::copy(original, copy.join("state.json"))?;
        let failed =
            |error: &dyn std::fmt::Display| Fault::new(FaultKind::Failed, error.to_string());
        let mut state = Container::load(copy).map_err(|error| failed(&error))?;
        // The shim started it without libcontainer's knowledge.
        state
            .set_status(libcontainer::container::ContainerStatus::Running)
            .save()
            .map_err(|error| failed(&error))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in a tmpfs and goes with the pod.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read_spec(job: &Job<'_>) -> Result<ContainerSpec, Fault> {
    let path = job.record.layout.container_spec(&job.record.sandbox.id, job.container);
    let spec: Option<ContainerSpec> = load(&path)?;
    spec.ok_or_else(|| Fault::new(FaultKind::NotFound, format!("{} is gone", path.display())))
}

/// Devices with the access that the container gets to them.
fn device_nodes(spec: &ContainerSpec) -> Result<Vec<(Node, String)>, Fault> {
    let invalid = |error: io::Error| Fault::new(FaultKind::Invalid, error.to_string());
    if spec.privileged {
        let all = privileges::all_nodes()?;
        return Ok(all.into_iter().map(|node| (node, String::new())).collect());
    }
    let mut all = Vec::new();
    for device in &spec.devices {
        let nodes = privileges::nodes(device).map_err(invalid)?;
        all.extend(nodes.into_iter().map(|node| (node, device.permissions.clone())));
    }
    Ok(all)
}

fn make_group(job: &Job<'_>, spec: &ContainerSpec, nodes: &[(Node, String)]) -> Result<(), Fault> {
    let group = job.record.container_cgroup(job.container);
    job.cgroups.create(&group)?;
    let skipped = job.cgroups.apply(&group, &limits(&spec.resources))?;
    if !skipped.is_empty() {
        eprintln!("{}: this kernel has no cgroup controllers {skipped:?}", job.container);
    }
    if let Some(rules) = privileges::device_rules(spec, nodes) {
        job.cgroups.allow_devices(&group, &rules)?;
    }
    Ok(())
}

/// The same limits as the kernel's face takes them.
pub(crate) fn limits(resources: &Resources) -> Limits {
    Limits {
        cpu_shares: resources.cpu_shares,
        cpu_quota_us: resources.cpu_quota_us,
        cpu_period_us: resources.cpu_period_us,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        memory_bytes: resources.memory_bytes,
        pids: resources.pids,
        hugepages: resources.hugepages.clone(),
        oom_group: resources.oom_group,
    }
}

fn mount_root(job: &Job<'_>, spec: &ContainerSpec) -> Result<PathBuf, Fault> {
    match &spec.rootfs {
        Rootfs::Path(path) => Ok(fs::canonicalize(path).map_err(|error| {
            Fault::new(FaultKind::Invalid, format!("root {}: {error}", path.display()))
        })?),
        Rootfs::Overlay { lower, upper, work } => {
            let root = job.record.layout.roots().join(job.container);
            make_private(&root)?;
            // Its mode becomes that of the container's root.
            fs::DirBuilder::new().recursive(true).mode(0o755).create(upper)?;
            make_private(work)?;
            Overlay { lower, upper, work }.mount_alone(&root).map_err(|error| {
                Fault::new(FaultKind::Failed, format!("cannot mount the root: {error}"))
            })?;
            Ok(root)
        }
    }
}

fn identity(root: &Path, spec: &ContainerSpec) -> Result<Identity, Fault> {
    let (passwd, group) = (account_file(root, "etc/passwd")?, account_file(root, "etc/group")?);
    user::resolve(&spec.user, &passwd, &group)
        .map_err(|error| Fault::new(FaultKind::Invalid, error.to_string()))
}

/// The text of an image's user or group file; nothing if there is none. Whatever an image puts in
/// its place, a pipe, a device or an endless file, is not waited for.
fn account_file(root: &Path, path: &str) -> Result<String, Fault> {
    let mut text = Vec::new();
    let opened = Dir::open(root).and_then(|root| root.open_file_beneath(Path::new(path)));
    match opened.and_then(|file| file.take(PASSWD_BYTES_MAX).read_to_end(&mut text)) {
        Ok(_) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Fault::new(FaultKind::Invalid, format!("/{path} of the image: {error}"))),
    }
}

fn context<'a>(
    job: &Job<'a>,
    spec: &'a ContainerSpec,
    identity: &'a Identity,
    root: &'a Path,
    nodes: &'a [Node],
    cgroup_v1: &'a [(String, PathBuf)],
) -> oci::Context<'a> {
    oci::Context {
        pod: &job.record.sandbox,
        container: spec,
        identity,
        root,
        pins: Path::new(""),
        nodes,
        cgroup: "",
        cgroup_v1,
        pid_namespace: None,
        apparmor: has_apparmor(),
    }
}

pub(crate) fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|on| on.starts_with('Y'))
}

fn write_config(
    job: &Job<'_>,
    spec: &ContainerSpec,
    identity: &Identity,
    root: &Path,
    nodes: &[Node],
    bundle: &Path,
) -> Result<(), Fault> {
    let pins = job.record.layout.pins(&job.record.sandbox.id);
    let group = job.record.container_cgroup(job.container);
    let v1 = if job.cgroups.mode() == Mode::V2 { Vec::new() } else { v1_directories(job, &group) };
    let joined = match (job.target, job.record.sandbox.pid) {
        (Some(pid), _) => Some(pid),
        (None, PidShare::Pod) => job.reaper,
        (None, _) => None,
    };
    let joined = joined.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/pid")));
    let cgroup = format!("/{group}");
    let config = oci::config(&oci::Context {
        pins: &pins,
        cgroup: &cgroup,
        pid_namespace: joined.as_deref(),
        ..context(job, spec, identity, root, nodes, &v1)
    });
    Ok(crate::runtime::layout::store(&bundle.join("config.json"), &config)?)
}

/// Each v1 hierarchy's name as it is mounted, and this container's directory in it.
fn v1_directories(job: &Job<'_>, group: &str) -> Vec<(String, PathBuf)> {
    let named = |hierarchy: &crate::sys::cgroup::Hierarchy| {
        let name = hierarchy.mount.file_name()?.to_string_lossy().into_owned();
        Some((name, hierarchy.mount.join(group)))
    };
    job.cgroups.hierarchies().iter().filter_map(named).collect()
}

fn executor(spec: &ContainerSpec, command: Command, report: &Channel) -> Result<Executor, Fault> {
    let invalid = |error: &dyn std::fmt::Display| Fault::new(FaultKind::Invalid, error.to_string());
    let keep = privileges::capabilities(spec, capability::permitted()?)
        .map_err(|error| invalid(&error))?;
    let wanted =
        if spec.privileged { &crate::runtime::spec::Seccomp::Unconfined } else { &spec.seccomp };
    let filter = seccomp::filter(wanted, keep).map_err(|error| invalid(&error))?;
    Ok(Executor {
        command,
        keep,
        filter,
        no_new_privileges: spec.no_new_privileges,
        propagation: Vec::new(),
        late: Vec::new(),
        joins: false,
        size: None,
        report: report.as_raw_fd(),
    })
}

fn propagation(spec: &ContainerSpec) -> Vec<(PathBuf, mount::Passing)> {
    use crate::runtime::spec::Propagation;
    let own = spec.mounts.iter().filter(|mount| !oci::is_late(spec, mount));
    own.filter(|mount| matches!(mount.source, MountSource::Bind { .. }))
        .map(|mount| {
            let passing = match oci::propagation(mount) {
                Propagation::Private => mount::Passing::Private,
                Propagation::HostToContainer => mount::Passing::Slave,
                Propagation::Bidirectional => mount::Passing::Shared,
            };
            (mount.destination.clone(), passing)
        })
        .collect()
}

fn late_mounts(spec: &ContainerSpec) -> Result<Vec<LateMount>, Fault> {
    let mut all = Vec::new();
    for wish in spec.mounts.iter().filter(|mount| oci::is_late(spec, mount)) {
        let MountSource::Bind { path, .. } = &wish.source else {
            let message = format!("a tmpfs over {} is not supported", wish.destination.display());
            return Err(Fault::new(FaultKind::Invalid, message));
        };
        let tree = mount::detached(path, true).map_err(|error| {
            Fault::new(FaultKind::Invalid, format!("mount of {}: {error}", path.display()))
        })?;
        if wish.read_only {
            mount::make_read_only(&tree, wish.recursive_read_only)?;
        }
        all.push(LateMount { tree: std::rc::Rc::new(tree), target: wish.destination.clone() });
    }
    all.sort_by_key(|late| late.target.components().count());
    Ok(all)
}

fn builder(
    job: &Job<'_>,
    state: &Path,
    stdio: Option<Stdio>,
    executor: Executor,
    tty: bool,
    scratch: &Path,
) -> Result<(ContainerBuilder, Option<FdSocket>), Fault> {
    let failed = |error: &dyn std::fmt::Display| Fault::new(FaultKind::Failed, error.to_string());
    let mut builder = ContainerBuilder::new(job.container.to_owned(), SyscallType::Linux)
        .with_root_path(state)
        .map_err(|error| failed(&error))?
        .with_executor(executor);
    if tty {
        let path = scratch.join("console.sock");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let socket = FdSocket::bind(&path)?;
        return Ok((builder.with_console_socket(Some(path)), Some(socket)));
    }
    if let Some(own) = stdio {
        builder = builder.with_stdin(own.stdin).with_stdout(own.stdout).with_stderr(own.stderr);
    }
    Ok((builder, None))
}
