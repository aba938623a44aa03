//! One container in the shim's memory, from its creation to its end.

use super::protocol::{Create, Fault, FaultKind};
use super::streams::{Outlet, Output};
use super::worker::Stdio;
use crate::runtime::container::{ContainerStatus, Exit, ExitCause, Phase};
use crate::runtime::logs::{LogWriter, Stream};
use crate::runtime::spec::TerminalSize;
use crate::sys::channel::Channel;
use crate::sys::process::Ended;
use crate::sys::{fd, terminal};
use crate::util::clock;
use std::io;
use std::os::fd::OwnedFd;

/// See the module.
pub(super) struct Container {
    pub(super) status: ContainerStatus,
    pub(super) outputs: Vec<Output>,
    pub(super) outlets: Vec<Outlet>,
    /// The first process reports here until it executes its program.
    pub(super) report: Option<Channel>,
    /// Whose start waits for that.
    pub(super) starting: Option<(u64, u64)>,
    wish: Create,
    log: Option<LogWriter>,
    /// What attachments write to: a pipe, or the terminal's master.
    input: Option<OwnedFd>,
    /// The log could not be written; said once.
    log_failed: bool,
}

impl Container {
    /// A container whose first process is being made, and the ends which that process gets.
    pub(super) fn new(wish: Create) -> io::Result<(Self, Option<Stdio>)> {
        let status = ContainerStatus {
            id: wish.container.clone(),
            phase: Phase::Created,
            pid: None,
            created_ns: clock::now().0,
            started_ns: None,
            exit: None,
            labels: wish.labels.clone(),
        };
        let mut container = Self {
            status,
            outputs: Vec::new(),
            outlets: Vec::new(),
            report: None,
            starting: None,
            log: wish.log.clone().map(LogWriter::new),
            input: None,
            log_failed: false,
            wish,
        };
        let stdio = if container.wish.tty { None } else { Some(container.pipes()?) };
        Ok((container, stdio))
    }

    fn pipes(&mut self) -> io::Result<Stdio> {
        let (out, stdout) = fd::pipe()?;
        let (err, stderr) = fd::pipe()?;
        self.outputs = vec![Output::new(out, Stream::Stdout)?, Output::new(err, Stream::Stderr)?];
        let stdin = if self.wish.stdin {
            let (stdin, input) = fd::pipe()?;
            self.input = Some(input);
            stdin
        } else {
            fd::dev_null()?
        };
        Ok(Stdio { stdin, stdout, stderr })
    }

    /// Its first process exists, with this master if it has a terminal.
    pub(super) fn made(&mut self, pid: i32, master: Option<OwnedFd>) -> io::Result<()> {
        self.status.pid = Some(pid);
        if let Some(master) = master {
            self.input = Some(fd::duplicate(&master)?);
            self.outputs = vec![Output::new(master, Stream::Stdout)?];
        }
        Ok(())
    }

    /// Its program runs.
    pub(super) fn started(&mut self) {
        self.report = None;
        self.status.phase = Phase::Running;
        self.status.started_ns = Some(clock::now().0);
    }

    /// Its first process has ended.
    pub(super) fn ended(&mut self, how: Ended, oom_killed: bool, buffer: &mut [u8]) {
        for output in &mut self.outputs {
            let drained = output.drain(buffer, self.log.as_mut(), &mut self.outlets);
            note(&mut self.log_failed, &self.status.id, drained.map(|()| true));
        }
        self.outputs.clear();
        self.input = None;
        self.log = None;
        self.report = None;
        self.outlets.retain(Outlet::holds);
        self.status.phase = Phase::Exited;
        self.status.pid = None;
        self.status.exit = Some(Exit {
            code: how.code,
            signal: how.signal,
            oom_killed,
            finished_ns: clock::now().0,
            cause: ExitCause::Program,
        });
    }

    /// Moves output; the stream is closed at its end.
    pub(super) fn pump(&mut self, index: usize, buffer: &mut [u8]) {
        let Some(output) = self.outputs.get_mut(index) else { return };
        let moved = output.pump(buffer, self.log.as_mut(), &mut self.outlets);
        if !note(&mut self.log_failed, &self.status.id, moved) {
            let drained = output.drain(&mut [0; 1], self.log.as_mut(), &mut self.outlets);
            note(&mut self.log_failed, &self.status.id, drained.map(|()| true));
            self.outputs.remove(index);
        }
    }

    /// Taps its streams.
    pub(super) fn attach(
        &mut self,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> Result<Vec<OwnedFd>, Fault> {
        if self.status.phase != Phase::Running {
            return Err(self.wrong_state("is not running"));
        }
        let mut ends = Vec::new();
        if stdin {
            ends.push(self.give_input()?);
        }
        for (wanted, stream) in [(stdout, Stream::Stdout), (stderr, Stream::Stderr)] {
            if wanted {
                let (outlet, end) = Outlet::open(stream)?;
                // A terminal has no stderr: that end is at its end at once.
                if !(self.wish.tty && stream == Stream::Stderr) {
                    self.outlets.push(outlet);
                }
                ends.push(end);
            }
        }
        Ok(ends)
    }

    fn give_input(&mut self) -> Result<OwnedFd, Fault> {
        let missing = || Fault::new(FaultKind::State, "the container has no open stdin");
        if !self.wish.stdin {
            return Err(missing());
        }
        // A pipe ends when its last writer closes it: with stdin_once that is the attachment. A
        // terminal does not end that way, and its size is set through it.
        if self.wish.stdin_once && !self.wish.tty {
            return self.input.take().ok_or_else(missing);
        }
        Ok(fd::duplicate(self.input.as_ref().ok_or_else(missing)?)?)
    }

    pub(super) fn resize(&self, size: TerminalSize) -> Result<(), Fault> {
        match &self.input {
            Some(master) if self.wish.tty => {
                Ok(terminal::set_size(master, size.width, size.height)?)
            }
            _ => Err(self.wrong_state("has no terminal")),
        }
    }

    pub(super) fn reopen_log(&mut self) -> io::Result<()> {
        self.log_failed = false;
        self.log.as_mut().map_or(Ok(()), LogWriter::reopen)
    }

    pub(super) fn wrong_state(&self, why: &str) -> Fault {
        Fault::new(FaultKind::State, format!("container {} {why}", self.status.id))
    }
}

/// Says once that output was lost; true unless the stream has ended.
fn note(said: &mut bool, id: &str, outcome: io::Result<bool>) -> bool {
    outcome.unwrap_or_else(|error| {
        if !std::mem::replace(said, true) {
            eprintln!("{id}: output was lost: {error}");
        }
        true
    })
}
