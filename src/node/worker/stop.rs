//! Stops one container: preStop hook, stop signal, grace, kill.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use super::{Context, Note, Worker};
use crate::node::hook;
use crate::node::pod::{Busy, Plan, plans};
use crate::runtime::PodHandle;
use crate::util::clock::{self, Wall};

/// What a container has after its preStop hook, even if that took all of its time: kubelet's.
const GRACE_MIN: Duration = Duration::from_secs(2);
/// How soon a container that could not be stopped is tried again.
const RETRY: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) fn stop(&mut self, pod: &Arc<Pod>, name: &str, deadline: Wall, why: &str) {
        let seen = self.seen.containers.entry(name.to_owned()).or_default();
        let stopping = matches!(seen.busy, Some(Busy::Stopping { .. }));
        seen.busy = Some(Busy::Stopping { deadline });
        if stopping && let Some(known) = self.deadlines.get(name) {
            known.send_replace(deadline);
            return;
        }
        let Some(id) = seen.current.as_ref().map(|attempt| attempt.id.clone()) else {
            seen.busy = None;
            return;
        };
        let (sender, deadline) = watch::channel(deadline);
        self.deadlines.insert(name.to_owned(), sender);
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(pod));
        let addresses = self.addresses();
        let ip = addresses.pod.into_iter().chain(addresses.host).next().unwrap_or_default();
        let (name, why) = (name.to_owned(), why.to_owned());
        self.tasks.spawn(async move {
            let job = Job { context: &context, pod: &pod, name: &name, id, ip, deadline };
            job.run(&why).await;
            context.note(Note::Stopped(name)).await;
        });
    }

    pub(super) fn stopped(&mut self, name: &str) {
        self.deadlines.remove(name);
        if let Some(seen) = self.seen.containers.get_mut(name) {
            seen.busy = None;
        }
    }
}

struct Job<'a> {
    context: &'a Context,
    pod: &'a Pod,
    name: &'a str,
    id: String,
    ip: String,
    deadline: watch::Receiver<Wall>,
}

impl Job<'_> {
    async fn run(mut self, why: &str) {
        let plans = plans(self.pod);
        let plan = plans.iter().find(|plan| plan.name() == self.name);
        if let Some(plan) = plan {
            self.context.voice.of(plan.kind, self.name).normal("Killing", why);
        }
        let Some(handle) = self.context.handle() else { return };
        if let Some(plan) = plan {
            self.pre_stop(&handle, plan).await;
        }
        let left = self.left().max(GRACE_MIN);
        let id = self.id.clone();
        let stop = handle.stop(&id, None, left);
        tokio::pin!(stop);
        let result = tokio::select! {
            result = &mut stop => result.map(drop),
            () = self.hurried() => handle.kill(&id, libc::SIGKILL, true).await,
        };
        match result {
            // The runtime tells that it has ended; until it has, this stop is in progress.
            Ok(()) => drop(handle.wait(&id).await),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                tracing::warn!(pod = %self.context.uid, %error, "cannot stop a container");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn left(&self) -> Duration {
        self.deadline.borrow().since(clock::now())
    }

    /// Returns at the deadline, if that has come nearer than it was.
    async fn hurried(&mut self) {
        if self.deadline.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        loop {
            let left = self.left();
            tokio::select! {
                () = tokio::time::sleep(left) => return,
                changed = self.deadline.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn pre_stop(&mut self, handle: &PodHandle, plan: &Plan<'_>) {
        let hook = plan.spec.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
        let Some(hook) = hook else { return };
        let target =
            hook::Target { pod: handle, container: &plan.spec, id: &self.id, ip: &self.ip };
        let left = self.left();
        let ended = handle.over(&self.id);
        let result = tokio::select! {
            result = hook::run(hook, &target, left) => result,
            () = ended => Ok(()),
            () = tokio::time::sleep(left) => Err("it took longer than the grace period".to_owned()),
        };
        if let Err(error) = result {
            tracing::info!(pod = %self.context.uid, container = self.name, error, "preStop failed");
            let voice = self.context.voice.of(plan.kind, self.name);
            voice.warn("FailedPreStopHook", "PreStopHook failed");
        }
    }
}
