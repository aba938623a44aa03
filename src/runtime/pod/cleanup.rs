//! Ending shims, and removing what is left of pods and containers. Each step may be repeated.

use super::link::{self, Link};
use super::{Error, Pod, blocking, orphan, system};
use crate::limits::SHIM_END_MAX;
use crate::runtime::container::{ContainerStatus, ExitCause};
use crate::runtime::layout::{PodRecord, load, make_private, remove_all, store};
use crate::runtime::shim::protocol::Call;
use crate::sys::cgroup::Cgroups;
use crate::sys::mount;
use crate::sys::process::PidFd;
use crate::sys::reactor;
use std::fs;
use std::io;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// Makes the shim end, by word or by force, and waits for that.
pub(super) async fn end(pod: &Arc<Pod>) {
    // From here on the connection's end is expected.
    let link = pod.link.lock().take();
    let process = match &link {
        Some(link) => link.process(),
        None => silent(pod),
    };
    let process = process.and_then(|process| process.map(reactor::register).transpose());
    match process {
        Ok(Some(process)) => end_process(pod, link.as_deref(), &process).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(pod = pod.id(), %error, "cannot find shim"),
    }
    kill_child(pod).await;
}

/// The process of a shim that lives and does not answer.
fn silent(pod: &Pod) -> io::Result<Option<PidFd>> {
    if !super::adopt::is_held(pod)? {
        return Ok(None);
    }
    match load::<i32>(&pod.record.layout.shim_pid(pod.id()))? {
        Some(pid) => PidFd::open(pid),
        None => Ok(None),
    }
}

async fn end_process(pod: &Pod, link: Option<&Link>, process: &AsyncFd<PidFd>) {
    let gone = async {
        if let Some(link) = link {
            // The reply is the end of the connection, which comes back as a fault.
            let _ = link.call(Call::Shutdown, &[]).await;
        } else {
            process.get_ref().kill(libc::SIGKILL)?;
        }
        process.readable().await.map(drop)
    };
    match tokio::time::timeout(SHIM_END_MAX, gone).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(pod = pod.id(), %error, "cannot end shim"),
        Err(_) => {
            tracing::warn!(pod = pod.id(), "shim does not end by itself");
            if let Err(error) = process.get_ref().kill(libc::SIGKILL) {
                tracing::warn!(pod = pod.id(), %error, "cannot kill shim");
            }
        }
    }
}

/// Reaps the shim, if it is this process's child, however far it has come.
async fn kill_child(pod: &Arc<Pod>) {
    let child = pod.child.lock().take();
    if let Some(mut child) = child {
        let reaped = blocking(move || {
            child.kill()?;
            child.wait()
        });
        if let Err(error) = reaped.await {
            tracing::warn!(pod = pod.id(), %error, "cannot reap shim");
        }
    }
}

/// After a shim's death: kills what it left, stores and tells how the containers ended.
pub(super) async fn bury(pod: &Arc<Pod>, cause: ExitCause) -> io::Result<()> {
    kill_child(pod).await;
    let ended: Vec<ContainerStatus> = {
        let state = pod.state.lock();
        state.containers.values().map(|status| orphan(status, cause)).collect()
    };
    {
        let (pod, ended) = (pod.clone(), ended.clone());
        blocking(move || {
            pod.shared.cgroups.kill(&pod.record.cgroup())?;
            for status in &ended {
                let path = pod.record.layout.status(pod.id(), &status.id);
                path.parent().map_or(Ok(()), make_private)?;
                store(&path, status)?;
            }
            Ok(())
        })
        .await?;
    }
    pod.update(|state| {
        state.containers = ended.into_iter().map(|one| (one.id.clone(), one)).collect();
        link::end_execs(state, |_| true, cause);
        state.dead = true;
    });
    Ok(())
}

/// Removes all that is left of a pod whose shim has ended.
pub(super) async fn pod(pod: Arc<Pod>) -> Result<(), Error> {
    blocking(move || {
        let (record, id) = (&pod.record, pod.id());
        let (cgroups, layout) = (&pod.shared.cgroups, &record.layout);
        cgroups.kill(&record.cgroup())?;
        cgroups.remove(&record.cgroup())?;
        mount::detach_below(&layout.pins(id))?;
        remove_all(&layout.pins(id))?;
        for container in crate::runtime::layout::entries(&layout.pod(id).join("c"))? {
            remove_root(record, &container)?;
        }
        remove_file(&layout.socket(id))?;
        remove_all(&layout.pod(id))?;
        remove_all(&layout.pod_state(id))?;
        pod.update(|state| {
            state.containers.clear();
            state.dead = true;
        });
        Ok(())
    })
    .await
    .map_err(system("cannot remove a pod"))
}

/// Removes all that is left of a container that has ended.
pub(super) fn container(record: &PodRecord, cgroups: &Cgroups, id: &str) -> io::Result<()> {
    let (layout, pod) = (&record.layout, &record.sandbox.id);
    cgroups.kill(&record.container_cgroup(id))?;
    cgroups.remove(&record.container_cgroup(id))?;
    remove_all(&layout.oci(pod).join(id))?;
    remove_all(&layout.container(pod, id))?;
    remove_root(record, id)?;
    match layout.status(pod, id).parent() {
        Some(directory) => remove_all(directory),
        None => Ok(()),
    }
}

/// The empty directory on which the container's root was mounted, in its own namespace.
fn remove_root(record: &PodRecord, container: &str) -> io::Result<()> {
    match fs::remove_dir(record.layout.roots().join(container)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_file(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
