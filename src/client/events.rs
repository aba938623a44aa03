//! Tells users what happened, as `v1.Event` objects.
//!
//! Best effort by contract: recording never waits and never fails; when the queue is full an event
//! is dropped. Like upstream's recorder it counts repetitions in one object instead of making new
//! ones, joins floods of similar events, and limits each source per object.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Client, EVENTS, PatchKind};
use crate::api::meta::Meta;
use crate::api::time;
use crate::api::tree::Value;
use crate::limits;
use crate::util::clock::{self, Wall};

/// What an event is about: the fields of `v1.ObjectReference`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Regarding {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `Pod`.
    pub kind: String,
    /// Its namespace, empty for cluster-wide objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its revision when the event happened.
    pub resource_version: String,
    /// The part of it, as `spec.containers{app}`; mostly empty.
    pub field_path: String,
}

impl Regarding {
    /// A reference to an object of a kind.
    pub fn to(api_version: &str, kind: &str, object: &Value) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            resource_version: object.resource_version().to_owned(),
            field_path: String::new(),
        }
    }

    /// The same object, but a part of it.
    #[must_use]
    pub fn part(mut self, field_path: String) -> Self {
        self.field_path = field_path;
        self
    }

    fn to_value(&self) -> Value {
        let mut value = Value::object();
        let fields = [
            ("apiVersion", &self.api_version),
            ("kind", &self.kind),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("resourceVersion", &self.resource_version),
            ("fieldPath", &self.field_path),
        ];
        for (key, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
            value.set(key, text.as_str());
        }
        value
    }
}

/// Whether an event is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Things go as they should.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Happening {
    /// To what.
    pub regarding: Regarding,
    /// Good or bad.
    pub severity: Severity,
    /// Why, in one CamelCase word: `FailedScheduling`.
    pub reason: String,
    /// What a person reads.
    pub message: String,
}

/// Where a component drops its events. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Happening>,
}

impl Recorder {
    /// A recorder that writes as `component` (and `host`, for node components) through `client`.
    /// Its task ends with the last clone. Must be called within a tokio runtime.
    pub fn start(client: Arc<dyn Client>, component: &str, host: &str) -> Self {
        let (queue, mut happenings) = mpsc::channel(limits::EVENT_QUEUE_MAX);
        let mut source = Value::from([("component", component.into())]);
        if !host.is_empty() {
            source.set("host", host);
        }
        let mut writer = Writer {
            client,
            source,
            component: component.to_owned(),
            hasher: RandomState::new(),
            seen: HashMap::new(),
        };
        tokio::spawn(async move {
            while let Some(happening) = happenings.recv().await {
                writer.write(happening, clock::now()).await;
            }
        });
        Self { queue }
    }

    /// Records that something happened. Never waits; dropped when too much happens.
    pub fn record(
        &self,
        regarding: Regarding,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        let happening =
            Happening { regarding, severity, reason: reason.to_owned(), message: message.into() };
        if self.queue.try_send(happening).is_err() {
            tracing::debug!(reason, "dropped an event: the queue is full");
        }
    }
}

/// What tells an event from others, by hashes: what is remembered of pods long gone shall be small.
#[derive(Debug, Clone, Copy)]
struct Identity {
    /// Of the object. Another revision of an object is the same object.
    object: u64,
    /// Of the whole event.
    text: u64,
    /// Of everything but the message.
    group: u64,
}

impl Identity {
    fn of(happening: &Happening, hasher: &RandomState) -> Self {
        let Happening { regarding, severity, reason, message } = happening;
        let Regarding { api_version, kind, namespace, name, uid, field_path, .. } = regarding;
        let object = hasher.hash_one((api_version, kind, namespace, name, uid, field_path));
        let group = hasher.hash_one((object, severity, reason));
        Self { object, text: hasher.hash_one((group, message)), group }
    }
}

/// An event that was written.
struct Written {
    text: u64,
    name: Box<str>,
    count: i64,
}

/// What was written of one object before.
struct Seen {
    /// The last few events, oldest first.
    written: Vec<Written>,
    /// Texts per group, and when counting them began.
    similar: Vec<(u64, u32, Wall)>,
    /// How many more may be written, and since when.
    tokens: f64,
    refilled: Wall,
}

struct Writer {
    client: Arc<dyn Client>,
    source: Value,
    component: String,
    hasher: RandomState,
    seen: HashMap<u64, Seen>,
}

impl Writer {
    async fn write(&mut self, happening: Happening, now: Wall) {
        let Some((happening, known)) = self.correlate(happening, now) else { return };
        let done = match known {
            Some((name, count)) => self.count(&happening, &name, count, now).await,
            None => false,
        };
        if !done {
            self.create(happening, now).await;
        }
    }

    /// Applies the limits; returns the event to write and, where it repeats one, which.
    fn correlate(
        &mut self,
        mut happening: Happening,
        now: Wall,
    ) -> Option<(Happening, Option<(String, i64)>)> {
        if self.seen.len() >= limits::EVENT_OBJECTS_MAX {
            // The oldest half: those not written to for the longest.
            let mut ages: Vec<Wall> = self.seen.values().map(|seen| seen.refilled).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            self.seen.retain(|_, seen| seen.refilled > middle);
        }
        let before = Identity::of(&happening, &self.hasher);
        let seen = self.seen.entry(before.object).or_insert_with(|| Seen::new(now));
        if !seen.admit(now) {
            return None;
        }
        if seen.joins_similar(before, now) {
            happening.message = format!("(combined from similar events): {}", happening.message);
        }
        let text = Identity::of(&happening, &self.hasher).text;
        let known = seen.find(text).map(|written| (written.name.to_string(), written.count));
        Some((happening, known))
    }

