//! Writes into ClusterRoles with an aggregation rule what the roles allow that they take over.
//!
//! Authorisation works this out for itself at once (`auth::rbac`); the object is for those who read
//! it.

use super::calls;
use super::runner::{Controller, Moment, Plan, Views};
use crate::api::meta::Key;
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;
use crate::client::{CLUSTERROLES, Call};
use crate::history::{Event, Object, Snapshot};

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "clusterrole-aggregation-controller",
        watches: vec![(CLUSTERROLES, all)],
        reconcile: Box::new(reconcile),
    }
}

/// One key for all: any role may be one that others take over, and those others are few.
fn all(_: &Event, _: &Views) -> Vec<Key> {
    vec![Key::new(&CLUSTERROLES.group_resource(), "", "")]
}

/// Whether a role may have an aggregation rule: a look at the text spares most of them the parsing.
fn takes_over(role: &Object) -> bool {
    role.body.windows(RULE.len()).any(|text| text == RULE)
}

const RULE: &[u8] = b"\"aggregationRule\":";

fn reconcile(views: &Views, _: &Key, _: Moment<'_>) -> Plan {
    let roles = views.of(&CLUSTERROLES).snapshot();
    let taking = roles.iter().filter(|role| takes_over(role) && !role.header.deleting);
    let calls = taking.filter_map(|role| mended(&roles, role)).map(Into::into).collect();
    Plan { calls, ..Plan::default() }
}

/// The update that gives a role the rules that it takes over; none where it has them.
fn mended(roles: &Snapshot, role: &Object) -> Option<Call> {
    let key = &role.header.key;
    let mut role = role.tree().ok().filter(|role| !role.get("aggregationRule").is_null())?;
    let selectors = role.at(&["aggregationRule", "clusterRoleSelectors"]).items().iter();
    let selectors: Vec<_> =
        selectors.filter_map(|selector| LabelSelector::from_object(selector).ok()).collect();
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
        return None;
    }
    role.set("rules", rules);
    Some(calls::update(&CLUSTERROLES, key, role))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::runner::testing::views;

    fn rules(roles: &[&str], name: &str) -> Option<String> {
        let roles = roles.iter().map(|role| (&CLUSTERROLES, *role, Vec::new()));
        let views = views(&[CLUSTERROLES], roles);
        let key = Key::new(&CLUSTERROLES.group_resource(), "", "");
        let moment = Moment { now: crate::util::clock::now(), failure: None };
        let calls = reconcile(&views, &key, moment).calls.into_iter().map(|step| step.call);
        let mut of_role = calls.filter(|call| call.name == name);
        of_role.next().map(|call| call.body.get("rules").to_string())
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
