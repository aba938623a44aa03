//! Processes: start, fork, reap, signal, and what the kernel keeps per process.
//!
//! Invariant: [`fork`] refuses in a process with more than one thread, since only the calling
//! thread lives on in the child and a lock held by another (the allocator's) would be held for
//! ever.

use super::fd::check;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where a fork has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the old one, with the child's process id.
    Parent(i32),
}

/// Forks this single-threaded process.
pub fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("refusing to fork: this process has more than one thread"));
    }
    // SAFETY: there is one thread, so every lock is free in the child and any code may run there.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// The environment of this program's helpers. There is one for each pod, and they rest nearly
/// always: their allocator (this is its variable) gives back at once what they do not use.
const HELPER_ENV: [(&str, &str); 2] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("_RJEM_MALLOC_CONF", "tcache:false,dirty_decay_ms:0"),
];

/// Ends the process at once, running no destructor and no exit handler.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Starts `exe` with `args` (the first is the process's name), the environment of helpers, `stdin`
/// as descriptor 0 and `stderr` as 2. No code runs between fork and exec, so the cost does
/// not grow with this process's memory.
pub fn spawn(exe: &Path, args: &[&str], stdin: OwnedFd, stderr: File) -> io::Result<Child> {
    let mut command = Command::new(exe);
    if let [name, rest @ ..] = args {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(rest);
    }
    command.env_clear().envs(HELPER_ENV);
    command.stdin(stdin).stdout(Stdio::null()).stderr(stderr).spawn()
}

/// Replaces this process's program. Returns only when it fails.
pub fn exec(path: &Path, args: &[String], env: &[String]) -> io::Error {
    match (c_string(path), c_strings(args), c_strings(env)) {
        (Ok(path), Ok(args), Ok(env)) => match nix::unistd::execve(&path, &args, &env) {
            Ok(never) => match never {},
            Err(errno) => errno.into(),
        },
        _ => io::Error::new(io::ErrorKind::InvalidInput, "an argument contains a null byte"),
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_encoded_bytes())?)
}

fn c_strings(list: &[String]) -> io::Result<Vec<CString>> {
    list.iter().map(|text| Ok(CString::new(text.as_bytes())?)).collect()
}

/// Runs this program again from a read-only view of its own file, so that nothing which reaches
/// `/proc/PID/exe` can open it for writing. Returns when that is done already (`sealed` in argument
/// `mark`) or when the kernel cannot do it.
pub fn reexec_sealed(args: &[String], mark: &str) {
    if args.iter().any(|arg| arg == mark) {
        return;
    }
    let Ok(fd) = super::mount::read_only_view(Path::new("/proc/self/exe")) else { return };
    let mut marked = args.to_vec();
    marked.push(mark.to_owned());
    let env = HELPER_ENV.map(|(name, value)| format!("{name}={value}"));
    let (Ok(args), Ok(env)) = (c_strings(&marked), c_strings(&env)) else { return };
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    // A failure leaves the process as it was: unsealed, but able to do its work.
    let _ = nix::unistd::execveat(&fd, c"", &args, &env, flags);
}

/// Orphaned descendants become children of this process instead of PID 1's.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: takes an integer only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }).map(drop)
}

/// Whether others may trace this process or open its `/proc` links.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: takes an integer only.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable)) }).map(drop)
}

/// The name shown by `ps`; at most 15 bytes count.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the name is a C string; the kernel copies at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Leaves the terminal and the process group of the parent.
pub fn new_session() -> io::Result<()> {
    // SAFETY: takes nothing.
    check(unsafe { libc::setsid() }).map(drop)
}

/// Becomes user and group `id` with no supplementary groups and no capabilities.
pub fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: a null list of length zero is allowed; the rest takes integers only.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: as above.
    check(unsafe { libc::setresgid(id, id, id) })?;
    // SAFETY: as above.
    check(unsafe { libc::setresuid(id, id, id) }).map(drop)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its process id.
    pub pid: i32,
    /// Its exit code, or 128 plus the signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// Reaps one child that has ended, if there is one.
pub fn reap() -> Option<Ended> {
    let mut status = 0;
    // SAFETY: the status is a valid place to write to.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    let code = signal.map_or_else(|| libc::WEXITSTATUS(status), |signal| 128 + signal);
    Some(Ended { pid, code, signal })
}

/// Kills this process's children, and those that fall to it when they die, until none is left.
pub fn end_children() -> io::Result<()> {
    loop {
        let children = std::fs::read_to_string("/proc/thread-self/children")?;
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.into_iter().try_for_each(|pid| kill(pid, libc::SIGKILL))?;
        // SAFETY: waitpid may be given a null status.
        if unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } < 0 {
            return Ok(());
        }
    }
}

/// This process shall be killed when its parent ends; fails when that has happened already.
pub fn end_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    if std::os::unix::process::parent_id() != parent {
        return Err(io::Error::other("the parent has ended"));
    }
    Ok(())
}

