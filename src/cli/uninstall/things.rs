//! What there is to remove, one by one and in order: what runs, what the kernel holds, files, and
//! at last what the service was started from.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::files;
use super::processes::Process;
use super::receipt::{self, Receipt};
use super::scope::{Cluster, Scope};
use crate::cli::Failure;
use crate::net;
use crate::sys::cgroup::Cgroups;
use crate::sys::mount;

/// One thing to remove.
#[derive(Debug)]
pub enum Thing {
    /// A service that the init system runs or would run.
    Service(String),
    /// A process: a server, an agent, or a shim.
    Process(Process),
    /// A control group, with every process in it.
    Group(String, usize),
    /// Links, routes, addresses and the table, in words.
    Network(Vec<String>),
    /// A mount.
    Mount(PathBuf),
    /// A file, or a folder with all in it.
    Path(PathBuf),
    /// A folder that shall go if nothing is in it.
    Folder(PathBuf),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Process(one) => write!(f, "process {}: {}", one.pid, one.words.join(" ")),
            Self::Group(name, count) => write!(f, "cgroup {name} with {count} processes"),
            Self::Network(parts) => write!(f, "network: {}", parts.join(", ")),
            Self::Mount(at) => write!(f, "mount {}", at.display()),
            Self::Path(at) => write!(f, "{}", at.display()),
            Self::Folder(at) => write!(f, "empty folder {}", at.display()),
        }
    }
}

impl Thing {
    /// Removes it.
    pub fn remove(&self) -> Result<(), Failure> {
        match self {
            Self::Service(name) => systemctl(&["disable", "--now", name]),
            Self::Process(one) => one.end().map_err(Failure::of),
            Self::Group(name, _) => remove_group(name).map_err(Failure::of),
            Self::Network(_) => block_on(net::remove_all()),
            Self::Mount(at) => mount::detach(at).map_err(Failure::of),
            Self::Path(at) => files::remove(at).map_err(Failure::of),
            Self::Folder(at) => match fs::remove_dir(at) {
                // Somebody has put a file there.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other.map_err(Failure::of),
            },
        }
    }
}

/// Everything that is there now.
pub fn find(scope: &Scope) -> Result<Vec<Thing>, Failure> {
    let mut found: Vec<Thing> =
        scope.services.iter().filter(|one| is_known(one)).map(service).collect();
    let processes = Process::all().map_err(Failure::of)?;
    let (own, others): (Vec<_>, Vec<_>) = processes
        .into_iter()
        .partition(|one| scope.clusters.iter().any(|cluster| is_of(one, cluster)));
    found.extend(own.into_iter().map(Thing::Process));
    for cluster in &scope.clusters {
        found.extend(group(&cluster.places().cgroup).map_err(Failure::of)?);
    }
    found.extend(network(&others)?);
    for folder in scope.clusters.iter().flat_map(Cluster::folders) {
        let mounts = files::mounts_below(&folder).map_err(Failure::of)?;
        found.extend(mounts.into_iter().map(Thing::Mount));
    }
    let paths = scope.clusters.iter().flat_map(paths_of).chain(installed(scope)?);
    found.extend(paths.filter(|path| files::exists(path)).map(Thing::Path));
    found.extend(folders(scope).filter(|path| files::is_empty_folder(path)).map(Thing::Folder));
    Ok(found)
}

fn is_of(process: &Process, cluster: &Cluster) -> bool {
    process.runtime() == Some(&cluster.runtime())
        || (process.is_service() && process.holds(&cluster.locks()))
}

fn block_on<T>(work: impl Future<Output = net::Result<T>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::of)?.block_on(work).map_err(Failure::of)
}

fn service(receipt: &Receipt) -> Thing {
    Thing::Service(receipt.name.clone())
}

/// Whether the init system has the service: where there is none, its process is found by itself.
fn is_known(receipt: &Receipt) -> bool {
    let has_unit = receipt.unit.as_ref().is_some_and(|unit| files::exists(unit));
    let is = |question| {
        let mut command = Command::new("systemctl");
        let asked = command.args([question, "--quiet", &receipt.name]).status();
        asked.is_ok_and(|status| status.success())
    };
    has_unit && has_systemd() && (is("is-active") || is("is-enabled"))
}

