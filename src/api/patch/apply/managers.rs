//! Who owns which fields: `metadata.managedFields`, decoded.

use std::collections::BTreeMap;

use super::fields;
use super::set::Set;
use crate::api::codec::quote;
use crate::api::tree::Value;

/// Which writer an entry is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Manager {
    pub(super) name: String,
    /// Whether it applies; otherwise it updates.
    pub(super) applies: bool,
    /// The version that it updates in; empty for one that applies.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Manager {
    /// The same writer, as it is known for writing in another version.
    pub(super) fn in_version(&self, api_version: &str) -> Self {
        let api_version = if self.applies { String::new() } else { api_version.to_owned() };
        Self { api_version, ..self.clone() }
    }

    /// The text by which upstream knows the manager and sorts it.
    pub(super) fn identifier(&self) -> String {
        let mut text = String::from("{");
        let operation = if self.applies { APPLY } else { UPDATE };
        for (key, value) in [
            ("manager", &*self.name),
            ("operation", operation),
            ("apiVersion", &self.api_version),
            ("subresource", &self.subresource),
        ] {
            if !value.is_empty() {
                let comma = if text.len() > 1 { "," } else { "" };
                text.push_str(&format!("{comma}\"{key}\":{}", Value::from(value)));
            }
        }
        text + "}"
    }

    /// The manager as conflicts name it.
    pub(super) fn shown(&self) -> String {
        let mut text = quote(&self.name);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {}", quote(&self.subresource));
        }
        if !self.applies {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Owned {
    pub(super) set: Set,
    /// The version in which the paths are meant.
    pub(super) api_version: String,
    /// When the entry last changed, as `metadata` writes times.
    pub(super) time: Option<String>,
}

/// All managers of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Managers {
    pub(super) entries: BTreeMap<Manager, Owned>,
}

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";
const FIELDS_V1: &str = "FieldsV1";
/// The most managers that update and do not apply; older ones become one.
const UPDATERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";

impl Managers {
    /// Reads `metadata.managedFields`.
    ///
    /// # Errors
    /// Entries that are not whole, in upstream's words.
    pub fn decode(entries: &Value) -> Result<Self, String> {
        let mut managers = Self::default();
        for (at, entry) in entries.items().iter().enumerate() {
            let (manager, owned) = decode_entry(at, entry)?;
            managers.entries.insert(manager, owned);
        }
        Ok(managers)
    }

