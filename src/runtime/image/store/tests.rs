//! The store as its users see it.

use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;

use super::*;
use crate::runtime::image::testing::{Tar, TestImage, gzip};

struct Bench {
    tmp: TempDir,
    store: Arc<Store>,
}

fn base() -> Vec<u8> {
    Tar::new()
        .dir("./", 0o751)
        .dir("etc", 0o755)
        .file("etc/passwd", "www:x:33:33::/:\n")
        .file("etc/gone", "x")
        .dir("var", 0o755)
        .file("var/old", "old")
        .build()
}

fn top() -> Vec<u8> {
    Tar::new()
        .file("etc/.wh.gone", "")
        .dir("var", 0o700)
        .file("var/.wh..wh..opq", "")
        .file("var/new", "new")
        .build()
}

impl Bench {
    fn new() -> Bench {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("images")).unwrap();
        Bench { tmp, store }
    }

    async fn import(&self, layers: &[Vec<u8>], tags: &[&str]) -> Arc<Image> {
        let path = self.tmp.path().join("archive.tar");
        std::fs::write(&path, TestImage::new(layers, gzip).docker_archive(tags)).unwrap();
        self.store.import(path).await.unwrap().remove(0)
    }

    fn count(&self, dir: &str) -> usize {
        std::fs::read_dir(self.tmp.path().join("images").join(dir)).unwrap().count()
    }
}

#[tokio::test]
async fn names_and_ids_lead_to_the_image() {
    let bench = Bench::new();
    let image = bench.import(&[base(), top()], &["app:1", "quay.io/x/app:1"]).await;
    assert_eq!(image.tags, ["docker.io/library/app:1", "quay.io/x/app:1"]);
    assert_eq!(image.config.entrypoint, ["/bin/app"]);
    assert!(image.size_bytes > 2048 && image.disk_bytes > 0);
    let id = image.id.to_string();
    for name in ["app:1", "docker.io/app:1", "quay.io/x/app:1", &id, image.id.hex()] {
        assert_eq!(bench.store.resolve(name).await.unwrap().unwrap().id, image.id, "{name}");
    }
    assert_eq!(bench.store.resolve("app:2").await.unwrap(), None);
    assert_eq!(
        bench.store.resolve("App").await.unwrap_err().class(),
        super::super::Class::InvalidName
    );
    assert_eq!(bench.store.list().await.unwrap(), [image]);
}

#[tokio::test]
async fn another_process_sees_the_same_and_changes_are_seen() {
    let bench = Bench::new();
    let other = Store::open(&bench.tmp.path().join("images")).unwrap();
    assert!(other.list().await.unwrap().is_empty());
    let image = bench.import(&[base()], &["app:1"]).await;
    assert_eq!(other.list().await.unwrap(), [Arc::clone(&image)]);
    assert!(other.remove("app:1").await.unwrap());
    assert!(!other.remove("app:1").await.unwrap());
    assert_eq!(bench.store.resolve("app:1").await.unwrap(), None);
    assert_eq!((bench.count("layers"), bench.count("blobs/sha256")), (0, 0));
}

#[tokio::test]
async fn images_share_layers_and_only_the_last_takes_them_away() {
    let bench = Bench::new();
    bench.import(&[base()], &["a:1"]).await;
    bench.import(&[base(), top()], &["b:1"]).await;
    assert_eq!(bench.count("layers"), 2);
    bench.store.remove("a:1").await.unwrap();
    assert_eq!(bench.count("layers"), 2);
    bench.store.remove("b:1").await.unwrap();
    assert_eq!(bench.count("layers"), 0);
    assert_eq!(bench.store.usage().await.unwrap(), Usage::default());
}

#[tokio::test]
async fn a_tag_moves_and_the_image_stays_until_it_is_pruned() {
    let bench = Bench::new();
    let old = bench.import(&[base()], &["app:1"]).await;
    let new = bench.import(&[base(), top()], &["app:1"]).await;
    assert_eq!(bench.store.resolve("app:1").await.unwrap().unwrap().id, new.id);
    let found = bench.store.resolve(old.id.as_str()).await.unwrap().unwrap();
    assert!(found.tags.is_empty());
    let keep = HashSet::from([new.id.clone()]);
    let pruned = bench.store.prune(PruneRequest { keep, ..PruneRequest::default() }).await.unwrap();
    assert_eq!((pruned.images, pruned.freed_bytes), (vec![old.id.clone()], 0));
}

