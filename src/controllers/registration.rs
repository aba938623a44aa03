//! `APIService` objects: one for each version of each custom resource that is served, and the
//! status of all that this server serves itself.

use std::collections::BTreeSet;

use super::runner::{Controller, Moment, Plan, Views};
use super::{calls, conditions};
use crate::api::kinds::definition::is_established;
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::{APISERVICES, CUSTOMRESOURCEDEFINITIONS};
use crate::history::Event;

/// The label of what is made here.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "crd-registration-controller",
        watches: vec![(CUSTOMRESOURCEDEFINITIONS, of_definition), (APISERVICES, of_service)],
        reconcile: Box::new(reconcile),
    }
}

/// The keys are names of APIServices, `v1.example.com`.
fn key(name: &str) -> Key {
    Key::new(&APISERVICES.group_resource(), "", name)
}

fn of_service(event: &Event, _: &Views) -> Vec<Key> {
    vec![event.object.header.key.clone()]
}

fn of_definition(event: &Event, _: &Views) -> Vec<Key> {
    let states = [Some(&event.object), event.previous.as_ref()].into_iter().flatten();
    let trees: Vec<Value> = states.filter_map(|object| object.tree().ok()).collect();
    let names: BTreeSet<String> = trees.iter().flat_map(names).collect();
    names.iter().map(|name| key(name)).collect()
}

/// What a definition serves.
fn names(definition: &Value) -> Vec<String> {
    let spec = definition.get("spec");
    let served = spec.get("versions").items().iter();
    let served = served.filter(|version| version.get("served").as_bool() == Some(true));
    let group = spec.get("group").str();
    served.map(|version| format!("{}.{group}", version.get("name").str())).collect()
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let stored = views.of(&APISERVICES).get("", &key.name).and_then(|stored| stored.tree().ok());
    let call = match stored {
        None if is_defined(views, &key.name) => {
            let Some(made) = service(&key.name) else { return Plan::default() };
            Some(calls::create(&APISERVICES, "", made))
        }
        Some(stored) if is_over(views, &stored) => {
            Some(calls::delete(&APISERVICES, key, stored.uid()))
        }
        Some(stored) => {
            available(stored, moment).map(|s| calls::update_status(&APISERVICES, key, s))
        }
        None => None,
    };
    Plan { calls: call.into_iter().map(Into::into).collect(), ..Plan::default() }
}

/// Whether a custom resource is served under this name.
fn is_defined(views: &Views, name: &str) -> bool {
    let definitions = views.of(&CUSTOMRESOURCEDEFINITIONS).snapshot();
    let (_, group) = name.split_once('.').unwrap_or_default();
    let of_group = definitions.iter().filter(|stored| {
        stored.header.key.name.split_once('.').is_some_and(|(_, its)| its == group)
    });
    let mut trees = of_group.filter_map(|stored| stored.tree().ok());
    trees.any(|tree| is_established(&tree) && names(&tree).iter().any(|its| its == name))
}

/// Whether it was made for custom resources of which there are none any more.
fn is_over(views: &Views, service: &Value) -> bool {
    let label = service.metadata().get("labels").get(MANAGED).str();
    label == "true" && !is_defined(views, service.name())
}

/// The object for a version of custom resources: behind everything that is built in.
fn service(name: &str) -> Option<Value> {
    let (version, group) = name.split_once('.')?;
    let metadata =
        Value::from([("name", name.into()), ("labels", Value::from([(MANAGED, "true".into())]))]);
    let spec = Value::from([
        ("group", group.into()),
        ("version", version.into()),
        ("groupPriorityMinimum", 1000i64.into()),
        ("versionPriority", 100i64.into()),
    ]);
    Some(Value::from([
        ("apiVersion", "apiregistration.k8s.io/v1".into()),
        ("kind", "APIService".into()),
        ("metadata", metadata),
        ("spec", spec),
    ]))
}

/// The object with the status of what is served here; nothing where it has it already, or where
/// another server is meant.
fn available(mut service: Value, moment: Moment<'_>) -> Option<Value> {
    if !service.at(&["spec", "service"]).is_null() {
        return None;
    }
    let words = ("Local", "Local APIServices are always available");
    conditions::put(&mut service, moment.now, "Available", true, words).then_some(service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Gvr, Verb};
    use crate::controllers::runner::testing::views;

    const DEFINITION: &str = r#"{"metadata":{"name":"things.example.com"},
        "spec":{"group":"example.com","versions":[{"name":"v1","served":true},
            {"name":"v2","served":false}]},
        "status":{"conditions":[{"type":"Established","status":"True"}]}}"#;

    fn planned(objects: &[(&Gvr, &str)], name: &str) -> Option<(Verb, Value)> {
        let objects = objects.iter().map(|(resource, text)| (*resource, *text, Vec::new()));
        let views = views(&[CUSTOMRESOURCEDEFINITIONS, APISERVICES], objects);
        let moment = Moment { now: crate::util::clock::now(), failure: None };
        let mut calls = reconcile(&views, &key(name), moment).calls.into_iter();
        calls.next().map(|step| (step.call.verb, step.call.body))
    }

    #[test]
    fn versions_of_custom_resources_are_registered_as_long_as_they_are_served() {
        let definition = (&CUSTOMRESOURCEDEFINITIONS, DEFINITION);
        let (verb, made) = planned(&[definition], "v1.example.com").unwrap();
        assert_eq!((verb, made.name()), (Verb::Create, "v1.example.com"));
        assert_eq!(planned(&[definition], "v2.example.com"), None, "it is not served");
        let text = made.to_string();
        let (verb, _) = planned(&[(&APISERVICES, &text)], "v1.example.com").unwrap();
        assert_eq!(verb, Verb::Delete, "its definition is gone");
        let (verb, told) = planned(&[definition, (&APISERVICES, &text)], "v1.example.com").unwrap();
        assert_eq!(verb, Verb::Update);
        let condition = &told.at(&["status", "conditions"]).items()[0];
        assert_eq!(condition.get("reason").str(), "Local");
        let text = told.to_string();
        assert_eq!(planned(&[definition, (&APISERVICES, &text)], "v1.example.com"), None);
        let other = r#"{"metadata":{"name":"v1.other.io"},"spec":{"service":{"name":"s"}}}"#;
        assert_eq!(planned(&[(&APISERVICES, other)], "v1.other.io"), None, "it is not ours");
    }
}
