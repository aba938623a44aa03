//! What can be done with one pod and its containers.

use super::session::{AttachSession, ExecSession, Input, Output};
use super::{Error, Pod, blocking, cleanup, link, system};
use crate::limits::CONTAINER_KILL_MAX;
use crate::runtime::container::{ContainerStatus, Exit, ExitCause, Phase};
use crate::runtime::layout::{is_id, load, make_private, store};
use crate::runtime::shim::protocol::{Answer, Call, Create, Fault, FaultKind};
use crate::runtime::shim::worker::limits;
use crate::runtime::spec::{ContainerSpec, ExecSpec, PodSandbox, Resources, Share, TerminalSize};
use crate::sys::cgroup::Usage;
use crate::sys::{fd, process};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A pod. Cheap to clone; outlives the pod harmlessly.
#[derive(Clone)]
pub struct PodHandle(pub(super) Arc<Pod>);

/// What a pod has used so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodStats {
    /// All of it.
    pub pod: Usage,
    /// By container, those that run.
    pub containers: BTreeMap<String, Usage>,
}

impl PodHandle {
    /// As it was run.
    pub fn sandbox(&self) -> &PodSandbox {
        &self.0.record.sandbox
    }

    /// The file that stands for the pod's network namespace; `None` with the host's.
    pub fn netns(&self) -> Option<PathBuf> {
        let pins = self.0.record.layout.pins(self.0.id());
        (self.sandbox().net == Share::Pod).then(|| pins.join("net"))
    }

    /// Whether the shim has died; the containers have all ended then, and the pod must be removed.
    pub fn is_dead(&self) -> bool {
        self.0.state.lock().dead
    }

    /// All containers that were created and not removed.
    pub fn containers(&self) -> Vec<ContainerStatus> {
        self.0.state.lock().containers.values().cloned().collect()
    }

    /// One container.
    pub fn container(&self, id: &str) -> Option<ContainerStatus> {
        self.0.state.lock().containers.get(id).cloned()
    }

    /// Sets the container up to the point where only its program is missing. One that exists with
    /// the same definition is a success.
    pub async fn create(&self, spec: ContainerSpec) -> Result<(), Error> {
        if !is_id(&spec.id) {
            return Err(Error::BadId(spec.id));
        }
        if self.container(&spec.id).is_some() {
            let same = self.spec(&spec.id).await?.as_ref() == Some(&spec);
            let differs = || Error::Differs(format!("container {}", spec.id));
            return if same { Ok(()) } else { Err(differs()) };
        }
        let wish = Create {
            container: spec.id.clone(),
            tty: spec.tty,
            stdin: spec.stdin,
            stdin_once: spec.stdin_once,
            log: spec.log.clone(),
            labels: spec.labels.clone(),
        };
        let id = spec.id.clone();
        self.blocking("cannot store a container", move |pod| {
            let layout = &pod.record.layout;
            make_private(&layout.container(pod.id(), &spec.id))?;
            store(&layout.container_spec(pod.id(), &spec.id), &spec)
        })
        .await?;
        let made = self.call(Call::Create(wish)).await;
        if made.is_err() && self.container(&id).is_none() {
            self.forget_files(id).await?;
        }
        made
    }