    /// What an object says, or nobody where that is not whole.
    pub fn of(object: &Value) -> Self {
        Self::decode(object.at(&["metadata", "managedFields"])).unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// `metadata.managedFields`: appliers first, the oldest first. Null where there are none.
    pub fn encode(&self) -> Value {
        if self.is_empty() {
            return Value::Null;
        }
        let mut entries: Vec<(&Manager, &Owned)> = self.entries.iter().collect();
        // Times are in one form and zone, so that their texts sort as they do.
        entries.sort_by(|a, b| {
            let key = |(manager, owned): &(&'_ Manager, &'_ Owned)| {
                (!manager.applies, owned.time.clone(), manager.name.clone())
            };
            let rest = |(manager, owned): &(&'_ Manager, &'_ Owned)| {
                (owned.api_version.clone(), manager.subresource.clone())
            };
            key(a).cmp(&key(b)).then_with(|| rest(a).cmp(&rest(b)))
        });
        entries.into_iter().map(encode_entry).collect::<Vec<Value>>().into()
    }

    /// Writes the managers into an object.
    pub fn put(&self, object: &mut Value) {
        match self.encode() {
            Value::Null => {
                if let Some(metadata) = object.get_mut("metadata") {
                    metadata.remove("managedFields");
                }
            }
            encoded => object.entry("metadata").set("managedFields", encoded),
        }
    }

    /// Makes the oldest of too many updaters one, per version.
    pub(super) fn cap(&mut self) {
        let updaters = self.entries.iter().filter(|(manager, _)| !manager.applies);
        let mut updaters: Vec<(Option<String>, String, Manager)> = updaters
            .map(|(manager, owned)| (owned.time.clone(), manager.identifier(), manager.clone()))
            .collect();
        let mut count = updaters.len();
        if count <= UPDATERS_MAX {
            return;
        }
        updaters.sort();
        let mut firsts: BTreeMap<String, Manager> = BTreeMap::new();
        for (time, _, manager) in updaters {
            if count <= UPDATERS_MAX {
                break;
            }
            let Some(owned) = self.entries.get(&manager).cloned() else { continue };
            let Some(first) = firsts.get(&owned.api_version) else {
                firsts.insert(owned.api_version, manager);
                continue;
            };
            let api_version = owned.api_version.clone();
            let bucket = Manager { name: ANCIENT.to_owned(), api_version, ..Manager::default() };
            if !self.entries.contains_key(&bucket)
                && let Some(first) = self.entries.remove(first)
            {
                self.entries.insert(bucket.clone(), first);
            }
            self.entries.remove(&manager);
            if let Some(ancient) = self.entries.get_mut(&bucket) {
                ancient.set = ancient.set.union(&owned.set);
                ancient.time = time;
            }
            count -= 1;
        }
    }
}

fn decode_entry(at: usize, entry: &Value) -> Result<(Manager, Owned), String> {
    let text = |key: &str| entry.get(key).str().to_owned();
    let applies = match entry.get("operation").str() {
        APPLY => true,
        UPDATE => false,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match entry.get("fieldsType").str() {
        FIELDS_V1 => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
        other => {
            let other = quote(other);
            return Err(format!("invalid fieldsType {other} in managed fields entry {at}"));
        }
    }
    let set = fields::decode(entry.get("fieldsV1"))
        .map_err(|error| format!("error decoding set: {error}"))?;
    let manager = Manager {
        name: text("manager"),
        applies,
        api_version: if applies { String::new() } else { api_version.clone() },
        subresource: text("subresource"),
    };
    let time = entry.get("time").as_str().map(str::to_owned);
    Ok((manager, Owned { set, api_version, time }))
}

fn encode_entry((manager, owned): (&Manager, &Owned)) -> Value {
    let operation = if manager.applies { APPLY } else { UPDATE };
    let mut entry = Value::from([
        ("apiVersion", owned.api_version.as_str().into()),
        ("fieldsType", FIELDS_V1.into()),
        ("fieldsV1", fields::encode(&owned.set)),
        ("operation", operation.into()),
    ]);
    for (key, text) in [("manager", &manager.name), ("subresource", &manager.subresource)] {
        if !text.is_empty() {
            entry.set(key, text.as_str());
        }
    }
    if let Some(time) = &owned.time {
        entry.set("time", time.as_str());
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_and_read_back() {
        let text = r#"[{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:a":{}},
            "manager":"b","operation":"Update","subresource":"status",
            "time":"2026-01-02T00:00:00Z"},
            {"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:b":{}},"manager":"a",
            "operation":"Update","time":"2026-01-02T00:00:00Z"},
            {"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:c":{}},"manager":"z",
            "operation":"Apply","time":"2026-01-03T00:00:00Z"}]"#;
        let managers = Managers::decode(&Value::parse(text.as_bytes()).unwrap()).unwrap();
        let encoded = managers.encode();
        let names: Vec<&str> = encoded.items().iter().map(|e| e.get("manager").str()).collect();
        assert_eq!(names, ["z", "a", "b"]);
        assert_eq!(Managers::decode(&encoded), Ok(managers));
    }

    #[test]
    fn broken_entries_are_refused() {
        for (entry, why) in [
            (r#"{"operation":"Merge"}"#, "operation must be `Apply` or `Update`"),
            (r#"{"operation":"Apply"}"#, "apiVersion must not be empty"),
            (
                r#"{"operation":"Apply","apiVersion":"v1"}"#,
                "missing fieldsType in managed fields entry 0",
            ),
            (
                r#"{"operation":"Apply","apiVersion":"v1","fieldsType":"X"}"#,
                "invalid fieldsType \"X\" in managed fields entry 0",
            ),
        ] {
            let entries = Value::parse(format!("[{entry}]").as_bytes()).unwrap();
            assert_eq!(Managers::decode(&entries), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_oldest_updaters_become_one() {
        let mut managers = Managers::default();
        for at in 0..12 {
            let manager = Manager {
                name: format!("m{at:02}"),
                api_version: "v1".to_owned(),
                ..Manager::default()
            };
            let owned = Owned {
                set: Set::of_fields(&[&format!("f{at}")]),
                api_version: "v1".to_owned(),
                time: Some(format!("2026-01-01T00:00:{at:02}Z")),
            };
            managers.entries.insert(manager, owned);
        }
        managers.cap();
        let encoded = managers.encode();
        assert_eq!(encoded.items().len(), 10);
        assert_eq!(encoded.items()[0].get("manager").str(), ANCIENT);
        assert_eq!(encoded.items()[0].get("time").str(), "2026-01-01T00:00:02Z");
        assert_eq!(
            encoded.items()[0].get("fieldsV1").to_string(),
            r#"{"f:f0":{},"f:f1":{},"f:f2":{}}"#
        );
    }
}
