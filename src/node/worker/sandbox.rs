//! A pod's sandbox, as its worker makes it and takes it down.

use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::{Context, Note, Worker};
use crate::client::{Client, RUNTIMECLASSES};
use crate::node::container::build;
use crate::node::container::hosts::{self, Names};
use crate::node::container::resolv::{self, Resolv};
use crate::node::network::{host_ports, needs_loopback};
use crate::node::pod::{Sandbox, Trouble};
use crate::node::report::HANDLERS;
use crate::util::clock;

/// How soon taking down is tried again after it failed.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) fn make_sandbox(&mut self, pod: &Arc<Pod>, epoch: u32) {
        self.seen.sandbox = Sandbox::Making;
        self.seen.epoch = epoch;
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(pod));
        self.tasks.spawn(async move {
            let result = make(&context, &pod, epoch).await;
            context.note(Note::Sandbox(result)).await;
        });
    }

    pub(super) fn sandbox_made(&mut self, result: Result<Vec<IpAddr>, String>) {
        match result {
            Ok(ips) => {
                self.seen.sandbox = Sandbox::Ready;
                self.seen.ips = ips;
                self.seen.sandbox_trouble = None;
                self.sandbox_retry.reset();
            }
            Err(why) => {
                let message = format!("Failed to create pod sandbox: {why}");
                if self.seen.ending.is_none() {
                    self.context.voice.warn("FailedCreatePodSandBox", &*message);
                }
                self.seen.sandbox = Sandbox::Absent;
                // The next try has a number of its own only if this one came to be.
                self.seen.epoch -= 1;
                let retry = clock::now().after(self.sandbox_retry.fail());
                let reason = "FailedCreatePodSandBox".to_owned();
                self.seen.sandbox_trouble = Some(Trouble { reason, message, later: None, retry });
            }
        }
    }

    pub(super) fn end_sandbox(&mut self) {
        self.seen.sandbox = Sandbox::Ending;
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            let result = end(&context).await;
            if result.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            context.note(Note::SandboxEnded(result)).await;
        });
    }

    pub(super) fn sandbox_ended(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.seen.sandbox = Sandbox::Absent;
                self.seen.ips = Vec::new();
                self.bury();
            }
            Err(why) => {
                tracing::warn!(pod = %self.context.uid, why, "cannot take a sandbox down");
                self.seen.sandbox = Sandbox::Lost;
            }
        }
    }

    /// Nothing runs without its sandbox: whatever had no end has one now.
    fn bury(&mut self) {
        let finished = clock::now();
        for seen in self.seen.containers.values_mut() {
            if let Some(attempt) = seen.current.as_mut().filter(|a| a.end.is_none()) {
                attempt.end = Some(crate::node::pod::End {
                    code: 137,
                    signal: None,
                    reason: "ContainerStatusUnknown".to_owned(),
                    message: "The container could not be located when the pod was terminated"
                        .to_owned(),
                    finished,
                    resized: false,
                });
            }
        }
    }
}

async fn make(context: &Context, pod: &Pod, epoch: u32) -> Result<Vec<IpAddr>, String> {
    let shared = &context.shared;
    check_handler(&*shared.client, pod).await?;
    let names = hosts::names(pod, &shared.config.cluster_domain)?;
    let own_network = pod.spec.as_ref().is_none_or(|spec| spec.host_network != Some(true));
    if own_network {
        // Before the node has addresses to give, pods that need one wait.
        let (mut ready, mut ending) = (shared.network.ready(), context.ending.subscribe());
        tokio::select! {
            _ = ready.wait_for(|ready| *ready) => {}
            _ = ending.wait_for(|ending| *ending) => return Err("the pod is ending".to_owned()),
        }
    }
    let sandbox = build::sandbox(pod, &names, epoch);
    let handle = shared.runtime.run_pod(sandbox).await.map_err(|error| error.to_string())?;
    let mut ips = Vec::new();
    if let Some(netns) = handle.netns() {
        match connect(context, pod, netns).await {
            Ok(addresses) => ips = addresses,
            Err(why) => {
                // An interface may be half made: the whole is done again.
                end(context).await?;
                return Err(why);
            }
        }
    }
    write_files(context, pod, &names, &ips).map_err(|error| error.to_string())?;
    Ok(ips)
}

/// Whether the node has what the pod's class wants to be run by.
async fn check_handler(client: &dyn Client, pod: &Pod) -> Result<(), String> {
    let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
    let Some(class) = class.filter(|class| !class.is_empty()) else { return Ok(()) };
    let class = client.get(&RUNTIMECLASSES, "", class).await.map_err(|error| error.to_string())?;
    let handler = class.get("handler").str();
    match HANDLERS.contains(&handler) {
        true => Ok(()),
        false => Err(format!(
            "no runtime for {handler:?} is configured: this node has {}",
            HANDLERS.map(|handler| format!("{handler:?}")).join(" and ")
        )),
    }
}

async fn connect(
    context: &Context,
    pod: &Pod,
    netns: std::path::PathBuf,
) -> Result<Vec<IpAddr>, String> {
    let network = &context.shared.network;
    // The address decides nothing of which ports there are, so any will do for the question.
    let loopback = needs_loopback(&host_ports(pod, &[IpAddr::from([0, 0, 0, 0])]));
    let addresses = network.attach(&context.uid, netns, loopback).await;
    let addresses = addresses.map_err(|error| error.to_string())?.list();
    network.set_ports(&context.uid, host_ports(pod, &addresses));
    Ok(addresses)
}

/// Writes the files that every container of the pod sees.
fn write_files(context: &Context, pod: &Pod, names: &Names, ips: &[IpAddr]) -> io::Result<()> {
    let dirs = &context.dirs;
    fs::create_dir_all(&dirs.root)?;
    let spec = pod.spec.clone().unwrap_or_default();
    let aliases = spec.host_aliases.unwrap_or_default();
    let host = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (hosts, hostname) = if spec.host_network == Some(true) {
        (hosts::of_host(&host("/etc/hosts"), &aliases), host("/proc/sys/kernel/hostname"))
    } else {
        let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
        (hosts::of_pod(&ips, names, &aliases), format!("{}\n", names.hostname))
    };
    let own = Resolv::parse(&host(host_resolv()));
    let mut resolv = resolv::of_pod(pod, &context.shared.dns(), &own);
    for told in resolv.fit() {
        context.voice.warn("DNSConfigForming", told);
    }
    write(&dirs.hosts(), &hosts)?;
    write(&dirs.hostname(), &hostname)?;
    write(&dirs.resolv(), &resolv.text())
}

/// The file that names real resolvers: systemd's stub listens on the host's loopback only.
fn host_resolv() -> &'static str {
    const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";
    let stub = fs::read_to_string("/etc/resolv.conf").is_ok_and(|t| t.contains("127.0.0.53"));
    if stub && Path::new(BEHIND_STUB).exists() { BEHIND_STUB } else { "/etc/resolv.conf" }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// Takes down network, shim and root file systems.
async fn end(context: &Context) -> Result<(), String> {
    let shared = &context.shared;
    let containers = context.handle().map(|handle| handle.containers()).unwrap_or_default();
    shared.runtime.remove_pod(&context.uid).await.map_err(|error| error.to_string())?;
    shared.network.detach(&context.uid).await.map_err(|error| error.to_string())?;
    for container in containers {
        if let Err(error) = shared.images.release(&container.id).await {
            tracing::warn!(pod = %context.uid, %error, "cannot remove a root file system");
        }
    }
    Ok(())
}
