//! An image under all names that the quick start uses: busybox that sleeps.

use rk::runtime::image::{Digest, Platform};

/// The names; the last part of the quick start's documents, whose registries are out of reach.
const NAMES: [&str; 5] =
    ["nginx:1.14.2", "nginx:1.16.1", "tomcat:9.0.55", "tomcat:10.1.11", "redis:6.2"];

/// What `docker save` makes of it.
pub fn archive() -> Vec<u8> {
    let layer = layer();
    let config = serde_json::json!({
        "architecture": Platform::host().architecture, "os": "linux",
        // It is the first process of its container, where no signal ends it but this one.
        "config": {"Cmd": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"], "StopSignal": "SIGKILL"},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    });
    let names = NAMES.map(|name| format!("docker.io/library/{name}"));
    let manifest =
        serde_json::json!([{"Config": "c.json", "RepoTags": names, "Layers": ["layer.tar"]}]);
    let mut tar = tar::Builder::new(Vec::new());
    file(&mut tar, "layer.tar", 0o644, &layer);
    file(&mut tar, "c.json", 0o644, config.to_string().as_bytes());
    file(&mut tar, "manifest.json", 0o644, manifest.to_string().as_bytes());
    tar.into_inner().unwrap()
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    file(&mut tar, "bin/busybox", 0o755, &std::fs::read("/bin/busybox").unwrap());
    for applet in ["sh", "sleep"] {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        tar.append_link(&mut link, format!("bin/{applet}"), "busybox").unwrap();
    }
    tar.into_inner().unwrap()
}

fn file(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content).unwrap();
}