    /// Raises the count of an event that is there; false when it is gone.
    async fn count(&mut self, happening: &Happening, name: &str, count: i64, now: Wall) -> bool {
        let patch = Value::from([
            ("count", (count + 1).into()),
            ("lastTimestamp", time::format(now).into()),
            ("message", happening.message.as_str().into()),
        ]);
        let namespace = namespace(&happening.regarding);
        let patched =
            self.client.patch(&EVENTS, namespace, name, "", PatchKind::Merge, patch).await;
        match patched {
            Ok(_) => self.remember(happening, name, count + 1),
            Err(error) if error.is_not_found() => return false,
            Err(error) => tracing::debug!(%error, "cannot count an event"),
        }
        true
    }

    async fn create(&mut self, happening: Happening, now: Wall) {
        let regarding = &happening.regarding;
        let name = format!("{}.{:x}", regarding.name, now.0);
        let event = Value::from([
            (
                "metadata",
                Value::from([
                    ("name", name.as_str().into()),
                    ("namespace", namespace(regarding).into()),
                ]),
            ),
            ("involvedObject", regarding.to_value()),
            ("reason", happening.reason.as_str().into()),
            ("message", happening.message.as_str().into()),
            ("type", happening.severity.as_str().into()),
            ("source", self.source.clone()),
            ("reportingComponent", self.component.as_str().into()),
            ("reportingInstance", self.source.get("host").str().into()),
            ("firstTimestamp", time::format(now).into()),
            ("lastTimestamp", time::format(now).into()),
            ("count", 1i64.into()),
        ]);
        match self.client.create(&EVENTS, namespace(regarding), event).await {
            Ok(_) => self.remember(&happening, &name, 1),
            // As when the namespace is going away.
            Err(error) => tracing::debug!(%error, "cannot write an event"),
        }
    }

    fn remember(&mut self, happening: &Happening, name: &str, count: i64) {
        let identity = Identity::of(happening, &self.hasher);
        if let Some(seen) = self.seen.get_mut(&identity.object) {
            seen.written.retain(|written| written.text != identity.text);
            if seen.written.len() >= limits::EVENT_TEXTS_MAX {
                seen.written.remove(0);
            }
            seen.written.push(Written { text: identity.text, name: name.into(), count });
        }
    }
}

/// Cluster-wide objects have their events in `default`.
fn namespace(regarding: &Regarding) -> &str {
    if regarding.namespace.is_empty() { "default" } else { &regarding.namespace }
}

impl Seen {
    fn new(now: Wall) -> Self {
        Self {
            written: Vec::new(),
            similar: Vec::new(),
            tokens: limits::EVENT_BURST,
            refilled: now,
        }
    }

    /// Takes a token: a burst of 25 per object, then one every five minutes.
    fn admit(&mut self, now: Wall) -> bool {
        let refill = now.since(self.refilled).as_secs_f64() * limits::EVENT_PER_SECOND;
        self.tokens = (self.tokens + refill).min(limits::EVENT_BURST);
        self.refilled = now;
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }

    fn find(&self, text: u64) -> Option<&Written> {
        self.written.iter().find(|written| written.text == text)
    }

    /// Whether the event counts as one with others: so do those after ten texts of one reason
    /// within ten minutes.
    fn joins_similar(&mut self, event: Identity, now: Wall) -> bool {
        let known = self.find(event.text).is_some();
        let at = self.similar.iter().position(|(group, ..)| *group == event.group);
        let at = at.unwrap_or_else(|| {
            self.similar.push((event.group, 0, now));
            self.similar.len() - 1
        });
        let (_, count, since) = &mut self.similar[at];
        if now.since(*since) > limits::EVENT_SIMILAR_INTERVAL {
            (*count, *since) = (0, now);
        }
        if !known {
            *count += 1;
        }
        !known && *count > limits::EVENT_SIMILAR_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn happening(message: &str) -> Happening {
        Happening {
            regarding: Regarding { name: "p".into(), ..Regarding::default() },
            severity: Severity::Warning,
            reason: "BackOff".into(),
            message: message.into(),
        }
    }

    #[test]
    fn an_object_gets_a_burst_and_then_a_trickle() {
        let start = Wall::from_seconds(1_000);
        let mut seen = Seen::new(start);
        let admitted = (0..100).filter(|_| seen.admit(start)).count();
        assert_eq!(admitted, 25);
        assert!(!seen.admit(start.after(Duration::from_secs(299))));
        assert!(seen.admit(start.after(Duration::from_secs(601))));
    }

    #[test]
    fn floods_of_similar_events_are_joined() {
        let start = Wall::from_seconds(1_000);
        let (mut seen, hasher) = (Seen::new(start), RandomState::new());
        let mut joins =
            |text: &str, now| seen.joins_similar(Identity::of(&happening(text), &hasher), now);
        assert!((0..10).all(|i| !joins(&i.to_string(), start)));
        assert!(joins("x", start));
        assert!(!joins("y", start.after(Duration::from_secs(601))));
    }

    #[test]
    fn a_revision_makes_no_other_event() {
        let hasher = RandomState::new();
        let one = happening("x");
        let mut other = one.clone();
        other.regarding.resource_version = "7".into();
        let [a, b, c] = [&one, &other, &happening("y")].map(|h| Identity::of(h, &hasher));
        assert_eq!((a.object, a.text), (b.object, b.text));
        assert!(a.object == c.object && a.group == c.group && a.text != c.text);
    }
}
