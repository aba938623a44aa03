//! How long plugins take with writes, under the names of upstream's admission metrics.

use std::sync::OnceLock;
use std::time::Instant;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Operation;
use crate::util::clock;

/// Upper ends of the buckets in seconds, upstream's.
const SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The two rounds in which plugins see a write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// They may change it.
    Admit,
    /// They may only refuse it.
    Validate,
}

/// What is counted of all writes.
pub struct Meters {
    plugins: Family<Labels<4>, Histogram>,
    steps: Family<Labels<3>, Histogram>,
    /// Of `plugins`, by plugin, operation and outcome, so that each is looked up once.
    known: Vec<OnceLock<Histogram>>,
}

/// The plugins of one round over one write, timed one after the other.
pub(super) struct Round<'m> {
    meters: &'m Meters,
    stage: Stage,
    operation: Operation,
    begun: Instant,
    last: Instant,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

const fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }
}

impl Meters {
    /// For so many plugins.
    pub(super) fn new(plugins: usize) -> Self {
        Self {
            plugins: Family::new_with_constructor(seconds),
            steps: Family::new_with_constructor(seconds),
            known: (0..plugins * Operation::ALL.len() * 2).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Has them shown.
    pub fn register(&self, r: &mut Registry) {
        let help = "Admission controller latency in seconds, by name, operation and type";
        let name = "apiserver_admission_controller_admission_duration_seconds";
        r.register(name, help, self.plugins.clone());
        let help = "Admission sub-step latency in seconds, by operation and step type";
        r.register("apiserver_admission_step_admission_duration_seconds", help, self.steps.clone());
    }

    /// A round begins.
    pub(super) fn round(&self, stage: Stage, operation: Operation) -> Round<'_> {
        let now = clock::instant();
        Round { meters: self, stage, operation, begun: now, last: now }
    }
}

impl Round<'_> {
    /// The plugin at `index` is done, since the one before it.
    pub(super) fn took(&mut self, index: usize, name: &'static str, rejected: bool) {
        let now = clock::instant();
        let time = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        let slot = (index * Operation::ALL.len() + self.operation as usize) * 2;
        let Some(slot) = self.meters.known.get(slot + usize::from(rejected)) else { return };
        let histogram = slot.get_or_init(|| {
            let labels = [
                ("name", name),
                ("type", self.stage.as_str()),
                ("operation", self.operation.as_str()),
                ("rejected", word(rejected)),
            ];
            self.meters.plugins.get_or_create_owned(&labels)
        });
        histogram.observe(time);
    }

    /// All plugins are done, or one has refused the write.
    pub(super) fn over(self, rejected: bool) {
        let labels = [
            ("type", self.stage.as_str()),
            ("operation", self.operation.as_str()),
            ("rejected", word(rejected)),
        ];
        let time = self.last.saturating_duration_since(self.begun).as_secs_f64();
        self.meters.steps.get_or_create(&labels).observe(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plugin_and_each_round_is_timed() {
        let meters = Meters::new(2);
        for refused in [false, false, true] {
            let mut round = meters.round(Stage::Admit, Operation::Create);
            round.took(0, "A", false);
            round.took(1, "B", refused);
            round.over(refused);
        }
        let mut registry = Registry::default();
        meters.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let of = |name: &str, rejected: bool| {
            format!(r#"{name}type="admit",operation="CREATE",rejected="{rejected}"}}"#)
        };
        let plugin = "apiserver_admission_controller_admission_duration_seconds_count{";
        let step = "apiserver_admission_step_admission_duration_seconds_count{";
        for (line, count) in [
            (of(&format!(r#"{plugin}name="A","#), false), 3),
            (of(&format!(r#"{plugin}name="B","#), false), 2),
            (of(&format!(r#"{plugin}name="B","#), true), 1),
            (of(step, false), 2),
            (of(step, true), 1),
        ] {
            assert!(text.contains(&format!("{line} {count}")), "{line} {count} in {text}");
        }
    }
}