#[tokio::test]
async fn pruning_frees_what_was_asked_for_and_spares_what_is_used() {
    let bench = Bench::new();
    let layer = |n: usize| Tar::new().file("data", &"x".repeat(10_000 + n)).build();
    let mut images = Vec::new();
    for n in 0..4 {
        images.push(bench.import(&[layer(n)], &[&format!("app:{n}")]).await);
    }
    bench.store.prepare("c1", &images[0].id).await.unwrap();
    let young = PruneRequest { unused_for: Duration::from_secs(3600), ..PruneRequest::default() };
    assert_eq!(bench.store.prune(young).await.unwrap(), Pruned::default());
    let some = PruneRequest { free_bytes: Some(1), ..PruneRequest::default() };
    let pruned = bench.store.prune(some).await.unwrap();
    assert_eq!(pruned.images.len(), 1);
    assert!(pruned.freed_bytes >= 10_000);
    let rest = bench.store.prune(PruneRequest::default()).await.unwrap();
    assert_eq!(rest.images.len(), 2);
    assert_eq!(bench.store.list().await.unwrap(), [Arc::clone(&images[0])]);
    let error = bench.store.remove("app:0").await.unwrap_err().to_string();
    assert_eq!(error, "image app:0 is in use by container c1");
}

#[tokio::test]
async fn a_container_sees_its_layers_as_one_tree() {
    let bench = Bench::new();
    let image = bench.import(&[base(), top()], &["app:1"]).await;
    let prepared = bench.store.prepare("c1", &image.id).await.unwrap();
    assert_eq!(prepared.lower.len(), 2);
    let root = bench.store.mount("c1").await.unwrap();
    assert_eq!(bench.store.mount("c1").await.unwrap(), root);
    assert_eq!(std::fs::read_to_string(root.join("var/new")).unwrap(), "new");
    assert!(!root.join("var/old").exists() && !root.join("etc/gone").exists());
    assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o7777, 0o751);
    assert_eq!(std::fs::read_to_string(root.join("etc/passwd")).unwrap(), "www:x:33:33::/:\n");
    let empty = bench.store.container_usage("c1").await.unwrap();
    std::fs::write(root.join("written"), "x".repeat(100_000)).unwrap();
    let used = bench.store.container_usage("c1").await.unwrap();
    assert!(used.bytes >= empty.bytes + 100_000 && used.inodes == empty.inodes + 1);
    bench.store.release("c1").await.unwrap();
    bench.store.release("c1").await.unwrap();
    assert_eq!(bench.count("containers"), 0);
}

#[tokio::test]
async fn a_restart_finds_the_containers_again() {
    let bench = Bench::new();
    let image = bench.import(&[base(), top()], &["app:1"]).await;
    let before = bench.store.prepare("c1", &image.id).await.unwrap();
    std::fs::write(before.upper.join("kept"), "kept").unwrap();
    bench.store.mount("c1").await.unwrap();
    // Half-made ones of a crash.
    std::fs::create_dir(bench.tmp.path().join("images/containers/.c2")).unwrap();
    std::fs::create_dir_all(bench.tmp.path().join("images/containers/c3/upper")).unwrap();
    let again = Store::open(&bench.tmp.path().join("images")).unwrap();
    assert_eq!(again.containers().await.unwrap(), [("c1".to_string(), image.id.clone())]);
    assert_eq!(again.prepared("c1").await.unwrap(), Some(before.clone()));
    assert_eq!(again.prepare("c1", &image.id).await.unwrap(), before);
    assert_eq!(std::fs::read_to_string(before.rootfs.join("kept")).unwrap(), "kept");
    assert_eq!(again.prepared("c3").await.unwrap(), None);
    again.prepare("c3", &image.id).await.unwrap();
    for id in ["c1", "c3"] {
        again.release(id).await.unwrap();
    }
}

