//! The shim's loop: one thread, one `poll`, nothing that waits for anybody.
//!
//! Invariants: a worker's report is read before the end of the process that it reports; the end of
//! a container is stored and told only after its last output is in its log.

use super::connection::Connection;
use super::container::Container;
use super::protocol::{Answer, Call, Create, Fault, FaultKind, Message, Report, Request, VERSION};
use super::worker::{self, Job, Stdio, Task};
use crate::limits::{SHIM_CONNECTIONS_MAX, SHIM_EXECS_MAX, SHIM_FRAME_BYTES_MAX};
use crate::runtime::container::{Exit, ExitCause, Phase};
use crate::runtime::layout::{PodRecord, make_private, store};
use crate::runtime::spec::PidShare;
use crate::sys::cgroup::Cgroups;
use crate::sys::channel::{Channel, Listener, poke_stream};
use crate::sys::process::{self, Ended, Forked, SignalWatch};
use crate::sys::{fd, fd::Interest};
use crate::util::clock;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// What a descriptor in the loop belongs to.
#[derive(Debug, Clone)]
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Worker(u64),
    Report(String),
    Output(String, usize),
    Outlet(String, usize),
}

/// A worker at work, and who waits for it.
struct Work {
    channel: Channel,
    asker: (u64, u64),
    container: String,
    /// The number of the exec; `None` for a creation.
    exec: Option<u64>,
    /// Why a creation fails. Its worker still takes away what it has made.
    fault: Option<Fault>,
}

/// See the module.
pub(super) struct Shim {
    record: PodRecord,
    cgroups: Cgroups,
    signals: SignalWatch,
    listener: Listener,
    reaper: Option<i32>,
    connections: BTreeMap<u64, Connection>,
    containers: BTreeMap<String, Container>,
    work: BTreeMap<u64, Work>,
    /// Running execs: process id and number.
    execs: BTreeMap<i32, u64>,
    next: u64,
    buffer: Vec<u8>,
    over: bool,
}

impl Shim {
    pub(super) fn new(
        record: PodRecord,
        cgroups: Cgroups,
        signals: SignalWatch,
        listener: Listener,
        parent: Channel,
        reaper: Option<i32>,
    ) -> Self {
        Self {
            record,
            cgroups,
            signals,
            listener,
            reaper,
            connections: BTreeMap::from([(0, Connection::new(parent))]),
            containers: BTreeMap::new(),
            work: BTreeMap::new(),
            execs: BTreeMap::new(),
            next: 1,
            buffer: vec![0; SHIM_FRAME_BYTES_MAX / 2],
            over: false,
        }
    }

