//! The first moments of a shim: from a fresh process to namespaces that stand and a socket that
//! listens.

use super::namespaces;
use super::server::Shim;
use crate::runtime::layout::{Layout, PodRecord, load, make_private, store};
use crate::sys::cgroup::Cgroups;
use crate::sys::channel::{Channel, Listener};
use crate::sys::{fd, process};
use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;

/// How urgently the kernel shall spare a shim: after everything but what must never be killed.
const OOM_SCORE: i32 = -998;

/// Makes this process the shim of the pod whose record is below `run`. Returns the shim, ready to
/// serve; the parent has been told through descriptor 0.
pub(super) fn boot(run: &Path, pod: &str) -> io::Result<Shim> {
    // After a failure it stays open until the process ends and has said why.
    let parent = ManuallyDrop::new(Channel::from_fd(fd::take_stdin()?)?);
    let state = Path::new("");
    let record_path = Layout { run: run.into(), state: state.into() }.pod(pod).join("pod.json");
    let record: PodRecord = load(&record_path)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no record of the pod"))?;
    std::env::set_current_dir("/")?;
    store(&record.layout.shim_pid(pod), &std::process::id())?;
    process::new_session()?;
    process::become_subreaper()?;
    process::set_oom_score(OOM_SCORE)?;
    let ignored = [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGTERM];
    let signals = process::watch_signals(&[libc::SIGCHLD], &ignored)?;
    let cgroups = Cgroups::detect()?;
    cgroups.create(&record.shims_cgroup())?;
    cgroups.join(&record.shims_cgroup(), 0)?;
    let socket = record.layout.socket(pod);
    make_private(socket.parent().unwrap_or(Path::new("/")))?;
    // Before the namespaces: from now on a second shim of this pod would be noticed.
    let listener = Listener::bind(&socket)?;
    let reaper = namespaces::make(&record, &cgroups)?;
    let parent = ManuallyDrop::into_inner(parent);
    Ok(Shim::new(record, cgroups, signals, listener, parent, reaper))
}
