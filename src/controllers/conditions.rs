//! Conditions in the status of an object that is a tree.

use crate::api::time;
use crate::api::tree::Value;
use crate::util::clock::Wall;

/// A condition as it shall stand in a list: since when is kept as long as its status is the same.
pub fn condition(
    list: &Value,
    now: Wall,
    type_: &str,
    status: bool,
    (reason, message): (&str, &str),
) -> Value {
    let status = if status { "True" } else { "False" };
    let known = list.items().iter().find(|c| c.get("type").str() == type_);
    let since = known.filter(|c| c.get("status").str() == status);
    let since = since.map(|c| c.get("lastTransitionTime").clone());
    Value::from([
        ("type", type_.into()),
        ("status", status.into()),
        ("reason", reason.into()),
        ("message", message.into()),
        ("lastTransitionTime", since.unwrap_or_else(|| time::format(now).into())),
    ])
}

/// Puts a condition into an object's status; says whether that changes anything.
pub fn put(object: &mut Value, now: Wall, type_: &str, status: bool, words: (&str, &str)) -> bool {
    let list = object.entry_at(&["status", "conditions"]);
    let wanted = condition(list, now, type_, status, words);
    let mut conditions = list.items().to_vec();
    match conditions.iter_mut().find(|c| c.get("type").str() == type_) {
        Some(found) if *found == wanted => return false,
        Some(found) => *found = wanted,
        None => conditions.push(wanted),
    }
    *list = conditions.into();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_put_once_and_keeps_its_time() {
        let mut object = Value::parse(br#"{"status":{"conditions":[{"type":"Other"}]}}"#).unwrap();
        let (first, later) = (Wall(1_000_000_000), Wall(2_000_000_000));
        assert!(put(&mut object, first, "Ready", true, ("A", "b")));
        assert!(!put(&mut object, later, "Ready", true, ("A", "b")));
        assert!(put(&mut object, later, "Ready", true, ("B", "b")));
        let list = object.at(&["status", "conditions"]).items();
        assert_eq!((list.len(), list[1].get("reason").str()), (2, "B"));
        let since = list[1].get("lastTransitionTime").str().to_owned();
        assert!(put(&mut object, later, "Ready", false, ("B", "b")));
        let list = object.at(&["status", "conditions"]).items();
        assert_ne!(list[1].get("lastTransitionTime").str(), since);
    }
}
