//! What a pod's users are told: its events.

use k8s_openapi::api::core::v1::Pod;

use super::pod::Kind;
use crate::client::events::{Recorder, Regarding, Severity};

/// Records events about one pod and its containers. Cheap to clone.
#[derive(Clone)]
pub struct Voice {
    recorder: Recorder,
    regarding: Regarding,
}

impl Voice {
    /// Speaks about `pod`.
    pub fn new(recorder: Recorder, pod: &Pod) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let meta = &pod.metadata;
        let regarding = Regarding {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: text(&meta.namespace),
            name: text(&meta.name),
            uid: text(&meta.uid),
            resource_version: text(&meta.resource_version),
            field_path: String::new(),
        };
        Self { recorder, regarding }
    }

    /// Speaks about one of its containers.
    #[must_use]
    pub fn of(&self, kind: Kind, container: &str) -> Self {
        let list = match kind {
            Kind::Init | Kind::Sidecar => "initContainers",
            Kind::App => "containers",
            Kind::Ephemeral => "ephemeralContainers",
        };
        let part = format!("spec.{list}{{{container}}}");
        Self { recorder: self.recorder.clone(), regarding: self.regarding.clone().part(part) }
    }

    /// Things go as they should.
    pub fn normal(&self, reason: &str, message: impl Into<String>) {
        self.recorder.record(self.regarding.clone(), Severity::Normal, reason, message);
    }

    /// Somebody should look.
    pub fn warn(&self, reason: &str, message: impl Into<String>) {
        self.recorder.record(self.regarding.clone(), Severity::Warning, reason, message);
    }
}