    /// Serves until told to shut down.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        while !self.over {
            let (sources, interests) = self.interests();
            let ready = fd::wait(&interests, self.patience())?;
            for (source, ready) in sources.into_iter().zip(ready) {
                if ready.any() {
                    self.handle(source, ready);
                }
            }
            self.cut_stalled();
        }
        self.shut_down()
    }

    fn interests(&self) -> (Vec<Source>, Vec<Interest>) {
        let read = |fd| Interest { fd, read: true, write: false };
        let mut all = vec![
            (Source::Signals, read(self.signals.as_raw_fd())),
            (Source::Listener, read(self.listener.as_raw_fd())),
        ];
        for (id, connection) in &self.connections {
            let interest = Interest { write: connection.has_waiting(), ..read(connection.raw()) };
            all.push((Source::Connection(*id), interest));
        }
        for (id, work) in &self.work {
            all.push((Source::Worker(*id), read(work.channel.as_raw_fd())));
        }
        for (id, container) in &self.containers {
            if let Some(report) = &container.report {
                // Silent until the start, unless the process dies.
                all.push((Source::Report(id.clone()), read(report.as_raw_fd())));
            }
            for (index, output) in container.outputs.iter().enumerate() {
                if output.may_flow(&container.outlets) {
                    all.push((Source::Output(id.clone(), index), read(output.raw())));
                }
            }
            for (index, outlet) in container.outlets.iter().enumerate() {
                let interest = Interest { fd: outlet.raw(), read: false, write: outlet.holds() };
                all.push((Source::Outlet(id.clone(), index), interest));
            }
        }
        all.into_iter().unzip()
    }

    /// How long the loop may sleep: until the first slow reader is cut.
    fn patience(&self) -> Option<Duration> {
        let outlets = self.containers.values().flat_map(|container| &container.outlets);
        let first = outlets.filter_map(super::streams::Outlet::deadline).min()?;
        Some(first.saturating_duration_since(clock::instant()))
    }

    fn cut_stalled(&mut self) {
        let now = clock::instant();
        for container in self.containers.values_mut() {
            container.outlets.retain(|outlet| outlet.deadline().is_none_or(|end| end > now));
        }
    }

    fn handle(&mut self, source: Source, ready: fd::Ready) {
        match source {
            Source::Signals => self.children_ended(),
            Source::Listener => self.accept(),
            Source::Connection(id) => self.serve_connection(id, ready),
            Source::Worker(id) => self.worker_reports(id),
            Source::Report(id) => self.program_reports(&id),
            Source::Output(id, index) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.pump(index, &mut self.buffer);
                }
            }
            Source::Outlet(id, index) => {
                let container = self.containers.get_mut(&id);
                let Some(outlets) = container.map(|container| &mut container.outlets) else {
                    return;
                };
                if let Some(outlet) = outlets.get_mut(index) {
                    outlet.flush();
                    let done =
                        ready.hangup || (self.is_over(&id) && !self.outlet_holds(&id, index));
                    if done {
                        self.drop_outlet(&id, index);
                    }
                }
            }
        }
    }

    fn is_over(&self, id: &str) -> bool {
        self.containers.get(id).is_none_or(|one| one.status.phase == Phase::Exited)
    }

    fn outlet_holds(&self, id: &str, index: usize) -> bool {
        let outlets = self.containers.get(id).map(|container| &container.outlets);
        outlets.and_then(|outlets| outlets.get(index)).is_some_and(super::streams::Outlet::holds)
    }

    /// Moves no other outlet but the last, so that what this round of the loop still has to say is
    /// about the outlet that it means, or about none.
    fn drop_outlet(&mut self, id: &str, index: usize) {
        if let Some(container) = self.containers.get_mut(id)
            && index < container.outlets.len()
        {
            container.outlets.swap_remove(index);
        }
    }

    fn accept(&mut self) {
        while let Ok(channel) = self.listener.accept() {
            if self.connections.len() < SHIM_CONNECTIONS_MAX {
                self.connections.insert(self.next, Connection::new(channel));
                self.next += 1;
            }
        }
    }

    fn serve_connection(&mut self, id: u64, ready: fd::Ready) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut request = Ok(None);
        let sent = connection.flush();
        if ready.readable {
            request = connection.next();
        }
        match sent.and(request) {
            Ok(Some((request, fds))) => self.answer(id, request, fds),
            Ok(None) => {}
            Err(_) => {
                self.connections.remove(&id);
            }
        }
    }

    fn answer(&mut self, id: u64, request: Request, fds: Vec<OwnedFd>) {
        let asker = (id, request.number);
        let outcome = match request.call {
            Call::Hello => Ok(Some(self.hello(id))),
            Call::Create(wish) => self.create(asker, wish).map(|()| None),
            Call::Start { container } => self.start(asker, &container),
            Call::Kill { container, signal, all } => self.kill(&container, signal, all).map(done),
            Call::Exec { container, tty } => self.exec(asker, &container, tty, fds).map(|()| None),
            Call::KillExec { exec, signal } => self.kill_exec(exec, signal).map(done),
            Call::Attach { container, stdin, stdout, stderr } => {
                let ends = self.container(&container).and_then(|c| c.attach(stdin, stdout, stderr));
                return self.reply(asker, ends.map(|ends| (Answer::Done, ends)));
            }
            Call::Resize { container, size } => {
                self.container(&container).and_then(|one| one.resize(size)).map(done)
            }
            Call::ReopenLog { container } => {
                let reopened = self.container(&container).map(Container::reopen_log);
                reopened.and_then(|outcome| outcome.map_err(Fault::from)).map(done)
            }
            Call::Forget { container } => self.forget(&container).map(done),
            Call::Shutdown => {
                self.over = true;
                Ok(None)
            }
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(answer)) => self.reply(asker, Ok((answer, Vec::new()))),
            Err(fault) => self.reply(asker, Err(fault)),
        }
    }

    fn reply(&mut self, asker: (u64, u64), outcome: Result<(Answer, Vec<OwnedFd>), Fault>) {
        let (outcome, fds) = match outcome {
            Ok((answer, fds)) => (Ok(answer), fds),
            Err(fault) => (Err(fault), Vec::new()),
        };
        self.send(asker.0, &Message::Reply { number: asker.1, outcome }, fds);
    }

    fn send(&mut self, id: u64, message: &Message, fds: Vec<OwnedFd>) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.send(message, fds).is_err()
        {
            self.connections.remove(&id);
        }
    }

    /// Tells everybody who listens.
    fn tell(&mut self, message: &Message) {
        self.connections.retain(|_, connection| {
            !connection.listens || connection.send(message, Vec::new()).is_ok()
        });
    }

    fn hello(&mut self, id: u64) -> Answer {
        let states: Vec<Message> = self
            .containers
            .values()
            .filter(|container| container.status.pid.is_some() || container.status.exit.is_some())
            .map(|container| Message::Container(container.status.clone()))
            .collect();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.listens = true;
        }
        for state in states {
            self.send(id, &state, Vec::new());
        }
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        Answer::Hello { version: VERSION, pid, execs: self.execs.values().copied().collect() }
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, Fault> {
        self.containers.get_mut(id).ok_or_else(|| no_container(id))
    }

    fn create(&mut self, asker: (u64, u64), wish: Create) -> Result<(), Fault> {
        let id = wish.container.clone();
        if let Some(present) = self.containers.get(&id) {
            return Err(present.wrong_state("exists already"));
        }
        let (mine, theirs) = Channel::pair()?;
        let (container, stdio) = Container::new(wish)?;
        self.containers.insert(id.clone(), container);
        let work = Work { channel: mine, asker, container: id.clone(), exec: None, fault: None };
        let started = self.fork_worker(work, Task::Create, stdio, theirs);
        if started.is_err() {
            self.containers.remove(&id);
        }
        started
    }

    fn exec(
        &mut self,
        asker: (u64, u64),
        id: &str,
        tty: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Fault> {
        let container = self.container(id)?;
        let Some(init) = container.status.pid.filter(|_| container.status.phase == Phase::Running)
        else {
            return Err(container.wrong_state("is not running"));
        };
        if self.execs.len() + self.work.len() >= SHIM_EXECS_MAX {
            return Err(Fault::new(FaultKind::Failed, "too many processes are being executed"));
        }
        let mut fds = fds.into_iter();
        let mut next =
            || fds.next().ok_or_else(|| Fault::new(FaultKind::Invalid, "a descriptor is missing"));
        let spec = File::from(next()?);
        let stdio = if tty {
            None
        } else {
            Some(Stdio { stdin: next()?, stdout: next()?, stderr: next()? })
        };
        let (mine, theirs) = Channel::pair()?;
        let number = self.next;
        self.next += 1;
        let container = id.to_owned();
        let work = Work { channel: mine, asker, container, exec: Some(number), fault: None };
        self.fork_worker(work, Task::Exec { spec, init, number }, stdio, theirs)
    }

    fn fork_worker(
        &mut self,
        work: Work,
        task: Task,
        stdio: Option<Stdio>,
        report: Channel,
    ) -> Result<(), Fault> {
        let shim = std::process::id();
        match process::fork()? {
            Forked::Parent(_) => {
                self.work.insert(self.next, work);
                self.next += 1;
                Ok(())
            }
            Forked::Child => {
                let job = Job {
                    record: &self.record,
                    shim,
                    cgroups: &self.cgroups,
                    container: &work.container,
                    reaper: self.reaper,
                    target: None,
                };
                let target = worker::target(&job).and_then(|target| {
                    self.containers.get(&target).and_then(|container| container.status.pid)
                });
                worker::run(&Job { target, ..job }, task, stdio, report)
            }
        }
    }

    fn worker_reports(&mut self, id: u64) {
        let Some(work) = self.work.get_mut(&id) else { return };
        let (report, fds) = match receive(&work.channel, &mut self.buffer) {
            None => return,
            Some(Received::Report(Report::Fault(fault), _)) if work.exec.is_none() => {
                return self.creation_fails(id, fault);
            }
            Some(Received::Report(report, fds)) => (report, fds),
            Some(Received::End(why)) => {
                (Report::Fault(work.fault.take().unwrap_or(why)), Vec::new())
            }
        };
        let Some(work) = self.work.remove(&id) else { return };
        match (report, work.exec) {
            (Report::Made { pid }, Some(number)) => {
                self.execs.insert(pid, number);
                self.reply(work.asker, Ok((Answer::Exec { exec: number }, fds)));
            }
            (Report::Made { pid }, None) => self.created(work, pid, fds),
            (Report::Fault(fault), Some(_)) => self.reply(work.asker, Err(fault)),
            (Report::Fault(fault), None) => {
                self.containers.remove(&work.container);
                let group = self.record.container_cgroup(&work.container);
                let cleaned = self.cgroups.kill(&group).and_then(|()| self.cgroups.remove(&group));
                complain(&work.container, cleaned);
                self.reply(work.asker, Err(fault));
            }
        }
    }

    /// Keeps why a creation fails, as it was said first, until its worker has ended: the same name
    /// is free only when nobody takes anything away under it any more.
    fn creation_fails(&mut self, id: u64, fault: Fault) {
        let Some(work) = self.work.get_mut(&id) else { return };
        work.fault.get_or_insert(fault);
        // The worker waits for what it has made.
        complain(
            &work.container,
            self.cgroups.kill(&self.record.container_cgroup(&work.container)),
        );
    }

    fn created(&mut self, work: Work, pid: i32, fds: Vec<OwnedFd>) {
        let Some(container) = self.containers.get_mut(&work.container) else { return };
        container.report = Some(work.channel);
        let made = container.made(pid, fds.into_iter().next());
        let outcome = made.map(|()| (Answer::Done, Vec::new())).map_err(Fault::from);
        self.changed(&work.container);
        self.reply(work.asker, outcome);
    }

    fn start(&mut self, asker: (u64, u64), id: &str) -> Result<Option<Answer>, Fault> {
        let state = self.record.layout.oci(&self.record.sandbox.id).join(id);
        let container = self.container(id)?;
        match container.status.phase {
            Phase::Running => return Ok(Some(Answer::Done)),
            Phase::Exited => return Err(container.wrong_state("has ended")),
            Phase::Created => {}
        }
        if container.starting.is_some() || container.status.pid.is_none() {
            return Err(container.wrong_state("is being started"));
        }
        poke_stream(&state.join("notify.sock"), b"start container")?;
        container.starting = Some(asker);
        Ok(None)
    }

    /// The first process executes its program, which closes its end, or says why it cannot.
    fn program_reports(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(channel) = &container.report else { return };
        let mut frame = [0; 4096];
        let fault = match channel.receive(&mut frame) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(Some((length, _))) => match serde_json::from_slice(&frame[..length]) {
                Ok(Report::Fault(fault)) => Some(fault),
                _ => return,
            },
            Ok(None) | Err(_) => None,
        };
        container.report = None;
        // Nobody has asked for a start: the process was killed, which will be seen by its end.
        let Some(asker) = container.starting.take() else { return };
        match fault {
            Some(fault) => self.reply(asker, Err(fault)),
            None => {
                container.started();
                self.changed(id);
                self.reply(asker, Ok((Answer::Done, Vec::new())));
            }
        }
    }

    fn kill(&mut self, id: &str, signal: i32, all: bool) -> Result<(), Fault> {
        let group = self.record.container_cgroup(id);
        let container = self.containers.get(id).ok_or_else(|| no_container(id))?;
        if let Some(pid) = container.status.pid {
            process::kill(pid, signal)?;
        }
        if all {
            let rest = self.cgroups.processes(&group)?;
            let first = container.status.pid;
            let rest = rest.into_iter().filter(|pid| Some(*pid) != first);
            rest.into_iter().try_for_each(|pid| process::kill(pid, signal))?;
        }
        Ok(())
    }

    fn kill_exec(&self, exec: u64, signal: i32) -> Result<(), Fault> {
        let found = self.execs.iter().find(|(_, number)| **number == exec);
        let missing = || Fault::new(FaultKind::NotFound, "the process has ended");
        let (pid, _) = found.ok_or_else(missing)?;
        Ok(process::kill(*pid, signal)?)
    }

    fn forget(&mut self, id: &str) -> Result<(), Fault> {
        match self.containers.get(id) {
            Some(one) if one.status.phase != Phase::Exited => Err(one.wrong_state("has not ended")),
            _ => {
                self.containers.remove(id);
                Ok(())
            }
        }
    }

    fn children_ended(&mut self) {
        while self.signals.next().is_some() {}
        let mut ended = Vec::new();
        ended.extend(std::iter::from_fn(process::reap));
        // A worker reports before it ends, and what it made ends here only after the worker has.
        for id in self.work.keys().copied().collect::<Vec<_>>() {
            self.worker_reports(id);
        }
        for how in ended {
            self.child_ended(how);
        }
    }

    fn child_ended(&mut self, how: Ended) {
        if let Some(exec) = self.execs.remove(&how.pid) {
            let exit = Exit {
                code: how.code,
                signal: how.signal,
                oom_killed: false,
                finished_ns: clock::now().0,
                cause: ExitCause::Program,
            };
            self.tell(&Message::ExecEnded { exec, exit });
            return;
        }
        let first = |container: &&Container| container.status.pid == Some(how.pid);
        let Some(id) = self.containers.values().find(first).map(|one| one.status.id.clone()) else {
            return;
        };
        // What it said last before it died.
        self.program_reports(&id);
        let group = self.record.container_cgroup(&id);
        let oom_killed = self.cgroups.oom_kills(&group) > 0;
        // With a PID namespace of its own the kernel has killed the rest already.
        if self.record.sandbox.pid != PidShare::Container {
            complain(&id, self.cgroups.kill(&group));
        }
        if let Some(container) = self.containers.get_mut(&id) {
            container.ended(how, oom_killed, &mut self.buffer);
        }
        self.changed(&id);
    }

    /// Stores and tells where a container stands.
    fn changed(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let status = container.status.clone();
        let path = self.record.layout.status(&self.record.sandbox.id, id);
        let stored =
            path.parent().map_or(Ok(()), make_private).and_then(|()| store(&path, &status));
        complain(id, stored);
        self.tell(&Message::Container(status));
    }

    /// Nothing of the pod runs on after this, not even a worker and what it was making.
    fn shut_down(&mut self) -> io::Result<()> {
        process::end_children()?;
        self.cgroups.kill(&self.record.cgroup())
    }
}

fn done(_: ()) -> Option<Answer> {
    Some(Answer::Done)
}

fn no_container(id: &str) -> Fault {
    Fault::new(FaultKind::NotFound, format!("there is no container {id}"))
}

/// What comes from a worker.
enum Received {
    Report(Report, Vec<OwnedFd>),
    /// Nothing more, and why if nothing has come before.
    End(Fault),
}

/// What a worker says; `None` while it is still at work.
fn receive(channel: &Channel, buffer: &mut [u8]) -> Option<Received> {
    let silent = || Fault::new(FaultKind::Failed, "the worker ended without a word");
    match channel.receive(buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Received::End(error.into())),
        Ok(None) => Some(Received::End(silent())),
        Ok(Some((length, fds))) => Some(match serde_json::from_slice(&buffer[..length]) {
            Ok(report) => Received::Report(report, fds),
            Err(error) => Received::Report(Report::Fault(io::Error::from(error).into()), vec![]),
        }),
    }
}

fn complain(id: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("{id}: {error}");
    }
}
