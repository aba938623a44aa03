//! From the runtime's containers to what is seen of a pod.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use super::{Worker, attempt};
use crate::node::pod::{Attempt, Crash, Kind, Plan, Probes, Sandbox, Seen, plans, title};
use crate::runtime::logs::Record;
use crate::runtime::{ContainerStatus, Phase};
use crate::util::clock;

/// The longest termination message from a file, and from a log: the API's.
const MESSAGE_BYTES_MAX: u64 = 4096;
const LOG_MESSAGE_BYTES_MAX: usize = 2048;
const LOG_MESSAGE_LINES_MAX: usize = 80;
/// The longest of all containers of a pod together.
const MESSAGES_BYTES_MAX: usize = 12 << 10;
/// What is read of the end of a log for a message: lines carry some 40 bytes of their own.
const LOG_TAIL_BYTES: u64 = 16 << 10;

impl Worker {
    /// Brings what is seen up to date with the runtime.
    pub(super) fn observe(&mut self, pod: &Pod) {
        let handle = self.context.handle();
        if self.seen.sandbox == Sandbox::Ready && handle.as_ref().is_none_or(|h| h.is_dead()) {
            self.seen.sandbox = Sandbox::Lost;
            self.context
                .voice
                .normal("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
        }
        let statuses = handle.map(|handle| handle.containers()).unwrap_or_default();
        let plans = plans(pod);
        for status in statuses.iter().filter(|status| status.phase != Phase::Created) {
            self.observe_container(pod, &plans, status);
        }
    }

    fn observe_container(&mut self, pod: &Pod, plans: &[Plan<'_>], status: &ContainerStatus) {
        let Some((name, mut attempt, crash)) = attempt::read(status) else { return };
        self.book.complete(&name, &mut attempt);
        let plan = plans.iter().find(|plan| plan.name() == name);
        let known = self.seen.containers.get(&name).and_then(|seen| seen.current.as_ref());
        if known.is_some_and(|known| known.number > attempt.number) {
            return self.observe_last(name, attempt);
        }
        if known.is_some_and(|known| known.id == attempt.id && known.end.is_some()) {
            return;
        }
        let ended = attempt.end.is_some();
        if ended {
            self.read_message(plan, plans.len(), &mut attempt);
        }
        let seen = self.seen.containers.entry(name.clone()).or_default();
        adopt(seen, plan, attempt, crash);
        if ended && let Some(plan) = plan {
            self.tell_back_off(pod, plan);
        }
    }

    /// An older attempt that the runtime still has.
    fn observe_last(&mut self, name: String, attempt: Attempt) {
        let seen = self.seen.containers.entry(name).or_default();
        let newer = seen.last.as_ref().is_some_and(|last| last.number >= attempt.number);
        if !newer && attempt.end.is_some() {
            seen.last = Some(attempt);
        }
    }

    fn read_message(&self, plan: Option<&Plan<'_>>, containers: usize, attempt: &mut Attempt) {
        let (Some(plan), Some(end)) = (plan, &mut attempt.end) else { return };
        if !end.message.is_empty() {
            return;
        }
        let dirs = &self.context.dirs;
        let mut message = head(&dirs.termination(plan.name(), attempt.number));
        let policy = plan.spec.termination_message_policy.as_deref();
        if message.is_empty() && policy == Some("FallbackToLogsOnError") && end.code != 0 {
            message = log_tail(&dirs.log(plan.name(), attempt.number));
        }
        let share = MESSAGES_BYTES_MAX / containers.max(1);
        message.truncate(message.floor_char_boundary(share));
        end.message = message;
    }

    /// Tells that a container must wait before it runs again.
    fn tell_back_off(&self, pod: &Pod, plan: &Plan<'_>) {
        let Some(seen) = self.seen.containers.get(plan.name()) else { return };
        let Some(end) = seen.current.as_ref().and_then(|attempt| attempt.end.as_ref()) else {
            return;
        };
        let waits = !end.resized && Crash::ready_at(seen.crash, end.finished) > clock::now();
        if self.seen.ending.is_none() && waits {
            let (name, title) = (plan.name(), title(pod));
            let text = format!("Back-off restarting failed container {name} in pod {title}");
            self.context.voice.of(plan.kind, name).warn("BackOff", text);
        }
    }
}

/// Takes the newest attempt in.
fn adopt(seen: &mut Seen, plan: Option<&Plan<'_>>, attempt: Attempt, crash: Option<Crash>) {
    let same = seen.current.as_ref().is_some_and(|known| known.id == attempt.id);
    if !same {
        seen.probes = initial_probes(plan);
        // What a failed start left may have no end; then it was nothing.
        if let Some(before) = seen.current.take().filter(|before| before.end.is_some()) {
            seen.last = Some(before);
        }
        seen.crash = crash;
    }
    seen.current = Some(attempt);
}

/// What probes say before they have asked.
pub(super) fn initial_probes(plan: Option<&Plan<'_>>) -> Probes {
    let spec = plan.filter(|plan| plan.kind != Kind::Init).map(|plan| &plan.spec);
    let startup = spec.is_some_and(|spec| spec.startup_probe.is_some());
    let readiness = spec.is_some_and(|spec| spec.readiness_probe.is_some());
    Probes { startup: (!startup).then_some(true), live: true, ready: !readiness }
}

/// The beginning of a file; nothing where there is none.
fn head(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last lines of a log.
fn log_tail(path: &Path) -> String {
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = tail().unwrap_or_default();
    let records: Vec<Record<'_>> =
        bytes.split(|byte| *byte == b'\n').filter_map(Record::parse).collect();
    let first = records.len().saturating_sub(LOG_MESSAGE_LINES_MAX);
    let mut text = String::new();
    for record in &records[first..] {
        text += &String::from_utf8_lossy(record.text);
        if !record.partial {
            text.push('\n');
        }
    }
    let start = text.ceil_char_boundary(text.len().saturating_sub(LOG_MESSAGE_BYTES_MAX));
    text.split_off(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_from_files_and_logs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!((head(&path), log_tail(&path)), (String::new(), String::new()));
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert_eq!(head(&path).len(), 4096);
        let line = |i| format!("2026-11-20T10:15:00.000000000Z stderr F line {i}\n");
        std::fs::write(&path, (0..100).map(line).collect::<String>()).unwrap();
        let text = log_tail(&path);
        assert!(text.starts_with("line 20\n") && text.ends_with("line 99\n"), "{text}");
    }
}
