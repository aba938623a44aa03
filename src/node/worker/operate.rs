//! From a decision's actions to operations, and from their ends back to what is seen.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::report::place;
use super::{Note, Removal, Worker};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::PODS;
use crate::node::pod::{Action, Step};
use crate::util::clock::{self, Wall};

impl Worker {
    /// Begins an action.
    pub(super) fn perform(&mut self, action: &Action, pod: &Arc<Pod>, step: &Step, now: Wall) {
        match action {
            Action::Mount => self.mount(pod),
            Action::Unmount => self.unmount(),
            Action::MakeSandbox { epoch } => self.make_sandbox(pod, *epoch),
            Action::EndSandbox => self.end_sandbox(),
            Action::Start { container, number, crash } => {
                self.start(pod, container, *number, *crash);
            }
            Action::Stop { container, deadline, why } => {
                self.stop(pod, container, *deadline, why);
            }
            Action::Restart { container, deadline, why } => {
                self.note_restart(container);
                self.stop(pod, container, *deadline, why);
            }
            Action::Resize => self.resize(pod),
            Action::Remove => self.remove(pod, step, now),
        }
    }

    /// Removes the object, once its last status has been written.
    fn remove(&mut self, pod: &Pod, step: &Step, now: Wall) {
        let waits = match self.removal {
            Removal::Idle => false,
            Removal::Again(at) => at > now,
            Removal::Running | Removal::Done => true,
        };
        if waits || !self.is_reported(pod, &step.status) {
            return;
        }
        self.removal = Removal::Running;
        let context = Arc::clone(&self.context);
        let (namespace, name) = place(pod);
        self.tasks.spawn(async move {
            let preconditions = Value::from([("uid", context.uid.as_str().into())]);
            let options = Value::from([
                ("apiVersion", "v1".into()),
                ("kind", "DeleteOptions".into()),
                ("gracePeriodSeconds", 0i64.into()),
                ("preconditions", preconditions),
            ]);
            let client = &context.shared.client;
            let result = client.delete(&PODS, &namespace, &name, options).await;
            context.note(Note::Removed(result.map(drop))).await;
        });
    }

    fn removed(&mut self, result: Result<(), Status>) {
        self.removal = match result {
            // Finalizers may hold the object; the view tells when it is gone.
            Ok(()) => Removal::Done,
            Err(error) if error.is_not_found() || error.is_conflict() => Removal::Done,
            Err(error) => {
                tracing::warn!(pod = %self.context.uid, %error, "cannot remove a pod's object");
                Removal::Again(clock::now().after(super::RETRY_FIRST))
            }
        };
    }

    /// Takes in the end of an operation.
    pub(super) fn take(&mut self, note: Note) {
        match note {
            Note::Mounted(result) => self.mounted(result),
            Note::Refreshed(result) => self.refreshed(result),
            Note::Unmounted(result) => self.unmounted(result),
            Note::Sandbox(result) => self.sandbox_made(result),
            Note::SandboxEnded(result) => self.sandbox_ended(result),
            Note::Started(name, attempt) => self.started(&name, attempt),
            Note::StartOver(name, result) => self.start_over(&name, result),
            Note::Stopped(name) => self.stopped(&name),
            Note::Resized(resized) => self.resized(resized),
            Note::Probe(name, id, purpose, verdict) => self.probed(&name, &id, purpose, verdict),
            Note::Reported(result) => self.reported(result),
            Note::Removed(result) => self.removed(result),
        }
    }
}
