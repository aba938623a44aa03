//! Says of each FlowSchema whether the priority level that it names is there.

use super::runner::{Controller, Moment, Plan, Views};
use super::{calls, conditions, runner};
use crate::api::meta::Key;
use crate::client::{FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS};
use crate::history::Event;

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "flow-schema-status-controller",
        watches: vec![(FLOWSCHEMAS, runner::itself), (PRIORITYLEVELCONFIGURATIONS, all)],
        reconcile: Box::new(reconcile),
    }
}

/// Any schema may name a level that comes or goes; there are few of both, and both change rarely.
fn all(event: &Event, views: &Views) -> Vec<Key> {
    if event.previous.is_some() && !event.deleted {
        return Vec::new();
    }
    views.of(&FLOWSCHEMAS).snapshot().iter().map(|schema| schema.header.key.clone()).collect()
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let stored = views.of(&FLOWSCHEMAS).get(&key.namespace, &key.name);
    let Some(mut schema) = stored.and_then(|schema| schema.tree().ok()) else {
        return Plan::default();
    };
    let level = schema.at(&["spec", "priorityLevelConfiguration", "name"]).str().to_owned();
    let missing = views.of(&PRIORITYLEVELCONFIGURATIONS).get("", &level).is_none();
    let (reason, end) = match missing {
        true => ("NotFound", "but there is no such object"),
        false => ("Found", "and it exists"),
    };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}"
    );
    if !conditions::put(&mut schema, moment.now, "Dangling", missing, (reason, &message)) {
        return Plan::default();
    }
    let calls = vec![calls::update_status(&FLOWSCHEMAS, key, schema).into()];
    Plan { calls, ..Plan::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Gvr;
    use crate::controllers::runner::testing::views;

    const SCHEMA: &str = r#"{"metadata":{"name":"f"},
        "spec":{"priorityLevelConfiguration":{"name":"l"}}}"#;

    /// The condition that is written.
    fn written(objects: &[(&Gvr, &str)]) -> Option<(String, String)> {
        let objects = objects.iter().map(|(resource, text)| (*resource, *text, Vec::new()));
        let views = views(&[FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS], objects);
        let key = Key::new(&FLOWSCHEMAS.group_resource(), "", "f");
        let moment = Moment { now: crate::util::clock::now(), failure: None };
        let mut calls = reconcile(&views, &key, moment).calls.into_iter();
        let call = calls.next()?.call;
        let condition = &call.body.at(&["status", "conditions"]).items()[0];
        Some((condition.get("status").str().to_owned(), condition.get("reason").str().to_owned()))
    }

    #[test]
    fn a_schema_dangles_while_its_level_is_missing() {
        let told = written(&[(&FLOWSCHEMAS, SCHEMA)]);
        assert_eq!(told, Some(("True".into(), "NotFound".into())));
        let level = (&PRIORITYLEVELCONFIGURATIONS, r#"{"metadata":{"name":"l"}}"#);
        let told = written(&[(&FLOWSCHEMAS, SCHEMA), level]);
        assert_eq!(told, Some(("False".into(), "Found".into())));
        assert_eq!(written(&[level]), None);
    }
}