#[tokio::test]
async fn a_container_keeps_its_layers_when_the_image_is_forgotten() {
    let bench = Bench::new();
    let image = bench.import(&[base()], &["app:1"]).await;
    bench.store.prepare("c1", &image.id).await.unwrap();
    // As if the index had been lost.
    std::fs::write(bench.tmp.path().join("images/index.json"), "{").unwrap();
    let again = Store::open(&bench.tmp.path().join("images")).unwrap();
    assert!(again.list().await.unwrap().is_empty());
    assert!(bench.tmp.path().join("images/index.json.damaged").exists());
    assert_eq!(bench.count("layers"), 1);
    assert!(again.prepared("c1").await.unwrap().is_some());
    assert!(again.prepare("c1", &image.id).await.is_ok());
    assert!(again.prepare("c2", &image.id).await.is_err());
    again.release("c1").await.unwrap();
}

#[tokio::test]
async fn a_lost_layer_makes_the_image_absent_and_an_import_heals_it() {
    let bench = Bench::new();
    let image = bench.import(&[base(), top()], &["app:1"]).await;
    std::fs::remove_dir_all(bench.store.layout.layer(&image.layers[0])).unwrap();
    let error = bench.store.prepare("c1", &image.id).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(bench.store.resolve("app:1").await.unwrap(), None);
    bench.import(&[base(), top()], &["app:1"]).await;
    bench.store.prepare("c1", &image.id).await.unwrap();
}

#[tokio::test]
async fn an_image_without_layers_and_one_with_very_many_can_be_mounted() {
    let bench = Bench::new();
    let empty = bench.import(&[], &["empty:1"]).await;
    let many: Vec<Vec<u8>> = (0..crate::limits::IMAGE_LAYERS_MAX)
        .map(|n| Tar::new().file(&format!("f{n}"), "").build())
        .collect();
    let deep = bench.import(&many, &["deep:1"]).await;
    let id = "c".repeat(64);
    for (image, files) in [(empty, 0), (deep, many.len())] {
        bench.store.prepare(&id, &image.id).await.unwrap();
        let root = bench.store.mount(&id).await.unwrap();
        assert_eq!(std::fs::read_dir(root).unwrap().count(), files);
        bench.store.release(&id).await.unwrap();
    }
}

#[tokio::test]
async fn an_opaque_root_hides_every_layer_below() {
    let bench = Bench::new();
    let clear = Tar::new().file(".wh..wh..opq", "").file("only", "").build();
    let image = bench.import(&[base(), clear], &["app:1"]).await;
    let prepared = bench.store.prepare("c1", &image.id).await.unwrap();
    assert_eq!(prepared.lower.len(), 1);
    bench.store.release("c1").await.unwrap();
}

