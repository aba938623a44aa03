//! Writes into ClusterRoles with an aggregation rule what the roles allow that they take over.
//!
//! Authorisation works this out for itself at once (`auth::rbac`); the object is for those who read
//! it.

use super::calls;
use super::runner::{Controller, Moment, Plan, Views};
use crate::api::meta::Key;
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;
use crate::client::CLUSTERROLES;
use crate::history::{Event, Object};

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "clusterrole-aggregation-controller",
        watches: vec![(CLUSTERROLES, aggregating)],
        reconcile: Box::new(reconcile),
    }
}

/// All roles that take others over: they are few, and any role may be one of those others.
fn aggregating(event: &Event, views: &Views) -> Vec<Key> {
    let roles = views.of(&CLUSTERROLES).snapshot();
    let own = std::iter::once(&event.object).filter(|_| !event.deleted);
    let those = roles.iter().chain(own).filter(|role| takes_over(role));
    those.map(|role| role.header.key.clone()).collect()
}

/// Whether a role may have an aggregation rule: a look at the text spares most of them the parsing.
fn takes_over(role: &Object) -> bool {
    role.body.windows(RULE.len()).any(|text| text == RULE)
}

const RULE: &[u8] = b"\"aggregationRule\":";

fn reconcile(views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    let roles = views.of(&CLUSTERROLES).snapshot();
    let role = roles.get("", &key.name).filter(|role| !role.header.deleting);
    let Some(mut role) = role.and_then(|role| role.tree().ok()) else { return Plan::default() };
    let selectors = role.at(&["aggregationRule", "clusterRoleSelectors"]).items().iter();
    let selectors: Vec<_> =
        selectors.filter_map(|selector| LabelSelector::from_object(selector).ok()).collect();
    if role.get("aggregationRule").is_null() {
        return Plan::default();
    }
    let mut rules: Vec<Value> = Vec::new();
    for other in roles.iter().filter(|other| *other.header.key.name != *key.name) {
        if selectors.iter().any(|selector| selector.matches(&other.header)) {
            let tree = other.tree().unwrap_or_default();
            let new = tree.get("rules").items().iter().filter(|rule| !rules.contains(rule));
            let new: Vec<Value> = new.cloned().collect();
            rules.extend(new);
        }
    }
    if role.get("rules").items() == rules {
        return Plan::default();
    }
    role.set("rules", rules);
    Plan { calls: vec![calls::update(&CLUSTERROLES, key, role).into()], ..Plan::default() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::meta::Meta;
    use crate::client::{Gvr, View};
    use crate::history::{Change, History};

    fn rules(roles: &[&str], name: &str) -> Option<String> {
        let history = History::new(1, 64 << 10);
        for (revision, text) in (2..).zip(roles) {
            let tree = Value::parse(text.as_bytes()).unwrap();
            let key = Key::new(&CLUSTERROLES.group_resource(), "", tree.name());
            let object = Arc::new(Object::new(key, tree, revision, Vec::new()));
            history.publish(vec![Change::Put(object)], revision);
        }
        let (_, synced) = tokio::sync::watch::channel(true);
        let view = |gvr: Gvr| {
            let view = View::new(Arc::clone(&history), gvr.group_resource(), synced.clone());
            (gvr, view)
        };
        let views = Views::new([CLUSTERROLES].map(view));
        let key = Key::new(&CLUSTERROLES.group_resource(), "", name);
        let moment = Moment { now: crate::util::clock::now(), failure: None };
        let mut plan = reconcile(&views, &key, moment);
        plan.calls.pop().map(|step| step.call.body.get("rules").to_string())
    }

    const READ: &str = r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}"#;

    #[test]
    fn the_rules_of_chosen_roles_are_taken_over_once() {
        let part = |name: &str| {
            format!(r#"{{"metadata":{{"name":"{name}","labels":{{"to":"x"}}}},"rules":[{READ}]}}"#)
        };
        let other = r#"{"metadata":{"name":"other"},"rules":[{"verbs":["*"]}]}"#;
        let whole = |rules: &str| {
            format!(
                r#"{{"metadata":{{"name":"whole","labels":{{"to":"x"}}}},"rules":[{rules}],
                "aggregationRule":{{"clusterRoleSelectors":[{{"matchLabels":{{"to":"x"}}}}]}}}}"#
            )
        };
        let (a, b) = (part("a"), part("b"));
        let wanted = Value::parse(format!("[{READ}]").as_bytes()).unwrap().to_string();
        assert_eq!(rules(&[&a, &b, other, &whole("")], "whole"), Some(wanted));
        assert_eq!(rules(&[&a, &b, other, &whole(READ)], "whole"), None, "nothing is to be done");
        assert_eq!(rules(&[&whole(READ)], "whole"), Some("[]".into()), "what went is taken away");
        assert_eq!(rules(&[other], "other"), None, "an ordinary role keeps its own");
    }
}
