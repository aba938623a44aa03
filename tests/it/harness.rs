//! Real clusters for tests: the built executable in network namespaces of its own, a kubeconfig,
//! kubectl, and nothing left afterwards.
//!
//! A [`Cluster`] is one server on one machine, and agents on a second machine that is linked to it.
//! Everything that a cluster writes is below one temporary folder. Waiting is always for something
//! that the program says, with a deadline; a test that fails shows the log.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rk::sys::{netns, process, rtnl};
use rk::util::clock;
use tempfile::TempDir;

/// How long a start may take: a debug build on a busy machine is slow.
const START: Duration = Duration::from_secs(90);
/// How long an orderly stop may take.
pub const STOP: Duration = Duration::from_secs(10);
/// The server's machine.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The agents' machine.
pub const AGENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The port of the API server.
pub const PORT: u16 = 6443;

/// The executable under test.
pub const RK: &str = env!("CARGO_BIN_EXE_rk");

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    /// What was run.
    pub words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// The output of a command that must have gone well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{}: {}\n{}{}", self.words, self.status, self.out, self.err);
        self.out
    }

    /// The complaint of a command that must have failed.
    #[track_caller]
    pub fn fails(self) -> String {
        assert!(!self.status.success(), "{}: went well\n{}{}", self.words, self.out, self.err);
        self.err
    }
}

/// A network namespace as a machine.
pub struct Machine {
    netns: File,
}

impl Machine {
    /// Two machines that reach each other and have a default route.
    pub fn pair() -> (Self, Self) {
        let [near, far] = [(); 2].map(|()| Self { netns: netns::create().unwrap() });
        near.run(|| {
            let mut s = rtnl::socket().unwrap();
            let end = |name, netns| rtnl::End { name, mac: None, alias: None, netns };
            let other = end("eth0", Some(far.netns.as_fd()));
            rtnl::add_veth(&mut s, 1500, end("eth0", None), other).unwrap();
        });
        near.connect(SERVER, AGENT);
        far.connect(AGENT, SERVER);
        (near, far)
    }

    fn connect(&self, address: Ipv4Addr, gateway: Ipv4Addr) {
        self.run(|| {
            let mut s = rtnl::socket().unwrap();
            let index = rtnl::link(&mut s, "eth0").unwrap().unwrap().index;
            rtnl::set_up(&mut s, rtnl::LOOPBACK).unwrap();
            rtnl::set_up(&mut s, index).unwrap();
            let address = address.into();
            let address = rtnl::Address { index, address, prefix: 24, global: true };
            rtnl::add_address(&mut s, address).unwrap();
        });
        // Not by our own code: that marks routes as rk's, which `rk uninstall` removes.
        let mut ip = Command::new("ip");
        ip.args(["route", "add", "default", "via", &gateway.to_string()]);
        self.finish(&mut ip, "").ok();
    }

    /// Does something short on this machine: sockets opened in it belong here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::within(self.netns.as_fd(), work).unwrap()
    }

    /// Starts a command on this machine.
    pub fn spawn(&self, command: &mut Command) -> Child {
        self.run(|| command.spawn()).unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
    }

    /// Runs a command on this machine to its end, with `input` on its standard input.
    pub fn finish(&self, command: &mut Command, input: &str) -> Ran {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn(command);
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // A command that does not read to the end closes its side early: that is its right.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            child.wait_with_output().unwrap()
        });
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran {
            words: format!("{command:?}"),
            status: output.status,
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl AsFd for Machine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
}

/// A started `rk`.
struct Running {
    pid: i32,
    ended: mpsc::Receiver<ExitStatus>,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let pid = i32::try_from(child.id()).unwrap();
        let (tell, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = tell.send(child.wait().unwrap());
        });
        Self { pid, ended }
    }

    /// Sends a signal and waits for the end.
    fn end(&self, signal: i32, patience: Duration) -> Option<ExitStatus> {
        process::kill(self.pid, signal).unwrap();
        self.ended.recv_timeout(patience).ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
            self.end(libc::SIGKILL, STOP);
        }
    }
}

