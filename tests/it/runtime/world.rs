//! A runtime to test with, and what containers are made of. Whatever a test does, nothing stays.

use rk::runtime::{Config, ContainerSpec, Exit, LogTarget, PodHandle, PodSandbox, Rootfs, Runtime};
use rk::sys::cgroup::Cgroups;
use rk::sys::mount;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Directories and a group; the runtime itself is opened, and opened again, by the test.
pub struct World {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
    /// The root of the groups.
    pub group: String,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("rk-runtime-").tempdir().unwrap();
        let path = directory.path().to_owned();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let world = Self {
            directory: Some(directory),
            path,
            group: format!("rk-it-{}-{number}", std::process::id()),
        };
        world.make_root();
        world
    }

    /// The world of another process; it stays when this one ends.
    pub fn again(path: PathBuf, group: String) -> Self {
        Self { directory: None, path, group }
    }

    pub fn config(&self) -> Config {
        Config {
            exe: env!("CARGO_BIN_EXE_rk").into(),
            cgroup_root: self.group.clone(),
            ..Config::new(self.path("run"), self.path("state"))
        }
    }

    pub async fn open(&self) -> Runtime {
        Runtime::open(self.config()).await.unwrap()
    }

    /// The process id of a pod's shim.
    pub fn shim(&self, pod: &str) -> i32 {
        let file = self.path(&format!("run/pods/{pod}/shim.pid"));
        std::fs::read_to_string(file).unwrap().parse().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn log(&self, container: &str) -> PathBuf {
        self.path(&format!("logs/{container}/0.log"))
    }

    /// What the container has written to its log, without times: `stdout F text` lines.
    pub fn logged(&self, container: &str) -> String {
        let text = std::fs::read_to_string(self.log(container)).unwrap_or_default();
        text.lines().map(|line| format!("{}\n", line.split_once(' ').unwrap().1)).collect()
    }

    /// A root file system of busybox.
    fn make_root(&self) {
        let root = self.path("root");
        for directory in ["bin", "etc", "tmp", "proc", "dev", "sys", "data"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let listed = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(listed.stdout).unwrap().lines() {
            if applet != "busybox" {
                let link = root.join("bin").join(applet);
                std::os::unix::fs::symlink("busybox", link).unwrap();
            }
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n";
        std::fs::write(root.join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nlog:x:40:web\n").unwrap();
    }

    pub fn pod(&self, id: &str) -> PodSandbox {
        PodSandbox {
            id: id.to_owned(),
            hostname: format!("host-{id}"),
            cgroup: format!("kubepods/burstable/pod{id}"),
            ..PodSandbox::default()
        }
    }

    /// A container that runs a shell script, on an overlay of its own over the common root.
    pub fn container(&self, id: &str, script: &str) -> ContainerSpec {
        let layer = |name: &str| self.path(&format!("layers/{id}/{name}"));
        ContainerSpec {
            id: id.to_owned(),
            rootfs: Rootfs::Overlay {
                lower: vec![self.path("root")],
                upper: layer("upper"),
                work: layer("work"),
            },
            args: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log: Some(LogTarget { path: self.log(id), max_bytes: 1 << 20, max_files: 3 }),
            ..ContainerSpec::default()
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.directory.is_none() {
            return;
        }
        let cgroups = Cgroups::detect().unwrap();
        // The shims are in a group below too.
        let _ = cgroups.kill(&self.group);
        let _ = cgroups.remove(&self.group);
        let _ = mount::detach_below(&self.path);
        drop(self.directory.take());
    }
}

/// Runs one test of this binary in a process of its own.
pub fn alone(test: &str) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--ignored"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Runs a container to its end.
pub async fn run(pod: &PodHandle, spec: ContainerSpec) -> Exit {
    let id = spec.id.clone();
    pod.create(spec).await.unwrap();
    pod.start(&id).await.unwrap();
    pod.wait(&id).await.unwrap()
}

/// What this process and machine have of what the runtime makes.
#[derive(Debug, PartialEq, Eq)]
pub struct Census {
    mounts: usize,
    descriptors: usize,
    groups: usize,
    processes: usize,
}

impl Census {
    pub fn take(world: &World) -> Self {
        let mounts = mount::mount_points().unwrap();
        let cgroups = Cgroups::detect().unwrap();
        let groups = cgroups
            .hierarchies()
            .iter()
            .map(|hierarchy| count_directories(&hierarchy.mount.join(&world.group)));
        Self {
            mounts: mounts.iter().filter(|point| point.starts_with(&world.path)).count(),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            groups: groups.sum(),
            processes: cgroups.processes(&world.group).unwrap().len(),
        }
    }
}

fn count_directories(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let directories = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    1 + directories.map(|entry| count_directories(&entry.path())).sum::<usize>()
}
