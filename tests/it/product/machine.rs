//! A machine to install on: nothing that happens there reaches the tester's own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rk::sys::cgroup::Cgroups;
use tempfile::TempDir;

use crate::harness::{self, Machine, Ran};

/// Joins the machine's control groups, then the rest of it.
const ENTER: &str = r#"
for group in $1; do echo $$ >"$group/cgroup.procs"; done
shift
exec nsenter --target "$0" --mount --pid --cgroup --uts -- "$@"
"#;

/// A machine to install on.
pub struct Fresh {
    network: Machine,
    /// The other end of its link, where nothing runs.
    _peer: Option<Machine>,
    first: Child,
    /// The first process as the tester's machine sees it.
    pid: String,
    group: String,
    dir: TempDir,
}

impl Fresh {
    /// Two that reach each other.
    pub fn pair() -> (Self, Self) {
        let (one, other) = Machine::pair();
        (Self::on(one, None), Self::on(other, None))
    }

    /// One alone.
    pub fn one() -> Self {
        let (one, peer) = Machine::pair();
        Self::on(one, Some(peer))
    }

    /// Its control groups, as the tester's machine sees them.
    fn groups(&self) -> Vec<String> {
        groups(&self.group)
    }

    fn on(network: Machine, peer: Option<Machine>) -> Self {
        let dir = tempfile::Builder::new().prefix("rk-it-").tempdir().unwrap();
        let group = dir.path().file_name().unwrap().to_string_lossy().into_owned();
        let cgroups = Cgroups::detect().unwrap();
        cgroups.create(&group).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/product/enter.sh");
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        let mut enter = Command::new("sh");
        enter.arg(script).arg(&work);
        enter.args(groups(&group));
        enter.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut first = network.spawn(&mut enter);
        let mut said = String::new();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n", "the machine does not come up");
        let id = first.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let pid = children.trim().to_owned();
        Self { network, _peer: peer, first, pid, group, dir }
    }

    /// A command on the machine.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-euc", ENTER, &self.pid, &self.groups().join(" ")]).args(words);
        harness::clean(&mut command, self.dir.path());
        command.env("KUBECONFIG", "/etc/rk/rk.yaml").current_dir("/");
        command
    }

    /// Runs a command to its end. What it leaves in the background does not hold it up.
    pub fn run(&self, command: &mut Command) -> Ran {
        let out = self.dir.path().join("out");
        let file = File::create(&out).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let status = self.network.spawn(command).wait().unwrap();
        let out = fs::read_to_string(&out).unwrap();
        Ran { words: format!("{command:?}"), status, err: out.clone(), out }
    }

    /// Runs a line of shell.
    pub fn sh(&self, line: &str) -> Ran {
        self.run(&mut self.command(&["sh", "-euc", line]))
    }

    /// Runs a script of the project.
    pub fn script(&self, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let words = [&[path.to_str().unwrap()][..], arguments].concat();
        self.run(self.command(&words).envs(variables.iter().copied()))
    }

    /// Everything that rk might have made and left, in lines.
    pub fn traces(&self) -> String {
        self.sh(
            "find /etc /var/lib /var/log /run /usr/local/bin -xdev \\( -path /var/lib/apt -o -path \
             /var/lib/dpkg \\) -prune -o -print | sort
             cut -d' ' -f1-3 /proc/mounts
             ip -o -details link | sed 's/<[^>]*>//; s/ state [A-Z]*//; s/ qlen.*//' | cut -c1-90
             ip -4 -o address; ip -4 route show table all; nft list tables
             find /sys/fs/cgroup -mindepth 2 -type d | sort
             for one in /proc/[0-9]*; do tr '\\0\\n' '  ' 2>/dev/null <$one/cmdline | grep -v \
                 -e nsenter -e 'sh -euc' -e ^tr -e ^sort || true; done",
        )
        .ok()
    }

    /// All is as it was.
    #[track_caller]
    pub fn is_untouched(&self, before: &str) {
        let now = self.traces();
        let beyond = |one: &str, other: &str| -> Vec<String> {
            let mut left: Vec<&str> = other.lines().collect();
            let mut beyond = Vec::new();
            for line in one.lines() {
                match left.iter().position(|known| *known == line) {
                    Some(at) => drop(left.swap_remove(at)),
                    None => beyond.push(line.to_owned()),
                }
            }
            beyond
        };
        let (new, gone) = (beyond(&now, before), beyond(before, &now));
        assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}");
    }

    /// A path on the tester's machine that is seen here, too.
    pub fn shared(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn groups(name: &str) -> Vec<String> {
    let cgroups = Cgroups::detect().unwrap();
    let all = cgroups.hierarchies().iter().map(|one| one.mount.join(name));
    all.map(|path| path.to_string_lossy().into_owned()).collect()
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // With its first process all others of the machine end, and its mounts go.
        drop(self.first.stdin.take());
        self.first.wait().unwrap();
        let cgroups = Cgroups::detect().unwrap();
        cgroups.kill(&self.group).unwrap();
        cgroups.remove(&self.group).unwrap();
    }
}
