//! A pod as the checks look at it, and how they name what they find.

use crate::api::tree::Value;

/// A pod or a template of pods, judged by one version of the levels.
#[derive(Clone, Copy)]
pub struct Pod<'a> {
    /// Its metadata.
    pub metadata: &'a Value,
    /// Its specification.
    pub spec: &'a Value,
    /// The minor version of Kubernetes by whose idea of the level it is judged.
    pub minor: u32,
}

impl<'a> Pod<'a> {
    /// A pod or a template; the version comes with the judgement.
    pub fn of(object: &'a Value) -> Self {
        Self { metadata: object.get("metadata"), spec: object.get("spec"), minor: 0 }
    }

    /// All its containers, in the order in which they are named.
    pub fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec.get(list).items())
    }

    /// The names of the containers of which something is true.
    pub fn named(&self, mut is: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|c| is(c)).map(|c| c.get("name").str()).collect()
    }

    /// A field of the security context of the pod itself.
    pub fn context(&self, path: &[&str]) -> &'a Value {
        self.spec.get("securityContext").at(path)
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&'a str> {
        self.metadata.get("annotations").get(key).as_str()
    }

    /// Whether it is for Windows, where what Linux knows cannot be set: since 1.25.
    pub fn is_windows(&self) -> bool {
        self.minor >= 25 && self.spec.at(&["os", "name"]).str() == "windows"
    }

    /// Whether its root is nobody outside of it: since 1.35.
    pub fn has_own_users(&self) -> bool {
        self.minor >= 35 && self.spec.get("hostUsers").as_bool() == Some(false)
    }
}

/// A field of a container's security context.
pub fn own<'a>(container: &'a Value, path: &[&str]) -> &'a Value {
    container.get("securityContext").at(path)
}

/// `"a", "b"`.
pub fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> =
        names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    quoted.join(", ")
}

/// One form of a word for one thing, another for any other number of things.
pub const fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
pub fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// `pod and containers "a", "b"`: who set something; nothing where nobody did.
pub fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let mut setters = Vec::new();
    if pod {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(containers(names));
    }
    (!setters.is_empty()).then(|| setters.join(" and "))
}
