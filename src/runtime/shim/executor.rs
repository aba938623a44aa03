//! The last steps of a container's first process, inside its namespaces, and of one that joins.
//!
//! Libcontainer is left without the capabilities in its spec, so that it keeps all that rk holds
//! until here; what is dropped is dropped by this code, after the seccomp filter is in force where
//! that needs privilege, and before it where `no_new_privileges` makes it need none.

use super::protocol::{Fault, FaultKind, Report};
use crate::runtime::spec::TerminalSize;
use crate::sys::capability::{self, Set};
use crate::sys::channel::Channel;
use crate::sys::mount::{self, Passing};
use crate::sys::seccomp::{self, Instruction};
use crate::sys::{fd, process, terminal};
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use std::collections::HashMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is to be executed.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    /// Empty: the root.
    pub(super) cwd: String,
}

/// A mount that has to wait for libcontainer's `/dev`.
#[derive(Debug, Clone)]
pub(super) struct LateMount {
    pub(super) tree: Rc<OwnedFd>,
    pub(super) target: PathBuf,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Executor {
    pub(super) command: Command,
    pub(super) keep: Set,
    pub(super) filter: Option<Vec<Instruction>>,
    pub(super) no_new_privileges: bool,
    pub(super) propagation: Vec<(PathBuf, Passing)>,
    pub(super) late: Vec<LateMount>,
    /// Joins a container that stands already.
    pub(super) joins: bool,
    /// The size of its terminal, before the program can ask for it.
    pub(super) size: Option<TerminalSize>,
    /// The worker's way to the shim, inherited by this process.
    pub(super) report: RawFd,
}

impl Executor {
    /// Before the container counts as created: whatever can be wrong is found here.
    fn prepare(&self) -> Result<(), Fault> {
        let failed = |what: &str, error: io::Error| {
            Fault::new(FaultKind::Failed, format!("{what}: {error}"))
        };
        for late in &self.late {
            mount::attach(&late.tree, &late.target)
                .map_err(|error| failed(&format!("mount on {}", late.target.display()), error))?;
        }
        for (target, passing) in &self.propagation {
            mount::set_passing(target, *passing, true)
                .map_err(|error| failed(&format!("mount on {}", target.display()), error))?;
        }
        if let Some(size) = self.size {
            terminal::set_size(&io::stdin(), size.width, size.height)
                .map_err(|error| failed("terminal", error))?;
        }
        self.enter_directory()?;
        find_program(&self.command).map(drop)
    }

    fn enter_directory(&self) -> Result<(), Fault> {
        let cwd = if self.command.cwd.is_empty() { "/" } else { &self.command.cwd };
        let path = Path::new(cwd);
        let wrong = |error: io::Error| {
            Fault::new(FaultKind::Program, format!("working directory {cwd:?}: {error}"))
        };
        if !path.is_absolute() {
            return Err(wrong(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        if !self.joins {
            std::fs::create_dir_all(path).map_err(wrong)?;
        }
        std::env::set_current_dir(path).map_err(wrong)?;
        // A directory outside the root shows as unreachable, which is no absolute path.
        match std::env::current_dir() {
            Ok(here) if here.is_absolute() => Ok(()),
            _ => Err(wrong(io::Error::other("lies outside the container"))),
        }
    }

    /// Gives up what the container shall not have, and executes its program.
    fn execute(&self) -> Result<(), Fault> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| Fault::new(FaultKind::Failed, format!("{what}: {error}"))
        };
        let program = find_program(&self.command)?;
        capability::limit_bounding(self.keep).map_err(failed("bounding capabilities"))?;
        if self.no_new_privileges {
            seccomp::forbid_new_privileges().map_err(failed("no new privileges"))?;
            capability::keep_only(self.keep).map_err(failed("capabilities"))?;
            self.load_filter()?;
        } else {
            self.load_filter()?;
            capability::keep_only(self.keep).map_err(failed("capabilities"))?;
        }
        let error = process::exec(&program, &self.command.args, &self.command.env);
        Err(program_fault(&program.display().to_string(), &error))
    }

    fn load_filter(&self) -> Result<(), Fault> {
        let Some(filter) = &self.filter else { return Ok(()) };
        seccomp::load(filter)
            .map_err(|error| Fault::new(FaultKind::Failed, format!("seccomp: {error}")))
    }

    /// Says it to the shim itself; what goes through libcontainer arrives wrapped and without kind.
    fn report(&self, fault: &Fault) {
        let Ok(frame) = serde_json::to_vec(&Report::Fault(fault.clone())) else { return };
        if let Ok(channel) = fd::duplicate_raw(self.report) {
            let sent = Channel::from_fd(channel).and_then(|channel| channel.send(&frame, &[]));
            if let Err(error) = sent {
                eprintln!("cannot report {fault}: {error}");
            }
        }
    }
}

impl libcontainer::workload::Executor for Executor {
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        self.execute()
            .inspect_err(|fault| self.report(fault))
            .map_err(|fault| ExecutorError::Other(fault.message))
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.prepare()
            .inspect_err(|fault| self.report(fault))
            .map_err(|fault| ExecutorValidationError::ArgValidationError(fault.message))
    }

