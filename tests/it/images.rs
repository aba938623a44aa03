//! From an archive to a running container: the store and the shim together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rk::runtime::image::{Digest, Image, Store};
use rk::runtime::{
    Config, ContainerSpec, Exit, LogTarget, PodHandle, PodSandbox, Rootfs, Runtime, User,
};
use rk::sys::cgroup::Cgroups;
use rk::sys::mount;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A store and a pod; whatever a test does, nothing stays.
struct World {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
    group: String,
    store: Arc<Store>,
    runtime: Runtime,
    pod: PodHandle,
}

impl Drop for World {
    fn drop(&mut self) {
        let cgroups = Cgroups::detect().unwrap();
        let _ = cgroups.kill(&self.group);
        let _ = cgroups.remove(&self.group);
        let _ = mount::detach_below(&self.path);
        drop(self.directory.take());
    }
}

impl World {
    async fn new() -> World {
        let directory = tempfile::Builder::new().prefix("rk-images-").tempdir().unwrap();
        let path = directory.path().to_owned();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let group = format!("rk-it-images-{}-{number}", std::process::id());
        let store = Store::open(&path.join("images")).unwrap();
        let config = Config {
            exe: env!("CARGO_BIN_EXE_rk").into(),
            cgroup_root: group.clone(),
            ..Config::new(path.join("run"), path.join("state"))
        };
        let runtime = Runtime::open(config).await.unwrap();
        let sandbox = PodSandbox {
            id: "p".to_owned(),
            cgroup: "kubepods/podp".to_owned(),
            ..PodSandbox::default()
        };
        let pod = runtime.run_pod(sandbox).await.unwrap();
        World { directory: Some(directory), path, group, store, runtime, pod }
    }

    async fn import(&self, layers: &[Vec<u8>]) -> Arc<Image> {
        let path = self.path.join("archive.tar");
        std::fs::write(&path, archive(layers)).unwrap();
        self.store.import(path).await.unwrap().remove(0)
    }

    /// A shell script in a container of the image.
    async fn spec(&self, image: &Image, id: &str, script: &str) -> ContainerSpec {
        let prepared = self.store.prepare(id, &image.id).await.unwrap();
        ContainerSpec {
            id: id.to_owned(),
            rootfs: Rootfs::Overlay {
                lower: prepared.lower,
                upper: prepared.upper,
                work: prepared.work,
            },
            args: ["/bin/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
            user: User { image: image.config.user.clone(), ..User::default() },
            log: Some(LogTarget { path: self.log(id), max_bytes: 1 << 20, max_files: 2 }),
            ..ContainerSpec::default()
        }
    }

    async fn run(&self, spec: ContainerSpec) -> Exit {
        let id = spec.id.clone();
        self.pod.create(spec).await.unwrap();
        self.pod.start(&id).await.unwrap();
        self.pod.wait(&id).await.unwrap()
    }

    fn log(&self, id: &str) -> PathBuf {
        self.path.join(format!("logs/{id}.log"))
    }

    async fn close(self) {
        self.runtime.remove_pod("p").await.unwrap();
        self.runtime.clone().close().await.unwrap();
        for (id, _) in self.store.containers().await.unwrap() {
            self.store.release(&id).await.unwrap();
        }
    }
}

fn file(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content).unwrap();
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_entry_type(kind);
    header.set_size(0);
    tar.append_data(&mut header, name, std::io::empty()).unwrap();
}

/// Busybox, with a user `web` whose number only the image knows.
fn base() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["./", "etc/", "proc/", "dev/", "sys/", "bin/"] {
        entry(&mut tar, name, tar::EntryType::Directory);
    }
    file(&mut tar, "bin/busybox", 0o755, &std::fs::read("/bin/busybox").unwrap());
    file(&mut tar, "etc/passwd", 0o644, b"root:x:0:0::/:\nweb:x:1234:1234::/:\n");
    file(&mut tar, "etc/group", 0o644, b"web:x:1234:\nlog:x:40:web\n");
    file(&mut tar, "etc/gone", 0o644, b"");
    tar.into_inner().unwrap()
}

/// What `docker save` makes of an image of these layers.
fn archive(layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = serde_json::json!({
        "architecture": rk::runtime::image::Platform::host().architecture, "os": "linux",
        "config": {"User": "web"}, "rootfs": {"type": "layers", "diff_ids": ids},
    });
    let mut tar = tar::Builder::new(Vec::new());
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}.tar")).collect();
    for (name, layer) in names.iter().zip(layers) {
        file(&mut tar, name, 0o644, layer);
    }
    let manifest =
        serde_json::json!([{"Config": "c.json", "RepoTags": ["test:1"], "Layers": names}]);
    file(&mut tar, "c.json", 0o644, config.to_string().as_bytes());
    file(&mut tar, "manifest.json", 0o644, manifest.to_string().as_bytes());
    tar.into_inner().unwrap()
}

#[tokio::test]
async fn a_container_runs_from_an_image_of_very_many_layers() {
    let world = World::new().await;
    let mut layers = vec![base()];
    for n in 0..200 {
        let mut tar = tar::Builder::new(Vec::new());
        file(&mut tar, &format!("data/{n}"), 0o644, b"x");
        file(&mut tar, "newest", 0o644, n.to_string().as_bytes());
        layers.push(tar.into_inner().unwrap());
    }
    let mut last = tar::Builder::new(Vec::new());
    file(&mut last, "etc/.wh.gone", 0o644, b"");
    layers.push(last.into_inner().unwrap());
    let image = world.import(&layers).await;
    let script = "set -- /data/*; echo $# $(/bin/busybox cat /newest) $(/bin/busybox id -u) \
                  $(/bin/busybox id -G); test ! -e /etc/gone && exit 5";
    let exit = world.run(world.spec(&image, "many", script).await).await;
    let log = std::fs::read_to_string(world.log("many")).unwrap();
    assert!(log.contains("stdout F 200 199 1234 1234 40\n"), "{log}");
    assert_eq!(exit.code, 5);
    // What a container writes is its own.
    let script = "/bin/busybox touch /data/mine 2>/dev/null; test ! -e /data/other";
    assert_eq!(world.run(world.spec(&image, "own", script).await).await.code, 0);
    assert!(!Path::new(&world.path.join("images/layers/data")).exists());
    world.close().await;
}

#[tokio::test]
async fn a_pipe_for_a_passwd_file_harms_nobody() {
    let world = World::new().await;
    let mut trap = tar::Builder::new(Vec::new());
    entry(&mut trap, "etc/passwd", tar::EntryType::Fifo);
    let image = world.import(&[base(), trap.into_inner().unwrap()]).await;
    let spec = world.spec(&image, "trap", "exit 0").await;
    let error = world.pod.create(spec).await.unwrap_err().to_string();
    assert!(error.contains("/etc/passwd of the image: not a regular file"), "{error}");
    world.close().await;
}