/// An agent that runs.
pub struct Agent {
    running: Running,
    log: PathBuf,
}

impl Agent {
    /// What the agent has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops the agent in order, and says how it ended.
    #[track_caller]
    pub fn stop(self) -> ExitStatus {
        let ended = self.running.end(libc::SIGTERM, STOP);
        ended.unwrap_or_else(|| panic!("the agent does not stop\n{}", self.log()))
    }

    /// Kills the agent as a power cut would.
    pub fn kill(&self) {
        self.running.end(libc::SIGKILL, STOP).expect("nothing survives SIGKILL");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", self.log());
        }
    }
}

/// A server, and what a test does with it.
pub struct Cluster {
    running: Option<Running>,
    /// Further flags of the server.
    pub flags: Vec<String>,
    /// The executable, [`RK`] unless a test puts another in its place.
    pub exe: PathBuf,
    /// The server's machine.
    pub machine: Machine,
    /// A second machine, for agents and clients.
    pub other: Machine,
    /// Where everything is; removed at the end.
    pub dir: TempDir,
}

impl Cluster {
    /// A server that is ready, started with further `flags`.
    pub fn start(flags: &[&str]) -> Self {
        let mut cluster = Self::stopped(flags);
        cluster.go();
        cluster
    }

    /// A server that has not been started yet.
    pub fn stopped(flags: &[&str]) -> Self {
        let (machine, other) = Machine::pair();
        let dir = tempfile::Builder::new().prefix("rk-it-").tempdir().unwrap();
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Self { running: None, flags, exe: RK.into(), machine, other, dir }
    }

    /// A path below the cluster's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `rk` with the folders of this cluster.
    pub fn rk(&self, command: &str, arguments: &[&str]) -> Command {
        let mut rk = Command::new(&self.exe);
        rk.arg(command).arg("--data-dir").arg(self.path("data"));
        rk.arg("--run-dir").arg(self.path("run")).args(arguments);
        clean(&mut rk, self.dir.path());
        rk
    }

    /// The command that starts the server.
    pub fn server(&self) -> Command {
        let mut server = self.rk("server", &[]);
        server.arg("--write-kubeconfig").arg(self.path("kubeconfig"));
        server.args(["--config", "/dev/null", "--node-name", "node-1"]).args(&self.flags);
        server
    }

    /// Starts the server, and waits until it says that it is ready.
    pub fn go(&mut self) {
        assert!(self.running.is_none(), "the server runs already");
        self.running = Some(self.launch(&self.machine, self.server(), "log"));
    }

    /// The command that starts an agent, `node-2`, on the other machine.
    pub fn agent(&self, token: &str) -> Command {
        self.agent_of(&format!("https://{SERVER}:{PORT}"), token, "agent-data")
    }

    /// The same for another URL or data directory.
    pub fn agent_of(&self, server: &str, token: &str, data: &str) -> Command {
        let mut agent = Command::new(&self.exe);
        agent.args(["agent", "join", "--config", "/dev/null", "--node-name", "node-2"]);
        agent.args(["--server", server, "--token", token]);
        agent.arg("--data-dir").arg(self.path(data));
        agent.arg("--run-dir").arg(self.path("agent-run"));
        clean(&mut agent, self.dir.path());
        agent
    }

    /// Starts an agent, and waits until it says that it is ready.
    pub fn join(&self, token: &str) -> Agent {
        let log = self.path("agent-log");
        Agent { running: self.launch(&self.other, self.agent(token), "agent-log"), log }
    }

    /// The secret by which nodes join.
    pub fn token(&self) -> String {
        let token = self.machine.finish(&mut self.rk("token", &[]), "").ok();
        token.trim().to_owned()
    }