    /// Runs the created container's program. One that runs already is a success.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        self.call(Call::Start { container: id.to_owned() }).await
    }

    /// Sends a signal to the container's first process, or to all. One that has ended is no error.
    pub async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        if self.container(id).is_some_and(|status| status.phase == Phase::Exited) {
            return Ok(());
        }
        self.call(Call::Kill { container: id.to_owned(), signal, all }).await
    }

    /// Asks the container to end by its stop signal (or `signal`); kills it when it has not after
    /// `grace`. Returns how it ended.
    pub async fn stop(
        &self,
        id: &str,
        signal: Option<&str>,
        grace: Duration,
    ) -> Result<Exit, Error> {
        let wished = match signal {
            Some(signal) => Some(signal.to_owned()),
            None => self.spec(id).await?.and_then(|spec| spec.stop_signal),
        };
        let number = wished.as_deref().and_then(process::signal_number);
        if !grace.is_zero() {
            self.kill(id, number.unwrap_or(libc::SIGTERM), false).await?;
            if let Ok(exit) = tokio::time::timeout(grace, self.wait(id)).await {
                return exit;
            }
        }
        self.kill(id, libc::SIGKILL, true).await?;
        let killed = tokio::time::timeout(CONTAINER_KILL_MAX, self.wait(id)).await;
        let stuck = || Fault::new(FaultKind::Failed, format!("container {id} cannot be killed"));
        killed.unwrap_or_else(|_| Err(stuck().into()))
    }

    /// Waits until the container has ended.
    pub async fn wait(&self, id: &str) -> Result<Exit, Error> {
        let mut version = self.0.version.subscribe();
        loop {
            version.mark_unchanged();
            match self.container(id) {
                None => return Err(no_container(id)),
                Some(ContainerStatus { exit: Some(exit), .. }) => return Ok(exit),
                Some(_) => {}
            }
            // The sender lives as long as this handle.
            let _ = version.changed().await;
        }
    }

    /// Resolves when the container has ended or is gone: for whoever follows its log.
    pub fn over(&self, id: &str) -> impl Future<Output = ()> + Send + 'static {
        let (handle, id) = (self.clone(), id.to_owned());
        async move {
            let _ = handle.wait(&id).await;
        }
    }

    /// Removes a container, which is killed first when it has not ended. None there is no error.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        if !is_id(id) {
            return Err(Error::BadId(id.to_owned()));
        }
        if self.container(id).is_some_and(|status| status.phase != Phase::Exited) {
            self.stop(id, None, Duration::ZERO).await?;
        }
        if !self.is_dead() {
            match self.call(Call::Forget { container: id.to_owned() }).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        self.forget_files(id.to_owned()).await?;
        self.0.update(|state| {
            state.containers.remove(id);
        });
        Ok(())
    }

    /// Runs another process in a running container.
    pub async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecSession, Error> {
        let failed = system("cannot make the streams of a process");
        let (theirs, mut session) = self.exec_ends(spec).map_err(failed)?;
        let call = Call::Exec { container: id.to_owned(), tty: spec.tty };
        let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let (answer, fds) = link::of(&self.0)?.call(call, &fds).await?;
        let Answer::Exec { exec } = answer else {
            return Err(Fault::new(FaultKind::Other, "the shim does not answer exec").into());
        };
        session.number = exec;
        if let Some(master) = fds.into_iter().next() {
            terminal(&mut session, spec, master).map_err(system("cannot use a terminal"))?;
        }
        Ok(session)
    }

    /// The descriptors for the new process, and a session with the other ends.
    fn exec_ends(&self, spec: &ExecSpec) -> io::Result<(Vec<OwnedFd>, ExecSession)> {
        let text = serde_json::to_vec(spec)?;
        let mut theirs = vec![OwnedFd::from(fd::memory_file("exec", &text)?)];
        let mut session = ExecSession {
            stdin: None,
            stdout: None,
            stderr: None,
            master: None,
            pod: self.clone(),
            number: 0,
        };
        if spec.tty {
            return Ok((theirs, session));
        }
        let stdin = if spec.stdin {
            let (reader, writer) = fd::pipe()?;
            session.stdin = Some(Input::new(writer)?);
            reader
        } else {
            fd::dev_null()?
        };
        theirs.push(stdin);
        for (wanted, end) in
            [(spec.stdout, &mut session.stdout), (spec.stderr, &mut session.stderr)]
        {
            if wanted {
                let (reader, writer) = fd::pipe()?;
                *end = Some(Output::new(reader)?);
                theirs.push(writer);
            } else {
                theirs.push(fd::dev_null()?);
            }
        }
        Ok((theirs, session))
    }

    /// Taps the streams of a running container's first process.
    pub async fn attach(
        &self,
        id: &str,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> Result<AttachSession, Error> {
        let call = Call::Attach { container: id.to_owned(), stdin, stdout, stderr };
        let (_, fds) = link::of(&self.0)?.call(call, &[]).await?;
        let mut fds = fds.into_iter();
        let mut next = |wanted: bool| wanted.then(|| fds.next()).flatten();
        let (stdin, stdout, stderr) = (next(stdin), next(stdout), next(stderr));
        let failed = system("cannot use the streams of a container");
        let session = || -> io::Result<AttachSession> {
            Ok(AttachSession {
                stdin: stdin.map(Input::new).transpose()?,
                stdout: stdout.map(Output::new).transpose()?,
                stderr: stderr.map(Output::new).transpose()?,
            })
        };
        session().map_err(failed)
    }

    /// Sets the size of the terminal of a container's first process.
    pub async fn resize(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        self.call(Call::Resize { container: id.to_owned(), size }).await
    }

    /// Opens the container's log anew, after somebody else has moved it away.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        self.call(Call::ReopenLog { container: id.to_owned() }).await
    }

    /// Changes a container's limits while it runs; absent ones stay.
    pub async fn update(&self, id: &str, resources: Resources) -> Result<(), Error> {
        let group = self.0.record.container_cgroup(id);
        self.apply(group, resources).await
    }

    /// Changes the limits of the pod as a whole; absent ones stay.
    pub async fn update_pod(&self, resources: Resources) -> Result<(), Error> {
        let group = self.0.record.cgroup();
        self.apply(group, resources).await
    }

    async fn apply(&self, group: String, resources: Resources) -> Result<(), Error> {
        self.blocking("cannot set limits", move |pod| {
            pod.shared.cgroups.apply(&group, &limits(&resources)).map(drop)
        })
        .await
    }

    /// What the pod and its running containers have used so far.
    pub async fn stats(&self) -> Result<PodStats, Error> {
        let running: Vec<String> = self
            .containers()
            .into_iter()
            .filter(|status| status.phase == Phase::Running)
            .map(|status| status.id)
            .collect();
        self.blocking("cannot read usage", move |pod| {
            let cgroups = &pod.shared.cgroups;
            let mut stats = PodStats::default();
            for id in running {
                // One that has ended meanwhile has no group any more.
                if let Ok(usage) = cgroups.usage(&pod.record.container_cgroup(&id)) {
                    stats.containers.insert(id, usage);
                }
            }
            // Last, so that it is not less than what its containers have used.
            stats.pod = cgroups.usage(&pod.record.cgroup())?;
            Ok(stats)
        })
        .await
    }

    pub(super) async fn kill_exec(&self, exec: u64, signal: i32) -> Result<(), Error> {
        match self.call(Call::KillExec { exec, signal }).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    pub(super) async fn exec_end(&self, exec: u64) -> Exit {
        let mut version = self.0.version.subscribe();
        loop {
            version.mark_unchanged();
            let known = self.0.state.lock().execs.get(&exec).cloned();
            match known {
                Some(None) => {}
                Some(Some(exit)) => return exit,
                None => return unseen(),
            }
            // The sender lives as long as this handle.
            let _ = version.changed().await;
        }
    }

    async fn spec(&self, id: &str) -> Result<Option<ContainerSpec>, Error> {
        let path = self.0.record.layout.container_spec(self.0.id(), id);
        self.blocking("cannot read a container's definition", move |_| load(&path)).await
    }

    async fn forget_files(&self, id: String) -> Result<(), Error> {
        self.blocking("cannot remove a container", move |pod| {
            cleanup::container(&pod.record, &pod.shared.cgroups, &id)
        })
        .await
    }

    async fn call(&self, call: Call) -> Result<(), Error> {
        link::of(&self.0)?.call(call, &[]).await?;
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Pod) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let pod = self.0.clone();
        blocking(move || work(&pod)).await.map_err(system(what))
    }
}

/// Gives the session the master of its terminal.
fn terminal(session: &mut ExecSession, spec: &ExecSpec, master: OwnedFd) -> io::Result<()> {
    if spec.stdin {
        session.stdin = Some(Input::new(fd::duplicate(&master)?)?);
    }
    session.stdout = Some(Output::new(fd::duplicate(&master)?)?);
    session.master = Some(master.into());
    Ok(())
}

fn no_container(id: &str) -> Error {
    Fault::new(FaultKind::NotFound, format!("there is no container {id}")).into()
}

fn unseen() -> Exit {
    Exit {
        code: 255,
        signal: None,
        oom_killed: false,
        finished_ns: crate::util::clock::now().0,
        cause: ExitCause::Program,
    }
}
