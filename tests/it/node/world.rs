//! Clusters with a node, and images for its pods.

use std::fmt::Write as _;
use std::process::Command;

use rk::runtime::image::{Digest, Platform};
use serde_json::{Value, json};

use crate::guestbook::eventually;
use crate::harness::{AGENT, Agent, Cluster, Ran, SERVER};

/// A cluster with one node, which has the images of [`images`].
pub struct World {
    /// The node's agent, where it is not part of the server.
    pub agent: Option<Agent>,
    pub cluster: Cluster,
    /// The node's name.
    pub node: &'static str,
    /// Its address.
    pub address: String,
}

impl World {
    /// The server runs pods itself.
    pub fn near() -> Self {
        Self::near_of(Cluster::start(&[]))
    }

    /// The same on a cluster that runs.
    pub fn near_of(cluster: Cluster) -> Self {
        let address = SERVER.to_string();
        Self { agent: None, cluster, node: "node-1", address }.ready()
    }

    /// Pods run on another machine.
    pub fn far() -> Self {
        Self::far_of(Cluster::start(&["--disable-agent"]))
    }

    /// The same on a server that runs without a node.
    pub fn far_of(cluster: Cluster) -> Self {
        let agent = Some(cluster.join(&cluster.token()));
        Self { agent, cluster, node: "node-2", address: AGENT.to_string() }.ready()
    }

    fn ready(self) -> Self {
        let archive = self.cluster.path("images.tar");
        std::fs::write(&archive, images()).unwrap();
        self.import(archive.to_str().unwrap());
        let node = self.node;
        self.kubectl(&format!("wait --for=create node/{node} --timeout=60s")).ok();
        self.kubectl(&format!("wait --for=condition=Ready node/{node} --timeout=60s")).ok();
        let account = || {
            let ran = self.kubectl("get serviceaccount default");
            if ran.status.success() { Ok(()) } else { Err(ran.err) }
        };
        eventually("the default service account", account);
        self
    }

    /// Gives the node the images of an archive.
    pub fn import(&self, archive: &str) {
        let (data, run) = match self.agent {
            Some(_) => ("agent-data", "agent-run"),
            None => ("data", "run"),
        };
        let mut import = Command::new(crate::harness::RK);
        import.args(["images", "import", archive, "--data-dir"]).arg(self.cluster.path(data));
        import.arg("--run-dir").arg(self.cluster.path(run));
        self.cluster.machine.finish(&mut import, "").ok();
    }

    pub fn kubectl(&self, words: &str) -> Ran {
        self.cluster.kubectl(words)
    }

    /// Part of an object, by kubectl's JSONPath.
    #[track_caller]
    pub fn get(&self, what: &str, path: &str) -> String {
        let path = format!("jsonpath={path}");
        let words: Vec<&str> = what.split(' ').chain(["-o", &path]).collect();
        self.cluster.kubectl_with(&[&["get"], &*words].concat(), "").ok()
    }

    /// Runs a pod of one busybox container, and waits until it is ready.
    pub fn pod(&self, name: &str, script: &str) {
        let container = json!({"name": "main", "image": "test/busybox:1",
            "command": ["sh", "-c", script]});
        self.run(name, json!({"containers": [container]}));
    }

    /// Runs a pod, and waits until it is ready.
    pub fn run(&self, name: &str, mut spec: Value) {
        spec["terminationGracePeriodSeconds"] = 1.into();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"name": name, "labels": {"app": name}}});
        self.cluster.apply(&pod.to_string()).ok();
        self.kubectl(&format!("wait --for=condition=Ready pod/{name} --timeout=60s")).ok();
    }
}

/// Two images of one layer, as `docker save` writes them: `test/busybox:1`, whose configuration is
/// the barest, and `test/rich:1`, whose configuration says all that one can say.
pub fn images() -> Vec<u8> {
    let layer = layer();
    let ids = [Digest::of(&layer).to_string()];
    let config = |config: Value| {
        let platform = Platform::host().architecture;
        json!({"architecture": platform, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": ids}})
    };
    let plain = config(json!({"Env": ["PATH=/bin"], "Cmd": ["sh"]}));
    let rich = config(json!({"Env": ["PATH=/bin", "GREETING=hello"], "User": "web",
        "WorkingDir": "/srv", "Entrypoint": ["echo", "entry"], "Cmd": ["from", "image"],
        "StopSignal": "SIGUSR1"}));
    let manifest = json!([
        {"Config": "plain.json", "RepoTags": ["test/busybox:1"], "Layers": ["layer.tar"]},
        {"Config": "rich.json", "RepoTags": ["test/rich:1"], "Layers": ["layer.tar"]},
    ]);
    let mut tar = tar::Builder::new(Vec::new());
    file(&mut tar, "layer.tar", 0o644, &layer);
    for (name, json) in [("plain", plain), ("rich", rich), ("manifest", manifest)] {
        file(&mut tar, &format!("{name}.json"), 0o644, json.to_string().as_bytes());
    }
    tar.into_inner().unwrap()
}

/// Busybox under all its names, and a user `web`.
fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode) in [("bin", 0o755), ("etc", 0o755), ("srv", 0o755), ("tmp", 0o1777)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, name, std::io::empty()).unwrap();
    }
    file(&mut tar, "bin/busybox", 0o755, &std::fs::read("/bin/busybox").unwrap());
    let listed = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(listed.stdout).unwrap().lines().filter(|a| *a != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:1234:1235::/srv:/bin/sh\n";
    file(&mut tar, "etc/passwd", 0o644, passwd);
    file(&mut tar, "etc/group", 0o644, b"root:x:0:\nweb:x:1235:\nlog:x:40:web\n");
    tar.into_inner().unwrap()
}

fn file(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content).unwrap();
}

/// Whether a text is as expected, line by line, where `...` stands for anything.
pub fn matches(wanted: &str, text: &str) -> bool {
    let (wanted, text) = (wanted.trim_matches('\n'), text.trim_matches('\n'));
    let same = wanted.lines().count() == text.lines().count();
    same && wanted.lines().zip(text.lines()).all(|(wanted, line)| fits(wanted, line))
}

/// Whether one line is as expected.
pub fn fits(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// What was wanted beside what there is.
pub fn compare(wanted: &str, text: &str) -> Result<(), String> {
    if matches(wanted, text) {
        return Ok(());
    }
    let mut said = String::new();
    write!(said, "got:\n{text}\nwanted:\n{wanted}").unwrap();
    Err(said)
}

#[test]
fn patterns_stand_for_anything() {
    for (wanted, text) in [("a", "a\n"), ("a...c", "abc"), ("...", "x"), ("a...b...", "axxb")] {
        assert!(matches(wanted, text), "{wanted} {text}");
    }
    for (wanted, text) in [("a", "ab"), ("a...c", "ab"), ("a\nb", "a"), ("a...b...c", "acb")] {
        assert!(!matches(wanted, text), "{wanted} {text}");
    }
}
