//! Processes of rk: found by what they hold and by how they were started.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::fd::{self, Interest};
use crate::sys::process::PidFd;

/// How long an orderly stop may take, as the service promises, with a margin.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How long a killed process may take to be gone.
const KILL_MAX: Duration = Duration::from_secs(10);

/// A process and the words that it was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its words, the program's name first.
    pub words: Vec<String>,
}

impl Process {
    /// All but this one.
    pub fn all() -> io::Result<Vec<Self>> {
        let own = std::process::id().to_string();
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse() else { continue };
            // One that has ended meanwhile.
            let Ok(line) = fs::read(format!("/proc/{name}/cmdline")) else { continue };
            if name != own {
                all.push(Self { pid, words: words(&line) });
            }
        }
        Ok(all)
    }

    fn command(&self) -> &str {
        self.words.get(1).map_or("", String::as_str)
    }

    /// Whether it is a server or an agent.
    pub fn is_service(&self) -> bool {
        matches!(self.command(), "server" | "agent")
    }

    /// The runtime's folder, if it is a shim.
    pub fn runtime(&self) -> Option<&Path> {
        let is_shim = self.command() == "shim" && self.words.len() > 3;
        is_shim.then(|| Path::new(&self.words[2]))
    }

    /// Whether it looks like rk, in whatever role.
    pub fn is_rk(&self) -> bool {
        let name = self.words.first().map(|word| word.rsplit('/').next().unwrap_or_default());
        name.is_some_and(|name| name.starts_with("rk"))
            && (self.is_service() || self.runtime().is_some())
    }

    /// Whether it has one of these files open.
    pub fn holds(&self, files: &[PathBuf]) -> bool {
        let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let wanted: Vec<_> = files.iter().filter_map(|f| fs::metadata(f).ok()).collect();
        let wanted: Vec<_> = wanted.into_iter().map(identity).collect();
        let Ok(open) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return false };
        let mut open = open.flatten().filter_map(|entry| fs::metadata(entry.path()).ok());
        !wanted.is_empty() && open.any(|meta| wanted.contains(&identity(meta)))
    }

    /// Whether it is in the same network namespace as this process.
    pub fn shares_network(&self) -> bool {
        let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).ok();
        namespace("self") == namespace(&self.pid.to_string())
    }

    /// Ends it, in order if it can be, and waits for that.
    pub fn end(&self) -> io::Result<()> {
        let Some(process) = PidFd::open(self.pid)? else { return Ok(()) };
        // Shims are deaf to anything but this.
        if self.is_service() {
            process.kill(libc::SIGTERM)?;
            if is_over(&process, STOP_MAX)? {
                return Ok(());
            }
        }
        process.kill(libc::SIGKILL)?;
        match is_over(&process, KILL_MAX)? {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end")),
        }
    }
}

fn words(line: &[u8]) -> Vec<String> {
    let parts = line.strip_suffix(b"\0").unwrap_or(line).split(|byte| *byte == 0);
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

fn is_over(process: &PidFd, patience: Duration) -> io::Result<bool> {
    let interest = Interest { fd: process.as_raw_fd(), read: true, write: false };
    Ok(fd::wait(&[interest], Some(patience))?.iter().any(|ready| ready.any()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(line: &str) -> Process {
        Process { pid: 1, words: words(line.replace(' ', "\0").as_bytes()) }
    }

    #[test]
    fn services_and_shims_are_told_from_others() {
        let server = process("/usr/local/bin/rk server --debug");
        assert!(server.is_service() && server.is_rk() && server.runtime().is_none());
        let shim = process("rk shim /run/rk/runtime uid sealed");
        assert!(!shim.is_service() && shim.is_rk());
        assert_eq!(shim.runtime(), Some(Path::new("/run/rk/runtime")));
        for other in ["consul agent", "rk token", "rk", "", "vi shim a b"] {
            assert!(!process(other).is_rk(), "{other}");
        }
    }

    #[test]
    fn a_process_is_found_by_what_it_holds_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = fs::File::create(&path).unwrap();
        let mut command = std::process::Command::new("/bin/sleep");
        let mut child = command.arg("1000").stdin(file).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let all = Process::all().unwrap();
        let found = all.iter().find(|process| process.pid == pid).unwrap();
        assert!(found.holds(&[path]) && found.shares_network());
        assert!(!found.holds(&[dir.path().join("other")]));
        found.end().unwrap();
        child.wait().unwrap();
    }
}