    /// The environment is given to exec; this process needs none.
    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// The file to execute, as a shell would find it. The texts are those that users of runc know.
fn find_program(command: &Command) -> Result<PathBuf, Fault> {
    let Some(name) = command.args.first().filter(|name| !name.is_empty()) else {
        return Err(Fault::new(FaultKind::Program, "no command specified"));
    };
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match runnable(&path) {
            Ok(()) => Ok(path),
            Err(error) => Err(program_fault(name, &error)),
        };
    }
    let path = command.env.iter().find_map(|entry| entry.strip_prefix("PATH="));
    let mut denied = None;
    for directory in path.unwrap_or_default().split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = Path::new(directory).join(name);
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(error),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(error) => program_fault(name, &error),
        None => {
            let message = format!("exec: {name:?}: executable file not found in $PATH");
            Fault::new(FaultKind::Program, message)
        }
    })
}

fn runnable(path: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(path)?;
    if meta.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(())
}

fn program_fault(name: &str, error: &io::Error) -> Fault {
    let message = match error.raw_os_error() {
        Some(libc::ENOENT) => format!("exec: {name:?}: stat {name}: no such file or directory"),
        Some(libc::EACCES) => format!("exec: {name:?}: permission denied"),
        Some(libc::ENOEXEC) => format!("exec {name}: exec format error"),
        Some(libc::EISDIR) => format!("exec: {name:?}: is a directory"),
        _ => format!("exec {name}: {error}"),
    };
    Fault::new(FaultKind::Program, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(args: &[&str], path: &str) -> String {
        let command = Command {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec![format!("PATH={path}")],
            cwd: String::new(),
        };
        find_program(&command).unwrap_err().message
    }

    #[test]
    fn programs_are_found_or_named_in_known_words() {
        let command = Command {
            args: vec!["sh".into()],
            env: vec!["PATH=/nowhere:/bin".into()],
            cwd: String::new(),
        };
        assert_eq!(find_program(&command).unwrap(), Path::new("/bin/sh"));
        assert_eq!(fault(&["nope"], "/bin"), r#"exec: "nope": executable file not found in $PATH"#);
        assert_eq!(
            fault(&["/no/pe"], "/bin"),
            r#"exec: "/no/pe": stat /no/pe: no such file or directory"#
        );
        assert_eq!(fault(&["/etc/passwd"], "/bin"), r#"exec: "/etc/passwd": permission denied"#);
        assert_eq!(fault(&["passwd"], "/etc"), r#"exec: "passwd": permission denied"#);
        assert_eq!(fault(&["/etc"], "/bin"), r#"exec: "/etc": is a directory"#);
        assert_eq!(fault(&[], "/bin"), "no command specified");
    }
}
