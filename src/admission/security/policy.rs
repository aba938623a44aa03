//! What a namespace's labels say: a level and a version for each of three modes.

use std::fmt;

use crate::api::registry::Errors;
use crate::api::status::Status;
use crate::api::tree::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much is forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Privileged,
    /// What is known to break out of a container.
    Baseline,
    /// What is not needed by software that is written with care.
    Restricted,
}

impl Level {
    const ALL: [Self; 3] = [Self::Privileged, Self::Baseline, Self::Restricted];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// Which Kubernetes' idea of a level; `None` is the newest.
pub type Version = Option<u32>;

fn parse_version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(None);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = minor == "0" || !minor.starts_with('0');
    if !plain || !canonical {
        return None;
    }
    minor.parse().ok().map(Some)
}

/// A level as one version of Kubernetes has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(minor) => write!(f, "{}:v1.{minor}", self.level.as_str()),
            None => write!(f, "{}:latest", self.level.as_str()),
        }
    }
}

/// What a namespace without labels has.
const DEFAULT: LevelVersion = LevelVersion { level: Level::Privileged, version: None };

/// A label that says something else than it may: key, value, what it must be.
pub type Fault = (String, String, &'static str);

/// What is to be done in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What is refused.
    pub enforce: LevelVersion,
    /// What would be written to an audit log.
    pub audit: LevelVersion,
    /// What clients are warned about.
    pub warn: LevelVersion,
}

impl Policy {
    /// Reads labels. Of a wrong one `enforce` is taken as the strictest, the others as nothing.
    pub fn of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> (Self, Vec<Fault>) {
        let labels: Vec<(&str, &str)> =
            labels.filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value))).collect();
        let mut reader = Reader { labels, faults: Vec::new() };
        let mut policy = Self { enforce: DEFAULT, audit: DEFAULT, warn: DEFAULT };
        let enforce = reader.level("enforce");
        policy.enforce.level = match enforce {
            None => DEFAULT.level,
            Some(level) => level.unwrap_or(Level::Restricted),
        };
        policy.enforce.version = reader.version("enforce-version").unwrap_or_default();
        policy.audit.level = reader.level("audit").flatten().unwrap_or(DEFAULT.level);
        policy.audit.version = reader.version("audit-version").unwrap_or_default();
        let warn = reader.level("warn");
        policy.warn.level = warn.flatten().unwrap_or(DEFAULT.level);
        let warn_version = reader.version("warn-version");
        policy.warn.version = warn_version.unwrap_or_default();
        // What is refused in pods is warned about in their templates.
        if warn.is_none() && enforce.flatten().is_some_and(|level| level > policy.warn.level) {
            policy.warn.level = policy.enforce.level;
            policy.warn.version = warn_version.unwrap_or(policy.enforce.version);
        }
        (policy, reader.faults)
    }

    /// As [`Self::of`], from an object's `metadata.labels`.
    pub fn of_labels(labels: &Value) -> (Self, Vec<Fault>) {
        Self::of(labels.fields().map(|(key, value)| (key, value.str())))
    }

    /// Whether nothing is forbidden in any way.
    pub fn allows_all(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|one| one.level == Level::Privileged)
    }
}

/// Reads labels without their prefix, and remembers the wrong ones.
struct Reader<'a> {
    labels: Vec<(&'a str, &'a str)>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.labels.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }

    fn fault(&mut self, key: &str, value: &str, why: &'static str) {
        self.faults.push((format!("{PREFIX}{key}"), value.to_owned(), why));
    }

    /// Nothing for no label, `Some(None)` for a wrong one.
    fn level(&mut self, key: &str) -> Option<Option<Level>> {
        let value = self.get(key)?;
        let level = Level::parse(value);
        if level.is_none() {
            self.fault(key, value, "must be one of privileged, baseline, restricted");
        }
        Some(level)
    }

    /// Nothing for no label; a wrong one is the newest.
    fn version(&mut self, key: &str) -> Option<Version> {
        let value = self.get(key)?;
        let version = parse_version(value);
        if version.is_none() {
            self.fault(key, value, "must be \"latest\" or \"v1.x\"");
        }
        Some(version.unwrap_or_default())
    }
}

/// The refusal of a namespace with wrong labels.
pub fn invalid(name: &str, faults: &[Fault]) -> Status {
    let mut errors = Errors::default();
    for (key, value, why) in faults {
        errors.invalid(format!("metadata.labels[{key}]"), &Value::from(value.as_str()), why);
    }
    Status::invalid("", "Namespace", name, errors.into_causes())
}
