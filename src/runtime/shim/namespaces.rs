//! The pod's namespaces: made by a child that then ends, kept by mounts, so that no process has to
//! hold them; and the reaper that a shared PID namespace needs as its first process.

use super::protocol::{Fault, Report};
use crate::runtime::layout::{PodRecord, make_private};
use crate::runtime::spec::{PidShare, PodSandbox, Share};
use crate::sys::cgroup::Cgroups;
use crate::sys::channel::Channel;
use crate::sys::mount::{self, Passing};
use crate::sys::namespace::{self, Kind};
use crate::sys::process::{self, Forked};
use crate::sys::{fd, sysctl};
use std::io;
use std::path::Path;

/// Default size of `/dev/shm`, as everybody's.
const SHM_BYTES: u64 = 64 << 20;

/// Nobody, as far as the host is concerned: whom the reaper runs as.
const REAPER_USER: u32 = 65_535;

/// Makes what the pod asks for; returns the reaper of a shared PID namespace. Calling it again for
/// the same pod starts afresh.
pub(super) fn make(record: &PodRecord, cgroups: &Cgroups) -> io::Result<Option<i32>> {
    let pins = record.layout.pins(&record.sandbox.id);
    mount::detach_below(&pins)?;
    crate::runtime::layout::remove_all(&pins)?;
    make_private(&pins)?;
    if record.sandbox.ipc == Share::Pod {
        let shm = pins.join("shm");
        make_private(&shm)?;
        let size = record.sandbox.shm_bytes.unwrap_or(SHM_BYTES);
        mount::tmpfs(&shm, &format!("mode=1777,size={size}"))?;
    }
    let (mine, theirs) = Channel::pair()?;
    match process::fork()? {
        Forked::Child => {
            drop(mine);
            let report = match build(record, cgroups, &pins) {
                Ok(reaper) => Report::Made { pid: reaper.unwrap_or(0) },
                Err(error) => Report::Fault(Fault::from(error)),
            };
            let sent = serde_json::to_vec(&report).map_err(io::Error::from);
            let sent = sent.and_then(|frame| theirs.send(&frame, &[]));
            process::exit_now(i32::from(sent.is_err()));
        }
        Forked::Parent(_) => {
            drop(theirs);
            receive(&mine)
        }
    }
}

fn receive(channel: &Channel) -> io::Result<Option<i32>> {
    fd::set_nonblocking(channel, false)?;
    let mut buffer = vec![0; 4096];
    let frame = channel.receive(&mut buffer)?;
    let ended = || io::Error::other("the maker of the namespaces ended without a word");
    let (length, _) = frame.ok_or_else(ended)?;
    match serde_json::from_slice(&buffer[..length])? {
        Report::Made { pid } => Ok((pid > 0).then_some(pid)),
        Report::Fault(fault) => Err(io::Error::other(fault)),
    }
}

fn build(record: &PodRecord, cgroups: &Cgroups, pins: &Path) -> io::Result<Option<i32>> {
    let pod = &record.sandbox;
    let kinds = own_kinds(pod);
    namespace::leave(&kinds)?;
    if pod.net == Share::Pod {
        namespace::loopback_up()?;
    }
    if pod.uts == Share::Pod && !pod.hostname.is_empty() {
        namespace::set_hostname(&pod.hostname)?;
    }
    for (name, value) in &pod.sysctls {
        if !is_own(pod, name) {
            let message = format!("sysctl {name} does not belong to a namespace of the pod's own");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        sysctl::write(&sysctl::place(name), value)?;
    }
    for kind in &kinds {
        namespace::pin(*kind, &pins.join(kind.name()))?;
    }
    if pod.pid == PidShare::Pod { start_reaper(record, cgroups).map(Some) } else { Ok(None) }
}

fn own_kinds(pod: &PodSandbox) -> Vec<Kind> {
    let shares = [(pod.net, Kind::Net), (pod.ipc, Kind::Ipc), (pod.uts, Kind::Uts)];
    shares.into_iter().filter(|(share, _)| *share == Share::Pod).map(|(_, kind)| kind).collect()
}

/// Whether a kernel parameter belongs to a namespace that the pod does not share with the host.
fn is_own(pod: &PodSandbox, name: &str) -> bool {
    let place = sysctl::place(name);
    let ipc = ["kernel/shm", "kernel/msg", "kernel/sem", "fs/mqueue/"];
    (place.starts_with("net/") && pod.net == Share::Pod)
        || (ipc.iter().any(|prefix| place.starts_with(prefix)) && pod.ipc == Share::Pod)
}

fn start_reaper(record: &PodRecord, cgroups: &Cgroups) -> io::Result<i32> {
    let group = record.sandbox_cgroup();
    cgroups.create(&group)?;
    cgroups.join(&group, 0)?;
    namespace::leave(&[Kind::Pid])?;
    match process::fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => {
            let shut = shut_in(&record.layout.roots());
            process::exit_now(shut.map_or(1, |()| reap_for_ever()));
        }
    }
}

/// Leaves the reaper with nothing of the host that a container could reach through `/proc/1`.
fn shut_in(empty: &Path) -> io::Result<()> {
    fd::isolate(Vec::new())?;
    namespace::leave(&[Kind::Mount])?;
    mount::set_passing(Path::new("/"), Passing::Private, true)?;
    mount::hide_root(empty)?;
    process::set_name(c"rk-pause");
    process::become_user(REAPER_USER)?;
    process::set_dumpable(false)
}

/// What PID 1 does: takes in orphans, and ends when asked to.
fn reap_for_ever() -> i32 {
    loop {
        match process::wait_for_signal(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]) {
            libc::SIGTERM | libc::SIGINT => return 0,
            _ => while process::reap().is_some() {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pods_own_parameters_may_be_set() {
        let pod = PodSandbox::default();
        for name in ["net.ipv4.ip_forward", "net/core/somaxconn", "kernel.shmmax", "fs.mqueue.x"] {
            assert!(is_own(&pod, name), "{name}");
        }
        for name in ["vm.swappiness", "kernel.panic", "fs.file-max", "network"] {
            assert!(!is_own(&pod, name), "{name}");
        }
        let host = PodSandbox { net: Share::Host, ipc: Share::Host, ..pod };
        assert!(!is_own(&host, "net.ipv4.ip_forward") && !is_own(&host, "kernel.shmmax"));
    }
}