/// Makes the init system forget the units that are gone.
pub fn forget_units(scope: &Scope) -> Result<(), Failure> {
    if scope.services.is_empty() || !has_systemd() {
        return Ok(());
    }
    // One that never failed cannot be reset: only the reload has to go well.
    for receipt in &scope.services {
        let _ = Command::new("systemctl").args(["reset-failed", "--quiet", &receipt.name]).output();
    }
    systemctl(&["daemon-reload"])
}

fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn systemctl(words: &[&str]) -> Result<(), Failure> {
    let output = Command::new("systemctl").args(words).output().map_err(Failure::of)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::Because(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

fn group(name: &str) -> io::Result<Option<Thing>> {
    let cgroups = match Cgroups::detect() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let exists = cgroups.hierarchies().iter().any(|one| one.mount.join(name).exists());
    let count = cgroups.processes(name)?.len();
    Ok(exists.then(|| Thing::Group(name.to_owned(), count)))
}

fn remove_group(name: &str) -> io::Result<()> {
    let cgroups = Cgroups::detect()?;
    cgroups.kill(name)?;
    cgroups.remove(name)
}

/// What is in the network namespace, unless another rk lives in it: what is there is then its.
fn network(others: &[Process]) -> Result<Option<Thing>, Failure> {
    if others.iter().any(|one| one.is_rk() && one.shares_network()) {
        return Ok(None);
    }
    let parts = block_on(net::traces())?;
    Ok((!parts.is_empty()).then_some(Thing::Network(parts)))
}

/// Files of a cluster, those that tell which others there are at the end.
fn paths_of(cluster: &Cluster) -> Vec<PathBuf> {
    let mut paths = logs(cluster);
    if is_own_kubeconfig(cluster) {
        paths.push(cluster.kubeconfig.clone());
    }
    paths.extend(cluster.folders());
    paths
}

/// Log folders of pods that lie where those of others may lie as well.
fn logs(cluster: &Cluster) -> Vec<PathBuf> {
    let folder = cluster.places().logs;
    if folder.starts_with(&cluster.data_dir) {
        return Vec::new();
    }
    let agent = cluster.data_dir.join("agent");
    let known = [agent.join("pods"), agent.join("runtime/pods"), cluster.runtime().join("pods")];
    let suffixes: Vec<String> =
        known.iter().flat_map(|at| names(at)).map(|uid| format!("_{uid}")).collect();
    let mut logs = names(&folder);
    logs.retain(|name| suffixes.iter().any(|suffix| name.ends_with(suffix)));
    logs.into_iter().map(|name| folder.join(name)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether the kubeconfig leads to this cluster: it shows the cluster's authority.
fn is_own_kubeconfig(cluster: &Cluster) -> bool {
    let authority = fs::read(cluster.data_dir.join("server/tls/server-ca.crt"));
    let text = fs::read_to_string(&cluster.kubeconfig);
    authority.is_ok_and(|pem| text.is_ok_and(|text| text.contains(&STANDARD.encode(pem))))
}

/// What `install.sh` has put in place; the executable only if no other service is of it.
fn installed(scope: &Scope) -> Result<Vec<PathBuf>, Failure> {
    let gone = |path: &PathBuf| scope.services.iter().any(|one| one.path == *path);
    let all = Receipt::all(Path::new(receipt::FOLDER))?;
    let stays: Vec<_> = all.iter().filter(|one| !gone(&one.path)).collect();
    let mut paths = Vec::new();
    for receipt in &scope.services {
        paths.extend(receipt.others.iter().cloned());
        paths.extend(receipt.environment.clone());
        paths.extend(receipt.unit.clone());
        let shared = stays.iter().any(|other| other.executable == receipt.executable);
        paths.extend(receipt.executable.clone().filter(|_| !shared));
        paths.push(receipt.path.clone());
    }
    if scope.whole {
        paths.push("/etc/rk".into());
    }
    Ok(paths)
}

/// Folders that rk makes and in which others may have put something.
fn folders(scope: &Scope) -> impl Iterator<Item = PathBuf> {
    let of = |cluster: &Cluster| {
        // Others may log there, too: without the cluster's own folder it is theirs.
        let logs = cluster.data_dir.exists().then(|| cluster.places().logs);
        logs.into_iter().chain([cluster.run_dir.clone(), cluster.data_dir.clone()])
    };
    let clusters = scope.clusters.iter().flat_map(of);
    let others = [receipt::FOLDER, "/etc/rk"].map(PathBuf::from);
    let others = others.into_iter().filter(|_| !scope.services.is_empty());
    clusters.chain(others)
}