    /// Starts an `rk` that says when it is ready, and waits for that.
    fn launch(&self, machine: &Machine, mut command: Command, log: &str) -> Running {
        let notify = self.path(&format!("{log}.notify"));
        drop(fs::remove_file(&notify));
        let socket = UnixDatagram::bind(&notify).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let path = self.path(log);
        let file = File::options().create(true).append(true).open(&path).unwrap();
        command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let running = Running::of(machine.spawn(&mut command));
        let said = || fs::read_to_string(&path).unwrap_or_default();
        let deadline = clock::instant() + START;
        let mut buffer = [0; 64];
        loop {
            if let Ok(length) = socket.recv(&mut buffer)
                && &buffer[..length] == b"READY=1"
            {
                return running;
            }
            let ended = running.ended.try_recv();
            assert!(ended.is_err(), "{command:?} ended: {ended:?}\n{}", said());
            assert!(clock::instant() < deadline, "{command:?} is not ready\n{}", said());
        }
    }

    /// Stops the server in order, and says how it ended.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        let running = self.running.take().expect("the server runs");
        let ended = running.end(libc::SIGTERM, STOP);
        ended.unwrap_or_else(|| panic!("the server does not stop\n{}", self.log()))
    }

    /// Kills the server as a power cut would.
    pub fn kill(&mut self) {
        let running = self.running.take().expect("the server runs");
        running.end(libc::SIGKILL, START).expect("nothing survives SIGKILL");
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        self.running.as_ref().expect("the server runs").pid
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// Runs kubectl as the administrator; words are split at spaces.
    pub fn kubectl(&self, words: &str) -> Ran {
        self.kubectl_with(&words.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// Runs kubectl as the administrator with `input` on its standard input.
    pub fn kubectl_with(&self, words: &[&str], input: &str) -> Ran {
        let mut kubectl = self.command("kubectl");
        kubectl.args(words);
        self.machine.finish(&mut kubectl, input)
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Ran {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// Does something with a client that is the administrator, on the server's machine.
    pub fn with_client<T: Send>(&self, work: impl AsyncFnOnce(kube::Client) -> T + Send) -> T {
        let kubeconfig = self.kubeconfig();
        self.machine.run(move || {
            // One thread: its sockets are opened on the machine that the thread is on.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let config = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
                let options = kube::config::KubeConfigOptions::default();
                let config = kube::Config::from_custom_kubeconfig(config, &options).await.unwrap();
                work(kube::Client::try_from(config).unwrap()).await
            })
        })
    }

    /// A command of the machine's with the cluster's kubeconfig in its environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        clean(&mut command, self.dir.path());
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }
}

/// Nothing of the tester's own environment reaches what is tested.
pub fn clean(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("RK_") || text.starts_with("KUBE") {
            command.env_remove(&name);
        }
    }
    command.env("HOME", home).env_remove("NOTIFY_SOCKET");
}

impl Cluster {
    /// Takes down what servers and agents have left, whatever became of them: shims, mounts,
    /// cgroups and files. Returns what could not be.
    fn clear(&self) -> Vec<Ran> {
        let folders = fs::read_dir(self.dir.path()).unwrap().flatten();
        let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let with_data = names.filter(|name| name == "data" || name.ends_with("-data"));
        let clear = |data: String| {
            let (machine, run) = match data.as_str() {
                "data" => (&self.machine, "run"),
                _ => (&self.other, "agent-run"),
            };
            let mut rk = Command::new(RK);
            rk.args(["uninstall", "--yes", "--config", "/dev/null"]);
            rk.arg("--data-dir").arg(self.path(&data)).arg("--run-dir").arg(self.path(run));
            clean(&mut rk, self.dir.path());
            machine.finish(&mut rk, "")
        };
        with_data.map(clear).filter(|ran| !ran.status.success()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        if panicking {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the end of the server's log ---\n{}", tail.join("\n"));
        }
        if let Some(running) = self.running.take() {
            running.end(libc::SIGTERM, STOP);
        }
        let left = self.clear();
        if panicking {
            left.iter().for_each(|ran| eprintln!("{}: {}{}", ran.words, ran.out, ran.err));
        } else {
            assert!(left.is_empty(), "the cluster has left something: {left:#?}");
        }
    }
}