#[tokio::test]
async fn ids_that_could_be_paths_are_refused() {
    let bench = Bench::new();
    let image = bench.import(&[base()], &["app:1"]).await;
    for id in ["", ".", "..", "../x", "a/b", "a,b", "a:b", ".hidden", &"x".repeat(65)] {
        assert!(bench.store.prepare(id, &image.id).await.is_err(), "{id:?}");
        assert!(bench.store.release(id).await.is_err(), "{id:?}");
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("small");
    std::fs::create_dir(&dir).unwrap();
    crate::sys::mount::tmpfs(&dir, "size=1m").unwrap();
    let path = tmp.path().join("archive.tar");
    let big = Tar::new().file("big", &"x".repeat(4 << 20)).build();
    std::fs::write(&path, TestImage::new(&[big], gzip).docker_archive(&["big:1"])).unwrap();
    let store = Store::open(&dir).unwrap();
    let error = store.import(path).await.unwrap_err();
    let (layers, ingest) = (store.layout.layers(), store.layout.ingest());
    let left = [layers, ingest].map(|dir| std::fs::read_dir(dir).unwrap().count());
    drop(store);
    crate::sys::mount::detach(&dir).unwrap();
    assert_eq!(error.class(), super::super::Class::DiskFull, "{error}");
    assert_eq!(left, [0, 0]);
}

/// Not a test by itself: what the next one starts again and again, and kills.
#[tokio::test]
async fn works_until_it_is_killed() {
    let Ok(dir) = std::env::var("RK_TEST_KILLED_STORE") else { return };
    let dir = Path::new(&dir);
    loop {
        let store = Store::open(&dir.join("images")).unwrap();
        for n in 0..3 {
            let image = store.import(dir.join(format!("{n}.tar"))).await.unwrap().remove(0);
            store.prepare(&format!("c{n}"), &image.id).await.unwrap();
        }
        for n in 0..3 {
            store.release(&format!("c{n}")).await.unwrap();
            store.remove(&format!("app:{n}")).await.unwrap();
        }
        store.prune(PruneRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_survives_being_killed_at_any_moment() {
    let tmp = tempfile::tempdir().unwrap();
    let content = |n: usize| "x".repeat(50_000 + n);
    for n in 0..3 {
        let mut layers = vec![base()];
        layers.extend((0..=n).map(|m| Tar::new().file(&format!("f{m}"), &content(m)).build()));
        let archive = TestImage::new(&layers, gzip).docker_archive(&[&format!("app:{n}")]);
        std::fs::write(tmp.path().join(format!("{n}.tar")), archive).unwrap();
    }
    let mut worked = 0;
    for round in 0..25 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::image::store::tests::works_until_it_is_killed"])
            .env("RK_TEST_KILLED_STORE", tmp.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let [random] = crate::util::id::random::<1>();
        tokio::time::sleep(Duration::from_millis(20 + u64::from(random))).await;
        worked += usize::from(tmp.path().join("images/index.json").exists());
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it ended by itself in round {round}");
        let store = Store::open(&tmp.path().join("images")).unwrap();
        assert_eq!(std::fs::read_dir(store.layout.ingest()).unwrap().count(), 0);
        for image in store.list().await.unwrap() {
            let prepared = store.prepare("check", &image.id).await.unwrap();
            // Above the base there is one file in each layer.
            for (n, dir) in prepared.lower.iter().rev().skip(1).enumerate() {
                let read = std::fs::read_to_string(dir.join(format!("f{n}"))).unwrap();
                assert!(read == content(n), "round {round}");
            }
            store.release("check").await.unwrap();
        }
    }
    assert!(worked > 0, "the children did nothing");
    let store = Store::open(&tmp.path().join("images")).unwrap();
    for (id, _) in store.containers().await.unwrap() {
        store.release(&id).await.unwrap();
    }
    store.prune(PruneRequest::default()).await.unwrap();
    assert_eq!(std::fs::read_dir(store.layout.layers()).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(store.layout.blobs().join("sha256")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_and_prunings_of_several_processes_do_not_disturb_each_other() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("images");
    let import = |name: &'static str, seed: usize| {
        // A store of its own has locks of its own, as another process has.
        let (store, path) = (Store::open(&dir).unwrap(), tmp.path().join(name));
        let layers = [base(), Tar::new().file("f", &"y".repeat(1000 * seed)).build()];
        std::fs::write(&path, TestImage::new(&layers, gzip).docker_archive(&[name])).unwrap();
        tokio::spawn(async move {
            for _ in 0..15 {
                let image = store.import(path.clone()).await.unwrap().remove(0);
                assert_eq!(image.layers.len(), 2);
            }
        })
    };
    let imports = [import("a", 1), import("b", 2), import("c", 3)];
    let store = Store::open(&dir).unwrap();
    let pruning: tokio::task::JoinHandle<()> = tokio::spawn(async move {
        loop {
            store.prune(PruneRequest::default()).await.unwrap();
        }
    });
    for import in imports {
        import.await.unwrap();
    }
    pruning.abort();
    let _ = pruning.await;
    let store = Store::open(&dir).unwrap();
    store.prune(PruneRequest::default()).await.unwrap();
    assert_eq!(std::fs::read_dir(store.layout.layers()).unwrap().count(), 0);
}
