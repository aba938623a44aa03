//! Asks the containers of a pod how they are, each probe in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};

use super::{Context, Note, Worker};
use crate::node::command;
use crate::node::pod::{Kind, Plan, Step, plans};
use crate::node::probe::tally::Tally;
use crate::node::probe::{Answer, Purpose, Timing, grpc, http, port, tcp};
use crate::util::clock;

/// Probes are asked at multiples of this, so that those of many pods wake the processor together.
const GRID: Duration = Duration::from_millis(250);

impl Worker {
    /// Begins and ends probes as containers come and go.
    pub(super) fn tend_probes(&mut self, pod: &Arc<Pod>, step: &Step) {
        let mut wanted = Vec::new();
        for plan in plans(pod).iter().filter(|plan| matches!(plan.kind, Kind::App | Kind::Sidecar))
        {
            let Some(seen) = self.seen.containers.get(plan.name()) else { continue };
            let running = seen.current.as_ref().filter(|a| a.started.is_some() && a.end.is_none());
            let Some(attempt) = running else { continue };
            let started = seen.probes.startup;
            for purpose in Purpose::ALL {
                let timely = match purpose {
                    Purpose::Startup => started.is_none() && !step.ending,
                    Purpose::Liveness => started == Some(true) && seen.probes.live && !step.ending,
                    Purpose::Readiness => started == Some(true),
                };
                if timely && purpose.of(&plan.spec).is_some() {
                    wanted.push((attempt.id.clone(), purpose, plan.name().to_owned()));
                }
            }
        }
        self.probes.retain(|(id, purpose), task| {
            let keep = wanted.iter().any(|(wid, wpurpose, _)| wid == id && wpurpose == purpose);
            if !keep {
                task.abort();
            }
            keep
        });
        for (id, purpose, name) in wanted {
            if !self.probes.contains_key(&(id.clone(), purpose)) {
                self.begin_probe(pod, &name, id, purpose);
            }
        }
    }

    fn begin_probe(&mut self, pod: &Arc<Pod>, name: &str, id: String, purpose: Purpose) {
        let ready = self.seen.containers.get(name).is_some_and(|seen| seen.probes.ready);
        let addresses = self.addresses();
        let ip = addresses.pod.into_iter().chain(addresses.host).next().unwrap_or_default();
        let job = Job {
            context: Arc::clone(&self.context),
            pod: Arc::clone(pod),
            name: name.to_owned(),
            id: id.clone(),
            ip,
            purpose,
            tally: Tally::resumed(purpose, ready),
        };
        let task = self.tasks.spawn(job.run());
        self.probes.insert((id, purpose), task);
    }

    pub(super) fn probed(&mut self, name: &str, id: &str, purpose: Purpose, verdict: bool) {
        let Some(seen) = self.seen.containers.get_mut(name) else { return };
        if seen.current.as_ref().is_none_or(|attempt| attempt.id != id) {
            return;
        }
        match purpose {
            Purpose::Startup => seen.probes.startup = Some(verdict),
            Purpose::Liveness => seen.probes.live = verdict,
            Purpose::Readiness => seen.probes.ready = verdict,
        }
    }
}

struct Job {
    context: Arc<Context>,
    pod: Arc<Pod>,
    name: String,
    /// The runtime's name of the container.
    id: String,
    ip: String,
    purpose: Purpose,
    tally: Tally,
}

impl Job {
    async fn run(mut self) {
        let pod = Arc::clone(&self.pod);
        let plans = plans(&pod);
        let Some(plan) = plans.iter().find(|plan| plan.name() == self.name) else { return };
        let Some(probe) = self.purpose.of(&plan.spec) else { return };
        let timing = Timing::of(probe);
        let started = self.context.handle().and_then(|pod| pod.container(&self.id)?.started_ns);
        let since = clock::now().since(clock::Wall(started.unwrap_or(0)));
        sleep_on_grid(timing.initial.saturating_sub(since)).await;
        loop {
            let answer = self.ask(&plan.spec, probe, &timing).await;
            self.tell(plan, &answer);
            if let Some(verdict) = self.tally.count(answer.is_success(), &timing) {
                let note = Note::Probe(self.name.clone(), self.id.clone(), self.purpose, verdict);
                self.context.note(note).await;
            }
            if self.tally.is_settled() {
                return;
            }
            sleep_on_grid(timing.period).await;
        }
    }

    async fn ask(&self, container: &Container, probe: &Probe, timing: &Timing) -> Answer {
        if let Some(exec) = &probe.exec {
            return self.exec(exec.command.as_deref().unwrap_or_default(), timing.timeout).await;
        }
        if let Some(action) = &probe.http_get {
            return match http::Target::new(action, container, &self.ip) {
                Ok(target) => http::probe(&target, timing.timeout).await,
                Err(why) => Answer::Failure(why),
            };
        }
        if let Some(action) = &probe.tcp_socket {
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&self.ip);
            return match port(container, &action.port) {
                Some(port) => tcp(host, port, timing.timeout).await,
                None => Answer::Failure(format!("couldn't find port: {:?}", action.port)),
            };
        }
        if let Some(action) = &probe.grpc {
            let service = action.service.as_deref().unwrap_or_default();
            let port = u16::try_from(action.port).unwrap_or(0);
            return grpc::probe(&self.ip, port, service, timing.timeout).await;
        }
        Answer::Failure("missing probe handler".to_owned())
    }

    async fn exec(&self, args: &[String], timeout: Duration) -> Answer {
        let Some(handle) = self.context.handle() else {
            return Answer::Failure("the pod is gone".to_owned());
        };
        match command::run(&handle, &self.id, args, timeout).await {
            Ok(ended) if ended.code == 0 => Answer::Success,
            Ok(ended) => Answer::Failure(ended.output),
            Err(why) => Answer::Failure(why),
        }
    }

    fn tell(&self, plan: &Plan<'_>, answer: &Answer) {
        let voice = || self.context.voice.of(plan.kind, &self.name);
        let purpose = self.purpose.as_str();
        match answer {
            Answer::Success => {}
            Answer::Warning(text) => {
                voice().warn("ProbeWarning", format!("{purpose} probe warning: {text}"));
            }
            Answer::Failure(text) => {
                voice().warn("Unhealthy", format!("{purpose} probe failed: {text}"));
            }
        }
    }
}

/// Sleeps at least so long, to the next point of the grid that all probes share.
async fn sleep_on_grid(duration: Duration) {
    if duration.is_zero() {
        return;
    }
    let target = clock::now().after(duration).0;
    let grid = i64::try_from(GRID.as_nanos()).unwrap_or(1);
    let aligned = target + (grid - target.rem_euclid(grid)) % grid;
    tokio::time::sleep(clock::Wall(aligned).since(clock::now())).await;
}
