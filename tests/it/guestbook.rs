//! A real application from its example: the guestbook, seen by its visitors and by kubectl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use rk::util::clock;

use crate::harness::Cluster;

/// The example's images, made once for all tests; left in the system's temporary folder, where the
/// next run finds them unless the script has changed.
pub static IMAGES: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = example("guestbook/images.sh");
    let parts = [&script, &example("oci.sh"), &example("guestbook/image/index.cgi")];
    let stamp = parts.map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let folder = std::env::temp_dir()
        .join(format!("rk-guestbook-{:x}", rk::util::id::hash(stamp.as_bytes())));
    if !folder.join("done").exists() {
        let made = Command::new(&script).arg(&folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(folder.join("done"), "").unwrap();
    }
    folder
});

/// A path below `examples`.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A cluster whose node has the guestbook's images.
pub fn cluster(flags: &[&str]) -> Cluster {
    let cluster = Cluster::start(flags);
    for name in ["guestbook-web.tar", "guestbook-redis.tar"] {
        import(&cluster, name);
    }
    cluster.kubectl("wait --for=condition=Ready node --all --timeout=60s").ok();
    cluster
}

/// Gives a cluster's node one of the images.
pub fn import(cluster: &Cluster, name: &str) {
    let archive = IMAGES.join(name);
    let mut import = cluster.rk("images", &["import", archive.to_str().unwrap()]);
    cluster.machine.finish(&mut import, "").ok();
}

/// Tries until it goes well.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = clock::instant() + Duration::from_secs(60);
    loop {
        match attempt() {
            Ok(found) => return found,
            Err(why) => assert!(clock::instant() < deadline, "{what}: {why}"),
        }
        let (_never, timer) = std::sync::mpsc::channel::<()>();
        let _ = timer.recv_timeout(Duration::from_millis(100));
    }
}

fn curl(cluster: &Cluster, words: &[&str]) -> Result<String, String> {
    let mut curl = cluster.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "5"]).args(words);
    let ran = cluster.machine.finish(&mut curl, "");
    if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
}

fn jsonpath(cluster: &Cluster, what: &str, path: &str) -> String {
    cluster.kubectl(&format!("get {what} -o jsonpath={path}")).ok()
}

#[test]
fn visitors_reach_the_guestbook_by_address_port_and_name() {
    let cluster = cluster(&[]);
    let manifest = example("guestbook/guestbook.yaml");
    cluster.kubectl(&format!("apply -f {}", manifest.display())).ok();
    for deployment in ["guestbook-redis", "guestbook"] {
        cluster.kubectl(&format!("rollout status deployment/{deployment} --timeout=60s")).ok();
    }

    let node = jsonpath(&cluster, "node", "{.items[0].status.addresses[0].address}");
    let by_port = format!("http://{node}:30080");
    let service = jsonpath(&cluster, "service/guestbook", "{.spec.clusterIP}");
    let by_address = format!("http://{service}");
    let page = eventually("the page by node port", || curl(&cluster, &[&by_port]));
    assert!(page.contains("<h1>The guestbook</h1>"), "{page}");
    curl(
        &cluster,
        &["--data", "entry=hello from outside", &format!("{by_port}/cgi-bin/index.cgi")],
    )
    .unwrap();
    let page = curl(&cluster, &[&by_address]).unwrap();
    assert!(page.contains("<li>hello from outside</li>"), "{page}");

    for name in ["guestbook", "guestbook.default", "guestbook.default.svc.cluster.local"] {
        let words = format!("exec deployment/guestbook -- wget -qO- http://{name}/");
        let page = eventually(&words, || {
            let ran = cluster.kubectl(&words);
            if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
        });
        assert!(page.contains("hello from outside"), "{name}: {page}");
    }
}

#[test]
fn an_update_rolls_out_and_back() {
    let cluster = cluster(&[]);
    let manifest = example("guestbook/guestbook.yaml");
    cluster.kubectl(&format!("apply -f {}", manifest.display())).ok();
    cluster.kubectl("rollout status deployment/guestbook --timeout=60s").ok();
    cluster.kubectl("set env deployment/guestbook TITLE=Another").ok();
    cluster.kubectl("rollout status deployment/guestbook --timeout=60s").ok();
    let service = jsonpath(&cluster, "service/guestbook", "{.spec.clusterIP}");
    let page = eventually("the new page", || curl(&cluster, &[&format!("http://{service}")]));
    assert!(page.contains("<h1>Another</h1>"), "{page}");
    cluster.kubectl("rollout undo deployment/guestbook").ok();
    cluster.kubectl("rollout status deployment/guestbook --timeout=60s").ok();
    let page = eventually("the old page", || curl(&cluster, &[&format!("http://{service}")]));
    assert!(page.contains("<h1>The guestbook</h1>"), "{page}");
    let history = cluster.kubectl("rollout history deployment/guestbook").ok();
    assert!(history.contains("\n2 ") && history.contains("\n3 "), "{history}");
}
