//! Who may have which names: within a group, plurals, singulars, short names and kinds are given to
//! the first definition that asks for them, the longest established one first.

use std::collections::BTreeMap;

use crate::api::kinds::definition::is_established;
use crate::api::meta::Meta;
use crate::api::tree::Value;

/// What comes of a definition's names.
pub(super) struct Verdict {
    /// The names that it has: `status.acceptedNames`.
    pub(super) accepted: Value,
    /// Why it does not have all that it asks for: reason and message.
    pub(super) conflict: Option<(&'static str, String)>,
}

/// Which names of a group are taken: of resources, and of kinds.
#[derive(Default)]
struct Taken<'d> {
    resources: Vec<&'d str>,
    kinds: Vec<&'d str>,
}

/// Judges all definitions; the answers come in the order of the questions.
pub(super) fn judge<'d>(definitions: impl Iterator<Item = &'d Value>) -> Vec<Verdict> {
    let all: Vec<&Value> = definitions.collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|&at| (!is_established(all[at]), all[at].created(), all[at].name()));
    let mut groups: BTreeMap<&str, Taken<'_>> = BTreeMap::new();
    let mut verdicts: Vec<Option<Verdict>> = all.iter().map(|_| None).collect();
    for at in order {
        let group = all[at].at(&["spec", "group"]).str();
        verdicts[at] = Some(groups.entry(group).or_default().take(all[at]));
    }
    verdicts.into_iter().flatten().collect()
}

impl<'d> Taken<'d> {
    fn take(&mut self, definition: &'d Value) -> Verdict {
        let names = definition.at(&["spec", "names"]);
        let mut accepted = definition.at(&["status", "acceptedNames"]).clone();
        let mut conflict: Option<(&'static str, String)> = None;
        let mut refuse = |reason: &'static str, name: &str| {
            let text = format!("{name:?} is already in use");
            match &mut conflict {
                None => conflict = Some((reason, text)),
                Some((_, message)) => *message = format!("{message}, {text}"),
            }
        };
        for (key, reason) in [("plural", "PluralConflict"), ("singular", "SingularConflict")] {
            match names.get(key).str() {
                name if self.resources.contains(&name) => refuse(reason, name),
                name => accepted.set(key, name),
            }
        }
        let short = names.get("shortNames").items().iter();
        match short.clone().map(Value::str).find(|name| self.resources.contains(name)) {
            Some(name) => refuse("ShortNamesConflict", name),
            None => copy(&mut accepted, names, "shortNames"),
        }
        for (key, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
            match names.get(key).str() {
                name if self.kinds.contains(&name) => refuse(reason, name),
                name => accepted.set(key, name),
            }
        }
        copy(&mut accepted, names, "categories");
        if conflict.is_none() || is_established(definition) {
            self.resources.extend(["plural", "singular"].map(|key| names.get(key).str()));
            self.resources.extend(short.map(Value::str));
            self.kinds.extend(["kind", "listKind"].map(|key| names.get(key).str()));
        }
        Verdict { accepted, conflict }
    }
}

fn copy(accepted: &mut Value, names: &Value, key: &str) {
    match names.get(key) {
        Value::Null => drop(accepted.remove(key)),
        given => accepted.set(key, given.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &str, created: &str) -> Value {
        Value::parse(
            format!(
                r#"{{"metadata":{{"name":"{plural}.e.x","creationTimestamp":"2026-01-01T00:00:0{created}Z"}},
                "spec":{{"group":"e.x","names":{{"plural":"{plural}","singular":"{plural}one",
                "kind":"{kind}","listKind":"{kind}List","shortNames":["{short}"]}}}}}}"#
            )
            .as_bytes(),
        )
        .unwrap()
    }

    #[test]
    fn the_first_gets_the_name() {
        let all = [definition("as", "A", "x", "2"), definition("bs", "A", "x", "1")];
        let verdicts = judge(all.iter());
        assert!(verdicts[1].conflict.is_none());
        let (reason, message) = verdicts[0].conflict.clone().unwrap();
        assert_eq!(reason, "ShortNamesConflict");
        assert!(
            message.starts_with("\"x\" is already in use, \"A\" is already in use"),
            "{message}"
        );
        assert_eq!(verdicts[0].accepted.get("plural").str(), "as");
        assert!(verdicts[0].accepted.get("kind").is_null());
    }
}
