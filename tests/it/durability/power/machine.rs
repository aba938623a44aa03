//! The virtual machine, and what it is made of.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rk::util::clock;
use tempfile::TempDir;

use super::disk::Disk;
use crate::harness::{Machine, PORT, RK};

const QEMU: &str = "qemu-system-x86_64";
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(120);

/// Kernel modules for disk and network, each after those that it needs.
const MODULES: [&str; 9] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
];

/// The first process: mounts, network, rk. What rk says goes to the second serial line, the
/// kubeconfig to the third as soon as it is there.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /disk /run /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do /bin/busybox insmod $module; done
for link in lo eth0; do /bin/busybox ip link set $link up; done
/bin/busybox ip addr add 10.0.2.15/24 dev eth0
/bin/busybox ip route add default via 10.0.2.2
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 -o errors=panic /dev/vda /disk || {
    echo "the disk cannot be mounted" >/dev/ttyS1
    /bin/busybox poweroff -f
}
/rk server --disable-agent --config /dev/null --data-dir /disk/data --run-dir /run/rk \
    --write-kubeconfig /tmp/kubeconfig --node-name node-1 >/dev/ttyS1 2>&1 &
until [ -s /tmp/kubeconfig ]; do /bin/busybox sleep 0.1; done
/bin/busybox cat /tmp/kubeconfig >/dev/ttyS2
echo '#' the end >/dev/ttyS2
wait
"#;

/// What every start of the machine shares.
pub struct Parts {
    kernel: PathBuf,
    dir: TempDir,
    /// Where the machine's port is: nobody else uses its number here.
    pub network: Machine,
}

impl Parts {
    /// All that is needed; or what is missing.
    pub fn find() -> Result<Self, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("it is made for x86_64".to_owned());
        }
        if Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_err() {
            return Err(format!("there is no {QEMU}"));
        }
        // Where `tests/kernel.sh` has put it.
        let root = std::env::temp_dir().join("rk-kernel");
        let missing = |what: &str| format!("{} has no {what}: run tests/kernel.sh", root.display());
        let kernel = only(&root.join("boot"), "vmlinuz").ok_or_else(|| missing("kernel"))?;
        let modules = only(&root.join("lib/modules"), "").ok_or_else(|| missing("modules"))?;
        let dir = tempfile::Builder::new().prefix("rk-it-power-").tempdir().unwrap();
        initial_files(dir.path(), &modules.join("kernel"));
        Ok(Self { kernel, dir, network: Machine::pair().0 })
    }

    /// A file of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The entry of a folder whose name begins so.
fn only(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(prefix);
    entries.into_iter().find(is_it)
}

/// Packs the machine's first file system: `initrd`.
fn initial_files(dir: &Path, modules: &Path) {
    let root = dir.join("root");
    fs::create_dir_all(root.join("modules")).unwrap();
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    fs::copy(RK, root.join("rk")).unwrap();
    for (number, module) in MODULES.iter().enumerate() {
        let from = modules.join(module).with_extension("ko");
        fs::copy(&from, root.join(format!("modules/{number}.ko")))
            .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
    let init = root.join("init");
    fs::write(&init, INIT).unwrap();
    fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = "cd \"$0\" && find . | busybox cpio -o -H newc >\"$1\"";
    let packed =
        Command::new("sh").args(["-c", script]).arg(&root).arg(dir.join("initrd")).output();
    assert!(packed.unwrap().status.success());
    fs::remove_dir_all(root).unwrap();
}

/// A machine that runs.
pub struct Guest<'a> {
    parts: &'a Parts,
    qemu: Child,
}

impl<'a> Guest<'a> {
    /// Turns the machine on.
    pub fn start(parts: &'a Parts, disk: &Disk) -> Self {
        for name in ["console", "log", "kubeconfig"] {
            drop(fs::remove_file(parts.path(name)));
        }
        let mut qemu = Command::new(QEMU);
        qemu.args(["-accel", "tcg", "-M", "q35", "-m", "640", "-nodefaults", "-no-user-config"]);
        qemu.args(["-display", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&parts.kernel).arg("-initrd").arg(parts.path("initrd"));
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
        for name in ["console", "log", "kubeconfig"] {
            qemu.arg("-serial").arg(format!("file:{}", parts.path(name).display()));
        }
        let drive = format!("file=nbd:unix:{},format=raw,if=virtio", disk.socket.display());
        qemu.args(["-drive", &drive]);
        let forward = format!("user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{PORT}-:{PORT}");
        qemu.args(["-nic", &forward]).stdin(Stdio::null()).stderr(Stdio::inherit());
        let qemu = parts.network.spawn(&mut qemu);
        Self { parts, qemu }
    }

    /// Waits until rk in the machine answers.
    #[track_caller]
    pub fn is_ready(&self) {
        let deadline = clock::instant() + START;
        let (_never, timer) = std::sync::mpsc::channel::<()>();
        let told = || self.said("kubeconfig").contains("# the end");
        while !(told() && self.said("log").contains(" ready")) {
            assert!(clock::instant() < deadline, "the machine does not start\n{}", self.all());
            let _ = timer.recv_timeout(Duration::from_millis(50));
        }
    }

    fn said(&self, name: &str) -> String {
        let bytes = fs::read(self.parts.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn all(&self) -> String {
        format!("{}{}", self.said("console"), self.said("log"))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.parts.path("kubeconfig")
    }

    /// The authority that everybody who talks to this server knows.
    pub fn authority(&self) -> String {
        let kubeconfig = self.said("kubeconfig");
        let line = kubeconfig.lines().find(|line| line.contains("certificate-authority-data"));
        line.unwrap().to_owned()
    }

    /// Cuts the power.
    pub fn cut(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.qemu.kill().unwrap();
        self.qemu.wait().unwrap();
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- the machine's log ---\n{}", self.all());
        }
    }
}