/// Sends `signal`; a process that is gone already is no error.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        // 0 and negative numbers name groups of processes, this one's among them.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: takes integers only.
    match check(unsafe { libc::kill(pid, signal) }) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// The number of a signal by name (`SIGTERM`, `TERM`, any case) or decimal number.
pub fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = short.strip_prefix("RTMIN") {
        return real_time(34, rest.strip_prefix('+'), rest, 1);
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        return real_time(64, rest.strip_prefix('-'), rest, -1);
    }
    let signal: nix::sys::signal::Signal = format!("SIG{short}").parse().ok()?;
    Some(signal as i32)
}

fn real_time(base: i32, offset: Option<&str>, rest: &str, sign: i32) -> Option<i32> {
    let offset = if rest.is_empty() { 0 } else { offset?.parse::<i32>().ok()? };
    let number = base + sign * offset;
    (34..=64).contains(&number).then_some(number)
}

/// Blocks `signals` and returns a descriptor that becomes readable when one of them is pending; the
/// rest of `ignored` is ignored.
pub fn watch_signals(signals: &[i32], ignored: &[i32]) -> io::Result<SignalWatch> {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
    let mut set = SigSet::empty();
    for &signal in signals {
        set.add(Signal::try_from(signal)?);
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&set), None)?;
    for &signal in ignored {
        // SAFETY: ignoring a signal installs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    use nix::sys::signalfd::{SfdFlags, SignalFd};
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalWatch(SignalFd::with_flags(&set, flags)?))
}

/// Pending signals as a descriptor.
#[derive(Debug)]
pub struct SignalWatch(nix::sys::signalfd::SignalFd);

impl SignalWatch {
    /// The next pending signal, if any.
    pub fn next(&self) -> Option<i32> {
        let info = self.0.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo).ok()
    }
}

impl AsRawFd for SignalWatch {
    fn as_raw_fd(&self) -> i32 {
        std::os::fd::AsFd::as_fd(&self.0).as_raw_fd()
    }
}

/// Gives a forked child the signal handling that a fresh program expects.
pub fn default_signals() {
    // SAFETY: restores default dispositions and an empty mask; installs no code.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut empty = std::mem::zeroed();
        libc::sigemptyset(&raw mut empty);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut());
    }
}

/// Blocks `signals`, sleeps until one of them is pending, and takes it.
pub fn wait_for_signal(signals: &[i32]) -> i32 {
    // SAFETY: the set is initialised before use; both calls may be given null for what they would
    // tell.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut())
    }
}

/// Sets this process's out-of-memory score to `wanted`, or as near as the kernel lets us: going
/// below the present score needs CAP_SYS_RESOURCE. Children inherit it.
pub fn set_oom_score(wanted: i32) -> io::Result<()> {
    let path = "/proc/self/oom_score_adj";
    match std::fs::write(path, wanted.clamp(-1000, 1000).to_string()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// A descriptor that stands for a process and becomes readable when it ends.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Of the process that has `pid` now; `None` when there is none.
    pub fn open(pid: i32) -> io::Result<Option<Self>> {
        // SAFETY: takes integers only.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match check(i32::try_from(raw).unwrap_or(-1)) {
            // SAFETY: pidfd_open has just made it.
            Ok(raw) => Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(raw) }))),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            // Not the leader of a thread group: its leader is in the list too.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends `signal`; a process that is gone already is no error.
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        let null = std::ptr::null::<libc::siginfo_t>();
        let number = libc::SYS_pidfd_send_signal;
        // SAFETY: a null siginfo is allowed.
        let result = unsafe { libc::syscall(number, self.0.as_raw_fd(), signal, null, 0) };
        match check(i32::try_from(result).unwrap_or(-1)) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_signals_by_name_and_number() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("quit"), Some(3));
        assert_eq!(signal_number("9"), Some(9));
        assert_eq!(signal_number("SIGRTMIN+3"), Some(37));
        assert_eq!(signal_number("RTMAX-1"), Some(63));
        assert_eq!(signal_number("RTMIN"), Some(34));
        for bad in ["", "SIG", "0", "65", "SIGNOPE", "RTMIN+99", "-9"] {
            assert_eq!(signal_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn refuses_to_fork_with_threads_and_to_signal_groups() {
        // The test harness itself has threads.
        assert!(fork().is_err());
        assert!(kill(0, 0).is_err() && kill(-1, 0).is_err());
    }

    #[test]
    fn a_pidfd_tells_the_end_of_a_process() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let pidfd = PidFd::open(i32::try_from(child.id()).unwrap()).unwrap().unwrap();
        pidfd.kill(libc::SIGKILL).unwrap();
        let interest =
            super::super::fd::Interest { fd: pidfd.as_raw_fd(), read: true, write: false };
        assert!(super::super::fd::wait(&[interest], None).unwrap()[0].readable);
        child.wait().unwrap();
        pidfd.kill(libc::SIGKILL).unwrap();
    }
}
